/* Template of conv.c. */
#include "worker/kernels/vector.h"

#define MANY (VECTOR_BYTES == 64) /* 32 registers rather than 16 */
#define LOAD(at) ((K(Vector)) * (const K(Loose) *)(at))
#define STORE(at, v) (*(K(Loose) *)(at) = (v))

/* n elements, in whole vectors unless the source ends before. */
INLINE void K(conv_copy)(REAL *to, const REAL *from, size_t n, const REAL *end) {
    if ((size_t)(end - from) < n + LANES) memcpy(to, from, n * sizeof *to);
    else
        for (size_t i = 0; i < n; i += LANES) STORE(to + i, LOAD(from + i));
}

INLINE void K(conv_zero)(REAL *to, size_t n) {
    for (size_t i = 0; i < n; i += LANES) STORE(to + i, (K(Vector)){0});
}

/* A row of x̂, `pitch` long; whole vectors are written, so rows are made from the first to the last. */
static void K(conv_pad_row)(const ConvShape *s, REAL *to, const REAL *x, size_t pitch, const REAL *end) {
    size_t lead = s->left > 0 ? (size_t)s->left : 0, skip = s->left < 0 ? (size_t)-s->left : 0;
    if (lead > pitch) lead = pitch;
    K(conv_zero)(to, lead);
    if (s->up_w == 1) {
        size_t n = skip < s->W ? s->W - skip : 0;
        if (n > pitch - lead) n = pitch - lead;
        K(conv_copy)(to + lead, x + skip, n, end);
        if (lead + n < pitch) K(conv_zero)(to + lead + n, pitch - lead - n);
        return;
    }
    K(conv_zero)(to + lead, pitch - lead);
    for (size_t q = (skip + s->up_w - 1) / s->up_w; q < s->W && q * s->up_w - skip + lead < pitch; q++)
        to[q * s->up_w - skip + lead] = x[q];
}

/* Rows row0 .. row0+height of a channel of x̂. */
static void K(conv_pad)(const ConvShape *s, REAL *to, const REAL *x, size_t row0, size_t height, size_t pitch, const REAL *end) {
    for (size_t r = 0; r < height; r++, to += pitch) {
        ptrdiff_t at = (ptrdiff_t)(row0 + r) - s->top;
        size_t from = at < 0 ? s->H : (size_t)at / s->up_h;
        if (from >= s->H || (size_t)at % s->up_h) K(conv_zero)(to, pitch);
        else K(conv_pad_row)(s, to, x + from * s->W, pitch, end);
    }
}

/* `rows` rows of n elements, `from_step` apart, one behind the other. */
INLINE void K(conv_lay_rows)(REAL *to, const REAL *from, size_t from_step, size_t n, size_t rows) {
    if (n > LANES && n <= 2 * LANES) {
        for (size_t r = 0; r < rows; r++, from += from_step, to += n) {
            K(Vector) a = LOAD(from), b = LOAD(from + n - LANES);
            STORE(to, a);
            STORE(to + n - LANES, b);
        }
        return;
    }
    for (size_t r = 0; r < rows; r++, from += from_step, to += n)
        for (size_t q = 0; q < n; q += LANES) STORE(to + q, LOAD(from + q));
}

static void K(conv_copies)(const ConvShape *s, const ConvPack *p, REAL *to, const REAL *pad, size_t rows) {
    for (size_t a = 0; a < p->phases; a++)
        for (size_t j = 0; j < s->kw; j++, to += p->copy) {
            const REAL *from = pad + a * p->pitch + j;
            size_t n = a + (rows - 1) * s->down_h < p->height ? rows : rows - 1;
            if (s->down_w == 1) {
                K(conv_lay_rows)(to, from, s->down_h * p->pitch, s->OW, n);
                continue;
            }
            for (size_t r = 0; r < n; r++, from += s->down_h * p->pitch)
                for (size_t q = 0; q < s->OW; q++) to[r * s->OW + q] = from[q * s->down_w];
        }
}

