/* The cost model: what an op costs a row, by the rule that its row names. The optimiser compares by it, a plan's work and with it admission is made of it, and
 * it is what is reported. Recursion is at most LIMIT_GRAPH_DEPTH deep. */
#include "schema/graph/ops.h"

static const GNode *input(const Graph *g, const GNode *n, uint32_t i) { return &g->nodes[node_ins(g, n)[i]]; }

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
    const double k = op_iter_states(g, n), readouts = op_iter(g, n).readouts;
    return add((Cost){.macs = k * readouts * (double)n->size, .calls = 1}, graph_cost(g->subs[n->sub]), k);
}

/* Forwards, backwards, the count's cotangent and the states'; the result comes almost by the way. */
static Cost cost_iter_vjp(const Graph *g, const GNode *n) {
    const double k = op_iter_states(g, n);
    Cost cost = {.macs = 2 * k * (double)input(g, n, n->nin - 1)->size, .calls = 1};
    for (uint32_t i = 0; i < n->nsub; i++) cost = add(cost, graph_cost(g->subs[n->sub + i]), k);
    return cost;
}

static Cost cost_sum(const Graph *g, const GNode *n) { return (Cost){.moved = (double)input(g, n, 0)->size, .calls = 1}; }

/* Elements of all windows: the pooled tensor, which is the last input of a VJP, has an element a window. */
static double windows(const Graph *g, const GNode *n) {
    const double kernel = (double)node_attrs(g, n)[0] * (double)node_attrs(g, n)[1], given = (double)input(g, n, n->nin - 1)->size;
    const bool back = n->op == OP_max_pool2d_vjp || n->op == OP_avg_pool2d_vjp;
    return kernel * (back ? given : (double)n->size);
}
static Cost cost_max_pool(const Graph *g, const GNode *n) { return (Cost){.moved = windows(g, n), .calls = 1}; }
static Cost cost_avg_pool(const Graph *g, const GNode *n) { return (Cost){.macs = windows(g, n), .calls = 1}; }

/* An element of y has as many multiply-adds as one of its kernels has weights. */
static Cost convolution(const GNode *y, const Graph *g, const GNode *w) {
    return (Cost){.macs = (double)y->size * ((double)w->size / node_dims(g, w)[0]), .calls = 1};
}
static Cost cost_conv2d(const Graph *g, const GNode *n) { return convolution(n, g, input(g, n, 1)); }
static Cost cost_conv2d_dx(const Graph *g, const GNode *n) { return convolution(input(g, n, 0), g, input(g, n, 1)); }
static Cost cost_conv2d_dw(const Graph *g, const GNode *n) { return convolution(input(g, n, 0), g, n); }

Cost op_cost(const Graph *g, const GNode *n) {
    static Cost (*const rules[OP_COUNT])(const Graph *, const GNode *) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, ...) [OP_##name] = cost_##cost,
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
        for (uint32_t j = 0; j < n->nsub; j++) count(all, g->subs[n->sub + j], times * op_iter_states(g, n));
    }
}

GraphStats graph_stats(const Graph *g) {
    GraphStats all = {.macs = graph_cost(g).macs};
    count(&all, g, 1);
    return all;
}
