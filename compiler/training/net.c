/* Shapes of a network's layers, and the list of its weights. */
#include "compiler/training/link_inside.h"
#include "schema/graph/ops.h"
#include <math.h>
#include <string.h>

typedef struct {
    Link *k;
    NetPlan *net;
    const SpecValue *value;
    const SpecLayer *layer;
    uint32_t index; /* of the layer */
    LayerPlan *plan;
} ShapeRule;

static _Noreturn void misfit(const ShapeRule *p, const char *needs) {
    link_fail(p->k, ERR_shape_mismatch, p->layer->pointer, "%s needs %s, and gets %s.", layer_name(p->layer->kind), needs,
              link_dims(p->k, &p->plan->in));
}

/* ---- weights ---- */

static const char *weight_name(const ShapeRule *p, const char *net, const char *part) {
    if (!p->value->name) return cx_printf(p->k->cx, "%s.%u.%s", net, p->index, part);
    return cx_printf(p->k->cx, "%s.%s.%u.%s", net, p->value->name, p->index, part);
}

static uint32_t add_weight(const ShapeRule *p, const char *part, const Dims *dims, InitKind init, double bound) {
    const SpecNet *spec = p->net->spec;
    LinkWeight w = {.name = weight_name(p, cx_printf(p->k->cx, "nets.%s", spec->name), part), .rank = dims->rank, .init = init,
                    .bound = bound, .train = spec->train, .from_run = spec->from_run};
    if (spec->from_run) w.from_name = weight_name(p, spec->from_name, part);
    if (dims->rank > LAYER_RANK) misfit(p, "fewer axes");
    memcpy(w.dims, dims->at, dims->rank * sizeof *w.dims);
    return link_weight_add(p->k, &w, p->layer->pointer);
}

/* PyTorch's kaiming uniform with a = √5, of the bias too. */
static void add_weights(const ShapeRule *p, const Dims *weight, bool bias) {
    double fan_in = 1;
    for (uint32_t i = 1; i < weight->rank; i++) fan_in *= weight->at[i];
    const Dims out = {.rank = 1, .at = {weight->at[0]}};
    p->plan->weight = add_weight(p, "weight", weight, INIT_KAIMING, 1 / sqrt(fan_in));
    if (bias) p->plan->bias = add_weight(p, "bias", &out, INIT_KAIMING, 1 / sqrt(fan_in));
}

/* ---- rules, by the name in the layer's row: `out` from `in` ---- */

static void shape_same(ShapeRule *p) { p->plan->out = p->plan->in; }

static void shape_linear(ShapeRule *p) {
    LayerPlan *plan = p->plan;
    if (!plan->in.rank) misfit(p, "at least one axis");
    const uint32_t last = plan->in.rank - 1;
    const Dims weight = {.rank = 2, .at = {(uint32_t)p->layer->linear.out, plan->in.at[last]}};
    plan->out = plan->in;
    plan->out.at[last] = weight.at[0];
    add_weights(p, &weight, p->layer->linear.bias);
}

static void shape_bias(ShapeRule *p) {
    p->plan->out = p->plan->in;
    const double fan_in = p->layer->bias.fan_in;
    p->plan->bias = add_weight(p, "bias", &p->plan->in, fan_in ? INIT_KAIMING : INIT_ZEROS, fan_in ? 1 / sqrt(fan_in) : 0);
}

/* The windows along the last two axes. */
static void set_windows(ShapeRule *p, const uint32_t kernel[2], const double stride[2], const double pad[2]) {
    LayerPlan *plan = p->plan;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t by = (uint32_t)pad[i];
        uint32_t *extent = &plan->out.at[plan->out.rank - 2 + i];
        const uint32_t n = plan->in.at[plan->in.rank - 2 + i];
        *extent = window_extent(n, kernel[i], (uint32_t)stride[i], by);
        if (*extent) continue;
        if (n + 2 * (uint64_t)by > LIMIT_SPACE) misfit(p, "a smaller pad");
        link_fail(p->k, ERR_shape_mismatch, p->layer->pointer,
                  "A kernel of %u does not fit into %u with a pad of %u: the input is %s.", kernel[i], n, by,
                  link_dims(p->k, &plan->in));
    }
}

static void shape_conv2d(ShapeRule *p) {
    LayerPlan *plan = p->plan;
    if (plan->in.rank != 3) misfit(p, "an image [C,H,W] (reshape [H,W] to [1,H,W])");
    const uint32_t kernel[] = {(uint32_t)p->layer->conv2d.kernel[0], (uint32_t)p->layer->conv2d.kernel[1]};
    const Dims weight = {.rank = 4, .at = {(uint32_t)p->layer->conv2d.out, plan->in.at[0], kernel[0], kernel[1]}};
    plan->out = (Dims){.rank = 3, .at = {weight.at[0]}};
    set_windows(p, kernel, p->layer->conv2d.stride, p->layer->conv2d.pad);
    add_weights(p, &weight, p->layer->conv2d.bias);
}

