/* Inside the naive evaluator: what a rule sees. naive.c has the ops of programs, naive_layers.c those of layers and losses. */
#ifndef CAJAL_NAIVE_ROW_H
#define CAJAL_NAIVE_ROW_H
#include "schema/graph/ops.h"

typedef struct NaiveRun NaiveRun;
/* naive.h; of a careful evaluation also to what its values are rounded. */
typedef enum { CARE_NONE, CARE_F32, CARE_F64 } NaiveCare;

/* One row of one node. */
typedef struct {
    const NaiveRun *run;
    const Graph *g;
    const GNode *n;
    size_t row;
    const double **x; /* the inputs' rows */
    double *y;        /* zeroed */
    NaiveCare care;
} Row;

/* a·b; with care, 0 takes nothing. */
static inline double times(const Row *r, double a, double b) { return r->care && (a == 0 || b == 0) ? 0 : a * b; }

static inline const GNode *arg(const Row *r, uint32_t i) { return &r->g->nodes[node_ins(r->g, r->n)[i]]; }
static inline int64_t attr(const Row *r, uint32_t i) { return node_attrs(r->g, r->n)[i]; }

static inline AxisView split(const Graph *g, const GNode *n, int64_t axis) { return axis_view(node_dims(g, n), n->rank, axis); }
static inline size_t at(AxisView s, size_t o, size_t j, size_t i) { return (o * s.extent + j) * s.inner + i; }

/* naive_<rule>: computes y. False: no memory, or nothing to run. */
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, expand, naive) bool naive_##naive(const Row *r);
#include "schema/graph/ops.def"
#undef OP
#endif
