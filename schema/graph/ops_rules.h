/* Inside the shape rules: what op_shape.c and ops_layers.c share. A rule fills `out` and returns NULL, or says what is wrong with
 * the node; number of inputs, sub-graphs and attributes, and what attributes' kinds say, have been checked. */
#ifndef CAJAL_OPS_RULES_H
#define CAJAL_OPS_RULES_H
#include "schema/graph/ops.h"
#include <string.h>

/* A node's dims, as a rule reads them. */
typedef struct {
    uint32_t rank;
    const uint32_t *dims;
    size_t size;
} View;

static inline View view(const Graph *g, uint32_t node) {
    const GNode *n = &g->nodes[node];
    return (View){n->rank, node_dims(g, n), n->size};
}
static inline View input_view(const Graph *g, const GNode *n, uint32_t i) { return view(g, node_ins(g, n)[i]); }
static inline View own_view(const Graph *g, const GNode *n) { return (View){n->rank, node_dims(g, n), n->size}; }

static inline bool same_dims(View a, View b) { return a.rank == b.rank && (!a.rank || !memcmp(a.dims, b.dims, a.rank * sizeof *a.dims)); }
/* Attribute i, when it is in [0, bound). */
static inline bool attr_below(const Graph *g, const GNode *n, uint32_t i, uint64_t bound) {
    return i < n->nattr && node_attrs(g, n)[i] >= 0 && (uint64_t)node_attrs(g, n)[i] < bound;
}
static inline uint32_t attr(const Graph *g, const GNode *n, uint32_t i) { return (uint32_t)node_attrs(g, n)[i]; }

static inline void copy(Shape *out, View v) {
    out->rank = v.rank;
    if (v.rank) memcpy(out->dims, v.dims, v.rank * sizeof *v.dims);
}
static inline bool push(Shape *out, const uint32_t *dims, uint32_t n) {
    if (n > LIMIT_GRAPH_RANK - out->rank) return false;
    if (n) memcpy(out->dims + out->rank, dims, n * sizeof *dims);
    out->rank += n;
    return true;
}

#define BAD_ATTRS "wrong number of attributes"
#define BAD_AXIS "axis out of range"
#define BAD_INDEX "index out of range"
#define BAD_RANK "too many axes"

#define OP(name, inputs, linear, subs, fold, family, attributes, shape, ...) const char *shape_##shape(const Graph *g, const GNode *n, Shape *out);
#include "schema/graph/ops.def"
#undef OP
#endif
