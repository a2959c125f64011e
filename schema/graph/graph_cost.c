/* The cost model: what an op costs a row, one rule an op. The optimiser compares by it, a plan's work and with it admission is made of it, and
 * it is what is reported. Recursion is at most LIMIT_GRAPH_DEPTH deep. */
#include "schema/graph/graph.h"

static const GNode *input(const Graph *g, const GNode *n, uint32_t i) { return &g->nodes[node_ins(g, n)[i]]; }

/* The last extent of the counts: how many states are read. */
static double states(const Graph *g, const GNode *n) {
    const GNode *count = input(g, n, 0);
    return node_dims(g, count)[count->rank - 1];
}

static Cost add(Cost a, Cost b, double times) {
    return (Cost){a.macs + times * b.macs, a.moved + times * b.moved, a.calls + times * b.calls};
}

/* What a plan settles beforehand, or only names anew. */
static Cost cost_free(const Graph *g, const GNode *n) {
    (void)g, (void)n;
    return (Cost){0};
}

static Cost cost_move(const Graph *g, const GNode *n) {
    (void)g;
    return (Cost){.moved = (double)n->size, .calls = 1};
}

static Cost cost_if(const Graph *g, const GNode *n) {
    (void)g;
    return (Cost){.macs = 2 * (double)n->size, .calls = 1};
}

/* Product of the extents of all labels: those of a, and those of b that a does not have. */
static Cost cost_contract(const Graph *g, const GNode *n) {
    const GNode *a = input(g, n, 0), *b = input(g, n, 1);
    const int64_t *labels = node_attrs(g, n) + 3;
    double macs = (double)a->size;
    for (uint32_t i = 0; i < b->rank; i++) {
        bool shared = false;
        for (uint32_t j = 0; j < a->rank; j++) shared |= labels[j] == labels[a->rank + i];
        if (!shared) macs *= node_dims(g, b)[i];
    }
    return (Cost){.macs = macs, .calls = 1};
}

static Cost cost_iter(const Graph *g, const GNode *n) {
    const double k = states(g, n), readouts = (double)node_attrs(g, n)[3];
    return add((Cost){.macs = k * readouts * (double)n->size, .calls = 1}, graph_cost(g->subs[n->sub]), k);
}

/* Forwards, backwards, the count's cotangent and the states'; the result comes almost by the way. */
static Cost cost_iter_vjp(const Graph *g, const GNode *n) {
    const double k = states(g, n);
    Cost cost = {.macs = 2 * k * (double)input(g, n, n->nin - 1)->size, .calls = 1};
    for (uint32_t i = 0; i < n->nsub; i++) cost = add(cost, graph_cost(g->subs[n->sub + i]), k);
    return cost;
}

static Cost cost_sum(const Graph *g, const GNode *n) { return (Cost){.moved = (double)input(g, n, 0)->size, .calls = 1}; }

/* Elements of all windows; the smaller of input and result has one a window. */
static double windows(const Graph *g, const GNode *n) {
    const double kernel = (double)node_attrs(g, n)[0] * (double)node_attrs(g, n)[1], given = (double)input(g, n, n->nin - 1)->size;
    const bool back = n->op == OP_max_pool2d_vjp || n->op == OP_avg_pool2d_vjp;
    return kernel * (back ? given : (double)n->size);
}
static Cost cost_max(const Graph *g, const GNode *n) { return (Cost){.moved = windows(g, n), .calls = 1}; }
static Cost cost_avg(const Graph *g, const GNode *n) { return (Cost){.macs = windows(g, n), .calls = 1}; }

/* An element of y has as many multiply-adds as one of its kernels has weights. */
static Cost convolution(const GNode *y, const Graph *g, const GNode *w) {
    return (Cost){.macs = (double)y->size * ((double)w->size / node_dims(g, w)[0]), .calls = 1};
}
static Cost cost_conv2d(const Graph *g, const GNode *n) { return convolution(n, g, input(g, n, 1)); }
static Cost cost_conv2d_dx(const Graph *g, const GNode *n) { return convolution(input(g, n, 0), g, input(g, n, 1)); }
static Cost cost_conv2d_dw(const Graph *g, const GNode *n) { return convolution(input(g, n, 0), g, n); }

#define cost_input cost_free
#define cost_const cost_free
#define cost_zero cost_free
#define cost_onehot cost_free
#define cost_eye cost_free
#define cost_shift cost_move
#define cost_unshift cost_move
#define cost_resize cost_move
#define cost_select cost_move
#define cost_scatter cost_move
#define cost_permute cost_move
#define cost_reshape cost_free
#define cost_add cost_move
#define cost_tuple_get cost_free
#define cost_call cost_free /* linked away before anything is planned */
#define cost_batch_sum cost_move
#define cost_map cost_move
#define cost_map_vjp cost_move
#define cost_softmax cost_move
#define cost_softmax_vjp cost_move
#define cost_broadcast cost_move
#define cost_pad cost_move
#define cost_max_pool2d cost_max
#define cost_max_pool2d_vjp cost_max
#define cost_max_pool2d_jvp cost_max
#define cost_avg_pool2d cost_avg
#define cost_avg_pool2d_vjp cost_avg

Cost op_cost(const Graph *g, const GNode *n) {
    static Cost (*const rules[OP_COUNT])(const Graph *, const GNode *) = {
#define OP(name, inputs, linear) [OP_##name] = cost_##name,
#include "schema/graph/ops.def"
#undef OP
    };
    return rules[n->op](g, n);
}

Cost graph_cost(const Graph *g) {
    Cost all = {0};
    for (uint32_t i = 0; i < g->nnodes; i++) all = add(all, op_cost(g, &g->nodes[i]), 1);
    return all;
}

/* Everything but macs. */
static void count(GraphStats *all, const Graph *g, double times) {
    all->neurons += g->nnodes;
    all->weights += g->nconsts;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        all->recurrent += n->op == OP_iter || n->op == OP_iter_vjp;
        all->bytes += times * (double)n->size * 8;
        for (uint32_t j = 0; j < n->nsub; j++) count(all, g->subs[n->sub + j], times * states(g, n));
    }
}

GraphStats graph_stats(const Graph *g) {
    GraphStats all = {.macs = graph_cost(g).macs};
    count(&all, g, 1);
    return all;
}
