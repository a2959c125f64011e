/* Derivatives as graph transformations (architecture.md): the same ops again, one rule an op.
 *
 * A Derivation copies the primal graph and adds cotangents (VJP, in reverse) or tangents (JVP, forwards) to it. Only active nodes
 * take part: those that depend on a slot that is differentiated. Steps of iterations are derived recursively; they nest at most
 * LIMIT_GRAPH_DEPTH deep. */
#include "compiler/derive/derivation.h"
#include "compiler/lower/compile.h"
#include "compiler/derive/derive.h"
#include <string.h>

enum { NONE = SLOPE_NONE };

static uint32_t put_zero(Derivation *d, const Dims *dims) { return rewrite_node(d->rw, OP_zero, NULL, 0, dims, NULL, 0); }

static uint32_t put_slot(Derivation *d, SlotRole role, uint32_t index, const Dims *dims) {
    size_t size = dims_product(dims);
    int64_t slot = graph_slot(d->rw->to, role, index, size);
    Dims flat = {.rank = 1, .at = {(uint32_t)size}};
    return rewrite_reshape(d->rw, rewrite_node(d->rw, OP_input, NULL, 0, &flat, &slot, 1), dims);
}

/* Labels: two operands and a result, each a list. */
typedef struct {
    int64_t at[3 * LIMIT_GRAPH_RANK];
    uint32_t n;
} Labels;

static void label(Labels *l, int64_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) l->at[l->n++] = first + i;
}

static uint32_t put_contract(Derivation *d, uint32_t a, const Labels *la, uint32_t b, const Labels *lb, const Labels *lo) {
    int64_t attrs[3 + 9 * LIMIT_GRAPH_RANK];
    const Labels *all[] = {la, lb, lo};
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

/* differentiated: is this slot? NULL = all that are tensors. */
static Derivation *derivation(Cx *cx, const Graph *from, const bool *differentiated) {
    Derivation *d = ARENA_NEW(&cx->arena, Derivation);
    *d = (Derivation){.rw = rewrite_new(cx, from), .from = from};
    d->slope = ARENA_ARRAY(&cx->arena, uint32_t, from->nnodes);
    d->active = ARENA_ARRAY(&cx->arena, bool, from->nnodes);
    d->reader = ARENA_ARRAY(&cx->arena, uint32_t, from->nslots);
    for (uint32_t i = 0; i < from->nslots; i++) d->reader[i] = NONE;
    for (uint32_t i = 0; i < from->nnodes; i++) {
        d->rw->moved[i] = rewrite_copy(d->rw, i);
        d->slope[i] = NONE;
        if (derive_node(d, i)->op == OP_input) {
            d->reader[derive_attr(d, i, 0)] = i;
            d->active[i] = !differentiated || differentiated[derive_attr(d, i, 0)];
        }
        for (uint32_t k = 0; k < derive_node(d, i)->nin; k++) d->active[i] = d->active[i] || d->active[derive_input(d, i, k)];
    }
    return d;
}

static _Noreturn void fail_network(Derivation *d) {
    cx_fail(d->rw->cx, ERR_not_tabulable, AT_NOWHERE, NULL, "A network input has no tensor, so there is nothing to differentiate with.");
}

/* ---- VJP: one rule an op; y is the node, yb its cotangent in `to` ---- */

void derive_give(Derivation *d, uint32_t y, uint32_t k, uint32_t cotangent) {
    uint32_t x = derive_input(d, y, k);
    if (d->slope[x] != NONE) {
        Dims dims = dims_of(d->rw->to, cotangent);
        cotangent = rewrite_node(d->rw, OP_add, (uint32_t[]){d->slope[x], cotangent}, 2, &dims, NULL, 0);
    }
    d->slope[x] = cotangent;
}

/* Σ over the leading dims: gives input 0 the transpose `op` of a unary structural op with the same attributes. */
void derive_give_transpose(Derivation *d, uint32_t y, uint32_t yb, Op op) {
    const GNode *n = derive_node(d, y);
    Dims dims = derive_dims(d, y, 0);
    derive_give(d, y, 0, rewrite_node(d->rw, op, &yb, 1, &dims, node_attrs(d->from, n), n->nattr));
}

static void vjp_leaf(Derivation *d, uint32_t y, uint32_t yb) { (void)d, (void)y, (void)yb; }
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

/* y[o,d] = c[o,0]·a[d] + c[o,1]·b[d]: ā = Σₒ c₀·ȳ, b̄ = Σₒ c₁·ȳ, c̄₀ = Σ_d ȳ·a, c̄₁ = Σ_d ȳ·b. */
void vjp_if(Derivation *d, uint32_t y, uint32_t yb) {
    Dims cond = derive_dims(d, y, 0), branch = derive_dims(d, y, 1), outer = cond;
    outer.rank--;
    Labels lo = {.n = 0}, ld = {.n = 0}, ly = {.n = 0};
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
            uint32_t c = put_contract(d, yb, &ly, d->rw->moved[derive_input(d, y, 1 + k)], &ld, &lo);
            derive_give(d, y, 0, rewrite_node(d->rw, OP_scatter, &c, 1, &cond, at, 2));
        }
    }
}

