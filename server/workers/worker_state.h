/* What dispatch knows of a worker (Worker.data): the parcels it has, and the graphs it keeps.
 *
 * The daemon decides what a worker keeps: LIMIT_WORKER_GRAPHS and LIMIT_WORKER_GRAPH_BYTES, the least recently used going first.
 * Errors: false when the worker is lost for it (died follows). */
#ifndef CAJAL_WORKER_STATE_H
#define CAJAL_WORKER_STATE_H
#include "schema/base/map.h"
#include "server/workers/batch.h"

typedef struct Desk {
    Worker *worker;
    Parcel *first, *last; /* in the order sent; the first is being executed */
    size_t parcels;
    Map loaded;           /* by key */
    size_t loaded_bytes;
    Timer stuck;
    uint64_t jobs, clock;
} Desk;

void desk_release(Desk *desk);
void desk_add(Desk *desk, Parcel *parcel);
void desk_remove(Desk *desk, Parcel *parcel);

bool desk_has(const Desk *desk, uint64_t key);
void desk_used(Desk *desk, uint64_t key);
/* Sends the graph, under the load's frame id, after dropping others where it needs room. */
bool desk_load(Desk *desk, uint64_t id, uint64_t key, const void *graph, size_t len);
/* The worker does not have it. */
void desk_forget(Desk *desk, uint64_t key);
void desk_forget_all(Desk *desk);
#endif
