/* The list of weights, and how a graph reaches them. */
#include "compiler/training/link_inside.h"
#include <stdlib.h>
#include <string.h>

static Dims dims_of_weight(const LinkWeight *weight) {
    Dims dims = {.rank = weight->rank};
    memcpy(dims.at, weight->dims, weight->rank * sizeof *dims.at);
    return dims;
}

uint32_t link_weight_add(Link *k, const LinkWeight *weight, const char *pointer) {
    Linked *out = k->out;
    const Dims dims = dims_of_weight(weight);
    if (out->nweights == k->weights_room) {
        const uint32_t room = k->weights_room ? 2 * k->weights_room : 16;
        out->weights = arena_grow(&k->cx->arena, out->weights, out->nweights, room, sizeof *out->weights);
        k->weights_room = room;
    }
    out->weights[out->nweights] = *weight;
    out->weights[out->nweights].size = link_size(k, &dims, pointer);
    return out->nweights++;
}

typedef struct {
    LinkWeight weight;
    uint32_t found;
} NamedWeight;

static int by_name(const void *a, const void *b) { return strcmp(((const NamedWeight *)a)->weight.name, ((const NamedWeight *)b)->weight.name); }

void link_settle_weights(Link *k) {
    const uint32_t n = k->out->nweights;
    NamedWeight *entries = ARENA_ARRAY(&k->cx->arena, NamedWeight, n);
    bool trained = false;
    k->weight_slot = ARENA_ARRAY(&k->cx->arena, uint32_t, n);
    for (uint32_t i = 0; i < n; i++) entries[i] = (NamedWeight){k->out->weights[i], i};
    if (n) qsort(entries, n, sizeof *entries, by_name);
    for (uint32_t i = 0; i < n; i++) {
        k->out->weights[i] = entries[i].weight;
        k->weight_slot[entries[i].found] = i;
        trained = trained || entries[i].weight.train;
    }
    if (!trained) link_fail(k, ERR_bad_run, "/bind",
                            "Nothing here is trained: bind a variable to \"weights\" or to a network that has some.");
}

static uint32_t capture(LinkLevel *level, uint32_t outside) {
    if (level->ncaptured == level->captured_room) {
        const uint32_t room = level->captured_room ? 2 * level->captured_room : 8;
        level->captured = arena_grow(&level->link->cx->arena, level->captured, level->ncaptured, room, sizeof *level->captured);
        level->captured_room = room;
    }
    level->captured[level->ncaptured++] = outside;
    return level->ncaptures++;
}

/* Inside a step a weight is a capture, of a capture of the step around it, and so on: at most LIMIT_GRAPH_DEPTH deep. */
static uint32_t flat_weight(LinkLevel *level, uint32_t slot) {
    const size_t size = level->link->out->weights[slot].size;
    uint32_t *cell = &level->weights[slot];
    if (*cell) return *cell - 1;
    const uint32_t node = level->outer ? link_input(&level->rw, SLOT_CAPTURE, capture(level, flat_weight(level->outer, slot)), size)
                                       : link_input(&level->rw, SLOT_WEIGHT, slot, size);
    *cell = node + 1;
    return node;
}

uint32_t link_weight(LinkLevel *level, uint32_t weight) {
    const uint32_t slot = level->link->weight_slot[weight];
    const LinkWeight *w = &level->link->out->weights[slot];
    const Dims dims = dims_of_weight(w);
    return rewrite_reshape(&level->rw, flat_weight(level, slot), &dims);
}
