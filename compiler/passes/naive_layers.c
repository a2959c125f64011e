/* The naive evaluator: ops that layers and losses are made of. */
#include "compiler/passes/naive_row.h"
#include <math.h>

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* The functions' formulas (schema/graph/functions.def); p and q are their parameters. */
static double value(Function f, double x, double p, double q) {
    (void)p, (void)q;
    switch (f) {
#define FUNCTION(name, p0, p1, wrong, reads, value, ...) case FUNCTION_##name: return value;
#include "schema/graph/functions.def"
#undef FUNCTION
    case FUNCTION_COUNT: break;
    }
    return NAN;
}

/* c · f′(x) */
static double slope(Function f, double x, double y, double c, double p, double q) {
    (void)p, (void)q;
    switch (f) {
#define FUNCTION(name, p0, p1, wrong, reads, value, slope, ...) case FUNCTION_##name: return slope;
#include "schema/graph/functions.def"
#undef FUNCTION
    case FUNCTION_COUNT: break;
    }
    return NAN;
}

bool naive_map(const Row *r) {
    const Function f = (Function)attr(r, 0);
    for (size_t i = 0; i < r->n->size; i++) r->y[i] = value(f, r->x[0][i], attr_real(attr(r, 1)), attr_real(attr(r, 2)));
    return true;
}

bool naive_map_vjp(const Row *r) {
    const Function f = (Function)attr(r, 0);
    for (size_t i = 0; i < r->n->size; i++)
        if (!r->care || r->x[2][i] != 0) r->y[i] = slope(f, r->x[0][i], r->x[1][i], r->x[2][i], attr_real(attr(r, 1)), attr_real(attr(r, 2)));
    return true;
}

static void softmax_line(const double *x, double *y, size_t n, size_t stride, bool logs) {
    double most = x[0], sum = 0;
    for (size_t j = 1; j < n; j++)
        if (x[j * stride] > most) most = x[j * stride];
    for (size_t j = 0; j < n; j++) sum += exp(x[j * stride] - most);
    for (size_t j = 0; j < n; j++) y[j * stride] = logs ? x[j * stride] - most - log(sum) : exp(x[j * stride] - most) / sum;
}

bool naive_softmax(const Row *r) {
    const AxisView s = split(r->g, r->n, attr(r, 0));
    for (size_t o = 0; o < s.outer; o++)
        for (size_t i = 0; i < s.inner; i++) softmax_line(r->x[0] + at(s, o, 0, i), r->y + at(s, o, 0, i), s.extent, s.inner, attr(r, 1));
    return true;
}

/* softmax, J = diag(y) − y·yᵀ: y·(c − Σ y·c). log-softmax, J = I − 1·exp(y)ᵀ: c − Σ exp(y)·c; transposed: c − exp(y)·Σ c. */
static void softmax_back(const Row *r, const double *y, const double *c, double *out, size_t n, size_t stride, bool logs, bool transpose) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) sum += times(r, c[j * stride], !logs ? y[j * stride] : transpose ? 1 : exp(y[j * stride]));
    for (size_t j = 0; j < n; j++) {
        const double v = y[j * stride], d = c[j * stride];
        out[j * stride] = !logs ? times(r, v, d - sum) : transpose ? d - times(r, exp(v), sum) : d - sum;
    }
}

bool naive_softmax_vjp(const Row *r) {
    const AxisView s = split(r->g, r->n, attr(r, 0));
    for (size_t o = 0; o < s.outer; o++)
        for (size_t i = 0; i < s.inner; i++) {
            const size_t from = at(s, o, 0, i);
            softmax_back(r, r->x[0] + from, r->x[1] + from, r->y + from, s.extent, s.inner, attr(r, 1), attr(r, 2));
        }
    return true;
}

bool naive_broadcast(const Row *r) {
    const AxisView s = split(r->g, r->n, attr(r, 0));
    for (size_t o = 0; o < s.outer; o++)
        for (size_t j = 0; j < s.extent; j++)
            for (size_t i = 0; i < s.inner; i++) r->y[at(s, o, j, i)] = r->x[0][o * s.inner + i];
    return true;
}

bool naive_sum(const Row *r) {
    const AxisView s = split(r->g, arg(r, 0), attr(r, 0));
    for (size_t o = 0; o < s.outer; o++)
        for (size_t j = 0; j < s.extent; j++)
            for (size_t i = 0; i < s.inner; i++) r->y[o * s.inner + i] += r->x[0][at(s, o, j, i)];
    return true;
}

/* A tensor's last two axes: `planes` images of H × W. */
typedef struct {
    int64_t planes, H, W;
} Image;

static Image image(const Graph *g, const GNode *n) {
    const uint32_t *last = node_dims(g, n) + n->rank - 2;
    return (Image){(int64_t)(n->size / last[0] / last[1]), last[0], last[1]};
}
static bool inside(Image m, int64_t i, int64_t j) { return i >= 0 && i < m.H && j >= 0 && j < m.W; }
static size_t pixel(Image m, int64_t plane, int64_t i, int64_t j) { return (size_t)((plane * m.H + i) * m.W + j); }

bool naive_pad(const Row *r) {
    const Image x = image(r->g, arg(r, 0)), y = image(r->g, r->n);
    for (int64_t p = 0; p < y.planes; p++)
        for (int64_t i = 0; i < y.H; i++)
            for (int64_t j = 0; j < y.W; j++) {
                const int64_t h = i - attr(r, 0), w = j - attr(r, 2);
                r->y[pixel(y, p, i, j)] = inside(x, h, w) ? r->x[0][pixel(x, p, h, w)] : attr_real(attr(r, 4));
            }
    return true;
}

