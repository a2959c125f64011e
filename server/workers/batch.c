#include "server/workers/batch.h"
#include "server/workers/queue.h"

/* SEARCHED: how many waiting jobs are looked at for one batch. MOST_BYTES, MOST_COST: what a batch holds at most, in either direction, and how many
 * multiply-adds (about a millisecond's). ITEM_BYTES, TENSOR_BYTES: what a message takes beside values, at most. */
enum { SEARCHED = 256, MOST_BYTES = 40 * 1024, ITEM_BYTES = 160, TENSOR_BYTES = 40 };
#define MOST_COST 2e6
/* How long a worker may be at what nobody waits for, and at several small jobs, which take a millisecond by their costs. */
#define ABANDONED_NS ((int64_t)2000000000)
#define SEVERAL_NS ((int64_t)5000000000)

/* ---- filling ---- */

typedef struct {
    Job *last[BATCH_ITEMS]; /* of each item */
    bool mergeable[BATCH_ITEMS];
    size_t values, results, searched;
    double cost;
} Filling; /* of a batch, while it is filled */

static bool may_travel(const Job *job) { return job->spec.type == FRAME_exec && job->spec.exec->small && job->company != 1; }

/* Those whose company is bounded go among themselves: what kills a worker is to meet no newcomers. */
static bool may_join(const Batch *b, const Job *job) {
    const Job *first = b->jobs.first;
    if (!job->company || !first->company) return job->company == first->company;
    return b->jobs.count < job->company && b->jobs.count < first->company;
}

static size_t head_bytes(const ExecRequest *exec) { return ITEM_BYTES + TENSOR_BYTES * ((size_t)exec->msg.ntensors + exec->msg.nresults); }

/* Puts the job behind `last` in the batch's list, or at its end. */
static void insert(Batch *b, Job *job, Job *last) {
    job->batch = b;
    if (!last || !last->next) {
        job_list_add(&b->jobs, job, false);
        return;
    }
    job->prev = last;
    job->next = last->next;
    job->prev->next = job->next->prev = job;
    b->jobs.count++;
}

/* The item that the evaluation can be merged into, or a new one; BATCH_ITEMS when there is no place left. */
static uint32_t item_for(Batch *b, Filling *so_far, const ExecRequest *exec) {
    bool mergeable = exec_request_mergeable(exec);
    for (uint32_t i = 0; mergeable && i < b->nitems; i++) {
        const BatchItem *item = &b->items[i];
        if (so_far->mergeable[i] && item->members < EXEC_MEMBERS && item->values + exec->msg.inline_len <= WIRE_INLINE_AREA &&
            item->results + exec_request_result_bytes(exec) <= WIRE_INLINE_AREA && exec_request_goes_with(so_far->last[i]->spec.exec, exec))
            return i;
    }
    if (b->nitems == BATCH_ITEMS) return BATCH_ITEMS;
    b->items[b->nitems] = (BatchItem){0};
    so_far->last[b->nitems] = NULL;
    so_far->mergeable[b->nitems] = mergeable;
    return b->nitems++;
}

static void take(Batch *b, Filling *so_far, Queue *queue, Job *job) {
    const ExecRequest *exec = job->spec.exec;
    uint32_t i = item_for(b, so_far, exec);
    if (i == BATCH_ITEMS) return;
    BatchItem *item = &b->items[i];
    queue_take(queue, job, true);
    insert(b, job, so_far->last[i]);
    so_far->last[i] = job;
    job->item = i;
    job->row0 = item->rows;
    item->members++;
    item->rows += exec->msg.rows;
    item->values += exec->msg.inline_len;
    for (uint32_t k = 0; k < exec->msg.nresults; k++) item->results += exec->row_bytes[k] * exec->msg.rows;
    so_far->values += head_bytes(exec) + exec->msg.inline_len;
    so_far->results += head_bytes(exec) + exec_request_result_bytes(exec);
    so_far->cost += exec->cost;
}

static bool has_room(const Filling *so_far, const ExecRequest *exec) {
    return so_far->values + head_bytes(exec) + exec->msg.inline_len <= MOST_BYTES &&
           so_far->results + head_bytes(exec) + exec_request_result_bytes(exec) <= MOST_BYTES && so_far->cost + exec->cost <= MOST_COST;
}

