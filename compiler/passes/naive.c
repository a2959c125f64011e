#include "compiler/passes/naive.h"
#include "compiler/passes/naive_row.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double *data;
    size_t size; /* of a row; a tuple's parts stand behind one another */
    bool batched;
} NaiveValue;

struct NaiveRun {
    const Graph *g;
    size_t rows;
    const NaiveInput *inputs;
    NaiveValue *values; /* by node */
    NaiveCare care;
};

static double *doubles(size_t n) { return calloc(n + 1, sizeof(double)); }

static bool all_finite(const double *x, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* y[o,to,i] += x[o,from,i] */
static void add_slice(AxisView ys, double *y, size_t to, AxisView xs, const double *x, size_t from) {
    for (size_t o = 0; o < ys.outer; o++)
        for (size_t i = 0; i < ys.inner; i++) y[at(ys, o, to, i)] += x[at(xs, o, from, i)];
}

/* The first input as it is. */
bool naive_first(const Row *r) {
    memcpy(r->y, r->x[0], r->n->size * sizeof *r->y);
    return true;
}

bool naive_input(const Row *r) {
    const NaiveInput *in = &r->run->inputs[attr(r, 0)];
    memcpy(r->y, in->data + (in->batched ? r->row * r->n->size : 0), r->n->size * sizeof *r->y);
    return true;
}

bool naive_const(const Row *r) {
    memcpy(r->y, r->g->consts + attr(r, 0), r->n->size * sizeof *r->y);
    return true;
}

bool naive_zero(const Row *r) {
    (void)r; /* y is zeroed */
    return true;
}

bool naive_onehot(const Row *r) {
    r->y[attr(r, 0)] = 1;
    return true;
}

bool naive_eye(const Row *r) {
    const size_t n = node_dims(r->g, r->n)[0];
    for (size_t i = 0; i < n; i++) r->y[i * n + i] = 1;
    return true;
}

bool naive_shift(const Row *r) {
    const AxisView xs = split(r->g, arg(r, 0), attr(r, 0)), ys = split(r->g, r->n, attr(r, 0));
    for (size_t j = 1; j < ys.extent; j++) add_slice(ys, r->y, j, xs, r->x[0], j - 1);
    if (attr(r, 1) == SHIFT_SATURATE) add_slice(ys, r->y, ys.extent - 1, xs, r->x[0], xs.extent - 1);
    return true;
}

bool naive_unshift(const Row *r) {
    const AxisView xs = split(r->g, arg(r, 0), attr(r, 0)), ys = split(r->g, r->n, attr(r, 0));
    for (size_t j = 1; j < xs.extent; j++) add_slice(ys, r->y, j - 1, xs, r->x[0], j);
    if (attr(r, 1) == SHIFT_SATURATE) add_slice(ys, r->y, ys.extent - 1, xs, r->x[0], xs.extent - 1);
    return true;
}

bool naive_resize(const Row *r) {
    const AxisView xs = split(r->g, arg(r, 0), attr(r, 0)), ys = split(r->g, r->n, attr(r, 0));
    const size_t from = attr(r, 1) < 0 ? (size_t)-attr(r, 1) : 0, to = attr(r, 1) > 0 ? (size_t)attr(r, 1) : 0;
    for (size_t j = 0; from + j < xs.extent && to + j < ys.extent; j++) add_slice(ys, r->y, to + j, xs, r->x[0], from + j);
    return true;
}

bool naive_select(const Row *r) {
    const AxisView xs = split(r->g, arg(r, 0), attr(r, 0)), ys = {xs.outer, 1, xs.inner};
    add_slice(ys, r->y, 0, xs, r->x[0], (size_t)attr(r, 1));
    return true;
}

bool naive_scatter(const Row *r) {
    const AxisView ys = split(r->g, r->n, attr(r, 0)), xs = {ys.outer, 1, ys.inner};
    add_slice(ys, r->y, (size_t)attr(r, 1), xs, r->x[0], 0);
    return true;
}

/* Row-major position `flat` as one index an axis. */
static void unravel(size_t flat, const uint32_t *dims, uint32_t rank, size_t index[]) {
    for (uint32_t k = rank; k--; flat /= dims[k]) index[k] = flat % dims[k];
}
static size_t ravel(const uint32_t *dims, uint32_t rank, const size_t index[]) {
    size_t flat = 0;
    for (uint32_t k = 0; k < rank; k++) flat = flat * dims[k] + index[k];
    return flat;
}

bool naive_permute(const Row *r) {
    size_t to[LIMIT_GRAPH_RANK], from[LIMIT_GRAPH_RANK];
    for (size_t e = 0; e < r->n->size; e++) {
        unravel(e, node_dims(r->g, r->n), r->n->rank, to);
        for (uint32_t k = 0; k < r->n->rank; k++) from[attr(r, k)] = to[k];
        r->y[e] = r->x[0][ravel(node_dims(r->g, arg(r, 0)), r->n->rank, from)];
    }
    return true;
}

bool naive_add(const Row *r) {
    for (size_t i = 0; i < r->n->size; i++) r->y[i] = r->x[0][i] + r->x[1][i];
    return true;
}

bool naive_if(const Row *r) {
    const size_t d = arg(r, 1)->size;
    for (size_t i = 0; i < r->n->size; i++)
        r->y[i] = times(r, r->x[0][2 * (i / d)], r->x[1][i % d]) + times(r, r->x[0][2 * (i / d) + 1], r->x[2][i % d]);
    return true;
}

/* A label of a contraction: how far apart its values lie in x, in y and in the result; 0 where it does not stand. */
typedef struct {
    size_t extent, step[3];
} Label;

static void add_label(Label *labels, const Graph *g, const GNode *n, const int64_t *names, int operand) {
    size_t step = 1;
    for (uint32_t i = n->rank; i--; step *= node_dims(g, n)[i]) {
        labels[names[i]].extent = node_dims(g, n)[i];
        labels[names[i]].step[operand] = step;
    }
}

/* Through all values of all labels but the last, which is the inner loop. */
bool naive_contract(const Row *r) {
    const GNode *operands[3] = {arg(r, 0), arg(r, 1), r->n};
    const int64_t *names = node_attrs(r->g, r->n) + 3;
    Label all[OP_LABELS] = {0}, used[3 * LIMIT_GRAPH_RANK + 1] = {{.extent = 1}};
    size_t n = 1, value[3 * LIMIT_GRAPH_RANK + 1] = {0}, at[3] = {0};
    for (int k = 0; k < 3; names += operands[k]->rank, k++) add_label(all, r->g, operands[k], names, k);
    for (int l = 0; l < OP_LABELS; l++)
        if (all[l].extent) used[n++] = all[l];
    const Label inner = used[--n];
    for (size_t l = 0; l < n || n == 0;) {
        for (size_t i = 0; i < inner.extent; i++)
            r->y[at[2] + i * inner.step[2]] += times(r, r->x[0][at[0] + i * inner.step[0]], r->x[1][at[1] + i * inner.step[1]]);
        for (l = 0; l < n; l++) {
            const bool over = ++value[l] == used[l].extent;
            for (int k = 0; k < 3; k++) at[k] = over ? at[k] - (used[l].extent - 1) * used[l].step[k] : at[k] + used[l].step[k];
            if (!over) break;
            value[l] = 0;
        }
        if (n == 0) break;
    }
    return true;
}

/* What takes no part in another's result is not asked how large it is. */
bool naive_finite(const Row *r) {
    return (r->care && !all_finite(r->x[0], r->n->size)) || naive_first(r);
}

static bool evaluate(const Graph *g, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs, NaiveCare care);

/* Runs a step graph on one row: its slots from states, captures and the cotangent, its outputs copied to outs[] (sizes as there). */
static bool run_step(const Row *r, const Graph *sub, double *const *states, const double *const *captures, const double *cotangent, double *const *outs) {
    NaiveInput *inputs = calloc(sub->nslots + (size_t)1, sizeof *inputs);
    NaiveOutput *outputs = calloc(sub->noutputs + (size_t)1, sizeof *outputs);
    bool ok = inputs && outputs;
    for (uint32_t i = 0; ok && i < sub->nslots; i++) {
        const Slot *s = &sub->slots[i];
        if (s->role == SLOT_STATE) inputs[i].data = states[s->index];
        if (s->role == SLOT_CAPTURE) inputs[i].data = captures[s->index];
        if (s->role == SLOT_COTANGENT) inputs[i].data = cotangent;
    }
    ok = ok && evaluate(sub, 1, inputs, outputs, r->care);
    for (uint32_t i = 0; ok && i < sub->noutputs; i++) memcpy(outs[i], outputs[i].data, outputs[i].size * sizeof(double));
    if (ok) naive_release(outputs, sub->noutputs);
    free(inputs);
    free(outputs);
    return ok;
}

static void free_all(double **list, uint32_t n) {
    for (uint32_t i = 0; list && i < n; i++) free(list[i]);
    free(list);
}

/* n copies, one for each node of ins. */
static double **copies(const Row *r, uint32_t first, uint32_t n) {
    double **list = calloc(n + (size_t)1, sizeof *list);
    for (uint32_t i = 0; list && i < n; i++) {
        const size_t size = arg(r, first + i)->size;
        if (!(list[i] = doubles(size))) {
            free_all(list, n);
            return NULL;
        }
        memcpy(list[i], r->x[first + i], size * sizeof(double));
    }
    return list;
}

/* y[o,d] += n[o,i]·s[d], for one i of k */
static void read_out(const Row *r, double *y, const double *n, size_t outer, size_t k, size_t i, const double *s, size_t size) {
    for (size_t o = 0; o < outer; o++)
        for (size_t d = 0; d < size; d++) y[o * size + d] += times(r, n[o * k + i], s[d]);
}

bool naive_iter(const Row *r) {
    const IterAttrs a = op_iter(r->g, r->n);
    const size_t k = op_iter_states(r->g, r->n), outer = arg(r, 0)->size / k;
    double **s = copies(r, a.counts, a.comps), **next = copies(r, a.counts, a.comps);
    bool ok = s && next;
    for (size_t i = 0; ok && i < k; i++) {
        for (uint32_t j = 0; j < a.readouts; j++) {
            const uint32_t count = (uint32_t)a.reads[2 * j], comp = (uint32_t)a.reads[2 * j + 1];
            const size_t size = arg(r, a.counts + comp)->size;
            if (count && r->care && !all_finite(s[comp], size)) continue; /* a count's tangent (ops.def) */
            read_out(r, r->y, r->x[count], outer, k, i, s[comp], size);
        }
        if (i + 1 == k) break; /* as many steps as are read */
        ok = run_step(r, r->g->subs[r->n->sub], s, r->x + a.counts + a.comps, NULL, next);
        double **swap = s;
        s = next;
        next = swap;
    }
    free_all(s, a.comps);
    free_all(next, a.comps);
    return ok;
}

/* What one iter_vjp works on. */
typedef struct {
    size_t k, outer, size;             /* states read, product of O, elements of a state */
    uint32_t captures;
    const double *count, *cotangent;
    const double *const *capture;
    double *states;                    /* [k, size] */
    double *d_count, *d_state, **d_captures; /* accumulated; d_captures[j] */
} Backward;

/* d_state += Σ_o n[o,i]·ȳ[o,·];  d_count[o,i] = <ȳ[o,·], s_i> */
static void read_back(const Row *r, const Backward *b, size_t i) {
    const double *s = b->states + i * b->size;
    const bool known = !r->care || all_finite(s, b->size);
    for (size_t o = 0; o < b->outer; o++)
        for (size_t d = 0; d < b->size; d++) {
            b->d_state[d] += times(r, b->count[o * b->k + i], b->cotangent[o * b->size + d]);
            if (known) b->d_count[o * b->k + i] += times(r, b->cotangent[o * b->size + d], s[d]);
        }
}

/* d_state becomes the cotangent of the state before step i; outs: room for the VJP's outputs. */
static bool step_back(const Row *r, const Backward *b, size_t i, double **outs) {
    double *state = b->states + (i - 1) * b->size;
    if (!run_step(r, r->g->subs[r->n->sub + 1], &state, b->capture, b->d_state, outs)) return false;
    memcpy(b->d_state, outs[0], b->size * sizeof(double));
    for (uint32_t j = 0; j < b->captures; j++)
        for (size_t e = 0; e < arg(r, 2 + j)->size; e++) b->d_captures[j][e] += outs[1 + j][e];
    return true;
}

static bool forward_states(const Row *r, const Backward *b) {
    memcpy(b->states, r->x[1], b->size * sizeof(double));
    for (size_t i = 1; i < b->k; i++) {
        double *before = b->states + (i - 1) * b->size, *after = before + b->size;
        if (!run_step(r, r->g->subs[r->n->sub], &before, b->capture, NULL, &after)) return false;
    }
    return true;
}

/* s̄_i = Σ_o n_i·ȳ + VJP(s̄_{i+1}), from the last state down; the parts: count, base, captures, and the result. */
bool naive_iter_vjp(const Row *r) {
    Backward b = {.k = op_iter_states(r->g, r->n), .size = arg(r, 1)->size, .captures = (uint32_t)attr(r, 0), .count = r->x[0],
                  .cotangent = r->x[r->n->nin - 1], .capture = r->x + 2, .d_count = r->y, .d_state = r->y + arg(r, 0)->size};
    b.outer = arg(r, 0)->size / b.k;
    b.states = doubles(b.k * b.size);
    b.d_captures = calloc(b.captures + (size_t)1, sizeof *b.d_captures);
    double **outs = copies(r, 1, 1 + b.captures), *part = b.d_state + b.size;
    bool ok = b.states && b.d_captures && outs && forward_states(r, &b);
    for (uint32_t j = 0; ok && j < b.captures; part += arg(r, 2 + j)->size, j++) b.d_captures[j] = part;
    for (size_t i = 0; ok && i < b.k; i++) read_out(r, part, b.count, b.outer, b.k, i, b.states + i * b.size, b.size);
    for (size_t i = b.k; ok && i--;) {
        read_back(r, &b, i);
        ok = i == 0 || step_back(r, &b, i, outs);
    }
    free(b.states);
    free(b.d_captures);
    free_all(outs, 1 + b.captures);
    return ok;
}

bool naive_tuple_get(const Row *r) {
    const GNode *tuple = arg(r, 0);
    size_t offset = 0;
    for (int64_t i = 0; i < attr(r, 0); i++) offset += r->g->nodes[node_ins(r->g, tuple)[i]].size;
    memcpy(r->y, r->x[0] + offset, r->n->size * sizeof *r->y);
    return true;
}

bool naive_never(const Row *r) {
    (void)r; /* networks are linked before running */
    return false;
}

/* y shared: one row, the sum of x's. y batched: as many rows as y has. */
bool naive_batch_sum(const Row *r) {
    const NaiveValue *x = &r->run->values[node_ins(r->g, r->n)[0]], *y = &r->run->values[node_ins(r->g, r->n)[1]];
    if (y->batched || !x->batched) return naive_first(r);
    for (size_t row = 0; row < r->run->rows; row++)
        for (size_t i = 0; i < r->n->size; i++) r->y[i] += x->data[row * x->size + i];
    return true;
}

static bool is_batched(const NaiveRun *run, const GNode *n) {
    const uint32_t *by, count = op_batched_by(run->g, n, &by);
    bool batched = n->op == OP_input && run->inputs[node_attrs(run->g, n)[0]].batched;
    for (uint32_t i = 0; i < count; i++) batched |= run->values[by[i]].batched;
    return batched;
}

/* Elements of a row: of a tuple, all its parts. */
static size_t row_size(const Graph *g, const GNode *n) {
    size_t size = 0;
    if (n->op != OP_iter_vjp) return n->size;
    for (uint32_t i = 0; i < n->nin; i++) size += g->nodes[node_ins(g, n)[i]].size; /* the result is as large as its cotangent */
    return size;
}

static bool eval_node(NaiveRun *run, uint32_t id) {
    static bool (*const kernels[OP_COUNT])(const Row *) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, expand, naive) [OP_##name] = naive_##naive,
#include "schema/graph/ops.def"
#undef OP
    };
    const GNode *n = &run->g->nodes[id];
    NaiveValue *v = &run->values[id];
    size_t elements;
    *v = (NaiveValue){.size = row_size(run->g, n), .batched = is_batched(run, n)};
    const size_t rows = v->batched ? run->rows : 1;
    if (__builtin_mul_overflow(rows, v->size, &elements) || elements > LIMIT_JOB_BYTES / sizeof(double)) return false;
    const double **x = calloc(n->nin + (size_t)1, sizeof *x);
    v->data = doubles(elements);
    bool ok = x && v->data;
    for (size_t row = 0; ok && row < rows; row++) {
        for (uint32_t i = 0; i < n->nin; i++) {
            const NaiveValue *in = &run->values[node_ins(run->g, n)[i]];
            x[i] = in->data + (in->batched ? row * in->size : 0);
        }
        ok = kernels[n->op](&(Row){.run = run, .g = run->g, .n = n, .row = row, .x = x, .y = v->data + row * v->size, .care = run->care});
    }
    for (size_t i = 0; ok && run->care == CARE_F32 && i < elements; i++) v->data[i] = (float)v->data[i];
    free(x);
    return ok;
}

