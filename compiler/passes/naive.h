/* The plainest possible evaluator of neuron graphs: double precision, one row at a time, one function an op, allocating freely.
 *
 * It is the twin that every kernel and every optimisation is tested against. A careful evaluation is more: where kernels do as IEEE says, so that 0·∞
 * is NaN, in it a factor that is exactly 0 makes the product 0 whatever it is multiplied with, and `finite` does what its name says. So what is not
 * taken takes nothing (language.md §5), in values and in derivatives; worker/protocol/careful.h serves rows with it that kernels could not. Without
 * f64 every node's value is rounded to single precision: what overflows there is infinite.
 * A node is batched as op_batched_by (schema/graph/ops.h) says. A batch_sum of a shared x is x; where y is shared and x batched, rows are summed.
 * Ownership: the data of the outputs is malloced, naive_release frees it.
 * Errors: false when memory runs out or the graph calls a network; then there are no outputs. */
#ifndef CAJAL_NAIVE_H
#define CAJAL_NAIVE_H
#include "schema/graph/graph.h"

typedef struct {
    const double *data; /* [rows, size] when batched, else [size] */
    bool batched;
} NaiveInput;
typedef struct {
    double *data; /* as above */
    size_t size;
    bool batched;
} NaiveOutput;

/* A verified graph; inputs: one a slot (those of NETWORK slots are not read); outputs: room for g->noutputs. */
bool naive_eval(const Graph *g, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs);
bool naive_eval_careful(const Graph *g, bool f64, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs);
void naive_release(NaiveOutput *outputs, uint32_t count);
#endif
