#include "worker/protocol/cache.h"
#include <stdlib.h>
#include <string.h>

typedef struct PlanEntry PlanEntry;
struct PlanEntry {
    PlanEntry *next; /* less recently used */
    Plan *plan;
    bool key[]; /* dtype, slots' batching, outputs' wanting */
};

struct Loaded {
    Graph *graph;
    PlanEntry *plans;
};

void cache_init(Cache *cache) { map_init(&cache->graphs); }

static void entry_free(PlanEntry *e) {
    plan_free(e->plan);
    free(e);
}

static void loaded_free(Loaded *l) {
    if (!l) return;
    for (PlanEntry *e = l->plans, *next; e; e = next) {
        next = e->next;
        entry_free(e);
    }
    graph_free(l->graph);
    free(l);
}

void cache_release(Cache *cache) {
    size_t at = 0;
    for (Loaded *l; (l = map_next(&cache->graphs, &at));) loaded_free(l);
    map_release(&cache->graphs);
}

bool cache_load(Cache *cache, uint64_t key, const void *bytes, size_t len, Err *err) {
    char why[200];
    if (!key) return err_set(err, ERR_bad_request, "Key 0 is the interpreter's.");
    Graph *g = graph_read(bytes, len, why, sizeof why);
    if (!g) return err_set(err, ERR_internal, "The graph does not read: %s", why);
    Loaded *l = calloc(1, sizeof *l);
    if (l) {
        l->graph = g;
        cache_drop(cache, key);
        if (map_put(&cache->graphs, &key, sizeof key, l)) return true;
    }
    free(l);
    graph_free(g);
    return err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
}

void cache_drop(Cache *cache, uint64_t key) { loaded_free(map_remove(&cache->graphs, &key, sizeof key)); }
Loaded *cache_find(Cache *cache, uint64_t key) { return map_get(&cache->graphs, &key, sizeof key); }
const Graph *loaded_graph(const Loaded *l) { return l->graph; }

/* The entry with this key, moved to the front; otherwise the list is cut to leave room for one more. */
static PlanEntry *find(Loaded *l, const bool *key, size_t len) {
    PlanEntry **at = &l->plans;
    for (unsigned n = 1; *at; at = &(*at)->next, n++) {
        PlanEntry *e = *at;
        bool same = memcmp(e->key, key, len) == 0;
        if (!same && n < CACHE_PLANS) continue;
        *at = e->next;
        if (same) {
            e->next = l->plans;
            return l->plans = e;
        }
        entry_free(e);
        return NULL;
    }
    return NULL;
}

const Plan *loaded_plan(Loaded *l, PlanSpec spec, Err *err) {
    const Graph *g = spec.graph = l->graph;
    size_t len = 1 + (size_t)g->nslots + g->noutputs;
    PlanEntry *e = malloc(sizeof *e + len * sizeof *e->key);
    if (!e) return err_set(err, ERR_too_large, "This takes more memory than a worker may have."), NULL;
    e->key[0] = spec.f64;
    if (g->nslots) memcpy(e->key + 1, spec.batched, g->nslots * sizeof *e->key);
    if (g->noutputs) memcpy(e->key + 1 + g->nslots, spec.wanted, g->noutputs * sizeof *e->key);
    PlanEntry *old = find(l, e->key, len);
    if (!old) e->plan = plan_new(&spec, err);
    if (old || !e->plan) {
        free(e);
        return old ? old->plan : NULL;
    }
    e->next = l->plans;
    l->plans = e;
    return e->plan;
}
