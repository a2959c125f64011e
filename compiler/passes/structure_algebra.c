/* The algebra of ops that move numbers, of sums and of conditionals. */
#include "compiler/passes/matrix.h"
#include "compiler/passes/structure.h"
#include "schema/graph/ops.h"
#include <string.h>

enum { SLICED = 4096 }; /* of constants of up to so many elements a selection is made here */

/* ---- reading the new graph ---- */

static const GNode *node_at(const Structure *s, uint32_t node) { return &s->rw->to->nodes[node]; }
static Op op_of(const Structure *s, uint32_t node) { return node_at(s, node)->op; }
static uint32_t input(const Structure *s, uint32_t node, uint32_t k) { return node_ins(s->rw->to, node_at(s, node))[k]; }
static int64_t attr(const Structure *s, uint32_t node, uint32_t k) { return node_attrs(s->rw->to, node_at(s, node))[k]; }
static Dims dims(const Structure *s, uint32_t node) { return dims_of(s->rw->to, node); }

bool structure_single(const Structure *s, uint32_t node) { return !s->kept && (node >= s->room || s->readers[node] <= 1); }

uint32_t structure_enter(Structure *s, uint32_t node) {
    uint32_t kept = !structure_single(s, node);
    s->kept += kept;
    return kept;
}

Labels structure_labels(const Graph *g, uint32_t node) {
    const int64_t *a = node_attrs(g, &g->nodes[node]), *at = a + 3;
    Labels l;
    for (int k = 0; k < 3; k++) {
        l.n[k] = (uint32_t)a[k];
        memcpy(l.at[k], at, l.n[k] * sizeof *at);
        at += l.n[k];
    }
    return l;
}

bool structure_is_slide(const Structure *s, uint32_t node, Slide *slide) {
    Op op = op_of(s, node);
    if (op != OP_resize && op != OP_shift && op != OP_unshift) return false;
    if (op != OP_resize && attr(s, node, 1) == SHIFT_SATURATE) return false;
    uint32_t x = input(s, node, 0), axis = (uint32_t)attr(s, node, 0);
    *slide = (Slide){x, axis, dims(s, x).at[axis], dims(s, node).at[axis], op == OP_shift ? 1 : op == OP_unshift ? -1 : attr(s, node, 1)};
    return true;
}

static Dims without(Dims d, uint32_t axis) {
    memmove(d.at + axis, d.at + axis + 1, (--d.rank - axis) * sizeof *d.at);
    return d;
}

static Dims with(Dims d, uint32_t axis, uint32_t extent) {
    memmove(d.at + axis + 1, d.at + axis, (d.rank++ - axis) * sizeof *d.at);
    d.at[axis] = extent;
    return d;
}

static uint32_t put(Structure *s, Op op, const uint32_t *ins, uint32_t nin, const Dims *d, const int64_t *attrs, uint32_t nattr) {
    return rewrite_node(s->rw, op, ins, nin, d, attrs, nattr);
}

uint32_t structure_zero(Structure *s, const Dims *d) { return put(s, OP_zero, NULL, 0, d, NULL, 0); }

static uint32_t put_onehot(Structure *s, uint32_t n, int64_t index) {
    return put(s, OP_onehot, NULL, 0, &(Dims){.rank = 1, .at = {n}}, &index, 1);
}

/* ---- ops that move numbers ---- */

uint32_t structure_reshape(Structure *s, uint32_t x, const Dims *d) {
    return op_of(s, x) == OP_zero ? structure_zero(s, d) : rewrite_reshape(s->rw, x, d);
}

/* What two slides in a row leave of [0, from): the same as one, if the first cuts off nothing that the second would not. */
static bool joins(const Slide *a, uint32_t to, int64_t by, bool *nothing) {
    int64_t all = a->by + by, low = all < 0 ? -all : 0, high = (int64_t)to - all;
    if (high > a->from) high = a->from;
    int64_t both_low = low < -a->by ? -a->by : low, both_high = high < a->to - a->by ? high : a->to - a->by;
    *nothing = both_low >= both_high;
    return both_low == low && both_high == high;
}

