/* A graph's nodes element by element: each op's meaning (schema/graph/ops.def) on terms instead of numbers. */
#include "schema/graph/ops.h"
#include "worker/plan/tape.h"
#include <string.h>

/* A graph being expanded: the outer one, or one run of a step graph. */
typedef struct Expansion Expansion;
struct Expansion {
    Tape *t;
    const Planner *b; /* NULL in a step */
    const Graph *g;
    uint32_t *at;                              /* by node: the place of its elements */
    uint32_t state[3 * LIMIT_GRAPH_RANK];      /* of a step: places of what its slots read; more states than that: no tape */
    const uint32_t *captures;
    uint32_t cotangent;
};
enum { MOST_STATES = 3 * LIMIT_GRAPH_RANK };

typedef struct {
    Expansion *f;
    const GNode *n;
    const uint32_t *ins, *dims;
    const int64_t *attrs;
    uint32_t y; /* place of the result, zeros so far */
} Cell;

static uint32_t get(const Cell *m, uint32_t k, size_t e) { return m->f->t->pool[m->f->at[m->ins[k]] + e]; }
static void put(const Cell *m, size_t e, uint32_t term) { m->f->t->pool[m->y + e] = term; }
static uint32_t now(const Cell *m, size_t e) { return m->f->t->pool[m->y + e]; }
static const GNode *arg(const Cell *m, uint32_t k) { return &m->f->g->nodes[m->ins[k]]; }

/* y[o,to,i] += x[o,from,i] */
static void add_slice(const Cell *m, AxisView ys, size_t to, AxisView xs, size_t from) {
    for (size_t o = 0; o < ys.outer; o++)
        for (size_t i = 0; i < ys.inner; i++) {
            size_t e = (o * ys.extent + to) * ys.inner + i;
            put(m, e, tape_add(m->f->t, now(m, e), get(m, 0, (o * xs.extent + from) * xs.inner + i)));
        }
}

/* The first input as it is: of a batch_sum one row, sums over rows are ends. */
static void expand_first(const Cell *m) {
    for (size_t e = 0; e < m->n->size; e++) put(m, e, get(m, 0, e));
}

static void expand_input(const Cell *m) {
    uint32_t slot = (uint32_t)m->attrs[0], from = 0;
    const Slot *s = &m->f->g->slots[slot];
    bool step = !m->f->b; /* only there is a slot's role more than a name */
    if (step && s->role == SLOT_STATE) from = m->f->state[s->index];
    if (step && s->role == SLOT_CAPTURE) from = m->f->captures[s->index];
    if (step && s->role == SLOT_COTANGENT) from = m->f->cotangent;
    for (size_t e = 0; e < m->n->size; e++)
        put(m, e, step ? m->f->t->pool[from + e] : tape_leaf(m->f->t, TERM_LOAD, slot, (uint32_t)e));
}

static void expand_const(const Cell *m) {
    for (size_t e = 0; e < m->n->size; e++) put(m, e, tape_const(m->f->t, m->f->g->consts[(size_t)m->attrs[0] + e]));
}

static void expand_zero(const Cell *m) { (void)m; /* a place is zeros */ }
static void expand_onehot(const Cell *m) { put(m, (size_t)m->attrs[0], m->f->t->one); }

static void expand_eye(const Cell *m) {
    for (size_t i = 0; i < m->dims[0]; i++) put(m, i * (m->dims[0] + 1), m->f->t->one);
}

static AxisView split_in(const Cell *m) { return axis_view(node_dims(m->f->g, arg(m, 0)), arg(m, 0)->rank, m->attrs[0]); }
static AxisView split_out(const Cell *m) { return axis_view(m->dims, m->n->rank, m->attrs[0]); }

static void expand_shift(const Cell *m) {
    AxisView xs = split_in(m), ys = split_out(m);
    for (size_t j = 1; j < ys.extent; j++) add_slice(m, ys, j, xs, j - 1);
    if (m->attrs[1] == SHIFT_SATURATE) add_slice(m, ys, ys.extent - 1, xs, xs.extent - 1);
}

static void expand_unshift(const Cell *m) {
    AxisView xs = split_in(m), ys = split_out(m);
    for (size_t j = 1; j < xs.extent; j++) add_slice(m, ys, j - 1, xs, j);
    if (m->attrs[1] == SHIFT_SATURATE) add_slice(m, ys, ys.extent - 1, xs, xs.extent - 1);
}

static void expand_resize(const Cell *m) {
    AxisView xs = split_in(m), ys = split_out(m);
    size_t from = m->attrs[1] < 0 ? (size_t)-m->attrs[1] : 0, to = m->attrs[1] > 0 ? (size_t)m->attrs[1] : 0;
    for (size_t j = 0; from + j < xs.extent && to + j < ys.extent; j++) add_slice(m, ys, to + j, xs, from + j);
}

