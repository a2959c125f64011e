/* A graph run through plans, every way there is, and held against the naive evaluator. Everything fails the test that calls it. */
#ifndef CAJAL_TEST_PLANNED_H
#define CAJAL_TEST_PLANNED_H
#include "compiler/passes/naive.h"
#include "tests/support/layers.h"
#include "worker/plan/exec.h"

enum { PLANNED_SLOTS = 64, PLANNED_OUTPUTS = 64 };

typedef struct {
    Graph *g;
    size_t rows;
    double *data[PLANNED_SLOTS]; /* by slot; the same in f32 */
    float *data32[PLANNED_SLOTS];
    bool batched[PLANNED_SLOTS];
} Planned;

typedef struct {
    bool f64, no_tape, segments, known; /* known: the plan is for so many rows */
    Isa below;
    size_t tile, first, rows; /* rows first .. first + rows of the case */
    unsigned threads;
    double near32, near64; /* tolerances, relative to the largest element */
} PlannedWay;

void planned_verify(const Graph *g);
/* Every slot's numbers, instead of those before; graph and `batched` are set. planned_release frees them, and the graph. */
void planned_fill(Planned *c, double (*number)(void *arg), void *arg);
void planned_release(Planned *c);

PlannedWay planned_way(Rng *r, size_t rows);
/* All rows of the way; outs[o]: malloced, in its dtype. */
void planned_run(const Planned *c, const PlannedWay *way, void **outs, bool *batched);
/* The largest element of what the naive evaluator makes of it, all rows; infinity when one is not finite. */
double planned_largest(const Planned *c);
void planned_against_naive(const Planned *c, const PlannedWay *way, const char *what);
/* Some rows by themselves have the bits they have among all. */
void planned_same_bits(const Planned *c, PlannedWay way, Rng *r, const char *what);

/* The case's node. Slots become inputs of the op's dims; what a derivative reads of the op's value is computed from slot 0. */
uint32_t planned_op(Graph *g, const LayerCase *op);
/* Within tolerance, equal, or both NaN. */
bool planned_near(double got, double want, double tolerance);
#endif
