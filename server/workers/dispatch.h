/* Jobs for workers: who gets what, for how long, and what becomes of it when a worker dies.
 *
 * A job is a frame and the frame that answers it: an evaluation (FRAME_exec), which may travel with others (batch.h), or any other, which goes by
 * itself and is not looked into. Jobs wait in a bounded queue that is shared out by party (queue.h). Those submitted in one pass of the event
 * loop leave at its end (dispatch_flush): an idle worker gets the one whose turn it is, and with it what else is small; what waits for a busy
 * worker leaves together likewise. Of several workers one is kept for short jobs.
 * A job may run for max_exec; one that nobody waits for any more for two seconds; then its worker is ended. What becomes of a job whose worker
 * dies stands in blame.h: it is answered, charged, or tried again until it is cancelled.
 * Ownership: body is taken; exec, graph and area are lent until `done` or dispatch_cancel. `done` is called exactly once, in the loop, unless the
 * job is cancelled. */
#ifndef CAJAL_DISPATCH_H
#define CAJAL_DISPATCH_H
#include "server/workers/job.h"
#include "server/workers/pool.h"

typedef struct Dispatch Dispatch;

/* spec's events and arg are filled in here; max_exec in nanoseconds */
Dispatch *dispatch_new(const PoolSpec *spec, size_t max_queue, int64_t max_exec);
void dispatch_start(Dispatch *d);
void dispatch_free(Dispatch *d);

/* NULL: `err` says why not (queue_full, quota, no_worker, quarantined, internal); the body is released. */
Job *dispatch_submit(Dispatch *d, JobSpec *spec, Err *err);
/* Sends what workers can take. At the end of every pass of the loop. */
void dispatch_flush(Dispatch *d);
/* Nobody wants the job's result any more. One that waits is dropped; of one that is under way the result is, be it its rows of a merged evaluation. */
void dispatch_cancel(Dispatch *d, Job *job);

size_t dispatch_queue(const Dispatch *d);
void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy);
/* Appends [{"pid","state",…}] */
void dispatch_json(Buf *out, const Dispatch *d);
/* Appends each worker's state as Prometheus text. */
void dispatch_metrics(Buf *out, const Dispatch *d);
#endif
