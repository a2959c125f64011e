/* Shape rules of the ops that layers and losses are made of. */
#include "schema/graph/ops_rules.h"

const char *shape_pad(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (x.rank < 2) return "fewer than two axes";
    copy(out, x);
    for (uint32_t k = 0; k < 2; k++) {
        const int64_t *by = node_attrs(g, n) + 2 * k, extent = x.dims[x.rank - 2 + k] + by[0] + by[1];
        if (extent < 1 || extent > (int64_t)LIMIT_SPACE) return "the space is too large or empty";
        out->dims[x.rank - 2 + k] = (uint32_t)extent;
    }
    return NULL;
}

/* What pooling x gives. Padding is at most half a window, so that every window has an element of x. */
static const char *pooled(const Graph *g, const GNode *n, View x, Shape *out) {
    if (x.rank < 2) return "fewer than two axes";
    copy(out, x);
    for (uint32_t k = 0; k < 2; k++) {
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

const char *shape_pool(const Graph *g, const GNode *n, Shape *out) { return pooled(g, n, input_view(g, n, 0), out); }

const char *shape_max_pool2d_vjp(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    Shape made;
    return back(pooled(g, n, x, &made), &made, input_view(g, n, 1), x, out);
}

const char *shape_max_pool2d_jvp(const Graph *g, const GNode *n, Shape *out) {
    const char *wrong = shape_alike(g, n, out);
    return wrong ? wrong : pooled(g, n, input_view(g, n, 0), out);
}

const char *shape_avg_pool2d_vjp(const Graph *g, const GNode *n, Shape *out) {
    Shape made;
    return back(pooled(g, n, own_view(g, n), &made), &made, input_view(g, n, 0), own_view(g, n), out);
}

/* x [C,H,W] with kernels w [O,C,kh,kw] -> [O,H′,W′] */
static const char *convolved(const Graph *g, const GNode *n, View x, View w, Shape *out) {
    if (x.rank != 3 || w.rank != 4 || w.dims[1] != x.dims[0]) return "no image and kernels with its channels";
    *out = (Shape){.rank = 3, .dims = {w.dims[0]}};
    for (uint32_t k = 0; k < 2; k++) {
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
