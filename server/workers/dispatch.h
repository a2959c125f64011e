/* Jobs for workers: a bounded queue, who gets what, retries, quarantine, and the end of stuck workers.
 *
 * A job is a frame and the frame that answers it: an evaluation (FRAME_exec), which may travel with others (batch.h), or any other, which goes by
 * itself and is not looked into. Jobs submitted in one pass of the event loop leave at its end (dispatch_flush): an idle worker gets the first
 * that waits, and with it what else is small; what waits for a busy worker leaves together likewise. A job whose worker dies is sent once
 * more, by itself; after a second death it ends in worker_crash, and its culprit (the name of what it runs) is set aside: later jobs that name it
 * are refused as quarantined.
 * Ownership: body is taken; exec, graph and area are lent until `done` or dispatch_cancel. `done` is called exactly once, in the loop, unless the
 * job is cancelled. */
#ifndef CAJAL_DISPATCH_H
#define CAJAL_DISPATCH_H
#include "server/workers/job.h"
#include "server/workers/pool.h"

typedef struct Dispatch Dispatch;

Dispatch *dispatch_new(const PoolSpec *spec, size_t max_queue); /* spec's events and arg are filled in here */
void dispatch_start(Dispatch *d);
void dispatch_free(Dispatch *d);

/* NULL: `err` says why not (queue_full, no_worker, quarantined, internal); the body is released. */
Job *dispatch_submit(Dispatch *d, JobSpec *spec, Err *err);
/* Sends what workers can take. At the end of every pass of the loop. */
void dispatch_flush(Dispatch *d);
/* Nobody wants the job's result any more. One that waits is dropped; of one that is under way the result is, be it its rows of a merged
 * evaluation; and when all jobs of its batch are cancelled, the worker counts as stuck after `grace` nanoseconds more. */
void dispatch_cancel(Dispatch *d, Job *job, int64_t grace);

size_t dispatch_queue(const Dispatch *d);
void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy);
/* Appends [{"pid","state",…}] */
void dispatch_json(Buf *out, const Dispatch *d);
/* Appends each worker's state as Prometheus text. */
void dispatch_metrics(Buf *out, const Dispatch *d);
#endif