/* NaN stays. */
INLINE K(Vector) K(conv_relu)(K(Vector) v) { return (K(Vector))(~(v <= 0) & (__typeof__(v <= 0))v); }

/* The end of a block, at its first output and place. */
typedef struct {
    const REAL *bias, *mask;
    bool relu;
} K(ConvTail);

INLINE K(ConvTail) K(conv_tail)(const ConvEnd *end, size_t o, size_t at) {
    const REAL *bias = end->bias, *mask = end->mask;
    return (K(ConvTail)){.bias = bias ? bias + o : NULL, .mask = mask ? mask + at : NULL, .relu = end->relu};
}

INLINE void K(conv_finish)(const K(ConvTail) * tail, K(Vector) v, REAL *y, size_t at, size_t width) {
    if (tail->relu) v = K(conv_relu)(v);
    if (tail->mask) {
        K(Vector) m = {0};
        if (width >= LANES) m = LOAD(tail->mask + at);
        else memcpy(&m, tail->mask + at, width * sizeof *y);
        v = (K(Vector))(~(m <= 0) & (__typeof__(m <= 0))v);
    }
    if (width >= LANES) STORE(y + at, v);
    else memcpy(y + at, &v, width * sizeof *y);
}

/* Sums of R outputs o at V vectors of places, [R,V]; where: what the k kernel elements meet. Functions of their own, so that all
 * registers are the sums', and one loop, as ends of short loops are guessed wrongly. */
INLINE void K(conv_sums)(const int R, const int V, const uint32_t *where, size_t k, const REAL *x, const REAL *w, const REAL *bias,
                         K(Vector) * out) {
    K(Vector) sum[CONV_ROWS][CONV_VECTORS];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < V; v++) sum[r][v] = (K(Vector)){0} + (bias ? bias[r] : 0);
    for (size_t i = 0; i < k; i++, w += R) {
        K(Vector) in[CONV_VECTORS];
        const REAL *at = x + where[i];
        UNROLL for (int v = 0; v < V; v++) in[v] = LOAD(at + v * LANES);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < V; v++) sum[r][v] += in[v] * w[r];
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < V; v++) out[r * V + v] = sum[r][v];
}

typedef void (*K(ConvSums))(const uint32_t *where, size_t k, const REAL *x, const REAL *w, const REAL *bias, K(Vector) * out);
#define SUMS(R, V)                                                                                                                       \
    static __attribute__((noinline)) void K(conv_sums_##R##_##V)(const uint32_t *where, size_t k, const REAL *x, const REAL *w,          \
                                                                 const REAL *bias, K(Vector) * out) {                                    \
        K(conv_sums)(R, V, where, k, x, w, bias, out);                                                                                   \
    }
#if VECTOR_BYTES == 64
SUMS(8, 3)
SUMS(8, 1)
SUMS(6, 4)
SUMS(6, 1)
SUMS(4, 6)
SUMS(3, 7)
SUMS(2, 8)
#else
SUMS(4, 3)
SUMS(3, 3)
SUMS(2, 5)
#endif
SUMS(4, 1)
SUMS(3, 1)
SUMS(2, 1)
SUMS(1, 8)
SUMS(1, 1)
#undef SUMS

/* As many outputs o as registers allow: blocks of V vectors, and of one. */
typedef struct {
    size_t R, V;
    K(ConvSums) whole, one;
} K(ConvGroup);

static K(ConvGroup) K(conv_group)(size_t left) {
#define GROUP(R, V) ((K(ConvGroup)){R, V, K(conv_sums_##R##_##V), K(conv_sums_##R##_1)})
#if VECTOR_BYTES == 64
    if (left >= 8) return GROUP(8, 3);
    if (left >= 6) return GROUP(6, 4);
    return left >= 4 ? GROUP(4, 6) : left == 3 ? GROUP(3, 7) : left == 2 ? GROUP(2, 8) : GROUP(1, 8);
#else
    return left >= 4 ? GROUP(4, 3) : left == 3 ? GROUP(3, 3) : left == 2 ? GROUP(2, 5) : GROUP(1, 8);
#endif
#undef GROUP
}

