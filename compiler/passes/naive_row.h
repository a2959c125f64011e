/* Inside the naive evaluator: what a rule sees. naive.c has the ops of programs, naive_layers.c those of layers and losses. */
#ifndef CAJAL_NAIVE_ROW_H
#define CAJAL_NAIVE_ROW_H
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

static inline AxisView split(const Graph *g, const GNode *n, int64_t axis) { return axis_view(node_dims(g, n), n->rank, axis); }
static inline size_t at(AxisView s, size_t o, size_t j, size_t i) { return (o * s.extent + j) * s.inner + i; }

/* naive_<rule>: computes y. False: no memory, or nothing to run. */
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, expand, naive) bool naive_##naive(const Row *r);
#include "schema/graph/ops.def"
#undef OP
#endif
