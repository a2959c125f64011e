/* Random nodes of the ops that layers are made of, and of all others of their shape rules, for tests: shapes with all the edges (1 × 1, windows as
 * large as the input, strides, padding) and rows long enough for the vectorised parts of kernels. Which ops there are, and how a case of each is made,
 * follows from the op table: from the name of the shape rule, and the kinds of attributes. */
#ifndef CAJAL_TEST_LAYERS_H
#define CAJAL_TEST_LAYERS_H
#include "schema/graph/ops.h"
#include "tests/support/graphs.h"
#include <string.h>

typedef struct {
    Op op;
    uint32_t nin, rank[3], dims[3][6], out_rank, out[6], nattr;
    int64_t attrs[6];
} LayerCase;

static inline uint32_t layer_extent(Rng *r, uint32_t most) { return 1 + rng_below(r, rng_below(r, 8) ? 5 : most); }

static inline void layer_set(LayerCase *c, uint32_t k, uint32_t rank, const uint32_t *dims) {
    c->rank[k] = rank;
    memcpy(c->dims[k], dims, rank * sizeof *dims);
}
static inline void layer_result(LayerCase *c, uint32_t rank, const uint32_t *dims) {
    c->out_rank = rank;
    memcpy(c->out, dims, rank * sizeof *dims);
}

static inline const char *layer_shape_rule(Op op) {
    static const char *const rules[OP_COUNT] = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, ...) [OP_##name] = #shape,
#include "schema/graph/ops.def"
#undef OP
    };
    return rules[op];
}

static inline void layer_function(Rng *r, LayerCase *c, uint32_t function) {
    static const double p[FUNCTION_COUNT] = {[FUNCTION_leaky_relu] = 0.25, [FUNCTION_softplus] = 1.5, [FUNCTION_hardtanh] = -0.5,
                                             [FUNCTION_scale] = -1.25};
    static const double q[FUNCTION_COUNT] = {[FUNCTION_softplus] = 1.25, [FUNCTION_hardtanh] = 0.5, [FUNCTION_scale] = 0.75};
    uint32_t dims[] = {layer_extent(r, 40), layer_extent(r, 3)};
    c->attrs[0] = function;
    c->attrs[1] = attr_bits(p[function]);
    c->attrs[2] = attr_bits(q[function]);
    c->nattr = 3;
    for (uint32_t k = 0; k < 3; k++) layer_set(c, k, 2, dims);
    layer_result(c, 2, dims);
}

/* Alike, or with an axis less or more; attributes by their kinds. */
static inline void layer_alike(Rng *r, LayerCase *c) {
    const OpAttr *attr = op_row(c->op)->attrs;
    const bool more = attr->kind == ATTR_new_axis, less = !strcmp(layer_shape_rule(c->op), "without_axis");
    uint32_t dims[4], without[4], rank = 1 + rng_below(r, 3), axis = rng_below(r, rank), n = 0;
    if (attr->kind == ATTR_function) {
        layer_function(r, c, rng_below(r, FUNCTION_COUNT));
        return;
    }
    for (uint32_t i = 0; i < rank; i++) dims[i] = layer_extent(r, 40);
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis) without[n++] = dims[i];
    for (; attr->kind; attr++) {
        int64_t *to = &c->attrs[c->nattr++];
        *to = attr->kind == ATTR_flag ? rng_below(r, 2) : attr->kind == ATTR_at ? rng_below(r, dims[axis]) : axis;
    }
    for (uint32_t k = 0; k < c->nin; k++) layer_set(c, k, more ? n : rank, more ? without : dims);
    layer_result(c, less ? n : rank, less ? without : dims);
}

static inline void layer_pad(Rng *r, LayerCase *c) {
    uint32_t x[3], y[3], plain = rng_below(r, 2);
    x[0] = y[0] = 1 + rng_below(r, 3);
    for (uint32_t k = 0; k < 2; k++) {
        x[1 + k] = layer_extent(r, 20);
        do
            for (uint32_t i = 0; i < 2; i++) c->attrs[2 * k + i] = (int64_t)rng_below(r, 6) - 3;
        while ((int64_t)x[1 + k] + c->attrs[2 * k] + c->attrs[2 * k + 1] < 1);
        y[1 + k] = (uint32_t)(x[1 + k] + c->attrs[2 * k] + c->attrs[2 * k + 1]);
    }
    c->attrs[4] = attr_bits(rng_real(r));
    c->nattr = 5;
    layer_set(c, 0, 3 - plain, x + plain);
    layer_result(c, 3 - plain, y + plain);
}