/* A group's outputs, `n` places each. */
static void K(conv_rows)(const K(ConvGroup) * g, const ConvShape *s, const uint32_t *where, const REAL *x, const REAL *w,
                         const K(ConvTail) * tail, REAL *y, size_t n) {
    K(Vector) sum[CONV_SUMS];
    size_t places = s->OH * s->OW, k = s->C * s->kh * s->kw;
    for (size_t i = 0, vectors; i < n; i += vectors * LANES) {
        vectors = n - i >= g->V * LANES ? g->V : 1;
        (vectors == g->V ? g->whole : g->one)(where, k, x + i, w, tail->bias, sum);
        for (size_t r = 0; r < g->R; r++)
            for (size_t v = 0; v < vectors; v++) {
                size_t at = i + v * LANES;
                K(conv_finish)(tail, sum[r * vectors + v], y, r * places + at, n - at < LANES ? n - at : LANES);
            }
    }
}

/* Kernels packed: groups of outputs o, [C,kh,kw][R] each. */
void K(conv_pack)(const ConvShape *s, const REAL *w, REAL *packed) {
    size_t k = s->C * s->kh * s->kw;
    for (size_t o = 0, group; o < s->O; o += group) {
        group = K(conv_group)(s->O - o).R;
        for (size_t i = 0; i < k; i++)
            for (size_t r = 0; r < group; r++) *packed++ = w[(o + r) * k + i];
    }
}

void K(conv_pack_turned)(const ConvShape *s, const REAL *w, REAL *packed) {
    size_t area = s->kh * s->kw;
    for (size_t o = 0, group; o < s->O; o += group) {
        group = K(conv_group)(s->O - o).R;
        for (size_t c = 0; c < s->C; c++)
            for (size_t i = area; i-- > 0;)
                for (size_t r = 0; r < group; r++) *packed++ = w[(c * s->O + o + r) * area + i];
    }
}

/* ---- one output: lanes along its rows, a block of LINES rows; a row of the image is loaded once for B rows of the kernel ---- */

#define LINES (MANY ? 14 : 6)

/* Adds B rows of a kernel; `x` is the image's row under the block's first line and the first of these. */
INLINE void K(conv_line)(const int B, const ConvShape *s, const REAL *x, size_t pitch, const REAL *w, K(Vector) * all) {
    K(Vector) sum[LINES], factor[CONV_LINE_ROWS];
    UNROLL for (int l = 0; l < LINES; l++) sum[l] = all[l];
    for (size_t j = 0; j < s->kw; j++, x++, w++) {
        UNROLL for (int b = 0; b < B; b++) factor[b] = (K(Vector)){0} + w[b * s->kw];
        UNROLL for (int r = 0; r < LINES + B - 1; r++) {
            K(Vector) in = LOAD(x + r * pitch);
            UNROLL for (int b = 0; b < B; b++)
                if (r >= b && r - b < LINES) sum[r - b] += in * factor[b];
        }
    }
    UNROLL for (int l = 0; l < LINES; l++) all[l] = sum[l];
}

/* All of a block's sums. */
static inline void K(conv_line_block)(const ConvShape *s, const REAL *pad, size_t height, size_t pitch, const REAL *w, K(Vector) * sum) {
    for (size_t c = 0; c < s->C; c++, pad += height * pitch)
        for (size_t i = 0, rows; i < s->kh; i += rows, w += rows * s->kw) {
            const REAL *x = pad + i * pitch;
            rows = s->kh - i < CONV_LINE_ROWS ? s->kh - i : CONV_LINE_ROWS;
            switch (rows) {
            case 1: K(conv_line)(1, s, x, pitch, w, sum); break;
            case 2: K(conv_line)(2, s, x, pitch, w, sum); break;
            case 3: K(conv_line)(3, s, x, pitch, w, sum); break;
            case 4: K(conv_line)(4, s, x, pitch, w, sum); break;
            case 5: K(conv_line)(5, s, x, pitch, w, sum); break;
            case 6: K(conv_line)(6, s, x, pitch, w, sum); break;
            default: K(conv_line)(CONV_LINE_ROWS, s, x, pitch, w, sum); break;
            }
        }
}

