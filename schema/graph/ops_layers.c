/* Shape rules of the ops that layers and losses are made of. */
#include "schema/graph/ops_rules.h"
#include <math.h>

static const FunctionRow functions[FUNCTION_COUNT] = {
#define FUNCTION(name, p0, p1) {#name, {p0, p1}},
#include "schema/graph/functions.def"
#undef FUNCTION
};

const FunctionRow *function_row(Function f) { return &functions[f]; }

uint32_t window_extent(uint32_t n, uint32_t kernel, uint32_t stride, uint32_t pad) {
    const uint64_t room = n + 2 * (uint64_t)pad;
    if (!kernel || !stride || room < kernel || room > LIMIT_SPACE) return 0;
    return (uint32_t)((room - kernel) / stride + 1);
}

/* Attribute i is a real number. */
static bool attr_finite(const Graph *g, const GNode *n, uint32_t i) { return isfinite(attr_real(node_attrs(g, n)[i])); }

static const char *check_function(const Graph *g, const GNode *n) {
    if (n->nattr != 3) return BAD_ATTRS;
    if (!attr_below(g, n, 0, FUNCTION_COUNT)) return "no such function";
    const FunctionRow *f = function_row((Function)attr(g, n, 0));
    for (uint32_t i = 0; i < 2; i++) {
        if (!attr_finite(g, n, 1 + i)) return "a parameter is not finite";
        if (!f->parameter[i][0] && node_attrs(g, n)[1 + i]) return "a parameter that the function does not have";
    }
    if (attr(g, n, 0) == FUNCTION_softplus && attr_real(node_attrs(g, n)[1]) == 0) return "softplus with beta 0";
    return NULL;
}

const char *shape_map(const Graph *g, const GNode *n, Shape *out) {
    copy(out, input_view(g, n, 0));
    return check_function(g, n);
}

static const char *all_as_first(const Graph *g, const GNode *n, Shape *out) {
    copy(out, input_view(g, n, 0));
    for (uint32_t i = 1; i < n->nin; i++)
        if (!same_dims(input_view(g, n, i), input_view(g, n, 0))) return "inputs differ in dims";
    return NULL;
}

const char *shape_map_vjp(const Graph *g, const GNode *n, Shape *out) {
    const char *wrong = check_function(g, n);
    return wrong ? wrong : all_as_first(g, n, out);
}

static const char *shape_along(const Graph *g, const GNode *n, Shape *out, uint32_t nattr) {
    if (n->nattr != nattr) return BAD_ATTRS;
    if (!attr_below(g, n, 0, input_view(g, n, 0).rank)) return BAD_AXIS;
    for (uint32_t i = 1; i < nattr; i++)
        if (!attr_below(g, n, i, 2)) return "an attribute is neither 0 nor 1";
    return all_as_first(g, n, out);
}
const char *shape_softmax(const Graph *g, const GNode *n, Shape *out) { return shape_along(g, n, out, 2); }
const char *shape_softmax_vjp(const Graph *g, const GNode *n, Shape *out) { return shape_along(g, n, out, 3); }

const char *shape_broadcast(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 1) return BAD_ATTRS;
    if (!attr_below(g, n, 0, (uint64_t)x.rank + 1) || n->rank != x.rank + 1) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0);
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, node_dims(g, n) + axis, 1);
    return push(out, x.dims + axis, x.rank - axis) ? NULL : BAD_RANK;
}

const char *shape_sum(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 1) return BAD_ATTRS;
    if (!attr_below(g, n, 0, x.rank)) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0);
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, x.dims + axis + 1, x.rank - axis - 1);
    return NULL;
}

const char *shape_pad(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 5) return BAD_ATTRS;
    if (x.rank < 2) return "fewer than two axes";
    if (!attr_finite(g, n, 4)) return "the value is not finite";
    copy(out, x);
    for (uint32_t k = 0; k < 2; k++) {
        const int64_t *by = node_attrs(g, n) + 2 * k, most = (int64_t)LIMIT_SPACE;
        if (by[0] < -most || by[0] > most || by[1] < -most || by[1] > most) return "an amount out of range";
        const int64_t extent = x.dims[x.rank - 2 + k] + by[0] + by[1];
        if (extent < 1 || extent > most) return "the space is too large or empty";
        out->dims[x.rank - 2 + k] = (uint32_t)extent;
    }
    return NULL;
}

