/* Template of combine.c. A shared operand's row stride is 0. */

void K(kernel_add)(Exec *x, const Step *s) {
    size_t n = s->size, rows = s->out_batched ? x->rows : 1;
    size_t na = s->in_batched[0] ? n : 0, nb = s->in_batched[1] ? n : 0;
    if (na == nb) { /* both or neither: one long row */
        n *= rows;
        rows = 1;
    }
    for (size_t r = 0; r < rows; r++) {
        const REAL *a = (const REAL *)x->at[s->in[0]] + r * na, *b = (const REAL *)x->at[s->in[1]] + r * nb;
        REAL *restrict y = (REAL *)x->at[s->out] + r * n;
        for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
    }
}

/* c [conditions,2], a and b [size] -> c₀·a + c₁·b [conditions,size] */
void K(kernel_if)(Exec *x, const Step *s) {
    size_t n = s->size, outer = s->conditions, rows = s->out_batched ? x->rows : 1;
    size_t nc = s->in_batched[0] ? 2 * outer : 0, na = s->in_batched[1] ? n : 0, nb = s->in_batched[2] ? n : 0;
    REAL *restrict y = x->at[s->out];
    for (size_t r = 0; r < rows; r++) {
        const REAL *c = (const REAL *)x->at[s->in[0]] + r * nc;
        const REAL *a = (const REAL *)x->at[s->in[1]] + r * na, *b = (const REAL *)x->at[s->in[2]] + r * nb;
        for (size_t o = 0; o < outer; o++, c += 2, y += n)
            for (size_t i = 0; i < n; i++) y[i] = c[0] * a[i] + c[1] * b[i];
    }
}

void K(kernel_batch_sum)(Exec *x, const Step *s) {
    size_t n = s->size, na = s->in_batched[0] ? n : 0;
    const REAL *a = x->at[s->in[0]];
    REAL *restrict y = x->at[s->out];
    if (!x->again && !s->more) memset(y, 0, n * sizeof *y);
    for (size_t r = 0; r < x->rows; r++, a += na)
        for (size_t i = 0; i < n; i++) y[i] += a[i];
}

/* Onto what an iteration bound, and cleared: its captures' cotangents. */
void K(kernel_accumulate)(Exec *x, const Step *s) {
    size_t n = s->size, na = s->in_batched[0] ? n : 0, rows = s->out_batched ? x->rows : 1;
    const REAL *a = x->at[s->in[0]];
    REAL *restrict y = x->at[s->out];
    for (size_t r = 0; r < rows; r++, a += na, y += n)
        for (size_t i = 0; i < n; i++) y[i] += a[i];
}
