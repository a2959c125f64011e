/* Template of layers.c. */
#include "worker/kernels/vector.h"

/* x [outer,inner] -> [outer,extent,inner] */
void K(kernel_broadcast)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *restrict y = x->at[s->out];
    const AxisView v = s->along.axis;
    size_t outer = v.outer * (s->out_batched ? x->rows : 1), n = v.inner;
    for (size_t o = 0; o < outer; o++, a += n, y += v.extent * n) {
        if (n == 1)
            for (size_t j = 0; j < v.extent; j++) y[j] = *a;
        else
            for (size_t j = 0; j < v.extent; j++) memcpy(y + j * n, a, n * sizeof *y);
    }
}

/* x [outer,extent,inner] -> [outer,inner] */
void K(kernel_sum)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *restrict y = x->at[s->out];
    const AxisView v = s->along.axis;
    size_t outer = v.outer * (s->out_batched ? x->rows : 1), n = v.inner;
    for (size_t o = 0; o < outer; o++, a += v.extent * n, y += n) {
        if (n == 1) {
            *y = K(sum_all)(a, v.extent);
            continue;
        }
        memcpy(y, a, n * sizeof *y);
        for (size_t j = 1; j < v.extent; j++)
            for (size_t i = 0; i < n; i++) y[i] += a[j * n + i];
    }
}

/* The same, summed over rows. */
void K(kernel_sum_batch_sum)(Exec *x, const Step *s) {
    const REAL *a = x->at[s->in[0]];
    REAL *restrict y = x->at[s->out];
    const AxisView v = s->along.axis;
    size_t n = v.inner, size = v.outer * v.extent * n;
    if (!x->again && !s->more) memset(y, 0, v.outer * n * sizeof *y);
    for (size_t r = 0; r < x->rows; r++)
        for (size_t o = 0; o < v.outer; o++) {
            const REAL *from = a + (s->in_batched[0] ? r * size : 0) + o * v.extent * n;
            if (n == 1) y[o] += K(sum_all)(from, v.extent);
            for (size_t j = 0; n > 1 && j < v.extent; j++)
                for (size_t i = 0; i < n; i++) y[o * n + i] += from[j * n + i];
        }
}

/* y[i,j] = x[i−top, j−left], `value` where there is no such element. */
void K(kernel_pad)(Exec *x, const Step *s) {
    const WindowDetail *d = s->window;
    const REAL *a = x->at[s->in[0]], value = (REAL)d->value;
    REAL *y = x->at[s->out];
    size_t planes = d->planes * (s->out_batched ? x->rows : 1);
    Span rows = span_of(d->Ho, d->top, d->H), columns = span_of(d->Wo, d->left, d->W);
    size_t count = columns.to - columns.from, skip = count ? (size_t)((int64_t)columns.from - d->left) : 0;
    for (size_t p = 0; p < planes; p++, a += d->H * d->W)
        for (size_t i = 0; i < d->Ho; i++, y += d->Wo) {
            bool inside = i >= rows.from && i < rows.to && count;
            size_t from = inside ? columns.from : d->Wo, to = inside ? columns.to : d->Wo;
            for (size_t j = 0; j < from; j++) y[j] = value;
            if (inside) memcpy(y + from, a + (size_t)((int64_t)i - d->top) * d->W + skip, count * sizeof *y);
            for (size_t j = to; j < d->Wo; j++) y[j] = value;
        }
}
#include "worker/kernels/vector_end.h"