uint32_t structure_slide(Structure *s, uint32_t x, uint32_t axis, uint32_t to, int64_t by) {
    Dims d = dims(s, x);
    int64_t from = d.at[axis], at = 0;
    Slide inner;
    bool nothing = by >= (int64_t)to || by <= -from, one = false;
    d.at[axis] = to;
    if (op_of(s, x) == OP_onehot) {
        at = attr(s, x, 0) + by;
        one = true;
        nothing = at < 0 || at >= (int64_t)to;
    }
    if (!nothing && structure_is_slide(s, x, &inner) && inner.axis == axis && joins(&inner, to, by, &nothing))
        return nothing ? structure_zero(s, &d) : structure_slide(s, inner.x, axis, to, inner.by + by);
    if (nothing || op_of(s, x) == OP_zero) return structure_zero(s, &d);
    return one ? put_onehot(s, to, at) : rewrite_slide(s->rw, x, axis, to, by);
}

uint32_t structure_scatter(Structure *s, uint32_t x, uint32_t axis, uint32_t index, uint32_t extent) {
    Dims d = with(dims(s, x), axis, extent);
    if (extent == 1) return structure_reshape(s, x, &d);
    if (op_of(s, x) == OP_zero) return structure_zero(s, &d);
    return put(s, OP_scatter, &x, 1, &d, (int64_t[]){axis, index}, 2);
}

/* Axes of one element move nothing. */
static bool moves_nothing(const Dims *from, const int64_t *perm) {
    int64_t last = -1;
    for (uint32_t k = 0; k < from->rank; k++) {
        if (from->at[perm[k]] == 1) continue;
        if (perm[k] < last) return false;
        last = perm[k];
    }
    return true;
}

/* The contraction gives its result in the other order at once. */
static uint32_t permuted_contract(Structure *s, uint32_t x, const int64_t *perm) {
    Labels l = structure_labels(s->rw->to, x), turned = l;
    for (uint32_t k = 0; k < l.n[2]; k++) turned.at[2][k] = l.at[2][perm[k]];
    return s->contract(s, input(s, x, 0), input(s, x, 1), &turned);
}

uint32_t structure_permute(Structure *s, uint32_t x, const int64_t *perm) {
    int64_t joined[LIMIT_GRAPH_RANK];
    if (op_of(s, x) == OP_permute) {
        for (uint32_t k = 0; k < dims(s, x).rank; k++) joined[k] = attr(s, x, (uint32_t)perm[k]);
        uint32_t kept = structure_enter(s, x), made = structure_permute(s, input(s, x, 0), joined);
        structure_leave(s, kept);
        return made;
    }
    Dims from = dims(s, x), to = from;
    for (uint32_t k = 0; k < from.rank; k++) to.at[k] = from.at[perm[k]];
    if (moves_nothing(&from, perm)) return structure_reshape(s, x, &to);
    if (op_of(s, x) == OP_zero) return structure_zero(s, &to);
    if (op_of(s, x) == OP_eye) return x;
    if (op_of(s, x) == OP_contract && structure_single(s, x) && s->depth < STRUCTURE_DEPTH) return permuted_contract(s, x, perm);
    return put(s, OP_permute, &x, 1, &to, perm, from.rank);
}

/* ---- select ---- */

double structure_select_cost(const Structure *s, uint32_t node, uint32_t axis) {
    Dims d = dims(s, node);
    if (op_row(op_of(s, node))->family == FAMILY_constant && (op_of(s, node) != OP_const || node_at(s, node)->size <= SLICED)) return 0;
    return d.at[axis] == 1 ? 0 : COST_CALL + (double)(node_at(s, node)->size / d.at[axis]);
}

/* The axis of the reshaped node's input that is this one, the elements around it the same; -1: none. */
static int64_t same_axis(const Structure *s, uint32_t node, uint32_t axis) {
    Dims d = dims(s, node), x = dims(s, input(s, node, 0));
    size_t before = 1, outer = 1;
    for (uint32_t k = 0; k < axis; k++) before *= d.at[k];
    for (uint32_t k = 0; k < x.rank; outer *= x.at[k++])
        if (outer == before && x.at[k] == d.at[axis]) return k;
    return -1;
}

static uint32_t select_const(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    Dims d = dims(s, x), to = without(d, axis);
    size_t inner = 1, extent = d.at[axis], size = dims_product(&to);
    for (uint32_t k = axis + 1; k < d.rank; k++) inner *= d.at[k];
    const double *from = s->rw->to->consts + attr(s, x, 0);
    double *slice = ARENA_ARRAY(&s->rw->cx->arena, double, size);
    for (size_t e = 0; e < size; e++) slice[e] = from[(e / inner * extent + index) * inner + e % inner];
    return matrix_constant(s->rw, slice, &to);
}

