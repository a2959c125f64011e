#include "worker/protocol/careful.h"
#include "compiler/passes/naive.h"
#include "schema/graph/ops.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const Graph *g;
    bool f64;
    const ExecInput *inputs;
    const ExecOutput *outputs;
    size_t rows;
    NaiveInput *row;    /* by slot: one row of it */
    double **vectors;   /* by slot: room for that */
    NaiveOutput *made;  /* by output */
    double **sums;      /* by output: of those that sum up rows and are not finite, the sum so far; NULL: of others */
    bool *summing;      /* by node: a sum over rows, or made of one */
} Careful;

/* Infinities and NaN are the numbers whose exponent is all ones: adding a one to its last bit carries into the sign's place. By four vectors at a time, of
 * a length that every CPU has, as every result comes by here. */
#define FINITE(bits, T, one)                                                                        \
    static bool finite_##bits(const char *data, size_t n) {                                         \
        typedef T Words __attribute__((vector_size(16), aligned(1), may_alias));                    \
        enum { LANES = sizeof(Words) / sizeof(T) };                                                 \
        const T low = ~((T)1 << (bits - 1));                                                        \
        Words all[4] = {{0}};                                                                       \
        T any = 0;                                                                                  \
        size_t i = 0;                                                                               \
        for (; n - i >= 4 * LANES; i += 4 * LANES) {                                                \
            const Words *at = (const Words *)(data + i * sizeof(T));                                \
            all[0] |= (at[0] & low) + (one);                                                        \
            all[1] |= (at[1] & low) + (one);                                                        \
            all[2] |= (at[2] & low) + (one);                                                        \
            all[3] |= (at[3] & low) + (one);                                                        \
        }                                                                                           \
        for (size_t k = 0; k < 4 * LANES; k++) any |= all[k / LANES][k % LANES];                    \
        for (T word; i < n; i++) {                                                                  \
            memcpy(&word, data + i * sizeof(T), sizeof word);                                       \
            any |= (word & low) + (one);                                                            \
        }                                                                                           \
        return !(any >> (bits - 1));                                                                \
    }
FINITE(32, uint32_t, UINT32_C(1) << 23)
FINITE(64, uint64_t, UINT64_C(1) << 52)
#undef FINITE

static bool finite_all(const void *data, bool f64, size_t n) { return f64 ? finite_64(data, n) : finite_32(data, n); }

static size_t size_of(const Careful *c, uint32_t output) { return c->g->nodes[c->g->outputs[output].node].size; }

static const void *row_of(const Careful *c, uint32_t output, size_t row) {
    const size_t bytes = size_of(c, output) * (c->f64 ? sizeof(double) : sizeof(float));
    return (const char *)c->outputs[output].data + (c->outputs[output].batched ? row * bytes : 0);
}

static bool row_is_finite(const Careful *c, uint32_t output, size_t row) { return finite_all(row_of(c, output, row), c->f64, size_of(c, output)); }

static bool all_finite(const Careful *c) {
    bool all = true;
    for (uint32_t o = 0; o < c->g->noutputs; o++)
        if (c->outputs[o].data) all = all && finite_all(c->outputs[o].data, c->f64, size_of(c, o) * (c->outputs[o].batched ? c->rows : 1));
    return all;
}

/* A slot's row as doubles; discrete ones as basis vectors, of which true is the first. */
static void read_row(const ExecInput *in, size_t row, double *to, size_t size) {
    const size_t at = in->batched ? row : 0;
    memset(to, 0, size * sizeof *to);
    if (in->discrete) {
        const int64_t v = in->dtype == DT_I64 ? ((const int64_t *)in->data)[at] : ((const uint8_t *)in->data)[at];
        to[in->discrete == 2 ? 1 - v : v] = 1;
        return;
    }
    for (size_t i = 0; i < in->cols; i++)
        to[i] = in->dtype == DT_F64 ? ((const double *)in->data)[at * in->cols + i] : (double)((const float *)in->data)[at * in->cols + i];
}

static void write_row(const Careful *c, uint32_t output, size_t row, const double *from) {
    void *to = (void *)(uintptr_t)row_of(c, output, row);
    for (size_t i = 0; i < size_of(c, output); i++) {
        if (c->f64) ((double *)to)[i] = from[i];
        else ((float *)to)[i] = (float)from[i];
    }
}