static void K(conv_lines)(const ConvShape *s, const REAL *x, const REAL *w, const ConvEnd *end, REAL *y, REAL *scratch) {
    ConvPack p = conv_pack_of(s);
    const K(ConvTail) tail = K(conv_tail)(end, 0, 0);
    for (size_t c = 0; c < s->C; c++)
        K(conv_pad)(s, scratch + c * p.height * p.pitch, x + c * s->H * s->W, 0, p.height, p.pitch, x + s->C * s->H * s->W);
    for (size_t q = 0; q < s->OW; q += LANES) {
        size_t from = q + LANES > s->OW && s->OW > LANES ? s->OW - LANES : q; /* the last vector may overlap the one before */
        for (size_t r = 0; r < s->OH; r += LINES) {
            size_t first = r + LINES > s->OH && s->OH > LINES ? s->OH - LINES : r;
            K(Vector) sum[LINES];
            for (int l = 0; l < LINES; l++) sum[l] = (K(Vector)){0} + (tail.bias ? *tail.bias : 0);
            K(conv_line_block)(s, scratch + first * p.pitch + from, p.height, p.pitch, w, sum);
            for (size_t l = 0; l < LINES && first + l < s->OH; l++) K(conv_finish)(&tail, sum[l], y, (first + l) * s->OW + from, s->OW);
        }
    }
}

void K(conv_image)(const ConvShape *s, const REAL *x, const REAL *packed, const ConvEnd *end, REAL *y, REAL *scratch) {
    ConvPack p = conv_pack_of(s);
    if (p.lines) {
        K(conv_lines)(s, x, packed, end, y, scratch);
        return;
    }
    size_t k = s->C * s->kh * s->kw, places = s->OH * s->OW;
    REAL *copies = scratch + p.height * p.pitch + LANES;
    const REAL *x_end = x + s->C * s->H * s->W;
    uint32_t *where = (uint32_t *)(copies + s->C * s->kw * p.phases * p.copy + CONV_LANES);
    conv_where(s, &p, where);
    for (size_t row = 0; row < s->OH; row += p.band) {
        size_t band = s->OH - row < p.band ? s->OH - row : p.band, n = band * s->OW;
        for (size_t c = 0; c < s->C; c++) {
            K(conv_pad)(s, scratch, x + c * s->H * s->W, row * s->down_h, p.height, p.pitch, x_end);
            K(conv_copies)(s, &p, copies + c * s->kw * p.phases * p.copy, scratch, p.copy / s->OW);
        }
        for (size_t o = 0; o < s->O;) {
            const K(ConvGroup) group = K(conv_group)(s->O - o);
            size_t at = o * places + row * s->OW;
            const K(ConvTail) tail = K(conv_tail)(end, o, at);
            K(conv_rows)(&group, s, where, copies, packed + o * k, &tail, y + at, n);
            o += group.R;
        }
    }
}

/* ---- the kernels' gradient ---- */

/* Lanes over o, or over the kernel's columns: where fewer stay empty. */
static bool K(conv_dw_by_o)(const ConvShape *s) {
    size_t o = (s->O + LANES - 1) / LANES * LANES, j = (s->kw + LANES - 1) / LANES * LANES;
    return s->O * j >= s->kw * o;
}