static uint32_t select_if(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    uint32_t c = input(s, x, 0), a = input(s, x, 1), b = input(s, x, 2), outer = dims(s, c).rank - 1;
    if (axis < outer) return structure_if(s, structure_select(s, c, axis, index), a, b);
    return structure_if(s, c, structure_select(s, a, axis - outer, index), structure_select(s, b, axis - outer, index));
}

static uint32_t select_contract(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    Labels l = structure_labels(s->rw->to, x), selected = l;
    uint32_t ins[] = {input(s, x, 0), input(s, x, 1)};
    for (int k = 0; k < 2; k++) {
        selected.n[k] = 0;
        uint32_t at = UINT32_MAX;
        for (uint32_t i = 0; i < l.n[k]; i++) {
            if (l.at[k][i] == l.at[2][axis]) at = i;
            else selected.at[k][selected.n[k]++] = l.at[k][i];
        }
        if (at != UINT32_MAX) ins[k] = structure_select(s, ins[k], at, index);
    }
    selected.n[2] = 0;
    for (uint32_t i = 0; i < l.n[2]; i++)
        if (i != axis) selected.at[2][selected.n[2]++] = l.at[2][i];
    return s->contract(s, ins[0], ins[1], &selected);
}

/* Whether selecting before the op, which nothing else reads, is cheaper than after it. */
static bool select_pays(const Structure *s, uint32_t x, uint32_t axis) {
    const Graph *g = s->rw->to;
    Dims d = dims(s, x);
    Cost cost = op_cost(g, node_at(s, x));
    double extent = d.at[axis], after = COST_CALL + (cost.macs + cost.moved) / extent, before = cost_total(cost) + structure_select_cost(s, x, axis);
    uint32_t outer = op_of(s, x) == OP_if ? dims(s, input(s, x, 0)).rank - 1 : 0;
    if (op_of(s, x) == OP_if && axis < outer) return after + structure_select_cost(s, input(s, x, 0), axis) < before;
    if (op_of(s, x) != OP_contract) {
        for (uint32_t k = op_of(s, x) == OP_if; k < node_at(s, x)->nin; k++) after += structure_select_cost(s, input(s, x, k), axis - outer);
        return after < before;
    }
    Labels l = structure_labels(g, x);
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < l.n[k]; i++)
            if (l.at[k][i] == l.at[2][axis]) after += structure_select_cost(s, input(s, x, k), i);
    return after < before;
}

/* Through a permutation, which moves less afterwards, or nothing. UINT32_MAX: it does not pay. */
static uint32_t select_permuted(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    uint32_t rank = dims(s, x).rank, n = 0;
    int64_t from = attr(s, x, axis), perm[LIMIT_GRAPH_RANK];
    for (uint32_t k = 0; k < rank; k++)
        if (k != axis) perm[n++] = attr(s, x, k) - (attr(s, x, k) > from);
    Dims left = without(dims(s, input(s, x, 0)), (uint32_t)from);
    if (!structure_single(s, x) && !moves_nothing(&left, perm)) return UINT32_MAX;
    return structure_permute(s, structure_select(s, input(s, x, 0), (uint32_t)from, index), perm);
}

/* From a slide or a scatter along another axis. */
static uint32_t select_beside(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    Slide slide;
    if (structure_is_slide(s, x, &slide))
        return structure_slide(s, structure_select(s, slide.x, axis, index), slide.axis - (slide.axis > axis), slide.to, slide.by);
    uint32_t scattered = (uint32_t)attr(s, x, 0), at = (uint32_t)attr(s, x, 1), extent = dims(s, x).at[scattered];
    uint32_t y = structure_select(s, input(s, x, 0), axis - (axis > scattered), index);
    return structure_scatter(s, y, scattered - (scattered > axis), at, extent);
}

