/* Template of pool.c. Where elements of a plane [H,W] are named by one number, it is row · W + column. */
#include "worker/kernels/vector.h"

/* Where the window has its largest element: the first of equals; a NaN is larger than all, the last one wins (as PyTorch has it). */
static size_t K(largest)(const WindowDetail *d, const REAL *x, Range h, Range w) {
    size_t found = h.from * d->W + w.from;
    REAL most = x[found];
    for (size_t i = h.from; i < h.to; i++)
        for (size_t j = w.from; j < w.to; j++) {
            REAL v = x[i * d->W + j];
            if (!(v > most) && !isnan(v)) continue;
            most = v;
            found = i * d->W + j;
        }
    return found;
}

/* Each column's largest element and its row, the first of equals; false: there is a NaN. */
static bool K(down_max)(const WindowDetail *d, const REAL *x, const Strip *s, REAL *best, K(Word) *row) {
    K(Mask) nan = {0};
    size_t width = s->w.to - s->w.from;
    for (size_t j = 0; j < width; j += LANES) {
        const REAL *a = x + s->h.from * d->W + s->w.from + j;
        K(Vector) most = K(vector_load)(a, width - j), at = {0}, now = {0}; /* rows are counted as REAL: exact */
        nan |= most != most;
        for (size_t i = s->h.from + 1; i < s->h.to; i++) {
            K(Vector) v = K(vector_load)(a += d->W, width - j);
            K(Mask) more = v > most;
            now += 1;
            nan |= v != v;
            most = K(select)(more, v, most);
            at = K(select)(more, now, at);
        }
        K(vector_store)(best + j, width - j, most);
        for (size_t l = 0; l < LANES && j + l < width; l++) row[j + l] = (K(Word))at[l];
    }
    bool any = false;
    for (size_t l = 0; l < LANES; l++) any |= nan[l] != 0;
    return !any;
}

/* The places of the strip's windows' largest elements. */
static void K(places)(const WindowDetail *d, const REAL *x, const Strip *s, size_t *place) {
    REAL best[STRIP];
    K(Word) row[STRIP];
    bool plain = s->w.to - s->w.from <= STRIP && s->h.to - s->h.from < (size_t)1 << 23 && K(down_max)(d, x, s, best, row);
    for (size_t k = 0; k < s->count; k++) {
        Range w = columns_of(d, s->j + k);
        if (!plain) {
            place[k] = K(largest)(d, x, s->h, w);
            continue;
        }
        size_t at = w.from - s->w.from;
        for (size_t l = at + 1; l < w.to - s->w.from; l++) {
            bool more = best[l] > best[at], same = best[l] == best[at], above = row[l] < row[at];
            at = more | (same & above) ? l : at;
        }
        place[k] = (s->h.from + (size_t)row[at]) * d->W + s->w.from + at;
    }
}

/* For every window e of a plane: `at` is the place of its largest element. */
#define EACH_LARGEST(body)                                                        \
    for (size_t i = 0, e = 0; i < d->Ho; i++)                                     \
        for (size_t j = 0; j < d->Wo;) {                                          \
            Strip s = strip_at(d, rows_of(d, i), j);                              \
            size_t place[STRIP];                                                  \
            K(places)(d, x, &s, place);                                           \
            for (size_t k = 0; k < s.count; k++, e++) {                           \
                size_t at = place[k];                                             \
                body;                                                             \
            }                                                                     \
            j += s.count;                                                         \
        }

static void K(max_plane)(const WindowDetail *d, const REAL *x, REAL *y) { EACH_LARGEST(y[e] = x[at]) }
static void K(max_plane_jvp)(const WindowDetail *d, const REAL *x, const REAL *t, REAL *y) { EACH_LARGEST(y[e] = t[at]) }
static void K(max_plane_vjp)(const WindowDetail *d, const REAL *x, const REAL *c, REAL *y) {
    memset(y, 0, d->H * d->W * sizeof *y);
    EACH_LARGEST(y[at] += c[e])
}
#undef EACH_LARGEST

void K(kernel_max_pool)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    size_t planes = d->planes * (s->out_batched ? x->rows : 1);
    for (size_t p = 0; p < planes; p++) K(max_plane)(d, a + p * d->H * d->W, y + p * d->Ho * d->Wo);
}