/* What pooling x gives. Padding is at most half a window, so that every window has an element of x. */
static const char *pooled(const Graph *g, const GNode *n, View x, Shape *out) {
    if (n->nattr != 6) return BAD_ATTRS;
    if (x.rank < 2) return "fewer than two axes";
    copy(out, x);
    for (uint32_t k = 0; k < 2; k++) {
        if (!attr_below(g, n, k, LIMIT_SPACE) || !attr_below(g, n, 2 + k, LIMIT_SPACE)) return "window or stride out of range";
        if (!attr_below(g, n, 4 + k, (uint64_t)attr(g, n, k) / 2 + 1)) return "padding is more than half a window";
        uint32_t *extent = &out->dims[x.rank - 2 + k];
        if (!(*extent = window_extent(*extent, attr(g, n, k), attr(g, n, 2 + k), attr(g, n, 4 + k)))) return "no window fits";
    }
    return NULL;
}

static View as_view(const Shape *s) { return (View){.rank = s->rank, .dims = s->dims}; }

/* A derivative's rule: `given` must be what the op makes of x; the result is like x. */
static const char *back(const char *wrong, const Shape *made, View given, View like, Shape *out) {
    if (wrong) return wrong;
    if (!same_dims(as_view(made), given)) return "an input's dims are not the result's";
    copy(out, like);
    return NULL;
}

const char *shape_max_pool2d(const Graph *g, const GNode *n, Shape *out) { return pooled(g, n, input_view(g, n, 0), out); }

const char *shape_max_pool2d_vjp(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    Shape made;
    return back(pooled(g, n, x, &made), &made, input_view(g, n, 1), x, out);
}

const char *shape_max_pool2d_jvp(const Graph *g, const GNode *n, Shape *out) {
    const char *wrong = all_as_first(g, n, out);
    return wrong ? wrong : pooled(g, n, input_view(g, n, 0), out);
}

const char *shape_avg_pool2d(const Graph *g, const GNode *n, Shape *out) { return pooled(g, n, input_view(g, n, 0), out); }

const char *shape_avg_pool2d_vjp(const Graph *g, const GNode *n, Shape *out) {
    Shape made;
    return back(pooled(g, n, own_view(g, n), &made), &made, input_view(g, n, 0), own_view(g, n), out);
}

/* x [C,H,W] with kernels w [O,C,kh,kw] -> [O,H′,W′] */
static const char *convolved(const Graph *g, const GNode *n, View x, View w, Shape *out) {
    if (n->nattr != 4) return BAD_ATTRS;
    if (x.rank != 3 || w.rank != 4 || w.dims[1] != x.dims[0]) return "no image and kernels with its channels";
    *out = (Shape){.rank = 3, .dims = {w.dims[0]}};
    for (uint32_t k = 0; k < 2; k++) {
        if (!attr_below(g, n, k, LIMIT_SPACE) || !attr_below(g, n, 2 + k, LIMIT_SPACE)) return "stride or padding out of range";
        if (!(out->dims[1 + k] = window_extent(x.dims[1 + k], w.dims[2 + k], attr(g, n, k), attr(g, n, 2 + k)))) return "no window fits";
    }
    return NULL;
}

const char *shape_conv2d(const Graph *g, const GNode *n, Shape *out) { return convolved(g, n, input_view(g, n, 0), input_view(g, n, 1), out); }

const char *shape_conv2d_dx(const Graph *g, const GNode *n, Shape *out) {
    Shape made;
    return back(convolved(g, n, own_view(g, n), input_view(g, n, 1), &made), &made, input_view(g, n, 0), own_view(g, n), out);
}

const char *shape_conv2d_dw(const Graph *g, const GNode *n, Shape *out) {
    Shape made;
    return back(convolved(g, n, input_view(g, n, 1), own_view(g, n), &made), &made, input_view(g, n, 0), own_view(g, n), out);
}
