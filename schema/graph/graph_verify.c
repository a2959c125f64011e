#include "schema/graph/graph.h"
#include "schema/limits.h"
#include "schema/graph/ops.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 256 };

static bool wrong(char *why, size_t room, const char *message) {
    if (room) snprintf(why, room, "%s", message);
    return false;
}

static bool wrong_node(const Graph *g, uint32_t node, char *why, size_t room, const char *message) {
    const Op op = g->nodes[node].op;
    if (room) snprintf(why, room, "node %u (%s): %s", node, (unsigned)op < OP_COUNT ? op_row(op)->name : "?", message);
    return false;
}

static int by_role(const void *a, const void *b) {
    const Slot *s = a, *t = b;
    if (s->role != t->role) return s->role < t->role ? -1 : 1;
    return s->index < t->index ? -1 : s->index > t->index;
}

/* Roles in range, and no role and index twice: sorted as slots, outputs too. */
static bool check_unique(Slot *sorted, uint32_t n, unsigned roles) {
    if (n) qsort(sorted, n, sizeof *sorted, by_role);
    for (uint32_t i = 0; i < n; i++)
        if ((unsigned)sorted[i].role >= roles || (i && !by_role(&sorted[i - 1], &sorted[i]))) return false;
    return true;
}

static bool check_slots(const Graph *g, char *why, size_t room) {
    if (g->nslots > LIMIT_GRAPH_SLOTS) return wrong(why, room, "too many slots");
    Slot *sorted = malloc((g->nslots + 1) * sizeof *sorted);
    if (!sorted) return wrong(why, room, "out of memory");
    for (uint32_t i = 0; i < g->nslots; i++) sorted[i] = g->slots[i];
    const bool unique = check_unique(sorted, g->nslots, SLOT_ROLES);
    free(sorted);
    if (!unique) return wrong(why, room, "a slot stands twice or has no role");
    for (uint32_t i = 0; i < g->nslots; i++)
        if (g->slots[i].size > LIMIT_SPACE || (g->slots[i].role == SLOT_NETWORK) != !g->slots[i].size)
            return wrong(why, room, "a slot's size is out of range");
    return true;
}

static bool check_outputs(const Graph *g, char *why, size_t room) {
    if (g->noutputs > LIMIT_GRAPH_SLOTS) return wrong(why, room, "too many outputs");
    Slot *sorted = malloc((g->noutputs + 1) * sizeof *sorted);
    if (!sorted) return wrong(why, room, "out of memory");
    for (uint32_t i = 0; i < g->noutputs; i++) sorted[i] = (Slot){.role = (SlotRole)g->outputs[i].role, .index = g->outputs[i].index};
    const bool unique = check_unique(sorted, g->noutputs, OUT_ROLES);
    free(sorted);
    if (!unique) return wrong(why, room, "an output stands twice or has no role");
    for (uint32_t i = 0; i < g->noutputs; i++) {
        if (g->outputs[i].node >= g->nnodes) return wrong(why, room, "an output is no node");
        if (g->nodes[g->outputs[i].node].op == OP_iter_vjp) return wrong(why, room, "an output is a tuple");
    }
    return true;
}

static bool within(uint32_t at, uint32_t n, uint32_t count) { return at <= count && n <= count - at; }

/* What the shape rules rely on: the node's lists lie within the graph's, its inputs come before it, its space is in the limits. */
static const char *check_form(const Graph *g, uint32_t node) {
    const GNode *n = &g->nodes[node];
    size_t size;
    if ((unsigned)n->op >= OP_COUNT) return "no such op";
    if (!within(n->in, n->nin, g->nins) || !within(n->dims, n->rank, g->ndims) || !within(n->attr, n->nattr, g->nattrs) ||
        !within(n->sub, n->nsub, g->nsubs))
        return "a list out of range";
    for (uint32_t i = 0; i < n->nin; i++)
        if (node_ins(g, n)[i] >= node) return "an input does not come before the node";
    if (!dims_size(node_dims(g, n), n->rank, &size)) return "the space is too large or empty";
    return size == n->size ? NULL : "the size is not the product of the dims";
}

static bool verify(const Graph *g, uint32_t depth, uint64_t *nodes, char *why, size_t room);

static bool check_node(const Graph *g, uint32_t node, uint32_t depth, uint64_t *nodes, char *why, size_t room) {
    const GNode *n = &g->nodes[node];
    Shape shape;
    const char *message = check_form(g, node);
    if (message) return wrong_node(g, node, why, room, message);
    for (uint32_t i = 0; i < n->nsub; i++) {
        char inner[WHY];
        if (!verify(g->subs[n->sub + i], depth + 1, nodes, inner, sizeof inner)) return wrong_node(g, node, why, room, inner);
    }
    message = op_shape(g, n, &shape);
    if (message) return wrong_node(g, node, why, room, message);
    if (shape.rank != n->rank || (n->rank && memcmp(shape.dims, node_dims(g, n), n->rank * sizeof *shape.dims)))
        return wrong_node(g, node, why, room, "the dims are not those of the shape rule");
    return true;
}

/* Recursion is at most LIMIT_GRAPH_DEPTH deep; nodes: seen so far, all levels. */
static bool verify(const Graph *g, uint32_t depth, uint64_t *nodes, char *why, size_t room) {
    if (!g || g->failed) return wrong(why, room, "building failed: out of memory or beyond a limit");
    if (depth > LIMIT_GRAPH_DEPTH) return wrong(why, room, "steps nest too deep");
    *nodes += g->nnodes;
    if (*nodes > LIMIT_GRAPH_NODES) return wrong(why, room, "too many nodes");
    if (!check_slots(g, why, room)) return false;
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (!check_node(g, i, depth, nodes, why, room)) return false;
    return check_outputs(g, why, room);
}

bool graph_verify(const Graph *g, char *why, size_t room) {
    uint64_t nodes = 0;
    return verify(g, 0, &nodes, why, room);
}
