#include "compiler/passes/recur.h"
#include "compiler/passes/matrix.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/region.h"
#include "schema/graph/ops.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* An iteration with one state and one count, read out once, its inputs already in the new graph. */
typedef struct {
    Rewrite *rw;
    Cx *cx;
    RecurOptimise optimise;
    uint32_t count, base, *captures, ncaptures;
    Graph *step; /* guarded */
    Dims dims;   /* of the result */
    size_t k, size, outer;
} Recurrence;

/* ---- captures ---- */

/* The step with its capture slots renumbered, constant ones replaced by their values. */
static Graph *specialised(Recurrence *rec, const double *const *values, const uint32_t *renumbered) {
    const Graph *g = rec->step;
    Graph empty = {0};
    Rewrite *rw = rewrite_new(rec->cx, &empty);
    rw->from = g;
    rw->moved = ARENA_ARRAY(&rec->cx->arena, uint32_t, g->nnodes);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        if (n->op != OP_input) {
            rw->moved[i] = rewrite_copy(rw, i);
            continue;
        }
        const Slot *slot = &g->slots[node_attrs(g, n)[0]];
        Dims flat = {.rank = 1, .at = {(uint32_t)slot->size}};
        bool capture = slot->role == SLOT_CAPTURE;
        if (capture && values[slot->index]) {
            rw->moved[i] = matrix_constant(rw, values[slot->index], &flat);
            continue;
        }
        int64_t at = graph_slot(rw->to, slot->role, capture ? renumbered[slot->index] : slot->index, slot->size);
        rw->moved[i] = rewrite_node(rw, OP_input, NULL, 0, &flat, &at, 1);
    }
    return rewrite_finish(rw);
}

static void specialise(Recurrence *rec) {
    const double **values = ARENA_ARRAY(&rec->cx->arena, const double *, rec->ncaptures);
    uint32_t *renumbered = ARENA_ARRAY(&rec->cx->arena, uint32_t, rec->ncaptures), kept = 0;
    for (uint32_t j = 0; j < rec->ncaptures; j++) {
        values[j] = matrix_values(rec->rw, rec->captures[j], REGION_CELLS);
        renumbered[j] = kept;
        if (!values[j]) rec->captures[kept++] = rec->captures[j];
    }
    if (kept == rec->ncaptures) return;
    Graph *step = specialised(rec, values, renumbered);
    graph_free(rewrite_give(rec->cx, rec->step));
    rec->step = rec->optimise(rec->cx, step);
    graph_free(rewrite_give(rec->cx, step));
    rec->ncaptures = kept;
}

/* ---- constant base ---- */

static void run_step(const Recurrence *rec, const double *state, double *next) {
    NaiveOutput out;
    const Graph *g = rec->step;
    NaiveInput *inputs = ARENA_ARRAY(&rec->cx->arena, NaiveInput, g->nslots);
    for (uint32_t i = 0; i < g->nslots; i++) inputs[i].data = state;
    if (!naive_eval(g, 1, inputs, &out)) rewrite_no_memory(rec->cx);
    memcpy(next, out.data, rec->size * sizeof *next);
    naive_release(&out, 1);
}

/* What running a step takes, sizes included; INFINITY when it calls a network. Steps nest at most LIMIT_GRAPH_DEPTH deep. */
static double run_work(const Graph *step) {
    double work = cost_total(graph_cost(step));
    for (uint32_t i = 0; i < step->nnodes; i++) {
        const GNode *n = &step->nodes[i];
        if (n->op == OP_call) return INFINITY;
        work += (double)n->size;
        for (uint32_t k = 0; k < n->nsub; k++) work += run_work(step->subs[n->sub + k]);
    }
    return work;
}

/* states [n, size], the first given */
static const double *run_states(const Recurrence *rec, const double *base, size_t n) {
    size_t cells;
    if (__builtin_mul_overflow(n, rec->size, &cells) || cells > REGION_CELLS) return NULL;
    if ((double)n * run_work(rec->step) > REGION_WORK) return NULL;
    double *states = ARENA_ARRAY(&rec->cx->arena, double, cells);
    memcpy(states, base, rec->size * sizeof *states);
    for (size_t i = 1; i < n; i++) run_step(rec, states + (i - 1) * rec->size, states + i * rec->size);
    return states;
}