/* The selection before the op at hand instead of after it; UINT32_MAX: none. */
static uint32_t select_before(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    Slide slide;
    Dims d = without(dims(s, x), axis);
    Op op = op_of(s, x);
    if (op == OP_permute) return select_permuted(s, x, axis, index);
    if (op == OP_reshape && same_axis(s, x, axis) >= 0)
        return structure_reshape(s, structure_select(s, input(s, x, 0), (uint32_t)same_axis(s, x, axis), index), &d);
    if (structure_is_slide(s, x, &slide) && slide.axis == axis) {
        int64_t from = (int64_t)index - slide.by;
        return from < 0 || from >= slide.from ? structure_zero(s, &d) : structure_select(s, slide.x, axis, (uint32_t)from);
    }
    if (op == OP_scatter && attr(s, x, 0) == axis) return attr(s, x, 1) == index ? input(s, x, 0) : structure_zero(s, &d);
    if (!structure_single(s, x)) return UINT32_MAX;
    if (structure_is_slide(s, x, &slide) || op == OP_scatter) return select_beside(s, x, axis, index);
    if ((op != OP_add && op != OP_if && op != OP_contract) || !select_pays(s, x, axis)) return UINT32_MAX;
    if (op == OP_if) return select_if(s, x, axis, index);
    if (op == OP_contract) return select_contract(s, x, axis, index);
    uint32_t a = structure_select(s, input(s, x, 0), axis, index);
    return structure_add(s, a, structure_select(s, input(s, x, 1), axis, index));
}

uint32_t structure_select(Structure *s, uint32_t x, uint32_t axis, uint32_t index) {
    Dims d = dims(s, x), to = without(d, axis);
    Op op = op_of(s, x);
    if (d.at[axis] == 1) return structure_reshape(s, x, &to);
    if (op == OP_zero || (op == OP_onehot && attr(s, x, 0) != index)) return structure_zero(s, &to);
    if (op == OP_onehot) return structure_reshape(s, put_onehot(s, 1, 0), &to);
    if (op == OP_eye) return put_onehot(s, d.at[0], index);
    if (op == OP_const && node_at(s, x)->size <= SLICED) return select_const(s, x, axis, index);
    uint32_t made = UINT32_MAX;
    if (s->depth < STRUCTURE_DEPTH) {
        uint32_t kept = structure_enter(s, x);
        s->depth++;
        made = select_before(s, x, axis, index);
        s->depth--;
        structure_leave(s, kept);
    }
    return made != UINT32_MAX ? made : put(s, OP_select, &x, 1, &to, (int64_t[]){axis, index}, 2);
}

/* ---- add and if ---- */

static bool same_attrs(const Structure *s, uint32_t a, uint32_t b) {
    const GNode *x = node_at(s, a), *y = node_at(s, b);
    return x->nattr == y->nattr && (!x->nattr || !memcmp(node_attrs(s->rw->to, x), node_attrs(s->rw->to, y), x->nattr * sizeof(int64_t)));
}

/* L·x + L·y = L·(x + y), for an op L that only moves numbers. */
static uint32_t add_moved(Structure *s, uint32_t a, uint32_t b) {
    uint32_t x = input(s, a, 0), y = input(s, b, 0);
    Dims d = dims(s, a), xd = dims(s, x), yd = dims(s, y);
    if (!dims_equal(&xd, &yd) || node_at(s, x)->size > 2 * node_at(s, a)->size) return UINT32_MAX;
    Op op = op_of(s, a);
    int64_t attrs[LIMIT_GRAPH_RANK];
    uint32_t n = node_at(s, a)->nattr;
    for (uint32_t k = 0; k < n; k++) attrs[k] = attr(s, a, k);
    uint32_t sum = structure_add(s, x, y);
    return op == OP_reshape ? structure_reshape(s, sum, &d) : put(s, op, &sum, 1, &d, attrs, n);
}

/* Two sums that share a factor. UINT32_MAX: none. */
static uint32_t add_products(Structure *s, uint32_t a, uint32_t b) {
    uint32_t x[] = {input(s, a, 0), input(s, a, 1)}, y[] = {input(s, b, 0), input(s, b, 1)};
    int shared = x[0] == y[0] ? 0 : x[1] == y[1] ? 1 : -1;
    if (shared < 0) return UINT32_MAX;
    Labels l = structure_labels(s->rw->to, a);
    x[1 - shared] = structure_add(s, x[1 - shared], y[1 - shared]);
    return s->contract(s, x[0], x[1], &l);
}

static uint32_t add_ifs(Structure *s, uint32_t a, uint32_t b) {
    uint32_t c = input(s, a, 0), then[] = {input(s, a, 1), input(s, b, 1)}, otherwise[] = {input(s, a, 2), input(s, b, 2)};
    if (c != input(s, b, 0)) return UINT32_MAX;
    uint32_t sum = structure_add(s, then[0], then[1]);
    return structure_if(s, c, sum, structure_add(s, otherwise[0], otherwise[1]));
}