static void expand_select(const Cell *m) {
    AxisView xs = split_in(m);
    add_slice(m, (AxisView){xs.outer, 1, xs.inner}, 0, xs, (size_t)m->attrs[1]);
}

static void expand_scatter(const Cell *m) {
    AxisView ys = split_out(m);
    add_slice(m, ys, (size_t)m->attrs[1], (AxisView){ys.outer, 1, ys.inner}, 0);
}

static void expand_permute(const Cell *m) {
    const uint32_t *dims = node_dims(m->f->g, arg(m, 0));
    size_t index[LIMIT_GRAPH_RANK];
    for (size_t e = 0; e < m->n->size; e++) {
        size_t flat = e, from = 0;
        for (uint32_t k = m->n->rank; k--; flat /= m->dims[k]) index[m->attrs[k]] = flat % m->dims[k];
        for (uint32_t k = 0; k < m->n->rank; k++) from = from * dims[k] + index[k];
        put(m, e, get(m, 0, from));
    }
}

static void expand_add(const Cell *m) {
    for (size_t e = 0; e < m->n->size; e++) put(m, e, tape_add(m->f->t, get(m, 0, e), get(m, 1, e)));
}

static void expand_if(const Cell *m) {
    size_t d = arg(m, 1)->size;
    for (size_t e = 0; e < m->n->size; e++) {
        size_t c = e / d * 2, i = e % d;
        put(m, e, tape_fma(m->f->t, get(m, 0, c), get(m, 1, i), tape_mul(m->f->t, get(m, 0, c + 1), get(m, 2, i))));
    }
}

static size_t labelled(const Graph *g, const GNode *n, const int64_t *labels, const size_t *value) {
    size_t flat = 0;
    for (uint32_t i = 0; i < n->rank; i++) flat = flat * node_dims(g, n)[i] + value[labels[i]];
    return flat;
}

/* Counts through all values of all labels. */
static void expand_contract(const Cell *m) {
    const Graph *g = m->f->g;
    const GNode *a = arg(m, 0), *b = arg(m, 1);
    const int64_t *la = m->attrs + 3, *lb = la + a->rank, *ly = lb + b->rank;
    size_t extent[OP_LABELS], value[OP_LABELS] = {0};
    for (int l = 0; l < OP_LABELS; l++) extent[l] = 1;
    for (uint32_t i = 0; i < a->rank; i++) extent[la[i]] = node_dims(g, a)[i];
    for (uint32_t i = 0; i < b->rank; i++) extent[lb[i]] = node_dims(g, b)[i];
    for (int l = 0; l < OP_LABELS && !m->f->t->failed;) {
        size_t e = labelled(g, m->n, ly, value);
        put(m, e, tape_fma(m->f->t, get(m, 0, labelled(g, a, la, value)), get(m, 1, labelled(g, b, lb, value)), now(m, e)));
        for (l = 0; l < OP_LABELS && ++value[l] == extent[l]; l++) value[l] = 0;
    }
}

static void expand_graph(Expansion *f);

/* Runs a step graph; to[i] becomes the place of output i of that role. */
static void run_step(Expansion *sub, OutRole role, uint32_t *to) {
    expand_graph(sub);
    for (uint32_t o = 0; o < sub->g->noutputs && !sub->t->failed; o++)
        if (sub->g->outputs[o].role == role) to[sub->g->outputs[o].index] = sub->at[sub->g->outputs[o].node];
}

static Expansion step_expansion(const Cell *m, uint32_t which, const uint32_t *captures) {
    const Graph *g = m->f->g->subs[m->n->sub + which];
    Expansion sub = {.t = m->f->t, .g = g, .captures = captures};
    return sub;
}

/* Places of inputs first .. first+n, in the pool themselves. */
static uint32_t *places(const Cell *m, uint32_t first, uint32_t n) {
    uint32_t at = tape_take(m->f->t, n);
    for (uint32_t i = 0; i < n && !m->f->t->failed; i++) m->f->t->pool[at + i] = m->f->at[m->ins[first + i]];
    return m->f->t->pool + at;
}

/* y[o,d] += n[o,i]·s[d] */
static void read_out(const Cell *m, uint32_t count, size_t i, uint32_t state, size_t size) {
    size_t k = op_iter_states(m->f->g, m->n), outer = arg(m, 0)->size / k;
    for (size_t o = 0; o < outer; o++)
        for (size_t d = 0; d < size; d++)
            put(m, o * size + d,
                tape_fma(m->f->t, get(m, count, o * k + i), m->f->t->pool[state + d], now(m, o * size + d)));
}