/* x [outer, n] · table [n, size] -> the result's dims */
static uint32_t apply_table(Recurrence *rec, uint32_t x, size_t outer, const double *table, size_t n) {
    Matrix matrix = matrix_of(table, n, rec->size, outer);
    return matrix_apply(rec->rw, x, outer, &matrix, &rec->dims);
}

/* Whether every entry fits an f32. One that does not makes NaN of a zero; run step by step a state that is zero there stays it. */
static bool in_range(const double *table, size_t cells) {
    for (size_t i = 0; i < cells; i++)
        if (!(fabs(table[i]) <= (double)FLT_MAX)) return false;
    return true;
}

/* ---- constant count ---- */

/* c = a·b, all [n, n] */
static void multiply(double *c, const double *a, const double *b, size_t n) {
    memset(c, 0, n * n * sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; a[i * n + k] != 0 && j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
}

static void swap(double **a, double **b) {
    double *t = *a;
    *a = *b;
    *b = t;
}

/* aᵐ by squaring: 2·log₂ m products. a is used up. NULL when a product is out of range. */
static const double *matrix_power(Cx *cx, double *a, size_t n, uint64_t m) {
    double *result = ARENA_ARRAY(&cx->arena, double, n * n), *scratch = ARENA_ARRAY(&cx->arena, double, n * n);
    for (size_t i = 0; i < n; i++) result[i * n + i] = 1;
    for (; m; m >>= 1) {
        if (m & 1) {
            multiply(scratch, result, a, n);
            swap(&scratch, &result);
        }
        if (m > 1) {
            multiply(scratch, a, a, n);
            swap(&scratch, &a);
        }
        if (!in_range(result, n * n) || !in_range(a, n * n)) return NULL;
    }
    return result;
}

/* The step's matrix, row i the image of basis vector i; NULL when it is not linear, or too large a matrix for its powers. */
static double *step_matrix(const Recurrence *rec, double squarings) {
    if (squarings > REGION_WORK) return NULL;
    Regions *r = region_find(rec->cx, rec->step, REGION_WORK);
    uint32_t out = rec->step->outputs[0].node, root = r->root[out];
    if (root == ROOT_NONE || rec->step->nodes[root].op != OP_input) return NULL;
    if (root == out) { /* the step changes nothing */
        double *eye = ARENA_ARRAY(&rec->cx->arena, double, rec->size * rec->size);
        for (size_t i = 0; i < rec->size; i++) eye[i * rec->size + i] = 1;
        return eye;
    }
    return (double *)region_table(rec->cx, r, out, REGION_CELLS);
}

/* The numeral a constant count is, if it is one. */
static bool numeral(const Recurrence *rec, const double *count, uint64_t *m) {
    size_t ones = 0;
    for (size_t i = 0; i < rec->k; i++) {
        if (count[i] == 0) continue;
        if (count[i] != 1) return false;
        *m = i;
        ones++;
    }
    return ones == 1;
}

/* row · matrix */
static const double *transform(Cx *cx, const double *row, const double *matrix, size_t n) {
    double *out = ARENA_ARRAY(&cx->arena, double, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) out[j] += row[i] * matrix[i * n + j];
    return out;
}

/* base after m steps: one by one, or by the power of the step's matrix, whichever is found, or run, sooner */
static uint32_t put_power(Recurrence *rec, const double *base, uint64_t m) {
    if (m == 0) return rewrite_reshape(rec->rw, rec->base, &rec->dims);
    double n = (double)rec->size, steps = (double)m * (cost_total(graph_cost(rec->step)) + n), squarings = 0;
    for (uint64_t i = m; i; i >>= 1) squarings += 2 * n * n * n;
    double *matrix = (base ? squarings : n * n) < steps ? step_matrix(rec, squarings) : NULL;
    const double *power = matrix ? matrix_power(rec->cx, matrix, rec->size, m) : NULL;
    if (power && base) return matrix_constant(rec->rw, transform(rec->cx, base, power, rec->size), &rec->dims);
    if (power) return apply_table(rec, rec->base, 1, power, rec->size);
    const double *states = base ? run_states(rec, base, (size_t)m + 1) : NULL;
    return states ? matrix_constant(rec->rw, states + (size_t)m * rec->size, &rec->dims) : UINT32_MAX;
}

/* ---- neither constant ---- */

enum { POWER_CELLS = 1 << 16 }; /* the table is a part of the graph: it must be worth its space */

static bool is_identity(const Graph *step) {
    uint32_t node = step->outputs[0].node;
    while (step->nodes[node].op == OP_reshape) node = node_ins(step, &step->nodes[node])[0];
    return step->nodes[node].op == OP_input; /* there are no captures */
}

/* The count as [outer, k], or [k]. */
static uint32_t flat_count(Recurrence *rec) {
    bool many = rec->outer > 1;
    return rewrite_reshape(rec->rw, rec->count, &(Dims){.rank = 1 + many, .at = {(uint32_t)(many ? rec->outer : rec->k), (uint32_t)rec->k}});
}

/* (Σᵢ nᵢ)·base */
static uint32_t put_scaled(Recurrence *rec) {
    static const int64_t plain[] = {1, 1, 0, 0, 0}, with_outer[] = {2, 1, 1, 0, 1, 1, 0};
    static const int64_t by_one[] = {0, 1, 1, 0, 0}, by_many[] = {1, 1, 2, 0, 1, 0, 1};
    bool many = rec->outer > 1;
    double *ones = ARENA_ARRAY(&rec->cx->arena, double, rec->k);
    for (size_t i = 0; i < rec->k; i++) ones[i] = 1;
    Dims k = {.rank = 1, .at = {(uint32_t)rec->k}}, weights = {.rank = many, .at = {(uint32_t)rec->outer}};
    Dims size = {.rank = 1, .at = {(uint32_t)rec->size}}, out = size;
    if (many) out = (Dims){.rank = 2, .at = {(uint32_t)rec->outer, (uint32_t)rec->size}};
    uint32_t ins[] = {flat_count(rec), matrix_constant(rec->rw, ones, &k)};
    ins[0] = rewrite_node(rec->rw, OP_contract, ins, 2, &weights, many ? with_outer : plain, many ? 7 : 5);
    ins[1] = rewrite_reshape(rec->rw, rec->base, &size);
    return rewrite_reshape(rec->rw, rewrite_node(rec->rw, OP_contract, ins, 2, &out, many ? by_many : by_one, many ? 7 : 5), &rec->dims);
}

/* Σᵢ nᵢ·(Aⁱ·base), the powers a table [k, size, size]. UINT32_MAX when one is out of range. */
static uint32_t put_table(Recurrence *rec, const double *matrix) {
    static const int64_t states[] = {1, 3, 2, 0, 1, 0, 2, 1, 2}, plain[] = {1, 2, 1, 0, 0, 1, 1}, with_outer[] = {2, 2, 2, 0, 1, 1, 2, 0, 2};
    size_t n = rec->size, k = rec->k;
    bool many = rec->outer > 1;
    double *powers = ARENA_ARRAY(&rec->cx->arena, double, k * n * n);
    for (size_t i = 0; i < n; i++) powers[i * n + i] = 1;
    for (size_t i = 1; i < k; i++) multiply(powers + i * n * n, powers + (i - 1) * n * n, matrix, n);
    if (!in_range(powers, k * n * n)) return UINT32_MAX;
    Dims flat = {.rank = 1, .at = {(uint32_t)n}}, cube = {.rank = 3, .at = {(uint32_t)k, (uint32_t)n, (uint32_t)n}};
    Dims square = {.rank = 2, .at = {(uint32_t)k, (uint32_t)n}}, out = flat;
    if (many) out = (Dims){.rank = 2, .at = {(uint32_t)rec->outer, (uint32_t)n}};
    uint32_t table[] = {rewrite_reshape(rec->rw, rec->base, &flat), matrix_constant(rec->rw, powers, &cube)};
    uint32_t ins[] = {flat_count(rec), rewrite_node(rec->rw, OP_contract, table, 2, &square, states, 9)};
    return rewrite_reshape(rec->rw, rewrite_node(rec->rw, OP_contract, ins, 2, &out, many ? with_outer : plain, many ? 9 : 7), &rec->dims);
}

/* UINT32_MAX: running the recurrence costs less. */
static uint32_t put_powers(Recurrence *rec) {
    double n = (double)rec->size, k = (double)rec->k, reads = (double)rec->outer * k * n, cells = k * n * n;
    double run = COST_CALL + k * cost_total(graph_cost(rec->step)) + reads;
    if (is_identity(rec->step)) return 2 * COST_CALL + (double)rec->outer * (k + n) < run ? put_scaled(rec) : UINT32_MAX;
    if (2 * COST_CALL + cells + reads >= run || cells > POWER_CELLS || cells * n > REGION_WORK) return UINT32_MAX;
    const double *matrix = step_matrix(rec, n * n * n);
    return matrix ? put_table(rec, matrix) : UINT32_MAX;
}

/* ---- the pass ---- */

static uint32_t put_iter(Recurrence *rec) {
    uint32_t *ins = ARENA_ARRAY(&rec->cx->arena, uint32_t, 2 + rec->ncaptures);
    ins[0] = rec->count;
    ins[1] = rec->base;
    if (rec->ncaptures) memcpy(ins + 2, rec->captures, rec->ncaptures * sizeof *ins);
    rewrite_give(rec->cx, rec->step);
    return rewrite_add(rec->rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = 2 + rec->ncaptures, .dims = rec->dims.at, .rank = rec->dims.rank,
                                            .attrs = (int64_t[]){1, 1, rec->ncaptures, 1, 0, 0}, .nattr = 6, .subs = &rec->step, .nsub = 1});
}