/* [O, places] -> [places, LANES] for LANES of the o. */
static void K(conv_turn)(const REAL *y, size_t o, size_t places, REAL *to) {
    size_t p = 0;
    for (; places - p >= LANES; p += LANES) {
        K(Vector) a[LANES];
        for (size_t i = 0; i < LANES; i++) a[i] = i < o ? LOAD(y + i * places + p) : (K(Vector)){0};
        K(transpose)(a);
        for (size_t i = 0; i < LANES; i++) STORE(to + (p + i) * LANES, a[i]);
    }
    for (; p < places; p++)
        for (size_t i = 0; i < LANES; i++) to[p * LANES + i] = i < o ? y[i * places + p] : 0;
}

typedef struct {
    const ConvShape *s;
    const REAL *pad; /* [C, height, pitch] */
    size_t height, pitch, rows; /* rows: of kernels, [C,kh] */
} K(ConvDw);

INLINE const REAL *K(conv_dw_row)(const K(ConvDw) *d, size_t row) {
    if (row >= d->rows) row = d->rows - 1;
    return d->pad + (row / d->s->kh * d->height + row % d->s->kh) * d->pitch;
}

/* B rows of kernels, J columns from j on; y [places, LANES], sums [rows, kw, LANES]. */
INLINE void K(conv_dw_o_block)(const int B, const int J, const K(ConvDw) *d, size_t row, size_t j, const REAL *y, REAL *sums) {
    const ConvShape *s = d->s;
    K(Vector) sum[CONV_DW_SUMS][CONV_DW_COLUMNS];
    const REAL *at[CONV_DW_SUMS];
    for (int b = 0; b < B; b++) {
        at[b] = K(conv_dw_row)(d, row + b) + j;
        size_t r = row + b < d->rows ? row + b : d->rows - 1;
        for (int i = 0; i < J; i++) sum[b][i] = LOAD(sums + (r * s->kw + j + i) * LANES);
    }
    for (size_t r = 0; r < s->OH; r++) {
        for (size_t q = 0; q < s->OW; q++, y += LANES) {
            K(Vector) in = LOAD(y);
            for (int b = 0; b < B; b++)
                for (int i = 0; i < J; i++) sum[b][i] += in * at[b][q * s->down_w + i];
        }
        for (int b = 0; b < B; b++) at[b] += s->down_h * d->pitch;
    }
    for (int b = 0; b < B && row + b < d->rows; b++)
        for (int i = 0; i < J; i++) STORE(sums + ((row + b) * s->kw + j + i) * LANES, sum[b][i]);
}

static void K(conv_dw_o)(const K(ConvDw) *d, const REAL *y, REAL *sums) {
    for (size_t j = 0, n; j < d->s->kw; j += n) {
        n = d->s->kw - j >= 5 ? 5 : d->s->kw - j >= 3 ? 3 : 1;
        const size_t rows = n == 5 ? (MANY ? 5 : 2) : n == 3 ? (MANY ? 8 : 4) : (MANY ? 24 : 12);
        for (size_t row = 0; row < d->rows; row += rows) {
            if (n == 5) K(conv_dw_o_block)(MANY ? 5 : 2, 5, d, row, j, y, sums);
            else if (n == 3) K(conv_dw_o_block)(MANY ? 8 : 4, 3, d, row, j, y, sums);
            else K(conv_dw_o_block)(MANY ? 24 : 12, 1, d, row, j, y, sums);
        }
    }
}

/* R outputs o, B rows of kernels, LANES of their columns from j on; y [R, places], sums [rows, width]. */
INLINE void K(conv_dw_j_block)(const int R, const int B, const K(ConvDw) *d, size_t row, size_t j, const REAL *y, REAL *sums,
                               size_t width) {
    const ConvShape *s = d->s;
    K(Vector) sum[CONV_ROWS][CONV_DW_SUMS];
    const REAL *at[CONV_DW_SUMS];
    size_t places = s->OH * s->OW;
    for (int b = 0; b < B; b++) {
        at[b] = K(conv_dw_row)(d, row + b) + j;
        size_t from = row + b < d->rows ? row + b : d->rows - 1;
        for (int r = 0; r < R; r++) sum[r][b] = LOAD(sums + (r * d->rows + from) * width + j);
    }
    for (size_t p = 0; p < places;) {
        for (size_t q = 0; q < s->OW; q++, p++) {
            K(Vector) in[CONV_DW_SUMS];
            for (int b = 0; b < B; b++) in[b] = LOAD(at[b] + q * s->down_w);
            for (int r = 0; r < R; r++)
                for (int b = 0; b < B; b++) sum[r][b] += in[b] * y[r * places + p];
        }
        for (int b = 0; b < B; b++) at[b] += s->down_h * d->pitch;
    }
    for (int r = 0; r < R; r++)
        for (int b = 0; b < B && row + b < d->rows; b++) STORE(sums + (r * d->rows + row + b) * width + j, sum[r][b]);
}

