/* A network's layers as nodes. */
#include "compiler/training/link_inside.h"
#include "schema/graph/ops.h"

typedef struct {
    LinkLevel *level;
    Rewrite *rw;
    const SpecLayer *layer;
    const LayerPlan *plan;
    uint32_t x, by; /* the inputs */
} Emitter;

static int64_t whole(const Emitter *e, int param) { return (int64_t)e->layer->param[param]; }

uint32_t link_map(Rewrite *rw, uint32_t x, int function, double p0, double p1) {
    const FunctionRow *row = function_row((Function)function);
    const Dims dims = dims_of(rw->to, x);
    /* A parameter that the function does not have is 0. */
    const int64_t attrs[] = {function, row->parameter[0][0] ? attr_bits(p0) : 0, row->parameter[1][0] ? attr_bits(p1) : 0};
    return rewrite_node(rw, OP_map, &x, 1, &dims, attrs, 3);
}

static uint32_t add(Rewrite *rw, uint32_t a, uint32_t b) {
    const Dims dims = dims_of(rw->to, a);
    return rewrite_node(rw, OP_add, (uint32_t[]){a, b}, 2, &dims, NULL, 0);
}

/* Repeats x along a new axis. */
static uint32_t spread(Rewrite *rw, uint32_t x, uint32_t axis, uint32_t extent) {
    const Dims dims = dims_of(rw->to, x);
    Dims out = {.rank = dims.rank + 1};
    const int64_t at = axis;
    for (uint32_t i = 0; i < out.rank; i++) out.at[i] = i == axis ? extent : dims.at[i - (i > axis)];
    return rewrite_node(rw, OP_broadcast, &x, 1, &out, &at, 1);
}

/* y[…,o] = Σᵢ x[…,i]·w[o,i] + b[o] */
static uint32_t emit_linear(const Emitter *e) {
    const uint32_t w = link_weight(e->level, e->plan->weight), rank = e->plan->in.rank, last = rank - 1;
    int64_t attrs[3 + 2 + 2 * LIMIT_GRAPH_RANK] = {rank, 2, rank}, *at = attrs + 3;
    for (uint32_t i = 0; i < rank; i++) *at++ = i;
    *at++ = rank;
    *at++ = last;
    for (uint32_t i = 0; i < last; i++) *at++ = i;
    *at++ = rank;
    const uint32_t y = rewrite_node(e->rw, OP_contract, (uint32_t[]){e->x, w}, 2, &e->plan->out, attrs, (uint32_t)(at - attrs));
    if (e->plan->bias == LINK_NONE) return y;
    uint32_t b = link_weight(e->level, e->plan->bias);
    for (uint32_t i = last; i-- > 0;) b = spread(e->rw, b, 0, e->plan->out.at[i]);
    return add(e->rw, y, b);
}

/* One sum over a channel is the bias's gradient: H and W are spread as one axis. */
static uint32_t emit_conv2d(const Emitter *e) {
    const Dims *out = &e->plan->out;
    const int64_t attrs[] = {whole(e, CONV_STRIDE), whole(e, CONV_STRIDE + 1), whole(e, CONV_PAD), whole(e, CONV_PAD + 1)};
    const uint32_t w = link_weight(e->level, e->plan->weight);
    const uint32_t y = rewrite_node(e->rw, OP_conv2d, (uint32_t[]){e->x, w}, 2, out, attrs, 4);
    if (e->plan->bias == LINK_NONE) return y;
    const uint32_t b = spread(e->rw, link_weight(e->level, e->plan->bias), 1, out->at[1] * out->at[2]);
    return add(e->rw, y, rewrite_reshape(e->rw, b, out));
}

static uint32_t emit_pad(const Emitter *e, uint32_t x, int64_t vertical, int64_t horizontal, double value) {
    Dims dims = dims_of(e->rw->to, x);
    const int64_t attrs[] = {vertical, vertical, horizontal, horizontal, attr_bits(value)};
    dims.at[dims.rank - 2] += (uint32_t)(2 * vertical);
    dims.at[dims.rank - 1] += (uint32_t)(2 * horizontal);
    return vertical || horizontal ? rewrite_node(e->rw, OP_pad, &x, 1, &dims, attrs, 5) : x;
}

