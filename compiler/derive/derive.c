/* Derivatives as graph transformations: the same ops again.
 *
 * A Derivation copies the primal graph and adds cotangents (VJP, in reverse) or tangents (JVP, forwards) to it, by the rules that the nodes' rows name.
 * Only active nodes take part: those that depend on a slot that is differentiated. Steps of iterations are derived recursively; they nest at most
 * LIMIT_GRAPH_DEPTH deep. */
#include "compiler/derive/derive.h"
#include "compiler/derive/derivation.h"

enum { NONE = SLOPE_NONE };

/* ---- VJP ---- */

/* Cotangents of all active nodes, from those already in slope. */
static void run_backward(Derivation *d) {
    static void (*const rules[OP_COUNT])(Derivation *, uint32_t, uint32_t) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, ...) [OP_##name] = vjp_##vjp,
#include "schema/graph/ops.def"
#undef OP
    };
    for (uint32_t y = d->from->nnodes; y-- > 0;)
        if (d->active[y] && d->slope[y] != NONE) rules[derive_node(d, y)->op](d, y, d->slope[y]);
}

static void seed_output(Derivation *d, uint32_t node) {
    Dims dims = dims_of(d->from, node);
    d->slope[node] = derive_slot(d, SLOT_COTANGENT, 0, &dims);
}

/* The slot's cotangent, zero when nothing gave one. */
static uint32_t slot_cotangent(Derivation *d, uint32_t slot) {
    uint32_t reader = d->reader[slot];
    Dims flat = {.rank = 1, .at = {(uint32_t)d->from->slots[slot].size}};
    return reader == NONE || d->slope[reader] == NONE ? derive_zero(d, &flat) : d->slope[reader];
}

static Graph *step_vjp(Cx *cx, const Graph *step, const bool *captures) {
    bool *differentiated = ARENA_ARRAY(&cx->arena, bool, step->nslots);
    for (uint32_t i = 0; i < step->nslots; i++)
        differentiated[i] = step->slots[i].role == SLOT_STATE || captures[step->slots[i].index];
    Derivation *d = derivation_new(cx, step, differentiated);
    seed_output(d, step->outputs[0].node);
    run_backward(d);
    for (uint32_t i = 0; i < step->nslots; i++) {
        const Slot *slot = &step->slots[i];
        graph_output(d->rw->to, slot->role == SLOT_STATE ? OUT_STATE : OUT_CAPTURE, slot->index, slot_cotangent(d, i));
    }
    return rewrite_finish_as_is(d->rw);
}

/* Backpropagation through time: the iter_vjp kernel runs the step's VJP backwards; its results are read with `tuple_get`. */
void vjp_iter(Derivation *d, uint32_t y, uint32_t yb) {
    const GNode *n = derive_node(d, y);
    if (op_iter(d->from, n).counts != 1 || op_iter(d->from, n).comps != 1)
        cx_fail(d->rw->cx, ERR_internal, AT_NOWHERE, NULL, "Only first derivatives of iterations are supported.");
    uint32_t ncaptures = n->nin - 2;
    uint32_t *ins = ARENA_ARRAY(&d->rw->cx->arena, uint32_t, n->nin + 1);
    bool *captures = ARENA_ARRAY(&d->rw->cx->arena, bool, ncaptures);
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = d->rw->moved[derive_input(d, y, k)];
    for (uint32_t k = 0; k < ncaptures; k++) captures[k] = derive_wants(d, y, 2 + k);
    ins[n->nin] = yb;
    const Graph *step = d->from->subs[n->sub];
    Graph *subs[] = {rewrite_prune(d->rw->cx, step), step_vjp(d->rw->cx, step, captures)};
    int64_t count = ncaptures;
    for (int k = 0; k < 2; k++) rewrite_give(d->rw->cx, subs[k]);
    uint32_t tuple = rewrite_add(d->rw, &(NodeSpec){.op = OP_iter_vjp, .ins = ins, .nin = n->nin + 1, .attrs = &count, .nattr = 1, .subs = subs, .nsub = 2});
    for (uint32_t k = 0; k < n->nin; k++) {
        if (!derive_wants(d, y, k)) continue;
        int64_t part = k;
        Dims dims = derive_dims(d, y, k);
        derive_give(d, y, k, rewrite_node(d->rw, OP_tuple_get, &tuple, 1, &dims, &part, 1));
    }
}