/* A contraction's cotangents are contractions of the result's cotangent with the other operand. */
void vjp_contract(Derivation *d, uint32_t y, uint32_t yb) {
    Labels l[3] = {{.n = 0}, {.n = 0}, {.n = 0}};
    uint32_t at = 3;
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < derive_attr(d, y, (uint32_t)k); i++) l[k].at[l[k].n++] = derive_attr(d, y, at++);
    for (uint32_t k = 0; k < 2; k++)
        if (derive_wants(d, y, k)) derive_give(d, y, k, put_contract(d, yb, &l[2], d->rw->moved[derive_input(d, y, 1 - k)], &l[1 - k], &l[k]));
}

static Graph *step_vjp(Cx *cx, const Graph *step, const bool *captures);

/* Backpropagation through time: the iter_vjp kernel runs the step's VJP backwards; its results are read with `part`. */
void vjp_iter(Derivation *d, uint32_t y, uint32_t yb) {
    const GNode *n = derive_node(d, y);
    if (derive_attr(d, y, 0) != 1 || derive_attr(d, y, 1) != 1)
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

void vjp_call(Derivation *d, uint32_t y, uint32_t yb) {
    (void)y, (void)yb;
    fail_network(d);
}

static void vjp_second(Derivation *d, uint32_t y, uint32_t yb) {
    (void)y, (void)yb;
    cx_fail(d->rw->cx, ERR_internal, AT_NOWHERE, NULL, "Only first derivatives are supported.");
}

#define vjp_input vjp_leaf
#define vjp_const vjp_leaf
#define vjp_zero vjp_leaf
#define vjp_onehot vjp_leaf
#define vjp_eye vjp_leaf
#define vjp_iter_vjp vjp_second
#define vjp_tuple_get vjp_second
#define vjp_batch_sum vjp_second
#define vjp_map_vjp vjp_second
#define vjp_softmax_vjp vjp_second
#define vjp_max_pool2d_vjp vjp_second
#define vjp_max_pool2d_jvp vjp_second

static void (*const vjp_rules[OP_COUNT])(Derivation *, uint32_t, uint32_t) = {
#define OP(name, inputs, linear) [OP_##name] = vjp_##name,
#include "schema/graph/ops.def"
#undef OP
};

/* Cotangents of all active nodes, from those already in slope. */
static void run_backward(Derivation *d) {
    for (uint32_t y = d->from->nnodes; y-- > 0;)
        if (d->active[y] && d->slope[y] != NONE) vjp_rules[derive_node(d, y)->op](d, y, d->slope[y]);
}

static void seed_output(Derivation *d, uint32_t node) {
    Dims dims = dims_of(d->from, node);
    d->slope[node] = put_slot(d, SLOT_COTANGENT, 0, &dims);
}

/* The slot's cotangent, zero when nothing gave one. */
static uint32_t slot_cotangent(Derivation *d, uint32_t slot) {
    uint32_t reader = d->reader[slot];
    Dims flat = {.rank = 1, .at = {(uint32_t)d->from->slots[slot].size}};
    return reader == NONE || d->slope[reader] == NONE ? put_zero(d, &flat) : d->slope[reader];
}

static Graph *step_vjp(Cx *cx, const Graph *step, const bool *captures) {
    bool *differentiated = ARENA_ARRAY(&cx->arena, bool, step->nslots);
    for (uint32_t i = 0; i < step->nslots; i++)
        differentiated[i] = step->slots[i].role == SLOT_STATE || captures[step->slots[i].index];
    Derivation *d = derivation(cx, step, differentiated);
    seed_output(d, step->outputs[0].node);
    run_backward(d);
    for (uint32_t i = 0; i < step->nslots; i++) {
        const Slot *slot = &step->slots[i];
        graph_output(d->rw->to, slot->role == SLOT_STATE ? OUT_STATE : OUT_CAPTURE, slot->index, slot_cotangent(d, i));
    }
    return rewrite_finish_as_is(d->rw);
}

static void refuse_networks(Cx *cx, const Graph *g) {
    for (uint32_t i = 0; i < g->nslots; i++)
        if (g->slots[i].role == SLOT_NETWORK)
            cx_fail(cx, ERR_not_tabulable, AT_NOWHERE, NULL, "A network input has no tensor, so there is nothing to differentiate with.");
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
    Derivation *d = derivation(cx, g, spec->slots);
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

Graph *compile_vjp(Cx *cx, const Graph *g) { return rewrite_give(cx, derive_vjp(cx, g, &(DeriveSpec){0})); }

/* ---- JVP ---- */

/* A multilinear op: by the digits of its row, each group of jointly linear inputs replaced by their tangents in turn. */
static uint32_t jvp_multilinear(Derivation *d, uint32_t y) {
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
            ins[k] = !mine ? d->rw->moved[x] : live ? d->slope[x] : put_zero(d, &xd);
        }
        if (!any) continue;
        uint32_t part = rewrite_node(d->rw, n->op, ins, n->nin, &dims, node_attrs(d->from, n), n->nattr);
        sum = sum == NONE ? part : rewrite_node(d->rw, OP_add, (uint32_t[]){sum, part}, 2, &dims, NULL, 0);
    }
    return sum;
}

