/* The algebra of contractions. */
#include "compiler/passes/structure.h"
#include <string.h>

/* A contraction on its way into the graph: Σ over labels not in the result of a·b. */
typedef struct {
    Structure *s;
    uint32_t in[2];
    bool shared[2]; /* the operand has been seen through nodes that others read too */
    Labels l;
} Contraction;

static const GNode *node_at(const Contraction *p, uint32_t node) { return &p->s->rw->to->nodes[node]; }
static Op op_of(const Contraction *p, int k) { return node_at(p, p->in[k])->op; }
static uint32_t input(const Contraction *p, int k, uint32_t i) { return node_ins(p->s->rw->to, node_at(p, p->in[k]))[i]; }
static int64_t attr(const Contraction *p, int k, uint32_t i) { return node_attrs(p->s->rw->to, node_at(p, p->in[k]))[i]; }
static Dims dims(const Contraction *p, int k) { return dims_of(p->s->rw->to, p->in[k]); }

enum { ABSENT = -1 };

static int64_t place_of(const Labels *l, int k, int64_t label) {
    for (uint32_t i = 0; i < l->n[k]; i++)
        if (l->at[k][i] == label) return i;
    return ABSENT;
}
static bool has(const Contraction *p, int k, int64_t label) { return place_of(&p->l, k, label) != ABSENT; }

static void drop(Labels *l, int k, uint32_t at) {
    memmove(l->at[k] + at, l->at[k] + at + 1, (--l->n[k] - at) * sizeof(int64_t));
}

static Dims result_dims(const Contraction *p) {
    Dims d = {.rank = p->l.n[2]}, a = dims(p, 0), b = dims(p, 1);
    for (uint32_t i = 0; i < d.rank; i++) {
        int64_t in_a = place_of(&p->l, 0, p->l.at[2][i]);
        d.at[i] = in_a != ABSENT ? a.at[in_a] : b.at[place_of(&p->l, 1, p->l.at[2][i])];
    }
    return d;
}

/* Multiply-adds: all labels of a, and those of b alone. */
static double work(const Contraction *p) {
    double macs = (double)node_at(p, p->in[0])->size;
    Dims b = dims(p, 1);
    for (uint32_t i = 0; i < b.rank; i++)
        if (!has(p, 0, p->l.at[1][i])) macs *= b.at[i];
    return macs;
}

/* ---- simpler operands ---- */

/* Permutations become an order of labels; axes of one element go. */
static void strip(Contraction *p, int k) {
    while (op_of(p, k) == OP_permute) {
        int64_t turned[LIMIT_GRAPH_RANK];
        for (uint32_t i = 0; i < p->l.n[k]; i++) turned[attr(p, k, i)] = p->l.at[k][i];
        memcpy(p->l.at[k], turned, p->l.n[k] * sizeof *turned);
        p->shared[k] = p->shared[k] || !structure_single(p->s, p->in[k]);
        p->in[k] = input(p, k, 0);
    }
    Dims d = dims(p, k), slim = {.rank = 0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d.rank; i++) {
        if (d.at[i] == 1) continue;
        slim.at[slim.rank++] = d.at[i];
        p->l.at[k][kept++] = p->l.at[k][i];
    }
    p->l.n[k] = kept;
    if (slim.rank < d.rank) p->in[k] = structure_reshape(p->s, p->in[k], &slim);
}

/* The result's labels of one element are those no operand has any more. */
static void strip_result(Contraction *p) {
    for (uint32_t i = p->l.n[2]; i-- > 0;)
        if (!has(p, 0, p->l.at[2][i]) && !has(p, 1, p->l.at[2][i])) drop(&p->l, 2, i);
}

/* Operand k, its labels in the result's order: what is left when the other operand is used up. */
static uint32_t only(Contraction *p, int k) {
    int64_t perm[LIMIT_GRAPH_RANK];
    for (uint32_t i = 0; i < p->l.n[2]; i++) perm[i] = place_of(&p->l, k, p->l.at[2][i]);
    p->s->kept += p->shared[k];
    uint32_t made = structure_permute(p->s, p->in[k], perm);
    structure_leave(p->s, p->shared[k]);
    return made;
}