static void refuse_networks(Cx *cx, const Graph *g) {
    for (uint32_t i = 0; i < g->nslots; i++)
        if (g->slots[i].role == SLOT_NETWORK) derive_no_networks(cx);
}

/* Which slots take part; NULL in the specification: all. */
static bool asked_for(const DeriveSpec *spec, uint32_t slot) { return !spec->slots || spec->slots[slot]; }

static void copy_values(Derivation *d) {
    for (uint32_t o = 0; o < d->from->noutputs; o++) {
        const Output *out = &d->from->outputs[o];
        graph_output(d->rw->to, out->role, out->index, d->rw->moved[out->node]);
    }
}

static OutRole gradient_role(const DeriveSpec *spec, const Graph *g, uint32_t slot) {
    if (spec->roles) return spec->roles[slot];
    switch (g->slots[slot].role) {
    case SLOT_INPUT: return OUT_GRAD_INPUT;
    case SLOT_WEIGHT: return OUT_GRAD_WEIGHT;
    default: return OUT_GRAD_ARG;
    }
}

/* The slot's cotangent, summed over the rows when the slot is shared. */
static uint32_t put_gradient(Derivation *d, uint32_t slot) {
    Dims flat = {.rank = 1, .at = {(uint32_t)d->from->slots[slot].size}};
    int64_t at = slot;
    uint32_t like = rewrite_node(d->rw, OP_input, NULL, 0, &flat, &at, 1), cotangent = slot_cotangent(d, slot);
    return rewrite_node(d->rw, OP_batch_sum, (uint32_t[]){cotangent, like}, 2, &flat, NULL, 0);
}

Graph *derive_vjp(Cx *cx, const Graph *g, const DeriveSpec *spec) {
    refuse_networks(cx, g);
    Derivation *d = derivation_new(cx, g, spec->slots);
    copy_values(d);
    seed_output(d, g->outputs[spec->output].node);
    run_backward(d);
    for (uint32_t i = 0; i < g->nslots; i++) {
        if (!asked_for(spec, i)) continue;
        uint32_t node = spec->rows ? slot_cotangent(d, i) : put_gradient(d, i);
        graph_output(d->rw->to, gradient_role(spec, g, i), g->slots[i].index, node);
    }
    return rewrite_finish_as_is(d->rw);
}

Graph *derive_graph_vjp(Cx *cx, const Graph *g) { return rewrite_give(cx, derive_vjp(cx, g, &(DeriveSpec){0})); }

/* ---- JVP ---- */

/* Tangents of all active nodes; those of the slots are already in slope. */
static void run_forward(Derivation *d) {
    static uint32_t (*const rules[OP_COUNT])(Derivation *, uint32_t) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, ...) [OP_##name] = jvp_##jvp,
#include "schema/graph/ops.def"
#undef OP
    };
    for (uint32_t y = 0; y < d->from->nnodes; y++)
        if (d->active[y]) d->slope[y] = rules[derive_node(d, y)->op](d, y);
}

static void seed_slot(Derivation *d, uint32_t slot, SlotRole role, uint32_t index) {
    uint32_t reader = d->reader[slot];
    Dims flat = {.rank = 1, .at = {(uint32_t)d->from->slots[slot].size}};
    uint32_t tangent = derive_slot(d, role, index, &flat);
    if (reader != NONE) d->slope[reader] = tangent;
}

