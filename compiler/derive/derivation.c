#include "compiler/derive/derivation.h"

uint32_t derive_zero(Derivation *d, const Dims *dims) { return rewrite_node(d->rw, OP_zero, NULL, 0, dims, NULL, 0); }

uint32_t derive_slot(Derivation *d, SlotRole role, uint32_t index, const Dims *dims) {
    size_t size = dims_product(dims);
    int64_t slot = graph_slot(d->rw->to, role, index, size);
    Dims flat = {.rank = 1, .at = {(uint32_t)size}};
    return rewrite_reshape(d->rw, rewrite_node(d->rw, OP_input, NULL, 0, &flat, &slot, 1), dims);
}

/* Whether the node is finite when the graph's inputs are: made of inputs and constants without a product of two values that vary, unless these are an
 * if's coefficients, whose products are taken to stay finite. What a step is given may be anything. */
static bool is_tame(const Derivation *d, uint32_t node) {
    const GNode *n = derive_node(d, node);
    const OpFamily family = op_row(n->op)->family;
    bool constant = false;
    if (n->op == OP_input) {
        const SlotRole role = d->from->slots[derive_attr(d, node, 0)].role;
        return role != SLOT_STATE && role != SLOT_CAPTURE;
    }
    for (uint32_t k = 0; k < n->nin; k++) {
        constant = constant || op_row(derive_node(d, derive_input(d, node, k))->op)->family == FAMILY_constant;
        if (!d->tame[derive_input(d, node, k)]) return false;
    }
    return family == FAMILY_constant || family == FAMILY_move || n->op == OP_add || n->op == OP_if || (n->op == OP_contract && constant);
}

Derivation *derivation_new(Cx *cx, const Graph *from, const bool *differentiated) {
    Derivation *d = ARENA_NEW(&cx->arena, Derivation);
    *d = (Derivation){.rw = rewrite_new(cx, from), .from = from};
    d->slope = ARENA_ARRAY(&cx->arena, uint32_t, from->nnodes);
    d->active = ARENA_ARRAY(&cx->arena, bool, from->nnodes);
    d->tame = ARENA_ARRAY(&cx->arena, bool, from->nnodes);
    d->reader = ARENA_ARRAY(&cx->arena, uint32_t, from->nslots);
    for (uint32_t i = 0; i < from->nslots; i++) d->reader[i] = SLOPE_NONE;
    for (uint32_t i = 0; i < from->nnodes; i++) {
        d->rw->moved[i] = rewrite_copy(d->rw, i);
        d->slope[i] = SLOPE_NONE;
        d->tame[i] = is_tame(d, i);
        if (derive_node(d, i)->op == OP_input) {
            d->reader[derive_attr(d, i, 0)] = i;
            d->active[i] = !differentiated || differentiated[derive_attr(d, i, 0)];
        }
        for (uint32_t k = 0; k < derive_node(d, i)->nin; k++) d->active[i] = d->active[i] || d->active[derive_input(d, i, k)];
    }
    return d;
}

void derive_give(Derivation *d, uint32_t y, uint32_t k, uint32_t cotangent) {
    uint32_t x = derive_input(d, y, k);
    if (d->slope[x] != SLOPE_NONE) {
        Dims dims = dims_of(d->rw->to, cotangent);
        cotangent = rewrite_node(d->rw, OP_add, (uint32_t[]){d->slope[x], cotangent}, 2, &dims, NULL, 0);
    }
    d->slope[x] = cotangent;
}

void derive_give_transpose(Derivation *d, uint32_t y, uint32_t yb, Op op) {
    const GNode *n = derive_node(d, y);
    Dims dims = derive_dims(d, y, 0);
    derive_give(d, y, 0, rewrite_node(d->rw, op, &yb, 1, &dims, node_attrs(d->from, n), n->nattr));
}

void derive_no_networks(Cx *cx) {
    cx_fail(cx, ERR_not_tabulable, AT_NOWHERE, NULL, "A network input has no tensor, so there is nothing to differentiate with.");
}
