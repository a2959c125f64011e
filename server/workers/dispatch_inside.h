/* What a Dispatch is, for dispatch.c and dispatch_report.c only. */
#ifndef CAJAL_DISPATCH_INSIDE_H
#define CAJAL_DISPATCH_INSIDE_H
#include "server/workers/blame.h"
#include "server/workers/pool.h"
#include "server/workers/queue.h"
#include "server/workers/worker_state.h"

struct Dispatch {
    Pool *pool;
    Loop *loop;
    const Log *log;
    Metrics *metrics;
    int64_t max_exec;
    Queue queue;
    Quarantine quarantine;
    JobList held; /* by when they were killed: VERDICT_HOLD */
    Timer verdict;
    uint64_t ids;
    WorkerState *workers;
    LastDeath *deaths; /* by worker */
    Batch *spare;
    Buf room; /* for frames on their way out */
};
#endif