/* Those of a party that wait and may go along. */
static void take_along(Batch *b, Filling *so_far, Queue *queue, const QueueParty *party, bool (*has)(const struct WorkerState *, uint64_t)) {
    const uint64_t key = b->jobs.first->spec.key;
    for (Job *job = party->lanes[LANE_SHORT].first, *next; job && so_far->searched++ < SEARCHED; job = next) {
        next = job->next;
        if (may_travel(job) && may_join(b, job) && (job->spec.key == key || has(b->ws, job->spec.key)) && has_room(so_far, job->spec.exec))
            take(b, so_far, queue, job);
    }
}

void batch_fill(Batch *b, Queue *queue, Job *first, bool (*has)(const struct WorkerState *, uint64_t)) {
    Filling so_far;
    so_far.values = so_far.results = so_far.searched = 0;
    so_far.cost = 0;
    b->nitems = 0;
    if (!may_travel(first)) {
        queue_take(queue, first, true);
        insert(b, first, NULL);
        first->item = 0;
        b->items[b->nitems++] = (BatchItem){.members = 1};
        return;
    }
    take(b, &so_far, queue, first);
    for (QueueParty *party = queue->first, *next; party && so_far.searched < SEARCHED; party = next) {
        next = party->next;
        take_along(b, &so_far, queue, party, has);
    }
}

bool batch_is_small(const Batch *b) {
    for (const Job *job = b->jobs.first; job; job = job->next)
        if (!job->spec.small) return false;
    return true;
}

bool batch_is_wanted(const Batch *b) {
    for (const Job *job = b->jobs.first; job; job = job->next)
        if (!job->cancelled) return true;
    return false;
}

int64_t batch_time_is_up(const Batch *batch, int64_t max_exec, WorkerEnd *why) {
    if (!batch_is_wanted(batch)) {
        *why = END_ABANDONED;
        return (batch->abandoned > batch->begun ? batch->abandoned : batch->begun) + ABANDONED_NS;
    }
    *why = batch->jobs.count > 1 ? END_STUCK : END_LIMIT;
    return batch->begun + (batch->jobs.count > 1 && SEVERAL_NS < max_exec ? SEVERAL_NS : max_exec);
}

/* ---- frames ---- */

/* Appends the item that begins with the job; returns the first job of the next one. */
static const Job *put_item(Buf *out, const Job *job) {
    const ExecRequest *execs[EXEC_MEMBERS];
    size_t n = 0;
    uint32_t item = job->item;
    for (; job && job->item == item; job = job->next) execs[n++] = job->spec.exec;
    if (n == 1) wire_put_exec(out, &execs[0]->msg);
    else exec_request_put_merged(out, execs, n);
    return job;
}

const Buf *batch_body(const Batch *b, Buf *room, FrameType *type) {
    const Job *job = b->jobs.first;
    *type = b->nitems > 1 ? FRAME_exec_batch : job->spec.type;
    if (*type != FRAME_exec && *type != FRAME_exec_batch) return &job->spec.body;
    if (b->nitems == 1) {
        put_item(room, job);
        return room;
    }
    while (job) {
        size_t begun = wire_begin_member(room);
        job = put_item(room, job);
        wire_end_member(room, begun);
    }
    return room;
}

/* The reply to merged evaluations has everybody's results, or an error. */
static bool is_whole(const BatchItem *item, const ExecutedMsg *executed) {
    return item->members == 1 || executed->code || executed->inline_len == item->results;
}

bool batch_read(const Batch *b, const Frame *frame, ExecutedMsg executed[BATCH_ITEMS]) {
    FrameType asked = b->jobs.first->spec.type;
    Frame member;
    uint32_t n = 0;
    if (b->nitems == 1) {
        if (asked != FRAME_exec) return frame->type == b->jobs.first->spec.reply;
        return wire_get_executed(frame, &executed[0]) && is_whole(&b->items[0], &executed[0]);
    }
    Reader in = reader_of(frame->body, frame->len);
    if (frame->type != FRAME_executed_batch) return false;
    for (; n < b->nitems && wire_next_member(frame, &in, &member); n++)
        if (!wire_get_executed(&member, &executed[n]) || !is_whole(&b->items[n], &executed[n])) return false;
    return n == b->nitems && reader_done(&in);
}
