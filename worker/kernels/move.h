/* Template of move.c. */

void K(kernel_fill)(Exec *x, const Step *s) {
    REAL *y = x->at[s->out];
    memset(y, 0, s->size * sizeof *y);
    for (size_t i = 0; i < s->fill.count; i++) y[s->fill.first + i * s->fill.stride] = 1;
}

void K(kernel_slide)(Exec *x, const Step *s) {
    const SlideDetail *d = &s->slide;
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    size_t outer = d->outer * (s->out_batched ? x->rows : 1), in = d->nin * d->inner, out = d->nout * d->inner;
    size_t src = d->src * d->inner, dst = d->dst * d->inner, count = d->count * d->inner;
    for (size_t o = 0; o < outer; o++, a += in, y += out) {
        memset(y, 0, dst * sizeof *y);
        memcpy(y + dst, a + src, count * sizeof *y);
        memset(y + dst + count, 0, (out - dst - count) * sizeof *y);
        for (size_t i = 0; d->keep && i < d->inner; i++) y[out - d->inner + i] += a[in - d->inner + i];
    }
}

/* One row; the innermost axis is the plain loop, the others an odometer. */
static void K(permute_row)(const PermuteDetail *d, const REAL *a, REAL *y, size_t size) {
    size_t at[LIMIT_GRAPH_RANK] = {0}, last = d->rank - 1, n = d->dims[last], stride = d->strides[last];
    for (const REAL *end = y + size;;) {
        if (stride == 1) memcpy(y, a, n * sizeof *y);
        else
            for (size_t i = 0; i < n; i++) y[i] = a[i * stride];
        y += n;
        if (y == end) return;
        size_t axis = last;
        while (axis-- > 0) {
            a += d->strides[axis];
            if (++at[axis] < d->dims[axis]) break;
            a -= d->dims[axis] * d->strides[axis];
            at[axis] = 0;
        }
    }
}

void K(kernel_permute)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *y = x->at[s->out];
    size_t rows = s->out_batched ? x->rows : 1;
    for (size_t r = 0; r < rows; r++) K(permute_row)(s->permute, a + r * s->size, y + r * s->size, s->size);
}

/* `to` rows of n elements, from as many or from one. */
static void K(copy_rows)(REAL *y, const REAL *a, size_t n, size_t to, bool one) {
    if (!one) memcpy(y, a, to * n * sizeof *y);
    for (size_t r = 0; one && r < to; r++) memcpy(y + r * n, a, n * sizeof *y);
}

void K(kernel_copy)(Exec *x, const Step *s) {
    K(copy_rows)(x->at[s->out], x->at[s->in[0]], s->size, s->out_batched ? x->rows : 1, !s->in_batched[0]);
}

/* A tile's rows to their place among all rows, behind those of other values. */
void K(kernel_gather)(Exec *x, const Step *s) {
    memcpy((REAL *)x->at[s->out] + (s->rows_before + x->row0) * s->size, x->at[s->in[0]], x->rows * s->size * sizeof(REAL));
}

void K(kernel_store)(Exec *x, const Step *s) {
    const ExecOutput *out = &x->outputs[s->port];
    REAL *y = out->data;
    if (!y || y == x->at[s->in[0]]) return;
    if (s->in_batched[0]) K(copy_rows)(y + x->row0 * s->size, x->at[s->in[0]], s->size, x->rows, false);
    else K(copy_rows)(y, x->at[s->in[0]], s->size, out->batched ? x->all_rows : 1, true);
}

/* Rows of `cols` elements of another type, at any address, zero-padded to n. */
typedef float K(loose_float) __attribute__((aligned(1), may_alias));
typedef double K(loose_double) __attribute__((aligned(1), may_alias));
#define LOAD_ROWS(T)                                                                                                             \
    for (size_t r = 0; r < rows; r++, y += n) {                                                                                  \
        const T *a = (const T *)in->data + (row0 + r) * in->cols;                                                                \
        for (size_t i = 0; i < in->cols; i++) y[i] = (REAL)a[i];                                                                 \
        memset(y + in->cols, 0, (n - in->cols) * sizeof *y);                                                                     \
    }

static void K(load_discrete)(REAL *y, const ExecInput *in, size_t n, size_t row0, size_t rows) {
    memset(y, 0, rows * n * sizeof *y);
    for (size_t r = 0; r < rows; r++) {
        size_t v = in->dtype == DT_I64 ? (size_t)((const int64_t *)in->data)[row0 + r] : ((const uint8_t *)in->data)[row0 + r];
        y[r * n + (in->discrete == 2 ? 1 - v : v)] = 1;
    }
}

/* A tensor that is already as wanted is read where it lies; others are converted, tile by tile. */
void K(kernel_load)(Exec *x, const Step *s) {
    const ExecInput *in = &x->inputs[s->port];
    size_t n = s->size, rows = s->out_batched ? x->rows : 1, row0 = s->out_batched ? x->row0 : 0;
    DType own = sizeof(REAL) == sizeof(float) ? DT_F32 : DT_F64;
    REAL *y = x->at[s->out];
    if (in->discrete) K(load_discrete)(y, in, n, row0, rows);
    else if (in->dtype == own && in->cols == n && (uintptr_t)in->data % sizeof(REAL) == 0)
        x->at[s->out] = (REAL *)in->data + row0 * n;
    else if (in->dtype == DT_F32) LOAD_ROWS(K(loose_float))
    else LOAD_ROWS(K(loose_double))
}
#undef LOAD_ROWS
