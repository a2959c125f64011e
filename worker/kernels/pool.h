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

/* A strip's columns from the first window's left edge on, those outside the plane too: each one's largest element and its row in the strip (as
 * REAL: exact), the first of equals. Behind the last column there is room for a vector of windows. */
typedef struct {
    REAL best[STRIP + SLACK], row[STRIP + SLACK], column[STRIP + SLACK];
} K(Columns);

/* Outside the plane nothing is ever the largest. */
INLINE void K(no_columns)(K(Columns) *c, size_t from, size_t to) {
    for (size_t j = from; j < to; j++) {
        c->best[j] = -(REAL)INFINITY;
        c->row[j] = (REAL)INFINITY;
    }
}

/* True: there is a NaN. `rows`: are they asked for? */
INLINE bool K(down)(const WindowDetail *d, const REAL *x, const Strip *s, const bool rows, K(Columns) *c) {
    const size_t first = (size_t)((int64_t)s->w.from + d->left) - s->j * d->sw, width = s->w.to - s->w.from;
    const REAL *top = x + s->h.from * d->W + s->w.from;
    K(Mask) nan = {0};
    K(no_columns)(c, 0, first);
    for (size_t next = 0; next < width; next += LANES) {
        size_t j = next + LANES > width && width >= LANES ? width - LANES : next; /* the last vector may overlap the one before */
        K(Vector) most = K(vector_load)(top + j, width - j), row = {0}, now = {0};
        nan |= most != most;
        for (size_t i = 1; i < s->h.to - s->h.from; i++) {
            K(Vector) v = K(vector_load)(top + i * d->W + j, width - j);
            K(Mask) none = v != v, more = (v > most) | none;
            nan |= none;
            now += 1;
            most = K(select)(more, v, most);
            if (rows) row = K(select)(more, now, row);
        }
        K(vector_store)(c->best + first + j, width - j, most);
        if (rows) K(vector_store)(c->row + first + j, width - j, row);
    }
    K(no_columns)(c, first + width, (s->count - 1 + LANES) * d->sw + d->kw);
    bool any = false;
    for (size_t l = 0; l < LANES; l++) any |= nan[l] != 0;
    return any;
}

INLINE K(Vector) K(strided)(const REAL *x, size_t stride) {
    K(Vector) v;
    if (stride == 1) return *(const K(Loose) *)x;
    for (size_t l = 0; l < LANES; l++) v[l] = x[l * stride];
    return v;
}

/* Each window's largest element; a NaN stays. */
static void K(across_max)(const WindowDetail *d, const Strip *s, const K(Columns) *c, REAL *y) {
    for (size_t k = 0; k < s->count; k += LANES) {
        const REAL *best = c->best + k * d->sw;
        K(Vector) most = K(strided)(best, d->sw);
        for (size_t b = 1; b < d->kw; b++) {
            K(Vector) v = K(strided)(best + b, d->sw);
            most = K(select)((v > most) | (v != v), v, most);
        }
        K(vector_store)(y + k, s->count - k, most);
    }
}

/* A vector of windows from the k-th on: largest elements, rows in the strip, columns in their windows; of equals the one in the first row, there in
 * the first column. There is no NaN. */
typedef struct {
    K(Vector) most, row, column;
} K(Found);

INLINE K(Found) K(across_found)(const WindowDetail *d, const K(Columns) *c, size_t k) {
    const REAL *best = c->best + k * d->sw, *rows = c->row + k * d->sw;
    K(Found) f = {.most = K(strided)(best, d->sw), .row = K(strided)(rows, d->sw)};
    K(Vector) now = {0};
    for (size_t b = 1; b < d->kw; b++) {
        K(Vector) v = K(strided)(best + b, d->sw), at = K(strided)(rows + b, d->sw);
        K(Mask) more = (v > f.most) | ((v == f.most) & (at < f.row));
        now += 1;
        f.most = K(select)(more, v, f.most);
        f.row = K(select)(more, at, f.row);
        f.column = K(select)(more, now, f.column);
    }
    return f;
}

static void K(across_places)(const WindowDetail *d, const Strip *s, const K(Columns) *c, size_t *place) {
    for (size_t k = 0; k < s->count; k += LANES) {
        K(Found) f = K(across_found)(d, c, k);
        for (size_t l = 0; l < LANES && k + l < s->count; l++)
            place[k + l] = (s->h.from + (size_t)f.row[l]) * d->W + (s->j + k + l) * d->sw + (size_t)f.column[l] - (size_t)d->left;
    }
}

static void K(places)(const WindowDetail *d, const REAL *x, const Strip *s, size_t *place) {
    K(Columns) c;
    if (strip_narrow(d) && !K(down)(d, x, s, true, &c)) {
        K(across_places)(d, s, &c, place);
        return;
    }
    for (size_t k = 0; k < s->count; k++) place[k] = K(largest)(d, x, s->h, columns_of(d, s->j + k));
}