static bool take_outputs(const NaiveRun *run, NaiveOutput *outputs) {
    const Graph *g = run->g;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const NaiveValue *v = &run->values[g->outputs[i].node];
        const size_t elements = (v->batched ? run->rows : 1) * v->size;
        outputs[i] = (NaiveOutput){.data = doubles(elements), .size = v->size, .batched = v->batched};
        if (!outputs[i].data) {
            naive_release(outputs, i);
            return false;
        }
        memcpy(outputs[i].data, v->data, elements * sizeof(double));
    }
    return true;
}

/* Recursion through steps is at most LIMIT_GRAPH_DEPTH deep. */
static bool evaluate(const Graph *g, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs, NaiveCare care) {
    NaiveRun run = {.g = g, .rows = rows, .inputs = inputs, .care = care, .values = calloc(g->nnodes + (size_t)1, sizeof(NaiveValue))};
    bool ok = run.values;
    for (uint32_t id = 0; ok && id < g->nnodes; id++) ok = eval_node(&run, id);
    ok = ok && take_outputs(&run, outputs);
    for (uint32_t id = 0; run.values && id < g->nnodes; id++) free(run.values[id].data);
    free(run.values);
    return ok;
}

bool naive_eval(const Graph *g, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs) { return evaluate(g, rows, inputs, outputs, CARE_NONE); }

bool naive_eval_careful(const Graph *g, bool f64, size_t rows, const NaiveInput *inputs, NaiveOutput *outputs) {
    return evaluate(g, rows, inputs, outputs, f64 ? CARE_F64 : CARE_F32);
}

void naive_release(NaiveOutput *outputs, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        free(outputs[i].data);
        outputs[i].data = NULL;
    }
}