static void K(conv_dw_j)(const K(ConvDw) *d, const REAL *y, REAL *sums) {
    const ConvShape *s = d->s;
    size_t places = s->OH * s->OW, width = (s->kw + LANES - 1) / LANES * LANES;
    for (size_t o = 0, group; o < s->O; o += group) {
        group = s->O - o >= 6 && MANY ? 6 : s->O - o >= 4 ? 4 : s->O - o >= 2 ? 2 : 1;
        const size_t rows = group == 6 ? 4 : group == 4 ? (MANY ? 6 : 2) : group == 2 ? (MANY ? 12 : 4) : (MANY ? 13 : 10);
        for (size_t row = 0; row < d->rows; row += rows)
            for (size_t j = 0; j < width; j += LANES) {
                const REAL *yo = y + o * places;
                REAL *so = sums + o * d->rows * width;
                if (MANY && group == 6) K(conv_dw_j_block)(MANY ? 6 : 1, 4, d, row, j, yo, so, width);
                else if (group == 4) K(conv_dw_j_block)(4, MANY ? 6 : 2, d, row, j, yo, so, width);
                else if (group == 2) K(conv_dw_j_block)(2, MANY ? 12 : 4, d, row, j, yo, so, width);
                else K(conv_dw_j_block)(1, MANY ? 13 : 10, d, row, j, yo, so, width);
            }
    }
}

void K(conv_dw_image)(const ConvShape *s, const REAL *x, const REAL *y, REAL *sums, REAL *scratch) {
    K(ConvDw) d = {.s = s,
                   .pad = scratch,
                   .height = (s->OH - 1) * s->down_h + s->kh,
                   .pitch = (s->OW - 1) * s->down_w + s->kw,
                   .rows = s->C * s->kh};
    size_t places = s->OH * s->OW, area = d.height * d.pitch;
    for (size_t c = 0; c < s->C; c++)
        K(conv_pad)(s, scratch + c * area, x + c * s->H * s->W, 0, d.height, d.pitch, x + s->C * s->H * s->W);
    if (!K(conv_dw_by_o)(s)) {
        K(conv_dw_j)(&d, y, sums);
        return;
    }
    REAL *turned = scratch + s->C * area + LANES;
    for (size_t o = 0; o < s->O; o += LANES, y += LANES * places, sums += d.rows * s->kw * LANES) {
        K(conv_turn)(y, s->O - o < LANES ? s->O - o : LANES, places, turned);
        K(conv_dw_o)(&d, turned, sums);
    }
}

void K(conv_dw_finish)(const ConvShape *s, const REAL *sums, REAL *w, bool add) {
    size_t k = s->C * s->kh * s->kw, width = (s->kw + LANES - 1) / LANES * LANES;
    bool by_o = K(conv_dw_by_o)(s);
    for (size_t o = 0; o < s->O; o++)
        for (size_t i = 0; i < k; i++, w++) {
            const REAL *from = by_o ? sums + (o / LANES * k + i) * LANES + o % LANES : sums + (o * k / s->kw + i / s->kw) * width + i % s->kw;
            *w = add ? *w + *from : *from;
        }
}
#undef LINES
#undef MANY
#undef LOAD
#undef STORE
#include "worker/kernels/vector_end.h"
