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
#include "schema/errors.h"
#include "server/workers/exec_request.h"
#include "server/workers/pool.h"

typedef struct Dispatch Dispatch;
typedef struct Job Job;

typedef struct {
    const Err *err;              /* why there is no reply; NULL: there is one */
    Frame *frame;                /* the reply; NULL for an evaluation that travelled with others */
    const ExecutedMsg *executed; /* an evaluation's reply; its own code is the handler's to look at */
    int64_t queue_ns;            /* how long it waited for a worker, the last time it did */
} JobResult;

typedef struct {
    FrameType type, reply;   /* what is sent, and what answers it */
    Buf body;                /* the frame's, unless it is FRAME_exec */
    const ExecRequest *exec; /* FRAME_exec */
    int area;                /* a descriptor to go along; -1: none */
    uint64_t key;            /* of the graph that the worker must have; 0: none */
    const void *graph;
    size_t graph_len;
    const char *culprit;     /* who is blamed for a worker's death; copied; NULL: nobody */
    bool small;              /* short enough to wait behind others in a worker */
    int64_t patience;        /* nanoseconds of execution after which the worker counts as stuck with it; taken as two seconds when it is less */
    void (*done)(void *arg, const JobResult *result);
    void *arg;
} JobSpec;

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