static Graph *step_jvp(Cx *cx, const Graph *step, const bool *captures, uint32_t ncaptures);

/* y = Σ nᵢ·sᵢ: ẏ = Σ nᵢ·ṡᵢ + ṅᵢ·sᵢ, one recurrence over the pair (s, ṡ) with two read-outs. */
uint32_t jvp_iter(Derivation *d, uint32_t y) {
    const GNode *n = derive_node(d, y);
    if (derive_attr(d, y, 0) != 1 || derive_attr(d, y, 1) != 1)
        cx_fail(d->rw->cx, ERR_internal, AT_NOWHERE, NULL, "Only first derivatives of iterations are supported.");
    uint32_t ncaptures = n->nin - 2, nin = 0, count = derive_input(d, y, 0), base = derive_input(d, y, 1);
    uint32_t *ins = ARENA_ARRAY(&d->rw->cx->arena, uint32_t, 4 + 2 * ncaptures);
    bool *captures = ARENA_ARRAY(&d->rw->cx->arena, bool, ncaptures), moving = d->slope[count] != NONE;
    Dims dims = dims_of(d->from, y), state = dims_of(d->from, base);
    ins[nin++] = d->rw->moved[count];
    if (moving) ins[nin++] = d->slope[count];
    ins[nin++] = d->rw->moved[base];
    ins[nin++] = d->slope[base] != NONE ? d->slope[base] : put_zero(d, &state);
    for (uint32_t k = 0; k < ncaptures; k++) ins[nin++] = d->rw->moved[derive_input(d, y, 2 + k)];
    for (uint32_t k = 0; k < ncaptures; k++)
        if ((captures[k] = d->slope[derive_input(d, y, 2 + k)] != NONE)) ins[nin++] = d->slope[derive_input(d, y, 2 + k)];
    int64_t attrs[] = {1 + moving, 2, (int64_t)nin - 3 - moving, 1 + moving, 0, 1, 1, 0};
    Graph *step = rewrite_give(d->rw->cx, step_jvp(d->rw->cx, d->from->subs[n->sub], captures, ncaptures));
    uint32_t node = rewrite_add(d->rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = nin, .dims = dims.at, .rank = dims.rank, .attrs = attrs,
                                       .nattr = moving ? 8 : 6, .subs = &step, .nsub = 1});
    return node;
}