static uint32_t emit_conv2d_by(const Emitter *e) {
    const Dims *in = &e->plan->in, *by = &e->plan->by;
    const Dims image = {.rank = 3, .at = {in->rank == 3 ? in->at[0] : 1, in->at[in->rank - 2], in->at[in->rank - 1]}};
    const Dims kernel = {.rank = 4, .at = {by->rank == 4 ? by->at[0] : 1, image.at[0], by->at[by->rank - 2], by->at[by->rank - 1]}};
    const Dims made = {.rank = 3, .at = {kernel.at[0], e->plan->out.at[in->rank - 2], e->plan->out.at[in->rank - 1]}};
    const double value = e->layer->param[BY_VALUE];
    int64_t attrs[] = {whole(e, BY_STRIDE), whole(e, BY_STRIDE + 1), whole(e, BY_PAD), whole(e, BY_PAD + 1)};
    uint32_t ins[] = {rewrite_reshape(e->rw, e->x, &image), rewrite_reshape(e->rw, e->by, &kernel)};
    if (value != 0) {
        ins[0] = emit_pad(e, ins[0], attrs[2], attrs[3], value);
        attrs[2] = attrs[3] = 0;
    }
    return rewrite_reshape(e->rw, rewrite_node(e->rw, OP_conv2d, ins, 2, &made, attrs, 4), &e->plan->out);
}

static uint32_t emit_pool(const Emitter *e, Op op) {
    int64_t attrs[6];
    for (int i = 0; i < 6; i++) attrs[i] = whole(e, POOL_KERNEL + i);
    return rewrite_node(e->rw, op, &e->x, 1, &e->plan->out, attrs, 6);
}

static uint32_t emit_softmax(const Emitter *e, bool log) {
    const int64_t attrs[] = {e->plan->in.rank - 1, log};
    return rewrite_node(e->rw, OP_softmax, &e->x, 1, &e->plan->out, attrs, 2);
}

static uint32_t emit_layer(const Emitter *e) {
    const double *p = e->layer->param;
    switch (e->layer->kind) {
    case LAYER_linear: return emit_linear(e);
    case LAYER_bias: return add(e->rw, e->x, link_weight(e->level, e->plan->bias));
    case LAYER_conv2d: return emit_conv2d(e);
    case LAYER_conv2d_by: return emit_conv2d_by(e);
    case LAYER_max_pool2d: return emit_pool(e, OP_max_pool2d);
    case LAYER_avg_pool2d: return emit_pool(e, OP_avg_pool2d);
    case LAYER_pad2d: return emit_pad(e, e->x, whole(e, PAD_PAD), whole(e, PAD_PAD + 1), p[PAD_VALUE]);
    case LAYER_relu: return link_map(e->rw, e->x, FUNCTION_relu, 0, 0);
    case LAYER_leaky_relu: return link_map(e->rw, e->x, FUNCTION_leaky_relu, p[0], 0);
    case LAYER_tanh: return link_map(e->rw, e->x, FUNCTION_tanh, 0, 0);
    case LAYER_sigmoid: return link_map(e->rw, e->x, FUNCTION_sigmoid, 0, 0);
    case LAYER_softplus: return link_map(e->rw, e->x, FUNCTION_softplus, p[0], p[1]);
    case LAYER_hardtanh: return link_map(e->rw, e->x, FUNCTION_hardtanh, p[0], p[1]);
    case LAYER_softmax: return emit_softmax(e, false);
    case LAYER_log_softmax: return emit_softmax(e, true);
    default: return rewrite_reshape(e->rw, e->x, &e->plan->out); /* flatten, reshape */
    }
}

uint32_t net_emit(LinkLevel *level, const NetPlan *net, const uint32_t *inputs) {
    const SpecNet *spec = net->spec;
    Rewrite *rw = &level->rw;
    uint32_t *nodes = ARENA_ARRAY(&rw->cx->arena, uint32_t, (size_t)spec->ninputs + spec->nvalues);
    for (uint32_t i = 0; i < spec->ninputs; i++) nodes[i] = rewrite_reshape(rw, inputs[i], &net->values[i]);
    for (uint32_t v = 0; v < spec->nvalues; v++) {
        const SpecValue *value = &spec->values[v];
        Emitter e = {.level = level, .rw = rw, .x = nodes[value->from[0]], .by = value->nof == 2 ? nodes[value->from[1]] : LINK_NONE};
        for (uint32_t i = 0; i < value->nlayers; i++) {
            e.layer = &value->layers[i];
            e.plan = &net->layers[v][i];
            e.x = emit_layer(&e);
        }
        nodes[spec->ninputs + v] = e.x;
    }
    return nodes[spec->out];
}