static void K(max_plane)(const WindowDetail *d, const REAL *x, REAL *y) {
    K(Columns) c;
    for (size_t i = 0; i < d->Ho; i++, y += d->Wo)
        for (size_t j = 0; j < d->Wo;) {
            Strip s = strip_at(d, rows_of(d, i), j);
            if (strip_narrow(d)) {
                K(down)(d, x, &s, false, &c);
                K(across_max)(d, &s, &c, y + j);
            } else {
                for (size_t k = 0; k < s.count; k++) y[j + k] = x[K(largest)(d, x, s.h, columns_of(d, j + k))];
            }
            j += s.count;
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

static void K(max_plane_jvp)(const WindowDetail *d, const REAL *x, const REAL *t, REAL *y) { EACH_LARGEST(y[e] = t[at]) }
static void K(max_plane_vjp)(const WindowDetail *d, const REAL *x, const REAL *c, REAL *y) {
    memset(y, 0, d->H * d->W * sizeof *y);
    EACH_LARGEST(y[at] += c[e])
}
#undef EACH_LARGEST

/* The columns become windows, one from each of them on: their largest elements with rows and columns. Cheaper than picking the columns that
 * begin one. */
static void K(across_all)(const WindowDetail *d, const Strip *s, K(Columns) *c) {
    for (size_t j = 0; j <= (s->count - 1) * d->sw; j += LANES) {
        K(Vector) most = K(strided)(c->best + j, 1), row = K(strided)(c->row + j, 1), column = {0}, now = {0};
        for (size_t b = 1; b < d->kw; b++) {
            K(Vector) v = K(strided)(c->best + j + b, 1), at = K(strided)(c->row + j + b, 1);
            K(Mask) more = (v > most) | ((v == most) & (at < row));
            now += 1;
            most = K(select)(more, v, most);
            row = K(select)(more, at, row);
            column = K(select)(more, now, column);
        }
        K(vector_store)(c->best + j, LANES, most);
        K(vector_store)(c->row + j, LANES, row);
        K(vector_store)(c->column + j, LANES, column);
    }
}

/* The largest elements with their rows and columns in the plane. */
static void K(strip_places)(const WindowDetail *d, const REAL *x, const Strip *s, REAL *y, REAL *row, REAL *column) {
    K(Columns) c;
    if (!strip_narrow(d) || K(down)(d, x, s, true, &c)) {
        for (size_t k = 0; k < s->count; k++) {
            size_t at = K(largest)(d, x, s->h, columns_of(d, s->j + k));
            y[k] = x[at];
            row[k] = (REAL)(at / d->W);
            column[k] = (REAL)(at % d->W);
        }
        return;
    }
    K(across_all)(d, s, &c);
    REAL left = (REAL)((int64_t)(s->j * d->sw) - d->left);
    for (size_t k = 0, at = 0; k < s->count; k++, at += d->sw) {
        y[k] = c.best[at];
        row[k] = c.row[at] + (REAL)s->h.from;
        column[k] = c.column[at] + left + (REAL)at;
    }
}

/* place: [rows, columns] of the windows. */
static void K(max_plane_places)(const WindowDetail *d, const REAL *x, REAL *y, REAL *place) {
    size_t windows = d->Ho * d->Wo, e = 0;
    for (size_t i = 0; i < d->Ho; i++)
        for (size_t j = 0; j < d->Wo;) {
            Strip s = strip_at(d, rows_of(d, i), j);
            K(strip_places)(d, x, &s, y + e, place + e, place + windows + e);
            j += s.count;
            e += s.count;
        }
}

/* dst: the value that the places go to */
void K(kernel_max_pool_places)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out], *place = x->at[d->places];
    size_t planes = d->planes * x->rows, m = d->Ho * d->Wo;
    for (size_t p = 0; p < planes; p++) K(max_plane_places)(d, a + p * d->H * d->W, y + p * m, place + 2 * p * m);
}

/* A plane's peaks, without those where the relu is closed. */
INLINE void K(plane_peaks)(const REAL *y, const REAL *place, const REAL *c, size_t m, const bool relu, REAL *to) {
    size_t n = 0;
    for (size_t e = 0; e < m; e++) {
        REAL *peak = to + conv_peaks_room(n);
        peak[0] = place[e];
        peak[1] = place[m + e];
        peak[2] = c[e];
        n += !(relu && y[e] <= 0);
    }
    *to = (REAL)n;
}

/* max_pool's y and places, ȳ, all of [outer,inner] windows -> peaks of ȳ; keep: what was pooled is a relu's result, and the peaks are of the
 * gradient before it */
void K(kernel_peaks)(Exec *x, const Step *s) {
    const REAL *y = x->at[s->in[0]], *place = x->at[s->in[1]], *c = x->at[s->in[2]];
    REAL *to = x->at[s->out];
    size_t m = s->peaks.windows;
    for (size_t p = 0; p < x->rows * s->peaks.planes; p++, y += m, place += 2 * m, c += m, to += conv_peaks_room(m)) {
        if (s->peaks.relu) K(plane_peaks)(y, place, c, m, true, to);
        else K(plane_peaks)(y, place, c, m, false, to);
    }
}

/* peaks [outer], of nin at most -> [outer], summed over rows */
void K(kernel_peaks_sum)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    if (!x->again && !s->more) memset(y, 0, s->peaks.planes * sizeof *y);
    for (size_t r = 0; r < x->rows; r++)
        for (size_t o = 0; o < s->peaks.planes; o++, a += conv_peaks_room(s->peaks.windows)) {
            REAL sum = 0;
            for (size_t k = 0; k < (size_t)*a; k++) sum += a[3 + 3 * k];
            y[o] += sum;
        }
}

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
