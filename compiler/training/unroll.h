/* Iterations written out as n copies of their step, so that what the steps compute forwards is kept for the backward pass (and the optimiser
 * sees all of it); an iteration that stays is run again backwards, state by state.
 *
 * Unrolled is an iteration whose step depends on a weight or holds a layer, when all values of its copies fit into what is left of `elements`
 * a row, and its copies into `nodes`. Steps within steps come first.
 * Ownership: the graph is guarded by the Cx. */
#ifndef CAJAL_UNROLL_H
#define CAJAL_UNROLL_H
#include "compiler/passes/rewrite.h"

typedef struct {
    double elements;
    uint64_t nodes;
} UnrollRoom;

Graph *unroll_graph(Cx *cx, const Graph *g, UnrollRoom room);
#endif