/* What is the sum of the rows' contributions, when each row is evaluated by itself: batch_sums of what is batched, and what is made of them, which is
 * linear in them (optimise.h, derive.h). */
static void find_sums(Careful *c) {
    for (uint32_t i = 0; i < c->g->nnodes; i++) {
        const GNode *n = &c->g->nodes[i];
        c->summing[i] = n->op == OP_batch_sum;
        for (uint32_t k = 0; k < n->nin; k++) c->summing[i] = c->summing[i] || c->summing[node_ins(c->g, n)[k]];
    }
}

static bool prepare(Careful *c) {
    const size_t slots = c->g->nslots, outputs = c->g->noutputs;
    c->row = calloc(slots + 1, sizeof *c->row);
    c->vectors = calloc(slots + 1, sizeof *c->vectors);
    c->made = calloc(outputs + 1, sizeof *c->made);
    c->sums = calloc(outputs + 1, sizeof *c->sums);
    c->summing = calloc(c->g->nnodes + (size_t)1, sizeof *c->summing);
    if (!c->row || !c->vectors || !c->made || !c->sums || !c->summing) return false;
    find_sums(c);
    for (size_t s = 0; s < slots; s++) {
        if (!(c->vectors[s] = calloc(c->g->slots[s].size + 1, sizeof(double)))) return false;
        c->row[s] = (NaiveInput){.data = c->vectors[s], .batched = c->inputs[s].batched};
        if (c->inputs[s].data) read_row(&c->inputs[s], 0, c->vectors[s], c->g->slots[s].size);
    }
    for (uint32_t o = 0; o < outputs; o++) {
        const ExecOutput *out = &c->outputs[o];
        if (!out->data || out->batched || !c->summing[c->g->outputs[o].node] || row_is_finite(c, o, 0)) continue;
        if (!(c->sums[o] = calloc(size_of(c, o) + 1, sizeof(double)))) return false;
    }
    return true;
}

static bool row_wanted(const Careful *c, size_t row) {
    bool wanted = false;
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        if (!c->outputs[o].data) continue;
        const bool mine = c->outputs[o].batched || row == 0; /* one that is the same for all rows comes with the first */
        wanted = wanted || c->sums[o] || (mine && !row_is_finite(c, o, row));
    }
    return wanted;
}

static bool mend_row(Careful *c, size_t row) {
    for (uint32_t s = 0; s < c->g->nslots; s++)
        if (c->inputs[s].data && c->inputs[s].batched) read_row(&c->inputs[s], row, c->vectors[s], c->g->slots[s].size);
    if (!naive_eval_careful(c->g, c->f64, 1, c->row, c->made)) return false;
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        if (!c->outputs[o].data) continue;
        for (size_t i = 0; c->sums[o] && i < size_of(c, o); i++) c->sums[o][i] += c->made[o].data[i];
        if (!c->sums[o] && (c->outputs[o].batched || row == 0) && !row_is_finite(c, o, row)) write_row(c, o, row, c->made[o].data);
    }
    naive_release(c->made, c->g->noutputs);
    return true;
}

static void release(Careful *c) {
    for (uint32_t s = 0; c->vectors && s < c->g->nslots; s++) free(c->vectors[s]);
    for (uint32_t o = 0; c->sums && o < c->g->noutputs; o++) free(c->sums[o]);
    free(c->row);
    free(c->vectors);
    free(c->made);
    free(c->sums);
    free(c->summing);
}

bool careful_mend(const Graph *g, bool f64, const ExecInput *inputs, const ExecOutput *outputs, size_t rows, Err *err) {
    Careful c = {.g = g, .f64 = f64, .inputs = inputs, .outputs = outputs, .rows = rows};
    if (all_finite(&c)) return true;
    bool ok = prepare(&c);
    for (size_t row = 0; ok && row < rows; row++)
        if (row_wanted(&c, row)) ok = mend_row(&c, row);
    for (uint32_t o = 0; ok && o < g->noutputs; o++)
        if (c.sums[o]) write_row(&c, o, 0, c.sums[o]);
    release(&c);
    return ok || err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
}
