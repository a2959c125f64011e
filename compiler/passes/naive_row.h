/* Inside the naive evaluator: what a rule sees. naive.c has the language's ops, naive_layers.c those of layers and losses. */
#ifndef CAJAL_NAIVE_ROW_H
#define CAJAL_NAIVE_ROW_H
#include "compiler/passes/naive.h"
#include "schema/graph/ops.h"

typedef struct NaiveRun NaiveRun;

/* One row of one node. */
typedef struct {
    const NaiveRun *run;
    const Graph *g;
    const GNode *n;
    size_t row;
    const double **x; /* the inputs' rows */
    double *y;        /* zeroed */
} Row;

static inline const GNode *arg(const Row *r, uint32_t i) { return &r->g->nodes[node_ins(r->g, r->n)[i]]; }
static inline int64_t attr(const Row *r, uint32_t i) { return node_attrs(r->g, r->n)[i]; }

/* A tensor seen from one axis: [outer, extent, inner]. */
typedef struct {
    size_t outer, extent, inner;
} Split;

static inline Split split(const Graph *g, const GNode *n, int64_t axis) {
    Split s = {1, node_dims(g, n)[axis], 1};
    for (int64_t i = 0; i < n->rank; i++) {
        if (i < axis) s.outer *= node_dims(g, n)[i];
        if (i > axis) s.inner *= node_dims(g, n)[i];
    }
    return s;
}
static inline size_t at(Split s, size_t o, size_t j, size_t i) { return (o * s.extent + j) * s.inner + i; }

/* False: no memory, or nothing to run. */
#define OP(name, inputs, linear) bool naive_##name(const Row *r);
#include "schema/graph/ops.def"
#undef OP
#endif
