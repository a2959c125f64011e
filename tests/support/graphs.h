/* Small neuron graphs for tests: nodes in one line each. */
#ifndef CAJAL_TEST_GRAPHS_H
#define CAJAL_TEST_GRAPHS_H
#include "schema/graph/graph.h"
#include "tests/support/rng.h"

#define LIST(T, ...) ((T const[]){__VA_ARGS__}), (uint32_t)(sizeof((T const[]){__VA_ARGS__}) / sizeof(T))
#define INS(...) LIST(uint32_t, __VA_ARGS__)
#define DIMS(...) LIST(uint32_t, __VA_ARGS__)
#define ATTRS(...) LIST(int64_t, __VA_ARGS__)
#define SUBS(...) LIST(Graph *, __VA_ARGS__)

/* t_node(g, OP_shift, INS(x), DIMS(3), ATTRS(0, SHIFT_EXACT)) */
#define t_node(g, op, ...) t_node_((g), (op), __VA_ARGS__, (Graph *const[]){0}, 0)
#define t_sub_node(g, op, ...) t_node_((g), (op), __VA_ARGS__)

static inline uint32_t t_node_(Graph *g, Op op, const uint32_t *ins, uint32_t nin, const uint32_t *dims, uint32_t rank, const int64_t *attrs,
                               uint32_t nattr, Graph *const *subs, uint32_t nsub) {
    return graph_add(g, &(NodeSpec){.op = op, .ins = ins, .nin = nin, .dims = dims, .rank = rank, .attrs = attrs, .nattr = nattr, .subs = subs,
                                    .nsub = nsub});
}

static inline uint32_t t_input(Graph *g, SlotRole role, uint32_t index, uint32_t size) {
    return t_node(g, OP_input, INS(), DIMS(size), ATTRS(graph_slot(g, role, index, size)));
}

/* y[i] = Σ_j m[i,j] x[j] */
static inline uint32_t t_matvec(Graph *g, uint32_t m, uint32_t x, uint32_t n) {
    return t_node(g, OP_contract, INS(m, x), DIMS(n), ATTRS(2, 1, 1, 0, 1, 1, 0));
}
#endif