/* y [H,W] or [C,H,W], w [1,kh,kw] or [O,C,kh,kw]; the result keeps y's rank. */
static void shape_conv2d_by(ShapeRule *p) {
    LayerPlan *plan = p->plan;
    const Dims *y = &plan->in, *w = &plan->by;
    if (y->rank != 2 && y->rank != 3) misfit(p, "an image [H,W] or [C,H,W]");
    const uint32_t channels = y->rank == 3 ? y->at[0] : 1, made = w->rank == 4 ? w->at[0] : 1;
    const bool kernels = w->rank == 4 ? w->at[1] == channels : w->rank == 3 && w->at[0] == 1 && channels == 1;
    if (!kernels || (y->rank == 2 && made != 1))
        link_fail(p->k, ERR_shape_mismatch, p->layer->pointer,
                  "conv2d_by cannot convolve an image %s by a kernel %s: it must be [O,%u,kh,kw]%s.",
                  link_dims(p->k, y), link_dims(p->k, w), channels,
                  y->rank == 2 ? " with O = 1, or [1,kh,kw]" : channels == 1 ? " or [1,kh,kw]" : "");
    plan->out = *y;
    if (y->rank == 3) plan->out.at[0] = made;
    set_windows(p, w->at + w->rank - 2, p->layer->conv2d_by.stride, p->layer->conv2d_by.pad);
}

/* Of both poolings, whose parameters are the same. */
static void shape_pool(ShapeRule *p) {
    const uint32_t kernel[] = {(uint32_t)p->layer->max_pool2d.kernel[0], (uint32_t)p->layer->max_pool2d.kernel[1]};
    if (p->plan->in.rank < 2) misfit(p, "at least two axes");
    p->plan->out = p->plan->in;
    set_windows(p, kernel, p->layer->max_pool2d.stride, p->layer->max_pool2d.pad);
}

static void shape_pad2d(ShapeRule *p) {
    Dims *out = &p->plan->out;
    *out = p->plan->in;
    if (out->rank < 2) misfit(p, "at least two axes");
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t extent = out->at[out->rank - 2 + i] + 2 * (uint64_t)p->layer->pad2d.pad[i];
        if (extent > LIMIT_SPACE) misfit(p, "a smaller pad");
        out->at[out->rank - 2 + i] = (uint32_t)extent;
    }
}

static void shape_reshape(ShapeRule *p) {
    LayerPlan *plan = p->plan;
    plan->out.rank = p->layer->rank;
    memcpy(plan->out.at, p->layer->dims, p->layer->rank * sizeof *plan->out.at);
    if (dims_product(&plan->in) != dims_product(&plan->out))
        link_fail(p->k, ERR_shape_mismatch, p->layer->pointer, "%s cannot be reshaped to %s: %zu elements are not %zu.",
                  link_dims(p->k, &plan->in), link_dims(p->k, &plan->out), dims_product(&plan->in), dims_product(&plan->out));
}

static void shape_flatten(ShapeRule *p) { p->plan->out = (Dims){.rank = 1, .at = {(uint32_t)dims_product(&p->plan->in)}}; }

static void plan_layer(ShapeRule *p) {
    static void (*const rules[LAYER_COUNT])(ShapeRule *) = {
#define LAYER(name, check, shape, ...) [LAYER_##name] = shape_##shape,
#include "schema/graph/layers.def"
#undef LAYER
    };
    p->plan->weight = p->plan->bias = LINK_NONE;
    rules[p->layer->kind](p);
    link_size(p->k, &p->plan->out, p->layer->pointer);
}

/* ---- networks ---- */

static void plan_value(Link *k, NetPlan *net, uint32_t index) {
    const SpecValue *value = &net->spec->values[index];
    Dims now = net->values[value->from[0]];
    net->layers[index] = ARENA_ARRAY(&k->cx->arena, LayerPlan, value->nlayers);
    for (uint32_t i = 0; i < value->nlayers; i++) {
        LayerPlan *plan = &net->layers[index][i];
        plan->in = now;
        if (value->nof == 2) plan->by = net->values[value->from[1]];
        plan_layer(&(ShapeRule){.k = k, .net = net, .value = value, .layer = &value->layers[i], .index = i, .plan = plan});
        now = plan->out;
    }
    net->values[net->spec->ninputs + index] = now;
}

Dims net_plan(Link *k, NetPlan *net, const Dims *inputs, const char *pointer) {
    const SpecNet *spec = net->spec;
    for (uint32_t i = 0; net->first && i < spec->ninputs; i++)
        if (!dims_equal(&net->values[i], &inputs[i]))
            link_fail(k, ERR_shape_mismatch, pointer, "The network \"%s\" takes %s as input %u at %s, and would get %s here.", spec->name,
                      link_dims(k, &net->values[i]), i, net->first, link_dims(k, &inputs[i]));
    if (!net->first) {
        net->first = pointer;
        net->values = ARENA_ARRAY(&k->cx->arena, Dims, (size_t)spec->ninputs + spec->nvalues);
        net->layers = ARENA_ARRAY(&k->cx->arena, LayerPlan *, spec->nvalues);
        memcpy(net->values, inputs, spec->ninputs * sizeof *inputs);
        for (uint32_t i = 0; i < spec->nvalues; i++) plan_value(k, net, i);
    }
    return net->values[spec->out];
}
