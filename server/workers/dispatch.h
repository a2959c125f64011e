/* Jobs for workers: a bounded queue, who gets what, retries, quarantine, and the end of stuck workers.
 *
 * Jobs submitted in one pass of the event loop leave at its end (dispatch_flush). An idle worker gets the first that waits at once, and with it,
 * in one frame (parcel.h), what else is small; what waits for a busy worker leaves together likewise. A job whose worker dies is
 * sent once more, by itself; after a second death it ends in worker_crash, and its culprit (the graph or program it names) is set
 * aside: later jobs are refused as quarantined.
 * Ownership: body is taken; run, graph and area are lent until `done` or dispatch_cancel. `done` is called exactly once, in the loop,
 * unless cancelled. */
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
    int area;       /* -1: none */
    uint64_t key;   /* what must be loaded first; 0: nothing */
    const void *graph;
    size_t graph_len;
    const char *culprit; /* copied; NULL: nobody */
    bool small;          /* short enough to be queued behind others in a worker */
    int64_t patience;    /* nanoseconds of execution after which the worker counts as stuck with it; never less than a worker's start takes */
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
/* The job's result is wanted no more: queued, it is dropped; under way, its result is, and when those it travels with are not wanted either,
 * the worker is stuck after `grace` nanoseconds more of them. */
void dispatch_cancel(Dispatch *d, Job *job, int64_t grace);

size_t dispatch_queue(const Dispatch *d);
void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy);
/* Appends [{"pid","state",…}] */
void dispatch_json(Buf *out, const Dispatch *d);
/* Appends each worker's state as Prometheus text. */
void dispatch_metrics(Buf *out, const Dispatch *d);
#endif