/* The same op on both sides, once instead of twice. UINT32_MAX: it does not apply. */
static uint32_t add_alike(Structure *s, uint32_t a, uint32_t b) {
    if (a == b || op_of(s, a) != op_of(s, b) || !same_attrs(s, a, b) || !structure_single(s, a) || !structure_single(s, b)) return UINT32_MAX;
    if (op_row(op_of(s, a))->family == FAMILY_move) return add_moved(s, a, b);
    if (op_of(s, a) == OP_contract) return add_products(s, a, b);
    return op_of(s, a) == OP_if ? add_ifs(s, a, b) : UINT32_MAX;
}

uint32_t structure_add(Structure *s, uint32_t a, uint32_t b) {
    Dims d = dims(s, a);
    uint32_t made = UINT32_MAX;
    if (op_of(s, a) == OP_zero) return b;
    if (op_of(s, b) == OP_zero) return a;
    if (s->depth < STRUCTURE_DEPTH) {
        s->depth++;
        made = add_alike(s, a, b);
        s->depth--;
    }
    return made != UINT32_MAX ? made : put(s, OP_add, (uint32_t[]){a, b}, 2, &d, NULL, 0);
}

/* weight [O…] times a [D…]: [O…, D…] */
static uint32_t scaled(Structure *s, uint32_t weight, uint32_t a) {
    uint32_t outer = dims(s, weight).rank, rank = dims(s, a).rank;
    Labels l = {.n = {outer, rank, outer + rank}};
    for (uint32_t i = 0; i < outer + rank; i++) {
        *(i < outer ? &l.at[0][i] : &l.at[1][i - outer]) = i;
        l.at[2][i] = i;
    }
    return s->contract(s, weight, a, &l);
}

/* The condition's weights, both together: what scales equal branches. */
static uint32_t mass(Structure *s, uint32_t c) {
    uint32_t outer = dims(s, c).rank - 1;
    Labels l = {.n = {outer + 1, 1, outer}};
    for (uint32_t i = 0; i <= outer; i++) l.at[0][i] = l.at[2][i] = i;
    l.at[1][0] = outer;
    return s->contract(s, c, matrix_constant(s->rw, (double[]){1, 1}, &(Dims){.rank = 1, .at = {2}}), &l);
}

static bool is_truth(const Structure *s, uint32_t node, int64_t value) {
    return op_of(s, node) == OP_onehot && node_at(s, node)->size == 2 && attr(s, node, 0) == value;
}

/* One branch is zero, or both are equal: a product instead of a sum of two. UINT32_MAX: it does not pay. */
static uint32_t one_branch(Structure *s, uint32_t c, uint32_t a, uint32_t b) {
    Dims cd = dims(s, c);
    uint32_t outer = cd.rank - 1;
    double weights = (double)node_at(s, c)->size / 2, product = weights * (double)node_at(s, a)->size;
    if (a == b) return 2 * COST_CALL + 2 * weights + product < COST_CALL + 2 * product ? scaled(s, mass(s, c), a) : UINT32_MAX;
    bool second = op_of(s, a) == OP_zero;
    if (!second && op_of(s, b) != OP_zero) return UINT32_MAX;
    bool scattered = op_of(s, c) == OP_scatter && attr(s, c, 0) == outer;
    if (!scattered && structure_select_cost(s, c, outer) + product >= 2 * product) return UINT32_MAX;
    return scaled(s, structure_select(s, c, outer, second), second ? b : a);
}

uint32_t structure_if(Structure *s, uint32_t c, uint32_t a, uint32_t b) {
    Dims cd = dims(s, c), d = cd, branch = dims(s, a);
    uint32_t made = UINT32_MAX, outer = cd.rank - 1;
    memcpy(d.at + outer, branch.at, branch.rank * sizeof *d.at);
    d.rank = outer + branch.rank;
    if (op_of(s, c) == OP_zero || (op_of(s, a) == OP_zero && op_of(s, b) == OP_zero)) return structure_zero(s, &d);
    if (is_truth(s, c, 0)) return a;
    if (is_truth(s, c, 1)) return b;
    if (is_truth(s, a, 0) && is_truth(s, b, 1)) return c;
    if (op_of(s, c) == OP_scatter && attr(s, c, 0) == outer) /* nothing is known of the other branch's weight but that it is zero */
        return scaled(s, input(s, c, 0), attr(s, c, 1) ? b : a);
    if (s->depth < STRUCTURE_DEPTH) {
        s->depth++;
        made = one_branch(s, c, a, b);
        s->depth--;
    }
    return made != UINT32_MAX ? made : put(s, OP_if, (uint32_t[]){c, a, b}, 3, &d, NULL, 0);
}