uint32_t jvp_call(Derivation *d, uint32_t y) {
    (void)y;
    fail_network(d);
}

static uint32_t jvp_second(Derivation *d, uint32_t y) {
    vjp_second(d, y, NONE);
    return NONE;
}

/* Nodes without inputs have no tangent but by their slot. */
static uint32_t jvp_leaf(Derivation *d, uint32_t y) { return d->slope[y]; }

#define jvp_input jvp_leaf
#define jvp_const jvp_leaf
#define jvp_zero jvp_leaf
#define jvp_onehot jvp_leaf
#define jvp_eye jvp_leaf
#define jvp_shift jvp_multilinear
#define jvp_unshift jvp_multilinear
#define jvp_resize jvp_multilinear
#define jvp_select jvp_multilinear
#define jvp_scatter jvp_multilinear
#define jvp_permute jvp_multilinear
#define jvp_reshape jvp_multilinear
#define jvp_add jvp_multilinear
#define jvp_if jvp_multilinear
#define jvp_contract jvp_multilinear
#define jvp_iter_vjp jvp_second
#define jvp_tuple_get jvp_second
#define jvp_batch_sum jvp_second
#define jvp_map_vjp jvp_second
#define jvp_softmax_vjp jvp_second
#define jvp_broadcast jvp_multilinear
#define jvp_sum jvp_multilinear
#define jvp_max_pool2d_vjp jvp_second
#define jvp_max_pool2d_jvp jvp_second
#define jvp_avg_pool2d jvp_multilinear
#define jvp_avg_pool2d_vjp jvp_multilinear
#define jvp_conv2d jvp_multilinear
#define jvp_conv2d_dx jvp_multilinear
#define jvp_conv2d_dw jvp_multilinear

static uint32_t (*const jvp_rules[OP_COUNT])(Derivation *, uint32_t) = {
#define OP(name, inputs, linear) [OP_##name] = jvp_##name,
#include "schema/graph/ops.def"
#undef OP
};

/* Tangents of all active nodes; those of the slots are already in slope. */
static void run_forward(Derivation *d) {
    for (uint32_t y = 0; y < d->from->nnodes; y++)
        if (d->active[y]) d->slope[y] = jvp_rules[derive_node(d, y)->op](d, y);
}

static void seed_slot(Derivation *d, uint32_t slot, SlotRole role, uint32_t index) {
    uint32_t reader = d->reader[slot];
    Dims flat = {.rank = 1, .at = {(uint32_t)d->from->slots[slot].size}};
    uint32_t tangent = put_slot(d, role, index, &flat);
    if (reader != NONE) d->slope[reader] = tangent;
}

static Graph *step_jvp(Cx *cx, const Graph *step, const bool *captures, uint32_t ncaptures) {
    bool *differentiated = ARENA_ARRAY(&cx->arena, bool, step->nslots);
    for (uint32_t i = 0; i < step->nslots; i++)
        differentiated[i] = step->slots[i].role == SLOT_STATE || captures[step->slots[i].index];
    Derivation *d = derivation(cx, step, differentiated);
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
    graph_output(d->rw->to, OUT_STATE, 1, d->slope[out] != NONE ? d->slope[out] : put_zero(d, &dims));
    return rewrite_finish_as_is(d->rw);
}

Graph *derive_jvp(Cx *cx, const Graph *g, const DeriveSpec *spec) {
    refuse_networks(cx, g);
    Derivation *d = derivation(cx, g, spec->slots);
    for (uint32_t i = 0; i < g->nslots; i++)
        if (asked_for(spec, i)) seed_slot(d, i, g->slots[i].role == SLOT_INPUT ? SLOT_TANGENT_INPUT : SLOT_TANGENT_ARG, g->slots[i].index);
    run_forward(d);
    copy_values(d);
    uint32_t value = g->outputs[spec->output].node;
    Dims dims = dims_of(g, value);
    graph_output(d->rw->to, OUT_TANGENT, 0, d->slope[value] != NONE ? d->slope[value] : put_zero(d, &dims));
    return rewrite_finish_as_is(d->rw);
}

Graph *compile_jvp(Cx *cx, const Graph *g) { return rewrite_give(cx, derive_jvp(cx, g, &(DeriveSpec){0})); }