static uint32_t recur(Recurrence *rec) {
    specialise(rec);
    if (rec->ncaptures) return put_iter(rec);
    const double *base = matrix_values(rec->rw, rec->base, REGION_CELLS), *count = NULL;
    if (rec->outer == 1) count = matrix_values(rec->rw, rec->count, REGION_CELLS);
    uint32_t node = UINT32_MAX;
    uint64_t m = 0;
    if (count && numeral(rec, count, &m)) node = put_power(rec, base, m);
    else if (base) {
        const double *states = run_states(rec, base, rec->k);
        if (states) node = apply_table(rec, rec->count, rec->outer, states, rec->k);
    }
    if (node == UINT32_MAX) node = put_powers(rec);
    if (node == UINT32_MAX) return put_iter(rec);
    graph_free(rewrite_give(rec->cx, rec->step));
    return node;
}

static uint32_t recur_node(Rewrite *rw, uint32_t node, RecurOptimise optimise) {
    const Graph *g = rw->from;
    const GNode *n = &g->nodes[node];
    if (!n->nsub) return rewrite_copy(rw, node);
    Cx *cx = rw->cx;
    const int64_t *attrs = node_attrs(g, n);
    uint32_t *ins = ARENA_ARRAY(&cx->arena, uint32_t, n->nin);
    Graph **subs = ARENA_ARRAY(&cx->arena, Graph *, n->nsub);
    for (uint32_t i = 0; i < n->nin; i++) ins[i] = rw->moved[node_ins(g, n)[i]];
    for (uint32_t i = 0; i < n->nsub; i++) subs[i] = optimise(cx, g->subs[n->sub + i]);
    if (n->op == OP_iter && op_iter_is_plain(g, n)) {
        Recurrence rec = {.rw = rw, .cx = cx, .optimise = optimise, .count = ins[0], .base = ins[1], .captures = ins + 2, .ncaptures = n->nin - 2, .step = subs[0],
                          .dims = dims_of(g, node), .size = rw->to->nodes[ins[1]].size};
        const GNode *count = &rw->to->nodes[ins[0]];
        rec.k = node_dims(rw->to, count)[count->rank - 1];
        rec.outer = count->size / rec.k;
        return recur(&rec);
    }
    for (uint32_t i = 0; i < n->nsub; i++) rewrite_give(cx, subs[i]);
    return rewrite_add(rw, &(NodeSpec){.op = n->op, .ins = ins, .nin = n->nin, .dims = node_dims(g, n), .rank = n->rank, .attrs = attrs,
                                       .nattr = n->nattr, .subs = subs, .nsub = n->nsub});
}

Graph *recur_graph(Cx *cx, const Graph *g, RecurOptimise optimise) {
    Rewrite *rw = rewrite_new(cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) rw->moved[i] = recur_node(rw, i, optimise);
    return rewrite_finish(rw);
}
