/* Template of tape.c. A register is a column of `lanes` rows; lanes beyond the last row load zeros and are not stored. */

typedef REAL K(Column) __attribute__((vector_size(VECTOR_BYTES), may_alias));
/* Tensors from outside may lie at any address. */
typedef float K(tape_float) __attribute__((aligned(1), may_alias));
typedef double K(tape_double) __attribute__((aligned(1), may_alias));
typedef uint64_t K(tape_word) __attribute__((aligned(1), may_alias));
typedef REAL K(tape_real) __attribute__((aligned(1), may_alias));

void K(kernel_tape_scalars)(Exec *x, const Step *s) {
    REAL *y = x->at[s->out];
    for (uint32_t i = 0; i < s->tape->nscalars; i++) {
        const TapeScalar *t = &s->tape->scalars[i];
        switch (t->op) {
        case SCALAR_CONST:
            y[i] = (REAL)t->number;
            break;
        case SCALAR_VALUE:
            y[i] = ((const REAL *)x->at[t->a])[t->b];
            break;
        case SCALAR_ADD:
            y[i] = y[t->a] + y[t->b];
            break;
        case SCALAR_MUL:
            y[i] = y[t->a] * y[t->b];
            break;
        case SCALAR_FMA:
            y[i] = y[t->a] * y[t->b] + y[t->c];
            break;
        }
    }
}

