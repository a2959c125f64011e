#include "server/workers/queue.h"
#include <math.h>
#include <stdlib.h>

/* In multiply-adds. SHORT: what is short, some tens of milliseconds at most. QUANTUM: of a round, about what a batch of small ones takes. UNKNOWN: what an
 * unknown cost is taken for. MOST: what any job is taken for at most. TURN: what any job costs beside its arithmetic. */
#define SHORT_MACS 1e8
#define QUANTUM 2e6
#define UNKNOWN 1e7
#define MOST 1e11
#define TURN 1e5

void queue_init(Queue *q, size_t most) { *q = (Queue){.most = most}; }

void queue_release(Queue *q) {
    size_t at = 0;
    for (QueueParty *p; (p = map_next(&q->parties, &at));) {
        for (int lane = 0; lane < LANES; lane++) job_list_clear(&p->lanes[lane]);
        free(p);
    }
    map_release(&q->parties);
    free(q->spare);
}

/* ---- parties ---- */

static QueueParty *party_of(Queue *q, uint64_t id) {
    QueueParty *p = map_get(&q->parties, &id, sizeof id);
    if (p) return p;
    p = q->spare ? q->spare : malloc(sizeof *p);
    q->spare = NULL;
    if (!p) return NULL;
    *p = (QueueParty){.id = id};
    if (map_put(&q->parties, &id, sizeof id, p)) return p;
    q->spare = p;
    return NULL;
}

static void party_forget(Queue *q, QueueParty *p) {
    map_remove(&q->parties, &p->id, sizeof p->id);
    if (q->spare) free(p);
    else q->spare = p;
}

static void party_enters_ring(Queue *q, QueueParty *p) {
    p->deficit = 0;
    p->prev = q->last;
    p->next = NULL;
    *(p->prev ? &p->prev->next : &q->first) = p;
    q->last = p;
}

static void party_leaves_ring(Queue *q, QueueParty *p) {
    *(p->prev ? &p->prev->next : &q->first) = p->next;
    *(p->next ? &p->next->prev : &q->last) = p->prev;
}

/* ---- jobs ---- */

static void wait_in_lane(Queue *q, Job *job, bool front) {
    QueueParty *p = job->party;
    if (!p->waiting++) party_enters_ring(q, p);
    job_list_add(&p->lanes[job->lane], job, front);
    job->waits = true;
    q->count++;
    q->shorts += job->lane == LANE_SHORT;
}

ErrCode queue_enter(Queue *q, Job *job) {
    if (q->count >= q->most) return ERR_queue_full;
    QueueParty *p = party_of(q, job->spec.party);
    if (!p) return ERR_internal;
    if (p->waiting >= q->most / 2 + q->most % 2) return ERR_quota;
    job->party = p;
    p->jobs++;
    job->unknown = job->cost < 0 && !p->unknown;
    p->unknown += job->unknown;
    job->lane = job->unknown || (job->cost >= 0 && job->cost < SHORT_MACS) ? LANE_SHORT : LANE_LONG;
    job->arrival = ++q->arrivals;
    wait_in_lane(q, job, false);
    return ERR_NONE;
}

void queue_return(Queue *q, Job *job) { wait_in_lane(q, job, true); }

static double price(const Job *job) { return TURN + (job->cost < 0 ? UNKNOWN : job->cost < MOST ? job->cost : MOST); }

void queue_take(Queue *q, Job *job, bool pays) {
    QueueParty *p = job->party;
    job_list_remove(&p->lanes[job->lane], job);
    job->waits = false;
    q->count--;
    q->shorts -= job->lane == LANE_SHORT;
    if (pays) p->deficit -= price(job);
    if (!--p->waiting) party_leaves_ring(q, p);
}

void queue_forget(Queue *q, Job *job) {
    QueueParty *p = job->party;
    p->unknown -= job->unknown;
    if (!--p->jobs) party_forget(q, p);
}

void queue_demote(Job *job) {
    job->lane = LANE_LONG;
    job->party->unknown -= job->unknown;
    job->unknown = false;
}

/* ---- whose turn it is ---- */

static Job *head_of(const QueueParty *p, bool short_only) {
    Job *first = p->lanes[LANE_SHORT].first, *other = short_only ? NULL : p->lanes[LANE_LONG].first;
    return !first || (other && other->arrival < first->arrival) ? other : first;
}

Job *queue_next(Queue *q, bool short_only) {
    double rounds = INFINITY; /* until somebody can pay */
    for (const QueueParty *p = q->first; p; p = p->next) {
        Job *job = head_of(p, short_only);
        if (!job) continue;
        const double lacks = ceil((price(job) - p->deficit) / QUANTUM);
        if (lacks <= 0) return job;
        rounds = fmin(rounds, lacks);
    }
    Job *next = NULL;
    for (QueueParty *p = q->first; p && rounds < INFINITY; p = p->next) {
        Job *job = head_of(p, short_only);
        if (!job) continue;
        p->deficit += rounds * QUANTUM;
        if (!next && price(job) <= p->deficit) next = job;
    }
    return next;
}
