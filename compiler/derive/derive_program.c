/* Derivatives of the ops of programs, but for iterations (derive.c). */
#include "compiler/derive/derivation.h"
#include <string.h>

enum { NONE = SLOPE_NONE };

/* ---- VJP ---- */

void vjp_leaf(Derivation *d, uint32_t y, uint32_t yb) { (void)d, (void)y, (void)yb; }
void vjp_shift(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_unshift); }
void vjp_unshift(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_shift); }
void vjp_select(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_scatter); }
void vjp_scatter(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_select); }

void vjp_resize(Derivation *d, uint32_t y, uint32_t yb) {
    Dims dims = derive_dims(d, y, 0);
    int64_t back[] = {derive_attr(d, y, 0), -derive_attr(d, y, 1)};
    derive_give(d, y, 0, rewrite_node(d->rw, OP_resize, &yb, 1, &dims, back, 2));
}

void vjp_reshape(Derivation *d, uint32_t y, uint32_t yb) {
    Dims dims = derive_dims(d, y, 0);
    derive_give(d, y, 0, rewrite_reshape(d->rw, yb, &dims));
}

/* y.dims[k] = x.dims[perm[k]], so x̄ takes dim perm[k] from ȳ's k: the inverse permutation. */
void vjp_permute(Derivation *d, uint32_t y, uint32_t yb) {
    Dims dims = derive_dims(d, y, 0);
    int64_t inverse[LIMIT_GRAPH_RANK];
    for (uint32_t k = 0; k < dims.rank; k++) inverse[derive_attr(d, y, k)] = k;
    derive_give(d, y, 0, rewrite_node(d->rw, OP_permute, &yb, 1, &dims, inverse, dims.rank));
}

void vjp_add(Derivation *d, uint32_t y, uint32_t yb) {
    for (uint32_t k = 0; k < 2; k++)
        if (derive_wants(d, y, k)) derive_give(d, y, k, yb);
}

/* LabelList of an operand, or of a result. */
typedef struct {
    int64_t at[3 * LIMIT_GRAPH_RANK];
    uint32_t n;
} LabelList;

static void label(LabelList *l, int64_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) l->at[l->n++] = first + i;
}

static uint32_t put_contract(Derivation *d, uint32_t a, const LabelList *la, uint32_t b, const LabelList *lb, const LabelList *lo) {
    int64_t attrs[3 + 9 * LIMIT_GRAPH_RANK];
    const LabelList *all[] = {la, lb, lo};
    uint32_t n = 3;
    Dims da = dims_of(d->rw->to, a), db = dims_of(d->rw->to, b), dims = {.rank = lo->n};
    for (int k = 0; k < 3; k++) {
        attrs[k] = all[k]->n;
        memcpy(attrs + n, all[k]->at, all[k]->n * sizeof *attrs);
        n += all[k]->n;
    }
    for (uint32_t i = 0; i < lo->n; i++) {
        for (uint32_t j = 0; j < la->n; j++)
            if (la->at[j] == lo->at[i]) dims.at[i] = da.at[j];
        for (uint32_t j = 0; j < lb->n; j++)
            if (lb->at[j] == lo->at[i]) dims.at[i] = db.at[j];
    }
    return rewrite_node(d->rw, OP_contract, (uint32_t[]){a, b}, 2, &dims, attrs, n);
}

/* Branch k's value as the coefficient's derivative takes it: not at all where it is not finite (language.md §5). */
static uint32_t branch_value(Derivation *d, uint32_t y, uint32_t k) {
    uint32_t value = derive_primal(d, y, k);
    Dims dims = derive_dims(d, y, k);
    return d->tame[derive_input(d, y, k)] ? value : rewrite_node(d->rw, OP_finite, &value, 1, &dims, NULL, 0);
}

/* y[o,d] = c[o,0]·a[d] + c[o,1]·b[d]: ā = Σₒ c₀·ȳ, b̄ = Σₒ c₁·ȳ, c̄₀ = Σ_d ȳ·a, c̄₁ = Σ_d ȳ·b. */
void vjp_if(Derivation *d, uint32_t y, uint32_t yb) {
    Dims cond = derive_dims(d, y, 0), branch = derive_dims(d, y, 1), outer = cond;
    outer.rank--;
    LabelList lo = {.n = 0}, ld = {.n = 0}, ly = {.n = 0};
    label(&lo, 0, outer.rank);
    label(&ld, outer.rank, branch.rank);
    label(&ly, 0, outer.rank + branch.rank);
    for (uint32_t k = 0; k < 2; k++) {
        int64_t at[] = {outer.rank, k};
        if (derive_wants(d, y, 1 + k)) {
            uint32_t c = rewrite_node(d->rw, OP_select, &d->rw->moved[derive_input(d, y, 0)], 1, &outer, at, 2);
            derive_give(d, y, 1 + k, put_contract(d, c, &lo, yb, &ly, &ld));
        }
        if (derive_wants(d, y, 0)) {
            uint32_t c = put_contract(d, yb, &ly, branch_value(d, y, 1 + k), &ld, &lo);
            derive_give(d, y, 0, rewrite_node(d->rw, OP_scatter, &c, 1, &cond, at, 2));
        }
    }
}

