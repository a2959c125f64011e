/* Queued and running runs: who trains when. Runs get their turn in the order of their creation (those that ran when the service ended before all
 * others), each a worker process of its own, at low priority.
 *
 * The processes are a second pool, started when there is something to train, and ended soon after the last run. A run goes on from its last
 * good checkpoint after whatever ended it: its worker's death (so often without a new checkpoint; then it fails), the
 * daemon's, a cancel and a resume. A run is known here from when its row is written until its last event is. All in the loop's thread. */
#ifndef CAJAL_SCHEDULER_H
#define CAJAL_SCHEDULER_H
#include "server/runs/run_claim.h"
#include "server/runs/training.h"
#include "server/workers/pool.h"

/* Without a new checkpoint, at most: of deaths by the worker's own doing, or because it did nothing any more; of kills from outside. */
enum { SCHEDULER_RETRIES = 3, SCHEDULER_KILLS = 30 };

/* Who waits for a run to be over and written, or (`queued`) only for its state of being queued to be. Embedded in its owner. */
typedef struct RunWait {
    void (*done)(void *arg, ErrCode code); /* code: its state could not be written; it goes on being tried */
    void *arg;
    bool queued;
    struct RunWait *prev, *next, **head; /* the module's */
    bool on;
} RunWait;

/* Who wants to know when a run has new events in the database, or is over: a run that is known here or not. Embedded in its owner. */
typedef struct RunWatch {
    int64_t seq; /* the run's */
    void (*changed)(void *arg);
    void *arg;
    struct RunWatch *prev, *next; /* the module's */
} RunWatch;

Scheduler *scheduler_new(Server *server, const PoolSpec *pool); /* its events, arg and background are filled in here; NULL: memory is short */
/* Queues what the database says is queued or was running. False: it does not answer. */
bool scheduler_start(Scheduler *s);
/* The service shuts down: what runs writes a checkpoint and stops, to go on at the next start. */
void scheduler_drain(Scheduler *s);
bool scheduler_drained(const Scheduler *s);
void scheduler_free(Scheduler *s);

/* There is no more room in the queue. */
bool scheduler_full(const Scheduler *s);
/* A run whose row has just been written as queued. False: memory is short (the next start finds it). */
bool scheduler_add(Scheduler *s, const StoredRun *run);
/* Queues a run again that is over, by its row. ERR_conflict: it is being deleted, or a run that it takes weights from is; ERR_internal: memory is
 * short. */
ErrCode scheduler_resume(Scheduler *s, const StoredRun *run);
/* NULL: it is neither queued nor running. */
Training *scheduler_find(const Scheduler *s, const char *id);
/* The run's state by now; its row's may be behind. */
RunState scheduler_state(const Scheduler *s, const StoredRun *run);
/* Its row does not say what has become of it, for that cannot be written: the run itself, which knows. NULL: the row says it. */
const Training *scheduler_unwritten(const Scheduler *s, const char *id);
/* What is claimed of runs, by those known here and by requests under way. */
RunClaims *scheduler_claims(Scheduler *s);
/* Ends it, within moments. */
void scheduler_cancel(Scheduler *s, const char *id);
/* The run is known here. What of it could not be written is tried again. */
void scheduler_wait(Scheduler *s, const char *id, RunWait *wait);
void scheduler_unwait(RunWait *wait); /* harmless when off */
void scheduler_watch(Scheduler *s, RunWatch *watch);
void scheduler_unwatch(Scheduler *s, RunWatch *watch);
void scheduler_count(const Scheduler *s, size_t *queued, size_t *running);
#endif