/* Operand k becomes its part at one index of an axis. */
static void select_part(Contraction *p, int k, uint32_t axis, uint32_t index) {
    p->s->kept += p->shared[k];
    p->in[k] = structure_select(p->s, p->in[k], axis, index);
    structure_leave(p->s, p->shared[k]);
    drop(&p->l, k, axis);
}

static bool single(const Contraction *p, int k) { return !p->shared[k] && structure_single(p->s, p->in[k]); }

/* ---- rules; UINT32_MAX: does not apply ---- */

enum { NO = UINT32_MAX };

static bool is_one(const Contraction *p, int k) {
    uint32_t node = p->in[k];
    if (node_at(p, node)->size != 1) return false;
    while (node_at(p, node)->op == OP_reshape) node = node_ins(p->s->rw->to, node_at(p, node))[0];
    return node_at(p, node)->op == OP_onehot || node_at(p, node)->op == OP_eye;
}

/* δᵢⱼ with i summed and j in the result only: the other operand with i called j. */
static uint32_t with_eye(Contraction *p, int k) {
    for (int turn = 0; turn < 2; turn++) {
        int64_t i = p->l.at[k][turn], j = p->l.at[k][1 - turn], at = place_of(&p->l, 1 - k, i);
        if (at == ABSENT || has(p, 2, i) || has(p, 1 - k, j)) continue;
        p->l.at[1 - k][at] = j;
        return only(p, 1 - k);
    }
    return NO;
}

static uint32_t with_onehot(Contraction *p, int k) {
    int64_t i = p->l.at[k][0], at = place_of(&p->l, 1 - k, i), out = place_of(&p->l, 2, i);
    uint32_t index = (uint32_t)attr(p, k, 0), extent = dims(p, k).at[0];
    if (at != ABSENT && out != ABSENT) return NO;
    if (at != ABSENT) {
        select_part(p, 1 - k, (uint32_t)at, index);
        return only(p, 1 - k);
    }
    drop(&p->l, 2, (uint32_t)out);
    return structure_scatter(p->s, only(p, 1 - k), (uint32_t)out, index, extent);
}

/* The contraction of other operands. */
static uint32_t again(const Contraction *p) {
    uint32_t kept = p->shared[0] || p->shared[1];
    p->s->kept += kept;
    uint32_t made = structure_contract(p->s, p->in[0], p->in[1], &p->l);
    structure_leave(p->s, kept);
    return made;
}

/* The scattered axis is one of the sum: only one element of the other operand matters; or of the result: scatter that. */
static uint32_t with_scatter(Contraction *p, int k) {
    uint32_t axis = (uint32_t)attr(p, k, 0), index = (uint32_t)attr(p, k, 1), extent = dims(p, k).at[axis];
    int64_t label = p->l.at[k][axis], at = place_of(&p->l, 1 - k, label), out = place_of(&p->l, 2, label);
    Dims result = result_dims(p);
    double now = work(p), then = now / extent;
    if (single(p, k)) now += COST_CALL + (double)node_at(p, p->in[k])->size;
    then += at != ABSENT ? structure_select_cost(p->s, p->in[1 - k], (uint32_t)at) : COST_CALL + (double)dims_product(&result);
    if ((at != ABSENT && out != ABSENT) || then >= now) return NO;
    Contraction q = *p;
    q.shared[k] = !single(p, k);
    q.in[k] = input(p, k, 0);
    drop(&q.l, k, axis);
    if (at == ABSENT) {
        drop(&q.l, 2, (uint32_t)out);
        return structure_scatter(p->s, again(&q), (uint32_t)out, index, extent);
    }
    select_part(&q, 1 - k, (uint32_t)at, index);
    return again(&q);
}