static Graph *step_jvp(Cx *cx, const Graph *step, const bool *captures, uint32_t ncaptures) {
    bool *differentiated = ARENA_ARRAY(&cx->arena, bool, step->nslots);
    for (uint32_t i = 0; i < step->nslots; i++)
        differentiated[i] = step->slots[i].role == SLOT_STATE || captures[step->slots[i].index];
    Derivation *d = derivation_new(cx, step, differentiated);
    uint32_t *tangent = ARENA_ARRAY(&cx->arena, uint32_t, ncaptures), next = ncaptures;
    for (uint32_t k = 0; k < ncaptures; k++)
        if (captures[k]) tangent[k] = next++;
    for (uint32_t i = 0; i < step->nslots; i++) {
        const Slot *slot = &step->slots[i];
        if (slot->role == SLOT_STATE) seed_slot(d, i, SLOT_STATE, 1);
        else if (captures[slot->index]) seed_slot(d, i, SLOT_CAPTURE, tangent[slot->index]);
    }
    run_forward(d);
    uint32_t out = step->outputs[0].node;
    Dims dims = dims_of(step, out);
    graph_output(d->rw->to, OUT_STATE, 0, d->rw->moved[out]);
    graph_output(d->rw->to, OUT_STATE, 1, d->slope[out] != NONE ? d->slope[out] : derive_zero(d, &dims));
    return rewrite_finish_as_is(d->rw);
}

/* y = Σ nᵢ·sᵢ: ẏ = Σ nᵢ·ṡᵢ + ṅᵢ·sᵢ, one recurrence over the pair (s, ṡ) with two read-outs. */
uint32_t jvp_iter(Derivation *d, uint32_t y) {
    const GNode *n = derive_node(d, y);
    if (op_iter(d->from, n).counts != 1 || op_iter(d->from, n).comps != 1)
        cx_fail(d->rw->cx, ERR_internal, AT_NOWHERE, NULL, "Only first derivatives of iterations are supported.");
    uint32_t ncaptures = n->nin - 2, nin = 0, count = derive_input(d, y, 0), base = derive_input(d, y, 1);
    uint32_t *ins = ARENA_ARRAY(&d->rw->cx->arena, uint32_t, 4 + 2 * ncaptures);
    bool *captures = ARENA_ARRAY(&d->rw->cx->arena, bool, ncaptures), moving = d->slope[count] != NONE;
    Dims dims = dims_of(d->from, y), state = dims_of(d->from, base);
    ins[nin++] = d->rw->moved[count];
    if (moving) ins[nin++] = d->slope[count];
    ins[nin++] = d->rw->moved[base];
    ins[nin++] = d->slope[base] != NONE ? d->slope[base] : derive_zero(d, &state);
    for (uint32_t k = 0; k < ncaptures; k++) ins[nin++] = d->rw->moved[derive_input(d, y, 2 + k)];
    for (uint32_t k = 0; k < ncaptures; k++)
        if ((captures[k] = d->slope[derive_input(d, y, 2 + k)] != NONE)) ins[nin++] = d->slope[derive_input(d, y, 2 + k)];
    int64_t attrs[] = {1 + moving, 2, (int64_t)nin - 3 - moving, 1 + moving, 0, 1, 1, 0};
    Graph *step = rewrite_give(d->rw->cx, step_jvp(d->rw->cx, d->from->subs[n->sub], captures, ncaptures));
    return rewrite_add(d->rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = nin, .dims = dims.at, .rank = dims.rank, .attrs = attrs,
                                          .nattr = moving ? 8 : 6, .subs = &step, .nsub = 1});
}

Graph *derive_jvp(Cx *cx, const Graph *g, const DeriveSpec *spec) {
    refuse_networks(cx, g);
    Derivation *d = derivation_new(cx, g, spec->slots);
    for (uint32_t i = 0; i < g->nslots; i++)
        if (asked_for(spec, i)) seed_slot(d, i, g->slots[i].role == SLOT_INPUT ? SLOT_TANGENT_INPUT : SLOT_TANGENT_ARG, g->slots[i].index);
    run_forward(d);
    copy_values(d);
    uint32_t value = g->outputs[spec->output].node;
    Dims dims = dims_of(g, value);
    graph_output(d->rw->to, OUT_TANGENT, 0, d->slope[value] != NONE ? d->slope[value] : derive_zero(d, &dims));
    return rewrite_finish_as_is(d->rw);
}

Graph *derive_graph_jvp(Cx *cx, const Graph *g) { return rewrite_give(cx, derive_jvp(cx, g, &(DeriveSpec){0})); }
