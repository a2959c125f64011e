/* Optimisation: a pipeline of passes over a lowered or derived graph (architecture.md).
 *
 *     collapse   constant regions become constants, linear ones one matrix, where that is no dearer than what it replaces
 *     recur      iterations whose step is constant: states become a table, a constant count a power of the step
 *     (dead code and equal nodes go by themselves in every rewrite)
 *
 * Each pass requires and keeps: a verified graph, its slots, its outputs in order, its value up to rounding. None makes a graph dearer by
 * the cost model (graph_cost). Steps are optimised before what contains them.
 * Ownership: the graphs made are guarded by the Cx (rewrite.h). Errors: too_large. */
#ifndef CAJAL_OPTIMISE_H
#define CAJAL_OPTIMISE_H
#include "compiler/rewrite.h"

Graph *optimise_structure(Cx *cx, const Graph *g);
Graph *optimise_contraction(Cx *cx, const Graph *g);
Graph *optimise_collapse(Cx *cx, const Graph *g);
Graph *optimise_recur(Cx *cx, const Graph *g);
Graph *optimise_share(Cx *cx, const Graph *g);
/* All of them, steps included (which nest at most LIMIT_GRAPH_DEPTH deep). */
Graph *optimise_all(Cx *cx, const Graph *g);
/* The same; the graph is the caller's (graph_free). */
Graph *optimise_graph(Cx *cx, const Graph *g);

/* How large one table may be, and what the tables of one graph may cost to find, in multiply-adds. */
#define OPTIMISE_CELLS ((size_t)1 << 20)
#define OPTIMISE_WORK 4e6
#endif
