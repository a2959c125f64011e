/* Graphs the daemon has loaded, by its key, and the plans made for them.
 *
 * How many graphs are kept is the daemon's business (load, drop); plans of one graph are kept up to CACHE_PLANS, the least
 * recently used going first.
 * Ownership: the cache owns graphs and plans; a plan is valid until the next call. */
#ifndef CAJAL_CACHE_H
#define CAJAL_CACHE_H
#include "schema/base/map.h"
#include "worker/plan/plan.h"

enum { CACHE_PLANS = 16 };

typedef struct {
    Map graphs;
} Cache;
typedef struct Loaded Loaded;

void cache_init(Cache *cache);
void cache_release(Cache *cache);
/* Reads the file form; a graph with that key is replaced. Errors: bad_request (key 0 is the interpreter's), internal (a damaged
 * file). */
bool cache_load(Cache *cache, uint64_t key, const void *bytes, size_t len, Err *err);
void cache_drop(Cache *cache, uint64_t key); /* an unknown key is no error */
/* NULL when there is none. */
Loaded *cache_find(Cache *cache, uint64_t key);
const Graph *loaded_graph(const Loaded *loaded);
/* spec->graph is set here. Errors: plan_new's. */
const Plan *loaded_plan(Loaded *loaded, PlanSpec spec, Err *err);
#endif
