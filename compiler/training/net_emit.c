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

/* Repeats x along a new axis. */
static uint32_t broadcast(Rewrite *rw, uint32_t x, uint32_t axis, uint32_t extent) {
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
    for (uint32_t i = last; i-- > 0;) b = broadcast(e->rw, b, 0, e->plan->out.at[i]);
    return rewrite_plus(e->rw, y, b);
}

/* One sum over a channel is the bias's gradient: H and W are broadcast as one axis. */
static uint32_t emit_conv2d(const Emitter *e) {
    const Dims *out = &e->plan->out;
    const double *stride = e->layer->conv2d.stride, *pad = e->layer->conv2d.pad;
    const int64_t attrs[] = {(int64_t)stride[0], (int64_t)stride[1], (int64_t)pad[0], (int64_t)pad[1]};
    const uint32_t w = link_weight(e->level, e->plan->weight);
    const uint32_t y = rewrite_node(e->rw, OP_conv2d, (uint32_t[]){e->x, w}, 2, out, attrs, 4);
    if (e->plan->bias == LINK_NONE) return y;
    const uint32_t b = broadcast(e->rw, link_weight(e->level, e->plan->bias), 1, out->at[1] * out->at[2]);
    return rewrite_plus(e->rw, y, rewrite_reshape(e->rw, b, out));
}

static uint32_t pad(const Emitter *e, uint32_t x, int64_t vertical, int64_t horizontal, double value) {
    Dims dims = dims_of(e->rw->to, x);
    const int64_t attrs[] = {vertical, vertical, horizontal, horizontal, attr_bits(value)};
    dims.at[dims.rank - 2] += (uint32_t)(2 * vertical);
    dims.at[dims.rank - 1] += (uint32_t)(2 * horizontal);
    return vertical || horizontal ? rewrite_node(e->rw, OP_pad, &x, 1, &dims, attrs, 5) : x;
}

static uint32_t emit_pad2d(const Emitter *e) {
    return pad(e, e->x, (int64_t)e->layer->pad2d.pad[0], (int64_t)e->layer->pad2d.pad[1], e->layer->pad2d.value);
}

static uint32_t emit_conv2d_by(const Emitter *e) {
    const Dims *in = &e->plan->in, *by = &e->plan->by;
    const Dims image = {.rank = 3, .at = {in->rank == 3 ? in->at[0] : 1, in->at[in->rank - 2], in->at[in->rank - 1]}};
    const Dims kernel = {.rank = 4, .at = {by->rank == 4 ? by->at[0] : 1, image.at[0], by->at[by->rank - 2], by->at[by->rank - 1]}};
    const Dims made = {.rank = 3, .at = {kernel.at[0], e->plan->out.at[in->rank - 2], e->plan->out.at[in->rank - 1]}};
    const double value = e->layer->conv2d_by.pad_value, *stride = e->layer->conv2d_by.stride, *padding = e->layer->conv2d_by.pad;
    int64_t attrs[] = {(int64_t)stride[0], (int64_t)stride[1], (int64_t)padding[0], (int64_t)padding[1]};
    uint32_t ins[] = {rewrite_reshape(e->rw, e->x, &image), rewrite_reshape(e->rw, e->by, &kernel)};
    if (value != 0) {
        ins[0] = pad(e, ins[0], attrs[2], attrs[3], value);
        attrs[2] = attrs[3] = 0;
    }
    return rewrite_reshape(e->rw, rewrite_node(e->rw, OP_conv2d, ins, 2, &made, attrs, 4), &e->plan->out);
}

/* A pooling's parameters are its op's attributes: kernel, stride, pad. */
static uint32_t pool(const Emitter *e, Op op) {
    int64_t attrs[6];
    for (int i = 0; i < 6; i++) attrs[i] = (int64_t)e->layer->param[i];
    return rewrite_node(e->rw, op, &e->x, 1, &e->plan->out, attrs, 6);
}
static uint32_t emit_max_pool2d(const Emitter *e) { return pool(e, OP_max_pool2d); }
static uint32_t emit_avg_pool2d(const Emitter *e) { return pool(e, OP_avg_pool2d); }

static uint32_t softmax(const Emitter *e, bool log) {
    const int64_t attrs[] = {e->plan->in.rank - 1, log};
    return rewrite_node(e->rw, OP_softmax, &e->x, 1, &e->plan->out, attrs, 2);
}
static uint32_t emit_softmax(const Emitter *e) { return softmax(e, false); }
static uint32_t emit_log_softmax(const Emitter *e) { return softmax(e, true); }

static uint32_t emit_bias(const Emitter *e) { return rewrite_plus(e->rw, e->x, link_weight(e->level, e->plan->bias)); }
static uint32_t emit_reshape(const Emitter *e) { return rewrite_reshape(e->rw, e->x, &e->plan->out); }

/* The layer's row: a rule, or the function that it is. */
static uint32_t emit_layer(const Emitter *e) {
    static const struct {
        uint32_t (*rule)(const Emitter *);
        Function function;
    } rows[LAYER_COUNT] = {
#define NODES(rule) emit_##rule, FUNCTION_COUNT
#define MAP(function) NULL, FUNCTION_##function
#define LAYER(name, check, shape, emit, ...) [LAYER_##name] = {emit},
#include "schema/graph/layers.def"
#undef LAYER
#undef MAP
#undef NODES
    };
    const double *p = e->layer->param;
    const LayerKind kind = e->layer->kind;
    return rows[kind].rule ? rows[kind].rule(e) : link_map(e->rw, e->x, rows[kind].function, p[0], p[1]);
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
