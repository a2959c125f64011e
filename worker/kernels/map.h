/* Template of map.c. A shared operand's row stride is 0. */
#include "worker/kernels/elementary.h"

/* y = formula of v, a vector of x. */
#define EACH(formula)                                    \
    for (size_t i = 0; i < n; i += LANES) {              \
        K(Vector) v = K(vector_load)(x + i, n - i);      \
        K(vector_store)(y + i, n - i, (formula));        \
    }

INLINE K(Vector) K(softplus)(K(Vector) v, REAL beta, REAL threshold) {
    K(Vector) z = v * beta, edge = K(set)(threshold);
    return K(select)(z > edge, v, K(log1p)(K(exp)(K(select)(z > edge, edge, z))) / beta);
}
INLINE K(Vector) K(clamped_log)(K(Vector) v) {
    K(Vector) y = K(log)(K(select)(v < 0, K(set)(NAN), v)), least = K(set)(-100);
    return K(select)(y < least, least, y);
}

/* The functions' formulas on vectors (schema/graph/functions.def). */
static void K(map_all)(const MapDetail *d, size_t n, const REAL *x, REAL *y) {
    const REAL p = (REAL)d->p, q = (REAL)d->q;
    const K(Vector) zero = {0}, low = K(set)(p), high = K(set)(q);
    switch ((Function)d->function) {
#define FUNCTION(name, p0, p1, wrong, reads, value, slope, kernel, kernel_slope) case FUNCTION_##name: EACH(kernel) break;
#include "schema/graph/functions.def"
#undef FUNCTION
    case FUNCTION_COUNT: break;
    }
}
#undef EACH

void K(kernel_map)(Exec *x, const Step *s) {
    K(map_all)(s->map, s->size * (s->out_batched ? x->rows : 1), x->at[s->in[0]], x->at[s->out]);
}

/* out = formula of c, a vector of cotangents, and v, of x or f(x). */
#define EACH(formula)                                    \
    for (size_t i = 0; i < n; i += LANES) {              \
        K(Vector) v = K(vector_load)(x + i, n - i);      \
        K(Vector) c = K(vector_load)(t + i, n - i);      \
        K(vector_store)(y + i, n - i, (formula));        \
    }

/* x: f(x) where the function's row says so; t: cotangents */
static void K(slope_all)(const MapDetail *d, size_t n, const REAL *x, const REAL *t, REAL *y) {
    const REAL p = (REAL)d->p, q = (REAL)d->q;
    const K(Vector) zero = {0}, low = K(set)(p), high = K(set)(q), one = K(set)(1);
    switch ((Function)d->function) {
#define FUNCTION(name, p0, p1, wrong, reads, value, slope, kernel, kernel_slope) case FUNCTION_##name: EACH(kernel_slope) break;
#include "schema/graph/functions.def"
#undef FUNCTION
    case FUNCTION_COUNT: break;
    }
}
#undef EACH

void K(kernel_map_vjp)(Exec *x, const Step *s) {
    size_t n = s->size, rows = s->out_batched ? x->rows : 1;
    size_t nv = s->in_batched[0] ? n : 0, nc = s->in_batched[1] ? n : 0;
    if (s->in_batched[0] == s->out_batched && s->in_batched[1] == s->out_batched) { /* one long row */
        n *= rows;
        rows = 1;
    }
    const REAL *v = x->at[s->in[0]], *c = x->at[s->in[1]];
    REAL *y = x->at[s->out];
    for (size_t r = 0; r < rows; r++) K(slope_all)(s->map, n, v + r * nv, c + r * nc, y + r * n);
}

/* ---- softmax ---- */

/* One line of n neighbours. */
static void K(softmax_line)(const REAL *x, REAL *y, size_t n, bool logs) {
    REAL most = x[0];
    for (size_t j = 1; j < n; j++) most = x[j] > most ? x[j] : most;
    for (size_t j = 0; j < n; j += LANES) K(vector_store)(y + j, n - j, K(exp)(K(vector_load)(x + j, n - j) - most));
    REAL sum = K(sum_all)(y, n), log_sum = K(log)(K(set)(sum))[0], part = 1 / sum;
    if (logs)
        for (size_t j = 0; j < n; j++) y[j] = x[j] - most - log_sum;
    else
        for (size_t j = 0; j < n; j++) y[j] *= part;
}

/* `width` lines side by side, at most COLUMNS; elements of a line are `stride` apart. */
static void K(softmax_columns)(const REAL *x, REAL *y, size_t n, size_t stride, size_t width, bool logs) {
    REAL most[COLUMNS], sum[COLUMNS] = {0};
    memcpy(most, x, width * sizeof *most);
    for (size_t j = 1; j < n; j++)
        for (size_t i = 0; i < width; i++) most[i] = x[j * stride + i] > most[i] ? x[j * stride + i] : most[i];
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < width; i += LANES) {
            K(Vector) e = K(exp)(K(vector_load)(x + j * stride + i, width - i) - K(vector_load)(most + i, width - i));
            K(vector_store)(y + j * stride + i, width - i, e);
            K(vector_store)(sum + i, width - i, e + K(vector_load)(sum + i, width - i));
        }
    for (size_t i = 0; i < width; i += LANES) {
        K(Vector) all = K(vector_load)(sum + i, width - i);
        K(vector_store)(sum + i, width - i, logs ? K(log)(all) : 1 / all);
    }
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < width; i++) {
            REAL *to = y + j * stride + i;
            *to = logs ? x[j * stride + i] - most[i] - sum[i] : *to * sum[i];
        }
}