/* A contraction's cotangents are contractions of the result's cotangent with the other operand. */
void vjp_contract(Derivation *d, uint32_t y, uint32_t yb) {
    LabelList l[3] = {{.n = 0}, {.n = 0}, {.n = 0}};
    uint32_t at = 3;
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < derive_attr(d, y, (uint32_t)k); i++) l[k].at[l[k].n++] = derive_attr(d, y, at++);
    for (uint32_t k = 0; k < 2; k++)
        if (derive_wants(d, y, k)) derive_give(d, y, k, put_contract(d, yb, &l[2], d->rw->moved[derive_input(d, y, 1 - k)], &l[1 - k], &l[k]));
}

void vjp_broadcast(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_sum); }
void vjp_sum(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_broadcast); }

void vjp_call(Derivation *d, uint32_t y, uint32_t yb) {
    (void)y, (void)yb;
    derive_no_networks(d->rw->cx);
}

/* What is a derivative itself. */
void vjp_refuse(Derivation *d, uint32_t y, uint32_t yb) {
    (void)y, (void)yb;
    cx_fail(d->rw->cx, ERR_internal, AT_NOWHERE, NULL, "Only first derivatives are supported.");
}

/* ---- JVP ---- */

/* A multilinear op: by the digits of its row, each group of jointly linear inputs replaced by their tangents in turn. */
uint32_t jvp_multilinear(Derivation *d, uint32_t y) {
    const GNode *n = derive_node(d, y);
    const char *linear = op_row(n->op)->linear;
    uint32_t sum = NONE, ins[8];
    Dims dims = dims_of(d->from, y);
    for (char group = '1'; group <= '9'; group++) {
        bool any = false;
        for (uint32_t k = 0; k < n->nin; k++) {
            uint32_t x = derive_input(d, y, k);
            Dims xd = dims_of(d->from, x);
            bool mine = linear[k] == group, live = mine && d->slope[x] != NONE;
            any = any || live;
            ins[k] = !mine ? d->rw->moved[x] : live ? d->slope[x] : derive_zero(d, &xd);
        }
        if (!any) continue;
        uint32_t part = rewrite_node(d->rw, n->op, ins, n->nin, &dims, node_attrs(d->from, n), n->nattr);
        sum = sum == NONE ? part : rewrite_node(d->rw, OP_add, (uint32_t[]){sum, part}, 2, &dims, NULL, 0);
    }
    return sum;
}

/* ẏ = ċ₀·a + ċ₁·b + c₀·ȧ + c₁·ḃ */
uint32_t jvp_if(Derivation *d, uint32_t y) {
    Dims dims = dims_of(d->from, y), branch = derive_dims(d, y, 1);
    uint32_t c = derive_tangent(d, y, 0), a = derive_tangent(d, y, 1), b = derive_tangent(d, y, 2), parts[2], n = 0;
    if (c != NONE) parts[n++] = rewrite_node(d->rw, OP_if, (uint32_t[]){c, branch_value(d, y, 1), branch_value(d, y, 2)}, 3, &dims, NULL, 0);
    if (a != NONE || b != NONE) {
        a = a != NONE ? a : derive_zero(d, &branch);
        b = b != NONE ? b : derive_zero(d, &branch);
        parts[n++] = rewrite_node(d->rw, OP_if, (uint32_t[]){derive_primal(d, y, 0), a, b}, 3, &dims, NULL, 0);
    }
    return n == 1 ? parts[0] : rewrite_node(d->rw, OP_add, parts, 2, &dims, NULL, 0);
}

/* Nodes without inputs have no tangent but by their slot. */
uint32_t jvp_leaf(Derivation *d, uint32_t y) { return d->slope[y]; }

uint32_t jvp_call(Derivation *d, uint32_t y) {
    (void)y;
    derive_no_networks(d->rw->cx);
}

uint32_t jvp_refuse(Derivation *d, uint32_t y) {
    vjp_refuse(d, y, NONE);
    return NONE;
}
