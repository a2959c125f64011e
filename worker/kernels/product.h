/* Template of product.c. */
#include "worker/kernels/vector.h"

/* Vectors a panel, and rows a block: as many sums as the registers hold. */
#define WIDTH (128 / sizeof(REAL))
#define VECTORS (128 / VECTOR_BYTES)
#define BLOCK (VECTOR_BYTES == 64 ? 12 : VECTOR_BYTES == 32 ? 3 : 1)

/* c [R, `width` of C vectors] = or += a [R,k] · b [k, stride] */
static inline __attribute__((always_inline)) void K(product_block)(const int R, const int C, const PanelProduct *p, size_t k, const REAL *a,
                                                                   const REAL *b, REAL *c, size_t width, bool add) {
    K(Vector) sum[BLOCK][VECTORS];
    REAL edge[WIDTH];
    for (int r = 0; r < R; r++) {
        const REAL *from = c + (size_t)r * p->ldc;
        if (add && width < C * LANES) {
            memset(edge, 0, sizeof edge);
            from = memcpy(edge, from, width * sizeof(REAL));
        }
        for (int j = 0; j < C; j++) sum[r][j] = add ? (K(Vector)) * (const K(Loose) *)(from + j * LANES) : (K(Vector)){0};
    }
    for (size_t i = 0; i < k; i++, b += p->stride) {
        K(Vector) row[VECTORS];
        for (int j = 0; j < C; j++) row[j] = *(const K(Loose) *)(b + j * LANES);
        for (int r = 0; r < R; r++)
            for (int j = 0; j < C; j++) sum[r][j] += row[j] * a[(size_t)r * p->lda + i];
    }
    for (int r = 0; r < R; r++) {
        REAL *to = c + (size_t)r * p->ldc;
        bool whole = width >= C * LANES;
        for (int j = 0; j < C; j++) *(K(Loose) *)((whole ? to : edge) + j * LANES) = sum[r][j];
        if (!whole) memcpy(to, edge, width * sizeof(REAL));
    }
}

/* All rows of one panel, C vectors wide. */
static inline __attribute__((always_inline)) void K(product_rows)(const int C, const PanelProduct *p, size_t k, const REAL *a, const REAL *b,
                                                                  REAL *c, size_t width, bool add) {
    size_t r = 0;
    for (; p->m - r >= BLOCK; r += BLOCK) K(product_block)(BLOCK, C, p, k, a + r * p->lda, b, c + r * p->ldc, width, add);
    for (; BLOCK > 4 && p->m - r >= 4; r += 4) K(product_block)(BLOCK > 4 ? 4 : 1, C, p, k, a + r * p->lda, b, c + r * p->ldc, width, add);
    for (; r < p->m; r++) K(product_block)(1, C, p, k, a + r * p->lda, b, c + r * p->ldc, width, add);
}

static void K(product)(const PanelProduct *p, const REAL *a, const REAL *b, REAL *c) {
    for (size_t i = 0; i < p->k || i == 0; i += PRODUCT_DEPTH) {
        size_t k = p->k - i < PRODUCT_DEPTH ? p->k - i : PRODUCT_DEPTH;
        for (size_t j = 0; j < p->n; j += WIDTH) {
            size_t width = p->n - j < WIDTH ? p->n - j : WIDTH;
            const REAL *panel = b + j * p->k + i * p->stride;
            if (width > WIDTH / 2) K(product_rows)(VECTORS, p, k, a + i, panel, c + j, width, i > 0);
            else if (width > LANES && VECTORS > 4) K(product_rows)(VECTORS / 2, p, k, a + i, panel, c + j, width, i > 0);
            else if (width > LANES && VECTORS > 2) K(product_rows)(2, p, k, a + i, panel, c + j, width, i > 0);
            else K(product_rows)(1, p, k, a + i, panel, c + j, width, i > 0);
        }
    }
}

/* a [rows,G,M,K] · b [G] packed -> [rows,G,M,N]; rows join M where G does not stand between. */
void K(kernel_product)(Exec *x, const Step *s) {
    const ContractDetail *d = s->contract;
    const REAL *a = x->at[s->in[0]], *b = x->at[s->in[1]];
    REAL *c = x->at[s->out];
    size_t rows = s->out_batched ? x->rows : 1, nb = kernel_packed(d, WIDTH);
    PanelProduct p = {.m = d->M, .n = d->N, .k = d->K, .lda = d->K, .ldc = d->N, .stride = d->N < WIDTH ? d->N : WIDTH};
    bool join = d->G == 1 || d->M == 1;
    if (join) {
        p.m = rows * d->M;
        p.lda = d->G * d->K;
        p.ldc = d->G * d->N;
    }
    size_t na = join ? d->K : d->M * d->K, nc = join ? d->N : d->M * d->N;
    for (size_t r = 0; r < (join ? 1 : rows); r++)
        for (size_t g = 0; g < d->G; g++) K(product)(&p, a + (r * d->G + g) * na, b + g * nb, c + (r * d->G + g) * nc);
}

/* b [width,K] -> y [K,stride], LANES of the columns at a time. */
static void K(pack_turned)(size_t depth, const REAL *b, size_t width, REAL *y, size_t stride) {
    for (size_t w = 0; w < width; w += LANES, b += LANES * depth) {
        const size_t n = width - w < LANES ? width - w : LANES;
        size_t k = 0;
        for (; depth - k >= LANES; k += LANES) {
            K(Vector) a[LANES];
            for (size_t i = 0; i < LANES; i++) a[i] = i < n ? (K(Vector)) * (const K(Loose) *)(b + i * depth + k) : (K(Vector)){0};
            K(transpose)(a);
            for (size_t i = 0; i < LANES; i++) K(vector_store)(y + (k + i) * stride + w, stride - w, a[i]);
        }
        for (; k < depth; k++)
            for (size_t i = 0; i < n; i++) y[k * stride + w + i] = b[i * depth + k];
    }
}

/* Columns j .. j+width of b [K,N], or [N,K] with tb, to y [K,stride]. */
static void K(pack_panel)(const ContractDetail *d, const REAL *b, size_t j, size_t width, REAL *y, size_t stride) {
    if (width < stride) memset(y, 0, d->K * stride * sizeof *y);
    if (d->tb) K(pack_turned)(d->K, b + j * d->K, width, y, stride);
    else
        for (size_t k = 0; k < d->K; k++) memcpy(y + k * stride, b + k * d->N + j, width * sizeof *y);
}

/* b [G,K,N], or [G,N,K] with tb, into panels [G, panels, K, WIDTH], the last one zero-padded. A lone panel is as wide as it has columns,
 * with zeros behind it: loads run over its rows' ends. */
void K(kernel_pack)(Exec *x, const Step *s) {
    const ContractDetail *d = s->contract;
    const REAL *b = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    size_t stride = d->N < WIDTH ? d->N : WIDTH, panels = (d->N + WIDTH - 1) / WIDTH, nb = kernel_packed(d, WIDTH);
    for (size_t g = 0; g < d->G; g++, b += d->K * d->N, y += nb) {
        for (size_t j = 0; j < panels; j++) {
            size_t left = d->N - j * WIDTH;
            K(pack_panel)(d, b, j * WIDTH, left < WIDTH ? left : WIDTH, y + j * WIDTH * d->K, stride);
        }
        memset(y + panels * stride * d->K, 0, (nb - panels * stride * d->K) * sizeof *y);
    }
}
#undef WIDTH
#undef VECTORS
#undef BLOCK
#include "worker/kernels/vector_end.h"