/* Flags: log, transpose. */
void K(kernel_softmax)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    const AxisView v = s->along.axis;
    const bool logs = s->along.flag[0];
    size_t outer = v.outer * (s->out_batched ? x->rows : 1), plane = v.extent * v.inner;
    for (size_t o = 0; o < outer; o++, a += plane, y += plane) {
        if (v.inner == 1) K(softmax_line)(a, y, v.extent, logs);
        else
            for (size_t i = 0; i < v.inner; i += COLUMNS)
                K(softmax_columns)(a + i, y + i, v.extent, v.inner, v.inner - i < COLUMNS ? v.inner - i : COLUMNS, logs);
    }
}

/* What an element of c counts in the sum of its line. */
INLINE K(Vector) K(softmax_weight)(K(Vector) y, bool logs, bool transpose) {
    return !logs ? y : transpose ? K(set)(1) : K(exp)(y);
}

/* y·(c − Σ y·c); of the logarithm c − Σ exp(y)·c, transposed c − exp(y)·Σ c */
INLINE K(Vector) K(softmax_slope)(K(Vector) y, K(Vector) c, K(Vector) sum, bool logs, bool transpose) {
    return !logs ? y * (c - sum) : transpose ? c - K(exp)(y) * sum : c - sum;
}

static void K(softmax_back)(const REAL *y, const REAL *c, REAL *out, const AlongDetail *d, size_t width) {
    const size_t n = d->axis.extent, stride = d->axis.inner;
    const bool logs = d->flag[0], transpose = d->flag[1];
    REAL sum[COLUMNS] = {0};
    for (size_t j = 0; j < n * stride; j += stride)
        for (size_t i = 0; i < width; i += LANES) {
            K(Vector) a = K(vector_load)(y + j + i, width - i), b = K(vector_load)(c + j + i, width - i);
            K(vector_store)(sum + i, width - i, K(vector_load)(sum + i, width - i) + b * K(softmax_weight)(a, logs, transpose));
        }
    for (size_t j = 0; j < n * stride; j += stride)
        for (size_t i = 0; i < width; i += LANES) {
            K(Vector) a = K(vector_load)(y + j + i, width - i), b = K(vector_load)(c + j + i, width - i);
            K(vector_store)(out + j + i, width - i, K(softmax_slope)(a, b, K(vector_load)(sum + i, width - i), logs, transpose));
        }
}

/* The same for one line of neighbours: vectors along it. */
static void K(softmax_back_line)(const REAL *y, const REAL *c, REAL *out, const AlongDetail *d) {
    const size_t n = d->axis.extent;
    const bool logs = d->flag[0], transpose = d->flag[1];
    for (size_t j = 0; j < n; j += LANES) {
        K(Vector) a = K(vector_load)(y + j, n - j), b = K(vector_load)(c + j, n - j);
        K(vector_store)(out + j, n - j, b * K(softmax_weight)(a, logs, transpose));
    }
    K(Vector) sum = K(set)(K(sum_all)(out, n));
    for (size_t j = 0; j < n; j += LANES) {
        K(Vector) a = K(vector_load)(y + j, n - j), b = K(vector_load)(c + j, n - j);
        K(vector_store)(out + j, n - j, K(softmax_slope)(a, b, sum, logs, transpose));
    }
}

void K(kernel_softmax_vjp)(Exec *x, const Step *s) {
    const AlongDetail *d = &s->along;
    const size_t inner = d->axis.inner;
    size_t plane = d->axis.extent * inner, n = d->axis.outer * plane, rows = s->out_batched ? x->rows : 1;
    for (size_t r = 0; r < rows; r++) {
        const REAL *y = (const REAL *)x->at[s->in[0]] + (s->in_batched[0] ? r * n : 0);
        const REAL *c = (const REAL *)x->at[s->in[1]] + (s->in_batched[1] ? r * n : 0);
        REAL *out = (REAL *)x->at[s->out] + r * n;
        for (size_t o = 0; o < n; o += plane) {
            if (inner == 1) K(softmax_back_line)(y + o, c + o, out + o, d);
            else
                for (size_t i = 0; i < inner; i += COLUMNS)
                    K(softmax_back)(y + o + i, c + o + i, out + o + i, d, inner - i < COLUMNS ? inner - i : COLUMNS);
        }
    }
}
#include "worker/kernels/vector_end.h"
