/* Jobs that wait for a worker, shared out by party: deficit round robin (Shreedhar and Varghese, "Efficient fair queuing using deficit round robin",
 * 1995) over the parties that have any, by estimated multiply-adds. So many jobs of one party delay another's by one turn, not by all of them.
 *
 * A party's jobs wait in two lanes, each in order: short ones (at most SHORT_MACS) and long ones. Of jobs whose cost nobody can tell beforehand (a
 * build, a link, the interpreter) one of a party at a time is taken for short. Whoever takes jobs out may ask for short ones only.
 * A party is a number; 0 is the service itself. It is known here as long as it has jobs, waiting or under way.
 * Ownership: jobs are dispatch.c's; a Queue's parties its own. */
#ifndef CAJAL_QUEUE_H
#define CAJAL_QUEUE_H
#include "schema/base/map.h"
#include "server/workers/job_list.h"

typedef struct QueueParty {
    uint64_t id;
    JobList lanes[LANES];
    size_t jobs, waiting;           /* of it; those in the lanes */
    size_t unknown;                 /* of its jobs, those of unknown cost that were taken for short */
    double deficit;                 /* what it may still have in this round */
    struct QueueParty *prev, *next; /* in the ring, while it has jobs waiting */
} QueueParty;

typedef struct Queue {
    Map parties;              /* by id */
    QueueParty *first, *last; /* the ring: whose turn is next */
    QueueParty *spare;        /* for the next newcomer */
    size_t count, shorts;     /* jobs waiting; the short ones of them */
    size_t most;
    uint64_t arrivals;
} Queue;

void queue_init(Queue *q, size_t most);
void queue_release(Queue *q); /* and frees what waits */

/* A new job. ERR_queue_full; ERR_quota: its party alone has half of the places; ERR_internal: memory is short. */
ErrCode queue_enter(Queue *q, Job *job);
/* One that had left comes back, to the head of its lane. */
void queue_return(Queue *q, Job *job);
/* Whose turn it is; it stays. NULL: nothing waits, or nothing short. */
Job *queue_next(Queue *q, bool short_only);
/* Takes a waiting job out: it leaves for a worker (and its party pays for it), or is over. */
void queue_take(Queue *q, Job *job, bool pays);
/* The job, which does not wait, is over. */
void queue_forget(Queue *q, Job *job);
/* The job that is under way is a long one after all. */
void queue_demote(Job *job);
#endif
