/* Template of peaks.c. */
#include "worker/kernels/vector.h"

#define MANY (VECTOR_BYTES == 64) /* 32 registers rather than 16 */
#define LOAD(at) ((K(Vector)) * (const K(Loose) *)(at))
#define STORE(at, v) (*(K(Loose) *)(at) = (v))

/* An image with its channels innermost and its padding: [height, pitch, C]. */
typedef struct {
    const ConvShape *s;
    size_t height, pitch; /* in places */
    size_t row;           /* elements of a kernel's row, in whole vectors */
} K(Peaks);

static K(Peaks) K(peaks_of)(const ConvShape *s) {
    return (K(Peaks)){.s = s, .height = s->OH - 1 + s->kh, .pitch = s->OW - 1 + s->kw, .row = (s->kw * s->C + LANES - 1) / LANES * LANES};
}

/* Channels c .. c+n of a row of x [C,H,W] -> [W,C]. Whole vectors are written: the last channels come first. */
static void K(peaks_turn_row)(const ConvShape *s, const REAL *x, size_t c, size_t n, REAL *to) {
    size_t plane = s->H * s->W;
    for (size_t q = 0; s->W >= LANES && q < s->W; q += LANES) {
        size_t from = q + LANES > s->W ? s->W - LANES : q;
        K(Vector) a[LANES];
        for (size_t i = 0; i < LANES; i++) a[i] = i < n ? LOAD(x + (c + i) * plane + from) : (K(Vector)){0};
        K(transpose)(a);
        for (size_t i = 0; i < LANES; i++) STORE(to + (from + i) * s->C + c, a[i]);
    }
    for (size_t q = 0; s->W < LANES && q < s->W; q++)
        for (size_t i = 0; i < n; i++) to[q * s->C + c + i] = x[(c + i) * plane + q];
}

static void K(peaks_turn)(const K(Peaks) * p, const REAL *x, REAL *to) {
    const ConvShape *s = p->s;
    memset(to, 0, (p->height * p->pitch * s->C + LANES) * sizeof *to);
    for (size_t c = (s->C - 1) / LANES * LANES + LANES; c > 0;) {
        c -= LANES;
        for (size_t r = 0; r < s->H; r++)
            K(peaks_turn_row)(s, x + r * s->W, c, s->C - c < LANES ? s->C - c : LANES, to + ((r + (size_t)s->top) * p->pitch + (size_t)s->left) * s->C);
    }
}

/* Back: [W,C] of a row -> x [C,H,W], zero where mask is zero or less. */
static void K(peaks_back_row)(const ConvShape *s, const REAL *from, size_t c, size_t n, const REAL *mask, REAL *x) {
    size_t plane = s->H * s->W;
    for (size_t q = 0; s->W >= LANES && q < s->W; q += LANES) {
        size_t at = q + LANES > s->W ? s->W - LANES : q;
        K(Vector) a[LANES];
        for (size_t i = 0; i < LANES; i++) a[i] = LOAD(from + (at + i) * s->C + c);
        K(transpose)(a);
        for (size_t i = 0; i < n; i++) {
            size_t to = (c + i) * plane + at;
            if (mask) {
                K(Vector) m = LOAD(mask + to);
                a[i] = (K(Vector))(~(m <= 0) & (__typeof__(m <= 0))a[i]);
            }
            STORE(x + to, a[i]);
        }
    }
    for (size_t q = 0; s->W < LANES && q < s->W; q++)
        for (size_t i = 0; i < n; i++) {
            size_t to = (c + i) * plane + q;
            x[to] = mask && mask[to] <= 0 ? 0 : from[q * s->C + c + i];
        }
}

INLINE size_t K(peaks_count)(const REAL *peaks) { return (size_t)(int32_t)*peaks; }

/* Where a peak is in the image. */
INLINE size_t K(peak_at)(const K(Peaks) * p, const REAL *peak) {
    return ((size_t)(int32_t)peak[0] * p->pitch + (size_t)(int32_t)peak[1]) * p->s->C;
}

/* R rows of a kernel's gradient, V vectors of each, over n peaks; x, sums: at the block's place. */
INLINE void K(peaks_dw_block)(const int R, const int V, const K(Peaks) * p, const REAL *x, const REAL *peak, size_t n, REAL *sums) {
    K(Vector) sum[PEAK_ROWS][PEAK_VECTORS];
    size_t line = p->pitch * p->s->C;
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sum[r][v] = LOAD(sums + r * p->row + v * LANES);
    for (size_t k = 0; k < n; k++, peak += 3) {
        const REAL *at = x + K(peak_at)(p, peak);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sum[r][v] += LOAD(at + r * line + v * LANES) * peak[2];
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) STORE(sums + r * p->row + v * LANES, sum[r][v]);
}

/* The same for the image's gradient. Peaks of neighbouring windows meet the same places: every other one first, so that what was written need not be
 * read at once. */