void K(kernel_max_pool_jvp)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    size_t rows = s->out_batched ? x->rows : 1, n = d->H * d->W, m = d->Ho * d->Wo;
    for (size_t r = 0; r < rows; r++) {
        const REAL *a = (const REAL *)x->at[s->in[0]] + (s->in_batched[0] ? r * d->planes * n : 0);
        const REAL *t = (const REAL *)x->at[s->in[1]] + (s->in_batched[1] ? r * d->planes * n : 0);
        REAL *y = (REAL *)x->at[s->out] + r * d->planes * m;
        for (size_t p = 0; p < d->planes; p++) K(max_plane_jvp)(d, a + p * n, t + p * n, y + p * m);
    }
}

void K(kernel_max_pool_vjp)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    size_t rows = s->out_batched ? x->rows : 1, n = d->H * d->W, m = d->Ho * d->Wo;
    for (size_t r = 0; r < rows; r++) {
        const REAL *a = (const REAL *)x->at[s->in[0]] + (s->in_batched[0] ? r * d->planes * n : 0);
        const REAL *c = (const REAL *)x->at[s->in[1]] + (s->in_batched[1] ? r * d->planes * m : 0);
        REAL *y = (REAL *)x->at[s->out] + r * d->planes * n;
        for (size_t p = 0; p < d->planes; p++) K(max_plane_vjp)(d, a + p * n, c + p * m, y + p * n);
    }
}

/* y [count] += each window's columns summed up; sums [..] of the strip's columns */
static void K(across)(const WindowDetail *d, const REAL *x, const Strip *s, REAL part, REAL *y) {
    REAL sums[STRIP] = {0};
    size_t width = s->w.to - s->w.from;
    for (size_t i = s->h.from; width <= STRIP && i < s->h.to; i++) {
        const REAL *a = x + i * d->W + s->w.from;
        for (size_t j = 0; j < width; j++) sums[j] += a[j];
    }
    for (size_t k = 0; k < s->count; k++) {
        Range w = columns_of(d, s->j + k);
        REAL sum = 0;
        for (size_t j = w.from; width <= STRIP && j < w.to; j++) sum += sums[j - s->w.from];
        for (size_t i = s->h.from; width > STRIP && i < s->h.to; i++) sum += K(sum_all)(x + i * d->W + w.from, w.to - w.from);
        y[k] = sum * part;
    }
}

/* Padding counts: every window is divided by its full size. */
static REAL K(part)(const WindowDetail *d) { return (REAL)(1.0 / ((double)d->kh * (double)d->kw)); }

void K(kernel_avg_pool)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    const REAL *a = x->at[s->in[0]], part = K(part)(d);
    REAL *y = x->at[s->out];
    size_t planes = d->planes * (s->out_batched ? x->rows : 1);
    for (size_t p = 0; p < planes; p++, a += d->H * d->W)
        for (size_t i = 0; i < d->Ho; i++, y += d->Wo)
            for (size_t j = 0; j < d->Wo;) {
                Strip strip = strip_at(d, rows_of(d, i), j);
                K(across)(d, a, &strip, part, y + j);
                j += strip.count;
            }
}

/* One output row's cotangents, spread over the strip's columns, go to all its rows. */
static void K(spread_strip)(const WindowDetail *d, const REAL *c, const Strip *s, REAL part, REAL *y) {
    REAL line[STRIP] = {0};
    size_t width = s->w.to - s->w.from;
    for (size_t k = 0; width <= STRIP && k < s->count; k++) {
        Range w = columns_of(d, s->j + k);
        for (size_t j = w.from; j < w.to; j++) line[j - s->w.from] += c[k] * part;
    }
    for (size_t i = s->h.from; i < s->h.to; i++) {
        REAL *to = y + i * d->W + s->w.from;
        if (width <= STRIP)
            for (size_t j = 0; j < width; j++) to[j] += line[j];
        else
            for (size_t j = 0; j < width; j++) to[j] += c[0] * part;
    }
}

void K(kernel_avg_pool_vjp)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    const REAL *c = x->at[s->in[0]], part = K(part)(d);
    REAL *y = x->at[s->out];
    size_t planes = d->planes * (s->out_batched ? x->rows : 1);
    memset(y, 0, planes * d->H * d->W * sizeof *y);
    for (size_t p = 0; p < planes; p++, y += d->H * d->W)
        for (size_t i = 0; i < d->Ho; i++, c += d->Wo)
            for (size_t j = 0; j < d->Wo;) {
                Strip strip = strip_at(d, rows_of(d, i), j);
                K(spread_strip)(d, c + j, &strip, part, y);
                j += strip.count;
            }
}
#include "worker/kernels/vector_end.h"
