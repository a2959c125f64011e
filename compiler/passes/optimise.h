/* Optimisation: a pipeline of passes over a lowered or derived graph (architecture.md), in this order.
 *
 *     structure    ops that only move numbers, conditionals and contractions by their algebra: slides of slides are one, selections go before what
 *                  computes the rest in vain, contractions with identities and basis vectors are none (structure.h)
 *     collapse     constant regions become constants, linear ones one matrix or the structure it has, where that is no dearer (region.h, matrix.h)
 *     recur        iterations whose step is constant: states or powers become a table, a constant count a power of the step
 *     structure    once more, for what these two left
 *     contraction  products in the order in which a row costs least
 *     collapse     once more: tables that recur made let their surroundings collapse
 *     share        an iteration whose VJP is there too is read out by it
 *     (dead code and equal nodes go by themselves in every rewrite)
 *
 * Each pass requires and keeps: a verified graph, its slots, its outputs in order, its value up to rounding, for every class of batches. None
 * makes a graph dearer by the cost model (graph_cost), nor needs what the passes before it do. An op that a pass does not know stays as it is.
 * What a node is made of, and with it whether it is batched, may change: so the second input of a `batch_sum` is an input, as derivatives make it,
 * and its first depends on something batched in earnest (a cotangent, a target) where rows are to be summed.
 * Besides: after structure no contraction has an axis of one element or a permuted operand; contraction makes no product with a larger space than
 * there was in its tree; share makes tuple_gets that are results. Steps are optimised before what contains them.
 * Ownership: the graphs made are guarded by the Cx (rewrite.h). Errors: too_large, also when memory runs out on the way: the result is a function of
 * the graph alone, never a graph half optimised. */
#ifndef CAJAL_OPTIMISE_H
#define CAJAL_OPTIMISE_H
#include "compiler/passes/rewrite.h"

Graph *optimise_structure(Cx *cx, const Graph *g);
Graph *optimise_collapse(Cx *cx, const Graph *g);
Graph *optimise_recur(Cx *cx, const Graph *g);
Graph *optimise_contraction(Cx *cx, const Graph *g);
Graph *optimise_share(Cx *cx, const Graph *g);
/* All of them, steps included (which nest at most LIMIT_GRAPH_DEPTH deep). */
Graph *optimise_all(Cx *cx, const Graph *g);
/* The same; the graph is the caller's (graph_free). */
Graph *optimise_graph(Cx *cx, const Graph *g);
#endif