/* A reshaped choice is a choice of reshaped branches. */
static bool reshaped_if(Contraction *p, int k) {
    uint32_t node = input(p, k, 0);
    if (node_at(p, node)->op != OP_if || !single(p, k) || !structure_single(p->s, node)) return false;
    uint32_t ins[3];
    memcpy(ins, node_ins(p->s->rw->to, node_at(p, node)), sizeof ins);
    if (node_at(p, ins[0])->rank != 1) return false;
    Dims d = dims(p, k);
    for (int i = 1; i < 3; i++) ins[i] = structure_reshape(p->s, ins[i], &d);
    p->in[k] = structure_if(p->s, ins[0], ins[1], ins[2]);
    return true;
}

/* (c₀·A + c₁·B)·x = c₀·(A·x) + c₁·(B·x): cheaper when the products are smaller than the matrices. A condition is what varies from row to row;
 * then A and B, shared, are not mixed anew for each. */
static uint32_t with_if(Contraction *p, int k) {
    uint32_t node = p->in[k], c = input(p, k, 0), outer = dims_of(p->s->rw->to, c).rank - 1;
    if (!single(p, k)) return NO;
    Contraction q[2] = {*p, *p};
    double weights = 1;
    for (uint32_t i = 0; i < outer; i++) {
        if (p->l.n[2] <= i || p->l.at[2][i] != p->l.at[k][i] || has(p, 1 - k, p->l.at[k][i])) return NO;
        weights *= dims(p, k).at[i];
    }
    Dims result = result_dims(p);
    double now = 2 * COST_CALL + 2 * (double)node_at(p, node)->size + work(p);
    if (3 * COST_CALL + 2 * work(p) / weights + 2 * (double)dims_product(&result) >= now) return NO;
    uint32_t made[2];
    for (uint32_t i = 0; i < 2; i++) {
        q[i].in[k] = node_ins(p->s->rw->to, node_at(p, node))[1 + i];
        for (uint32_t j = 0; j < outer; j++) {
            drop(&q[i].l, k, 0);
            drop(&q[i].l, 2, 0);
        }
        made[i] = again(&q[i]);
    }
    return structure_if(p->s, c, made[0], made[1]);
}

static uint32_t by_rule(Contraction *p, int k) {
    if (is_one(p, k)) return only(p, 1 - k);
    if (op_of(p, k) == OP_eye) return with_eye(p, k);
    if (op_of(p, k) == OP_onehot) return with_onehot(p, k);
    if (op_of(p, k) == OP_scatter) return with_scatter(p, k);
    if (op_of(p, k) == OP_reshape && !reshaped_if(p, k)) return NO;
    return op_of(p, k) == OP_if ? with_if(p, k) : NO;
}

/* ---- the contraction ---- */

static uint32_t put(Contraction *p) {
    int64_t attrs[3 + 3 * LIMIT_GRAPH_RANK];
    uint32_t n = 3;
    Dims d = result_dims(p);
    for (int k = 0; k < 3; k++) {
        attrs[k] = p->l.n[k];
        memcpy(attrs + n, p->l.at[k], p->l.n[k] * sizeof *attrs);
        n += p->l.n[k];
    }
    rewrite_labels(attrs + 3, n - 3);
    return rewrite_node(p->s->rw, OP_contract, p->in, 2, &d, attrs, n);
}

uint32_t structure_contract(Structure *s, uint32_t a, uint32_t b, const Labels *labels) {
    Contraction p = {.s = s, .in = {a, b}, .l = *labels};
    Dims full = result_dims(&p);
    if (op_of(&p, 0) == OP_zero || op_of(&p, 1) == OP_zero) return structure_zero(s, &full);
    for (int k = 0; k < 2; k++) strip(&p, k);
    strip_result(&p);
    uint32_t made = NO;
    s->depth++;
    for (int k = 0; k < 2 && made == NO && s->depth <= STRUCTURE_DEPTH; k++) made = by_rule(&p, k);
    s->depth--;
    return structure_reshape(s, made != NO ? made : put(&p), &full);
}