static void expand_iter(const Cell *m) {
    const IterAttrs a = op_iter(m->f->g, m->n);
    const uint32_t comps = a.comps;
    size_t k = op_iter_states(m->f->g, m->n);
    if (comps > MOST_STATES) m->f->t->failed = true;
    if (m->f->t->failed) return;
    Expansion sub = step_expansion(m, 0, places(m, a.counts + comps, a.captures));
    for (uint32_t c = 0; c < comps; c++) sub.state[c] = m->f->at[m->ins[a.counts + c]];
    for (size_t i = 0; i < k && !m->f->t->failed; i++) {
        for (uint32_t j = 0; j < a.readouts; j++) {
            uint32_t comp = (uint32_t)a.reads[2 * j + 1];
            read_out(m, (uint32_t)a.reads[2 * j], i, sub.state[comp], arg(m, a.counts + comp)->size);
        }
        uint32_t next[MOST_STATES] = {0};
        if (i + 1 == k) break;
        run_step(&sub, OUT_STATE, next);
        memcpy(sub.state, next, comps * sizeof *next);
    }
}

/* Parts one after the other: count's, base's, captures' cotangents, the result, which is as large as its own. */
static size_t part_offset(const Cell *m, uint32_t part) {
    size_t offset = 0;
    for (uint32_t i = 0; i < part; i++) offset += arg(m, i)->size;
    return offset;
}

/* The state's cotangent gains Σ_o n[o,i]·ȳ[o,·]; the count's [o,i] is <ȳ[o,·], s_i>. */
static void read_back(const Cell *m, size_t i, uint32_t state, uint32_t bar) {
    Tape *t = m->f->t;
    size_t k = op_iter_states(m->f->g, m->n), outer = arg(m, 0)->size / k, size = arg(m, 1)->size;
    for (size_t o = 0; o < outer; o++)
        for (size_t d = 0; d < size; d++) {
            uint32_t cotangent = get(m, m->n->nin - 1, o * size + d);
            t->pool[bar + d] = tape_fma(t, get(m, 0, o * k + i), cotangent, t->pool[bar + d]);
            put(m, o * k + i, tape_fma(t, cotangent, t->pool[state + d], now(m, o * k + i)));
        }
}

static void read_result(const Cell *m, size_t i, uint32_t state) {
    Tape *t = m->f->t;
    size_t k = op_iter_states(m->f->g, m->n), outer = arg(m, 0)->size / k, size = arg(m, 1)->size, at = part_offset(m, m->n->nin - 1);
    for (size_t o = 0; o < outer; o++)
        for (size_t d = 0; d < size; d++, at++) put(m, at, tape_fma(t, get(m, 0, o * k + i), t->pool[state + d], now(m, at)));
}

static void step_back(const Cell *m, uint32_t ncaps, const uint32_t *captures, uint32_t state, uint32_t *bar) {
    Expansion sub = step_expansion(m, 1, captures);
    sub.state[0] = state;
    sub.cotangent = *bar;
    uint32_t given = tape_take(m->f->t, ncaps);
    if (m->f->t->failed) return;
    for (uint32_t j = 0; j < ncaps; j++) m->f->t->pool[given + j] = TAPE_NONE;
    run_step(&sub, OUT_CAPTURE, m->f->t->pool + given);
    for (uint32_t j = 0; j < ncaps && !m->f->t->failed; j++) {
        uint32_t from = m->f->t->pool[given + j];
        size_t at = part_offset(m, 2 + j);
        for (size_t e = 0; from != TAPE_NONE && e < arg(m, 2 + j)->size; e++)
            put(m, at + e, tape_add(m->f->t, now(m, at + e), m->f->t->pool[from + e]));
    }
    uint32_t next = 0;
    for (uint32_t o = 0; o < sub.g->noutputs && !m->f->t->failed; o++)
        if (sub.g->outputs[o].role == OUT_STATE) next = sub.at[sub.g->outputs[o].node];
    /* a copy: read_back adds to it */
    size_t size = arg(m, 1)->size;
    *bar = tape_take(m->f->t, size);
    if (!m->f->t->failed) memcpy(m->f->t->pool + *bar, m->f->t->pool + next, size * sizeof next);
}

