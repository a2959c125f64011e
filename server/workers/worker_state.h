/* What dispatch knows of a worker (Worker.data): the batches it has, and the graphs it keeps.
 *
 * The daemon decides what a worker keeps: LIMIT_WORKER_GRAPHS and LIMIT_WORKER_GRAPH_BYTES, the least recently used going first.
 * Errors: false when the worker is lost for it (died follows). */
#ifndef CAJAL_WORKER_STATE_H
#define CAJAL_WORKER_STATE_H
#include "schema/base/map.h"
#include "server/workers/batch.h"
#include "server/workers/pool.h"
#include "server/workers/vigil.h"

typedef struct WorkerState {
    Worker *worker;
    Batch *first, *last; /* in the order sent; the first is being executed */
    size_t batches;
    Map loaded;           /* by key */
    size_t loaded_bytes;
    struct Dispatch *dispatch;
    Timer look;           /* at what it does, while it has something to do */
    Vigil vigil;
    uint64_t jobs, clock;
} WorkerState;

void worker_state_release(WorkerState *ws);
void worker_state_add(WorkerState *ws, Batch *batch);
void worker_state_remove(WorkerState *ws, Batch *batch);

bool worker_state_has(const WorkerState *ws, uint64_t key);
void worker_state_used(WorkerState *ws, uint64_t key);
/* Sends the graph, under the load's frame id, after dropping others where it needs room. */
bool worker_state_load(WorkerState *ws, uint64_t id, uint64_t key, const void *graph, size_t len);
/* The worker does not have it. */
void worker_state_forget(WorkerState *ws, uint64_t key);
void worker_state_forget_all(WorkerState *ws);
#endif