INLINE void K(peaks_dx_block)(const int R, const int V, const K(Peaks) * p, const REAL *w, const REAL *peaks, size_t n, REAL *x) {
    K(Vector) factor[PEAK_ROWS][PEAK_VECTORS];
    size_t line = p->pitch * p->s->C;
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) factor[r][v] = LOAD(w + r * p->row + v * LANES);
    for (size_t start = 0; start < 2; start++)
        for (size_t k = start; k < n; k += 2) {
            const REAL *peak = peaks + 3 * k;
            REAL *at = x + K(peak_at)(p, peak);
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++) STORE(at + r * line + v * LANES, LOAD(at + r * line + v * LANES) + factor[r][v] * peak[2]);
        }
}

#define EACH_BLOCK(run)                                                                \
    for (size_t i = 0, rows; i < s->kh; i += rows) {                                   \
        rows = MANY && s->kh - i >= 5 ? 5 : s->kh - i >= 3 ? 3 : 1;                    \
        for (size_t v = 0, width; v < p.row; v += width * LANES) {                     \
            width = p.row - v >= 3 * LANES ? 3 : 1;                                    \
            size_t image = i * p.pitch * s->C + v, kernel = (o * s->kh + i) * p.row + v; \
            if (rows == 5 && width == 3) K(run)(MANY ? 5 : 1, 3, ARGUMENTS);           \
            else if (rows == 5) K(run)(MANY ? 5 : 1, 1, ARGUMENTS);                    \
            else if (rows == 3 && width == 3) K(run)(3, 3, ARGUMENTS);                 \
            else if (rows == 3) K(run)(3, 1, ARGUMENTS);                               \
            else if (width == 3) K(run)(1, 3, ARGUMENTS);                              \
            else K(run)(1, 1, ARGUMENTS);                                              \
        }                                                                              \
    }

void K(peaks_dw)(const ConvShape *s, const REAL *x, const REAL *peaks, size_t n, REAL *sums, REAL *scratch) {
    const K(Peaks) p = K(peaks_of)(s);
    K(peaks_turn)(&p, x, scratch);
    for (size_t o = 0; o < s->O; o++, peaks += conv_peaks_room(n)) {
#define ARGUMENTS &p, scratch + image, peaks + 1, K(peaks_count)(peaks), sums + kernel
        EACH_BLOCK(peaks_dw_block)
#undef ARGUMENTS
    }
}

void K(peaks_dw_finish)(const ConvShape *s, const REAL *sums, REAL *w, bool add) {
    const K(Peaks) p = K(peaks_of)(s);
    for (size_t o = 0; o < s->O; o++)
        for (size_t c = 0; c < s->C; c++)
            for (size_t i = 0; i < s->kh; i++)
                for (size_t j = 0; j < s->kw; j++, w++) {
                    REAL sum = sums[(o * s->kh + i) * p.row + j * s->C + c];
                    *w = add ? *w + sum : sum;
                }
}

void K(peaks_pack)(const ConvShape *s, const REAL *w, REAL *packed) {
    const K(Peaks) p = K(peaks_of)(s);
    memset(packed, 0, s->O * s->kh * p.row * sizeof *packed);
    for (size_t o = 0; o < s->O; o++)
        for (size_t c = 0; c < s->C; c++)
            for (size_t i = 0; i < s->kh; i++)
                for (size_t j = 0; j < s->kw; j++) packed[(o * s->kh + i) * p.row + j * s->C + c] = *w++;
}

/* Whole vectors end in zeros, which an infinite gradient must not meet. */
static bool K(peaks_finite)(const REAL *peaks, size_t n) {
    REAL sum = 0;
    for (size_t k = 0; k < n; k++) sum += peaks[3 * k + 2] * 0;
    return sum == 0;
}

static void K(peaks_dx_slow)(const K(Peaks) * p, const REAL *w, const REAL *peak, size_t n, REAL *x) {
    for (size_t k = 0; k < n; k++, peak += 3) {
        REAL *at = x + K(peak_at)(p, peak);
        for (size_t i = 0; i < p->s->kh; i++)
            for (size_t e = 0; e < p->s->kw * p->s->C; e++) at[i * p->pitch * p->s->C + e] += w[i * p->row + e] * peak[2];
    }
}

void K(peaks_dx)(const ConvShape *s, const REAL *peaks, size_t n, const REAL *packed, const REAL *mask, REAL *x, REAL *scratch) {
    const K(Peaks) p = K(peaks_of)(s);
    memset(scratch, 0, (p.height * p.pitch * s->C + LANES) * sizeof *scratch);
    for (size_t o = 0; o < s->O; o++, peaks += conv_peaks_room(n)) {
        const size_t count = K(peaks_count)(peaks);
        if (!K(peaks_finite)(peaks + 1, count)) {
            K(peaks_dx_slow)(&p, packed + o * s->kh * p.row, peaks + 1, count, scratch);
            continue;
        }
#define ARGUMENTS &p, packed + kernel, peaks + 1, count, scratch + image
        EACH_BLOCK(peaks_dx_block)
#undef ARGUMENTS
    }
    for (size_t c = 0; c < s->C; c += LANES)
        for (size_t r = 0; r < s->H; r++)
            K(peaks_back_row)(s, scratch + ((r + (size_t)s->top) * p.pitch + (size_t)s->left) * s->C, c, s->C - c < LANES ? s->C - c : LANES,
                              mask ? mask + r * s->W : NULL, x + r * s->W);
}
#undef EACH_BLOCK
#undef MANY
#undef LOAD
#undef STORE
#include "worker/kernels/vector_end.h"