/* s̄_i = Σ_o n_i·ȳ + VJP(s̄_{i+1}), from the last state down. */
static void expand_iter_vjp(const Cell *m) {
    Tape *t = m->f->t;
    uint32_t ncaps = (uint32_t)m->attrs[0];
    size_t k = op_iter_states(m->f->g, m->n), size = arg(m, 1)->size;
    const uint32_t *captures = places(m, 2, ncaps);
    uint32_t states = tape_take(t, k), bar = tape_take(t, size);
    if (t->failed) return;
    t->pool[states] = m->f->at[m->ins[1]];
    for (size_t i = 1; i < k && !t->failed; i++) {
        Expansion sub = step_expansion(m, 0, captures);
        sub.state[0] = t->pool[states + i - 1];
        run_step(&sub, OUT_STATE, &t->pool[states + i]);
    }
    for (size_t i = 0; i < k && !t->failed; i++) read_result(m, i, t->pool[states + i]);
    for (size_t i = k; i-- > 0 && !t->failed;) {
        read_back(m, i, t->pool[states + i], bar);
        if (i) step_back(m, ncaps, captures, t->pool[states + i - 1], &bar);
    }
    for (size_t d = 0; d < size && !t->failed; d++) put(m, part_offset(m, 1) + d, t->pool[bar + d]);
}

static void expand_tuple_get(const Cell *m) {
    const GNode *tuple = arg(m, 0);
    Cell of = {.f = m->f, .n = tuple, .ins = node_ins(m->f->g, tuple)};
    size_t offset = part_offset(&of, (uint32_t)m->attrs[0]);
    for (size_t e = 0; e < m->n->size; e++) put(m, e, get(m, 0, offset + e));
}

/* Layers have kernels of their own: a graph with one of these in a batched place gets no tape. */
static void expand_never(const Cell *m) { m->f->t->failed = true; }

static void expand_node(Expansion *f, uint32_t i) {
    static void (*const rules[OP_COUNT])(const Cell *) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, expand, ...) [OP_##name] = expand_##expand,
#include "schema/graph/ops.def"
#undef OP
    };
    const GNode *n = &f->g->nodes[i];
    Cell m = {f, n, node_ins(f->g, n), node_dims(f->g, n), node_attrs(f->g, n), 0};
    size_t size = n->size;
    if (n->op == OP_iter_vjp) size = part_offset(&m, n->nin);
    f->at[i] = m.y = tape_take(f->t, size);
    if (!f->t->failed) rules[n->op](&m);
}

/* A shared node of the outer graph: constants as such, others read from where the ordinary steps leave them. */
static void expand_shared(Expansion *f, uint32_t i) {
    const GNode *n = &f->g->nodes[i];
    if (op_row(n->op)->family == FAMILY_constant) {
        expand_node(f, i);
        return;
    }
    f->at[i] = tape_take(f->t, n->size);
    for (size_t e = 0; e < n->size && !f->t->failed; e++) f->t->pool[f->at[i] + e] = tape_leaf(f->t, TERM_SHARED, i, (uint32_t)e);
}

/* Steps nest at most LIMIT_GRAPH_DEPTH deep. */
static void expand_graph(Expansion *f) {
    uint32_t at = tape_take(f->t, f->g->nnodes);
    f->at = f->t->pool + at;
    for (uint32_t i = 0; i < f->g->nnodes && !f->t->failed; i++) expand_node(f, i);
}

/* Whether rows times a matrix shared by all is so large that a matrix product does it better. */
static bool deserves_product(const Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const uint32_t *ins = node_ins(b->g, n);
    if (n->op != OP_contract) return false;
    for (int k = 0; k < 2; k++)
        if (!b->nodes[ins[k]].batched && b->g->nodes[ins[k]].size >= TAPE_MATRIX) return true;
    return false;
}

static bool fits(const Planner *b) {
    size_t total = 0;
    for (uint32_t i = 0; i < b->g->nnodes; i++) {
        const GNode *n = &b->g->nodes[i];
        /* a result all rows share, of a tuple they do not: the ordinary steps tell them apart */
        if (b->nodes[i].needed && !b->nodes[i].batched && op_is_result(b->g, n) && b->nodes[node_ins(b->g, n)[0]].batched) return false;
        if (b->nodes[i].needed && n->op == OP_iter_vjp && planner_reads(b, i) < n->nin) return false;
        if (!planner_on_tape(&b->nodes[i])) continue;
        size_t size = n->size;
        if (deserves_product(b, i) || size > TAPE_TERMS || (total += size) > TAPE_POOL / 2) return false;
    }
    return total > 0;
}

bool tape_expand(Tape *t, const Planner *b) {
    const Graph *g = b->g;
    if (!fits(b)) return false;
    Expansion f = {.t = t, .b = b, .g = g, .at = t->elements};
    for (uint32_t i = 0; i < g->nnodes; i++) t->elements[i] = TAPE_NONE;
    for (uint32_t i = 0; i < g->nnodes && !t->failed; i++) {
        if (!planner_on_tape(&b->nodes[i])) continue;
        const uint32_t *ins = node_ins(g, &g->nodes[i]);
        for (uint32_t k = 0; k < op_reads(&g->nodes[i]) && !t->failed; k++)
            if (t->elements[ins[k]] == TAPE_NONE) expand_shared(&f, ins[k]);
        expand_node(&f, i);
    }
    return !t->failed;
}
