/* Random neuron graphs for property tests: all ops, iterations within iterations and their derivatives, over one to four inputs of at most six
 * numbers. They make no sense, and graph_verify takes them. */
#ifndef CAJAL_TESTS_GEN_GRAPH_H
#define CAJAL_TESTS_GEN_GRAPH_H
#include "schema/graph/graph.h"
#include "tests/support/rng.h"

/* Of one to three outputs; graph_free. */
Graph *gen_graph(Rng *r);
double gen_number(Rng *r); /* a multiple of 1/4 from -1 to 1 */
#endif