/* Four rows become four columns, or the other way round. */
typedef REAL K(Four) __attribute__((vector_size(4 * sizeof(REAL)), may_alias));
typedef REAL K(LooseFour) __attribute__((vector_size(4 * sizeof(REAL)), aligned(1), may_alias));
static inline __attribute__((always_inline)) void K(tape_transpose)(K(Four) v[4]) {
    K(Four) a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    K(Four) c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* Rows that are wanted whole become columns by shuffles, four elements at a time (the last four again when that is not even); of others
 * every element is a column of its own. */
#define TAPE_LOAD(T)                                                                                                            \
    typedef T K(tape_four_##T) __attribute__((vector_size(4 * sizeof(T)), aligned(1), may_alias));                              \
    static void K(tape_load_four_##T)(REAL *regs, const uint32_t *reg, uint32_t lanes, const K(tape_##T) *from, size_t cols,    \
                                      size_t rows) {                                                                            \
        for (size_t r = 0; r < rows; r += 4) {                                                                                  \
            K(Four) v[4];                                                                                                       \
            for (int i = 0; i < 4; i++)                                                                                         \
                v[i] = __builtin_convertvector(*(const K(tape_four_##T) *)(from + (r + (size_t)i) * cols), K(Four));            \
            K(tape_transpose)(v);                                                                                               \
            for (int i = 0; i < 4; i++) *(K(Four) *)(regs + (size_t)reg[i] * lanes + r) = v[i];                                 \
        }                                                                                                                       \
    }                                                                                                                           \
    static void K(tape_load_##T)(REAL *regs, const TapePort *p, uint32_t lanes, const void *tensor, size_t row0, size_t cols,   \
                                 size_t rows) {                                                                                 \
        const K(tape_##T) *from = (const K(tape_##T) *)tensor + row0 * cols;                                                    \
        REAL *restrict a = regs + (size_t)p->reg[0] * lanes, *restrict b = regs + (size_t)p->reg[p->n > 1] * lanes;             \
        bool whole = p->n == cols;                                                                                              \
        size_t first = 0;                                                                                                       \
        if (whole && cols == 2) {                                                                                               \
            for (size_t r = 0; r < rows; r++) a[r] = (REAL)from[2 * r], b[r] = (REAL)from[2 * r + 1];                           \
            return;                                                                                                             \
        }                                                                                                                       \
        if (whole && cols >= 4) first = rows / 4 * 4;                                                                           \
        for (size_t e = 0; first && e < cols; e += 4) {                                                                         \
            size_t at = e + 4 <= cols ? e : cols - 4;                                                                           \
            K(tape_load_four_##T)(regs, p->reg + at, lanes, from + at, cols, first);                                            \
        }                                                                                                                       \
        for (uint32_t i = 0; first < rows && i < p->n; i++) {                                                                   \
            REAL *restrict to = regs + (size_t)p->reg[i] * lanes;                                                               \
            size_t e = p->element[i];                                                                                           \
            for (size_t r = first; r < rows; r++) to[r] = e < cols ? (REAL)from[r * cols + e] : 0;                              \
        }                                                                                                                       \
    }
TAPE_LOAD(float)
TAPE_LOAD(double)
#undef TAPE_LOAD

/* Basis vectors: 1 where the row's value is the element. */
static void K(tape_load_discrete)(REAL *regs, const TapePort *p, uint32_t lanes, const ExecInput *in, size_t row0, size_t rows) {
    for (uint32_t i = 0; i < p->n; i++) {
        REAL *restrict to = regs + (size_t)p->reg[i] * lanes;
        uint64_t e = in->discrete == 2 ? 1 - (uint64_t)p->element[i] : p->element[i];
        if (in->dtype == DT_I64)
            for (size_t r = 0; r < rows; r++) to[r] = ((const K(tape_word) *)in->data)[row0 + r] == e;
        else
            for (size_t r = 0; r < rows; r++) to[r] = ((const uint8_t *)in->data)[row0 + r] == e;
    }
}

static void K(tape_load)(const Exec *x, REAL *regs, const TapePort *p, uint32_t lanes, size_t row0, size_t rows) {
    const ExecInput *in = &x->inputs[p->at];
    for (uint32_t i = 0; rows < lanes && i < p->n; i++)
        memset(regs + (size_t)p->reg[i] * lanes + rows, 0, (lanes - rows) * sizeof *regs);
    if (in->discrete) K(tape_load_discrete)(regs, p, lanes, in, row0, rows);
    else if (in->dtype == DT_F32) K(tape_load_float)(regs, p, lanes, in->data, row0, in->cols, rows);
    else K(tape_load_double)(regs, p, lanes, in->data, row0, in->cols, rows);
}

/* An instruction on all lanes, four vectors at a time: lanes are at least 64 (tape_code.c). */
#define TAPE_EACH(expression)                        \
    for (size_t i = 0; i < vectors; i += 4) {        \
        _Pragma("GCC unroll 4")                      \
        for (size_t l = i; l < i + 4; l++) y[l] = expression; \
    }

static void K(tape_code)(const TapeDetail *d, REAL *regs, const REAL *scalars) {
    size_t vectors = d->lanes / (VECTOR_BYTES / sizeof(REAL));
    for (const TapeInstr *t = d->code, *end = t + d->ncode; t < end; t++) {
        K(Column) *y = (K(Column) *)regs + t->d * vectors;
        const K(Column) *a = (const K(Column) *)regs + t->a * vectors, *b = (const K(Column) *)regs + t->b * vectors;
        const K(Column) *c = (const K(Column) *)regs + t->c * vectors;
        switch (t->op) {
        case TAPE_SET:
            TAPE_EACH((K(Column)){0} + scalars[t->a])
            break;
        case TAPE_ADD_RR:
            TAPE_EACH(a[l] + b[l])
            break;
        case TAPE_ADD_SR:
            TAPE_EACH(scalars[t->a] + b[l])
            break;
        case TAPE_MUL_RR:
            TAPE_EACH(a[l] * b[l])
            break;
        case TAPE_MUL_SR:
            TAPE_EACH(scalars[t->a] * b[l])
            break;
        case TAPE_FMA_RRR:
            TAPE_EACH(a[l] * b[l] + c[l])
            break;
        case TAPE_FMA_RRS:
            TAPE_EACH(a[l] * b[l] + scalars[t->c])
            break;
        case TAPE_FMA_SRR:
            TAPE_EACH(scalars[t->a] * b[l] + c[l])
            break;
        case TAPE_FMA_SRS:
            TAPE_EACH(scalars[t->a] * b[l] + scalars[t->c])
            break;
        case TAPE_FMA_SSR:
            TAPE_EACH(((K(Column)){0} + scalars[t->a]) * scalars[t->b] + c[l])
            break;
        }
    }
}
#undef TAPE_EACH

static void K(tape_store_four)(K(tape_real) *to, const REAL *regs, const uint32_t *reg, uint32_t lanes, size_t cols, size_t rows) {
    for (size_t r = 0; r < rows; r += 4) {
        K(Four) v[4];
        for (int i = 0; i < 4; i++) v[i] = *(const K(Four) *)(regs + (size_t)reg[i] * lanes + r);
        K(tape_transpose)(v);
        for (int i = 0; i < 4; i++) *(K(LooseFour) *)(to + (r + (size_t)i) * cols) = v[i];
    }
}

/* The reverse of tape_load. */
static void K(tape_store)(K(tape_real) *to, const REAL *regs, const TapePort *p, uint32_t lanes, size_t rows) {
    const REAL *restrict a = regs + (size_t)p->reg[0] * lanes, *restrict b = regs + (size_t)p->reg[p->n > 1] * lanes;
    K(tape_real) *restrict y = to;
    size_t first = p->n >= 4 ? rows / 4 * 4 : 0;
    if (p->n == 2) {
        for (size_t r = 0; r < rows; r++) y[2 * r] = a[r], y[2 * r + 1] = b[r];
        return;
    }
    for (uint32_t e = 0; first && e < p->n; e += 4) {
        uint32_t at = e + 4 <= p->n ? e : p->n - 4;
        K(tape_store_four)(to + at, regs, p->reg + at, lanes, p->n, first);
    }
    for (uint32_t i = 0; first < rows && i < p->n; i++) {
        const REAL *restrict from = regs + (size_t)p->reg[i] * lanes;
        for (size_t r = first; r < rows; r++) y[r * p->n + i] = from[r];
    }
}

/* Rows added in order, block by block. */
static void K(tape_sum)(REAL *y, const REAL *regs, const TapePort *p, uint32_t lanes, size_t rows) {
    for (uint32_t i = 0; i < p->n; i++) {
        const REAL *from = regs + (size_t)p->reg[i] * lanes;
        REAL part[16] = {0}, sum = 0;
        for (size_t r = 0; r + 16 <= rows; r += 16)
            for (int l = 0; l < 16; l++) part[l] += from[r + l];
        for (size_t r = rows / 16 * 16; r < rows; r++) part[r % 16] += from[r];
        for (int l = 0; l < 16; l++) sum += part[l];
        y[i] += sum;
    }
}

void K(kernel_tape)(Exec *x, const Step *s) {
    const TapeDetail *d = s->tape;
    REAL *regs = x->at[d->regs_at];
    for (uint32_t i = 0; i < d->nstores && !x->again; i++)
        if (d->stores[i].sum) memset(x->at[d->stores[i].at], 0, d->stores[i].n * sizeof *regs);
    for (size_t row = 0; row < x->rows; row += d->lanes) {
        size_t rows = x->rows - row < d->lanes ? x->rows - row : d->lanes, row0 = x->row0 + row;
        for (uint32_t i = 0; i < d->nloads; i++) K(tape_load)(x, regs, &d->loads[i], d->lanes, row0, rows);
        K(tape_code)(d, regs, x->at[s->in[0]]);
        for (uint32_t i = 0; i < d->nstores; i++) {
            const TapePort *p = &d->stores[i];
            if (p->sum) K(tape_sum)(x->at[p->at], regs, p, d->lanes, rows);
            else if (x->outputs[p->at].data) K(tape_store)((K(tape_real) *)x->outputs[p->at].data + row0 * p->n, regs, p, d->lanes, rows);
        }
    }
}
