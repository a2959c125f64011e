/* Dead code: a copy of a graph with only the nodes its outputs need, steps included.
 *
 * Requires a verified graph; keeps slots, outputs and meaning. NULL when there is no memory. The copy is the caller's. */
#ifndef CAJAL_PRUNE_H
#define CAJAL_PRUNE_H
#include "schema/graph.h"

Graph *prune_graph(const Graph *g);
#endif