/* A pooling window: rows [h0, h1) and columns [w0, w1), cut at the edges. */
typedef struct {
    int64_t h0, h1, w0, w1;
} PoolWindow;

static PoolWindow window(const Row *r, Image x, int64_t i, int64_t j) {
    const int64_t h = i * attr(r, 2) - attr(r, 4), w = j * attr(r, 3) - attr(r, 5), below = h + attr(r, 0), right = w + attr(r, 1);
    return (PoolWindow){h < 0 ? 0 : h, below > x.H ? x.H : below, w < 0 ? 0 : w, right > x.W ? x.W : right};
}

/* Where the window at (i, j) of a plane has its largest element: the first of equals; a NaN is larger than all, the last one wins. */
static size_t largest(const Row *r, Image x, const double *data, int64_t p, int64_t i, int64_t j) {
    const PoolWindow win = window(r, x, i, j);
    size_t found = pixel(x, p, win.h0, win.w0);
    for (int64_t h = win.h0; h < win.h1; h++)
        for (int64_t w = win.w0; w < win.w1; w++) {
            const size_t at = pixel(x, p, h, w);
            if (data[at] > data[found] || isnan(data[at])) found = at;
        }
    return found;
}

/* Each window (i, j) of y on x. */
#define EACH_WINDOW(y)                                 \
    for (int64_t p = 0; p < (y).planes; p++)           \
        for (int64_t i = 0; i < (y).H; i++)            \
            for (int64_t j = 0; j < (y).W; j++)

bool naive_max_pool2d(const Row *r) {
    const Image x = image(r->g, arg(r, 0)), y = image(r->g, r->n);
    EACH_WINDOW(y) r->y[pixel(y, p, i, j)] = r->x[0][largest(r, x, r->x[0], p, i, j)];
    return true;
}

bool naive_max_pool2d_vjp(const Row *r) {
    const Image x = image(r->g, arg(r, 0)), y = image(r->g, arg(r, 1));
    EACH_WINDOW(y) r->y[largest(r, x, r->x[0], p, i, j)] += r->x[1][pixel(y, p, i, j)];
    return true;
}

bool naive_max_pool2d_jvp(const Row *r) {
    const Image x = image(r->g, arg(r, 0)), y = image(r->g, r->n);
    EACH_WINDOW(y) r->y[pixel(y, p, i, j)] = r->x[1][largest(r, x, r->x[0], p, i, j)];
    return true;
}

/* x ↦ y, or with `back` y ↦ x */
static void average(const Row *r, Image x, Image y, bool back) {
    const double part = 1.0 / ((double)attr(r, 0) * (double)attr(r, 1));
    EACH_WINDOW(y) {
        const PoolWindow win = window(r, x, i, j);
        for (int64_t h = win.h0; h < win.h1; h++)
            for (int64_t w = win.w0; w < win.w1; w++) {
                if (back) r->y[pixel(x, p, h, w)] += part * r->x[0][pixel(y, p, i, j)];
                else r->y[pixel(y, p, i, j)] += part * r->x[0][pixel(x, p, h, w)];
            }
    }
}

bool naive_avg_pool2d(const Row *r) {
    average(r, image(r->g, arg(r, 0)), image(r->g, r->n), false);
    return true;
}
bool naive_avg_pool2d_vjp(const Row *r) {
    average(r, image(r->g, r->n), image(r->g, arg(r, 0)), true);
    return true;
}

/* Which of the three tensors of a convolution is wanted. */
typedef enum { CONV_Y, CONV_X, CONV_W } Wanted;

/* y[o,i,j] = Σ x[c, i·sh+a−ph, j·sw+b−pw] · w[o,c,a,b], and the transposes in x and in w: the same terms summed up elsewhere. */
static void convolve(const Row *r, const GNode *nx, const GNode *nw, const GNode *ny, Wanted wanted, const double *left, const double *right) {
    const Image x = image(r->g, nx), w = image(r->g, nw), y = image(r->g, ny);
    EACH_WINDOW(y)
        for (int64_t c = 0; c < x.planes; c++)
            for (int64_t a = 0; a < w.H; a++)
                for (int64_t b = 0; b < w.W; b++) {
                    const int64_t h = i * attr(r, 0) + a - attr(r, 2), v = j * attr(r, 1) + b - attr(r, 3);
                    if (!inside(x, h, v)) continue;
                    const size_t ex = pixel(x, c, h, v), ew = pixel(w, p * x.planes + c, a, b), ey = pixel(y, p, i, j);
                    if (wanted == CONV_Y) r->y[ey] += times(r, left[ex], right[ew]);
                    if (wanted == CONV_X) r->y[ex] += times(r, left[ey], right[ew]);
                    if (wanted == CONV_W) r->y[ew] += times(r, left[ey], right[ex]);
                }
}

bool naive_conv2d(const Row *r) {
    convolve(r, arg(r, 0), arg(r, 1), r->n, CONV_Y, r->x[0], r->x[1]);
    return true;
}
bool naive_conv2d_dx(const Row *r) {
    convolve(r, r->n, arg(r, 1), arg(r, 0), CONV_X, r->x[0], r->x[1]);
    return true;
}
bool naive_conv2d_dw(const Row *r) {
    convolve(r, arg(r, 1), r->n, arg(r, 0), CONV_W, r->x[0], r->x[1]);
    return true;
}
