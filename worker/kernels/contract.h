/* Template of contract.c. */

static void K(gemm_blas)(const Gemm *p, const REAL *a, const REAL *b, REAL *c) {
    BLAS(gemm)
    (CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, 1, a,
     (int)p->lda, b, (int)p->ldb, p->add, c, (int)p->ldc);
}

/* b's rows are long: c's row is a sum of them. */
static void K(gemm_rows)(const Gemm *p, const REAL *a, const REAL *b, REAL *c) {
    size_t am = p->ta ? 1 : p->lda, ak = p->ta ? p->lda : 1;
    for (size_t i = 0; i < p->m; i++) {
        REAL *restrict y = c + i * p->ldc;
        if (!p->add) memset(y, 0, p->n * sizeof *y);
        for (size_t k = 0; k < p->k; k++) {
            REAL f = a[i * am + k * ak];
            const REAL *row = b + k * p->ldb;
            for (size_t j = 0; j < p->n; j++) y[j] += f * row[j];
        }
    }
}

/* b is stored transposed: every element of c is a product of two rows. */
static void K(gemm_dots)(const Gemm *p, const REAL *a, const REAL *b, REAL *c) {
    size_t am = p->ta ? 1 : p->lda, ak = p->ta ? p->lda : 1;
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            REAL sum = p->add ? c[i * p->ldc + j] : 0;
            for (size_t k = 0; k < p->k; k++) sum += a[i * am + k * ak] * b[j * p->ldb + k];
            c[i * p->ldc + j] = sum;
        }
}

static void K(gemm)(const Gemm *p, const REAL *a, const REAL *b, REAL *c) {
    if (blas_deserved(p)) K(gemm_blas)(p, a, b, c);
    else if (p->tb) K(gemm_dots)(p, a, b, c);
    else K(gemm_rows)(p, a, b, c);
}

static void K(multiply)(size_t n, const REAL *a, const REAL *b, REAL *restrict c) {
    for (size_t i = 0; i < n; i++) c[i] = a[i] * b[i];
}

void K(kernel_contract)(Exec *x, const Step *s) {
    const ContractDetail *d = s->contract;
    const REAL *a = x->at[s->in[0]], *b = x->at[s->in[1]];
    REAL *c = x->at[s->out];
    size_t rows = s->out_batched ? x->rows : 1, na = d->M * d->K, nb = d->K * d->N, nc = d->M * d->N;
    bool b_shared = s->out_batched && !s->in_batched[1];
    Gemm p = {.ta = d->ta,
              .tb = d->tb,
              .m = d->M,
              .n = d->N,
              .k = d->K,
              .lda = d->ta ? d->M : d->K,
              .ldb = d->tb ? d->K : d->N,
              .ldc = d->N};
    for (size_t r = 0; r < rows; r++, a += d->G * na, c += d->G * nc) {
        if (na == 1 && nb == 1) K(multiply)(d->G, a, b, c);
        else
            for (size_t g = 0; g < d->G; g++) K(gemm)(&p, a + g * na, b + g * nb, c + g * nc);
        if (!b_shared) b += d->G * nb;
    }
}

/* a [rows,M,K] · b shared -> [rows,M,N], all rows in one product */
void K(kernel_contract_rows)(Exec *x, const Step *s) {
    const ContractDetail *d = s->contract;
    Gemm p = {.tb = d->tb, .m = x->rows * d->M, .n = d->N, .k = d->K, .lda = d->K, .ldb = d->tb ? d->K : d->N, .ldc = d->N};
    K(gemm)(&p, x->at[s->in[0]], x->at[s->in[1]], x->at[s->out]);
}

/* a [rows,G,K,M], b [rows,G,K,N], both batched -> [G,M,N] summed over rows and K. */
void K(kernel_contract_sum)(Exec *x, const Step *s) {
    const ContractDetail *d = s->contract;
    const REAL *a = x->at[s->in[0]], *b = x->at[s->in[1]];
    REAL *c = x->at[s->out];
    size_t na = d->K * d->M, nb = d->K * d->N, nc = d->M * d->N;
    bool join = d->G == 1 || d->K == 1; /* rows and K are then one axis with one stride */
    Gemm p = {.ta = true, .m = d->M, .n = d->N, .k = d->K, .lda = d->M, .ldb = d->N, .ldc = d->N, .add = x->again || s->more};
    if (join) {
        p.k = x->rows * d->K;
        p.lda = d->G * d->M;
        p.ldb = d->G * d->N;
    }
    for (size_t r = 0; r < (join ? 1 : x->rows); r++, p.add = true)
        for (size_t g = 0; g < d->G; g++) K(gemm)(&p, a + (r * d->G + g) * na, b + (r * d->G + g) * nb, c + g * nc);
}