/* A window on an axis of n: kernel, stride, padding, and how often it fits. */
static inline uint32_t layer_window(Rng *r, uint32_t n, bool pool, uint32_t *kernel, int64_t *stride, int64_t *pad) {
    uint32_t fits;
    do {
        *kernel = rng_below(r, 4) ? 1 + rng_below(r, n < 5 ? n + 1 : 5) : n;
        *stride = 1 + rng_below(r, 3);
        *pad = rng_below(r, pool ? *kernel / 2 + 1 : 4);
    } while (!(fits = window_extent(n, *kernel, (uint32_t)*stride, (uint32_t)*pad)));
    return fits;
}

static inline void layer_pool(Rng *r, LayerCase *c) {
    uint32_t x[4], y[4], rank = 2 + rng_below(r, 3), kernel;
    for (uint32_t i = 0; i < rank; i++) x[i] = y[i] = i + 2 < rank ? 1 + rng_below(r, 3) : layer_extent(r, 20);
    for (uint32_t k = 0; k < 2; k++) {
        y[rank - 2 + k] = layer_window(r, x[rank - 2 + k], true, &kernel, &c->attrs[2 + k], &c->attrs[4 + k]);
        c->attrs[k] = kernel;
    }
    c->nattr = 6;
    layer_set(c, 0, rank, c->op == OP_avg_pool2d_vjp ? y : x);
    layer_set(c, 1, rank, c->op == OP_max_pool2d_vjp ? y : x);
    layer_result(c, rank, c->op == OP_max_pool2d_vjp || c->op == OP_avg_pool2d_vjp ? x : y);
}

static inline void layer_conv(Rng *r, LayerCase *c) {
    uint32_t x[3] = {1 + rng_below(r, 3)}, w[4] = {1 + rng_below(r, 4), x[0]}, y[3] = {w[0]};
    for (uint32_t k = 0; k < 2; k++) {
        x[1 + k] = layer_extent(r, 30);
        y[1 + k] = layer_window(r, x[1 + k], false, &w[2 + k], &c->attrs[k], &c->attrs[2 + k]);
        if (rng_below(r, 2)) { /* the usual stride is 1 */
            c->attrs[k] = 1;
            y[1 + k] = window_extent(x[1 + k], w[2 + k], 1, (uint32_t)c->attrs[2 + k]);
        }
    }
    c->nattr = 4;
    bool x_first = c->op == OP_conv2d, x_out = c->op == OP_conv2d_dx;
    layer_set(c, 0, 3, x_first ? x : y);
    if (c->op == OP_conv2d_dw) layer_set(c, 1, 3, x);
    else layer_set(c, 1, 4, w);
    if (c->op == OP_conv2d_dw) layer_result(c, 4, w);
    else layer_result(c, 3, x_out ? x : y);
}

static const struct {
    const char *shape; /* the rule's name */
    void (*make)(Rng *r, LayerCase *c);
} layer_makers[] = {{"alike", layer_alike},         {"without_axis", layer_alike},   {"with_axis", layer_alike},      {"pad", layer_pad},
                    {"pool", layer_pool},           {"max_pool2d_vjp", layer_pool},  {"max_pool2d_jvp", layer_pool},  {"avg_pool2d_vjp", layer_pool},
                    {"conv2d", layer_conv},         {"conv2d_dx", layer_conv},       {"conv2d_dw", layer_conv}};

static inline bool layer_make(Rng *r, LayerCase *c) {
    for (size_t i = 0; i < sizeof layer_makers / sizeof *layer_makers; i++)
        if (!strcmp(layer_makers[i].shape, layer_shape_rule(c->op))) return layer_makers[i].make(r, c), true;
    return false;
}

static inline LayerCase layer_case(Rng *r, Op op) {
    LayerCase c = {.op = op, .nin = (uint32_t)op_row(op)->inputs};
    layer_make(r, &c);
    return c;
}

/* All ops that have cases, but for sums over the batch, which are no function of a row. How many. */
static inline uint32_t layer_ops(Rng *r, Op ops[OP_COUNT]) {
    uint32_t n = 0;
    for (Op op = 0; op < OP_COUNT; op++)
        if (op_row(op)->folds && layer_make(r, &(LayerCase){.op = op})) ops[n++] = op;
    return n;
}

static inline uint32_t layer_node(Graph *g, const LayerCase *c, const uint32_t *ins) {
    return t_node(g, c->op, ins, c->nin, c->out, c->out_rank, c->attrs, c->nattr);
}
#endif
