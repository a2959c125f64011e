/* The plainest possible evaluator of neuron graphs: double precision, one row at a time, one function an op, allocating freely.
 *
 * It is the twin that every kernel and every optimisation is tested against; nothing serves requests with it.
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
void naive_release(NaiveOutput *outputs, uint32_t count);
#endif
