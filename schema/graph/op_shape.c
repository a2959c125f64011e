/* Shapes: what is verified of every attribute by its kind, and the shape rules of the ops of programs (those of layers: ops_layers.c). */
#include "schema/graph/ops_rules.h"
#include <math.h>

/* ---- attributes, by their kinds ---- */

static bool is_finite(const Graph *g, const GNode *n, uint32_t i) { return isfinite(attr_real(node_attrs(g, n)[i])); }

static const char *wrong_parameters(Function f, double p, double q) {
    (void)p, (void)q; /* most functions take any */
    switch (f) {
#define FUNCTION(name, p0, p1, wrong, ...) case FUNCTION_##name: return wrong;
#include "schema/graph/functions.def"
#undef FUNCTION
    case FUNCTION_COUNT: break;
    }
    return NULL;
}

static const char *check_function(const Graph *g, const GNode *n, uint32_t at) {
    if (!attr_below(g, n, at, FUNCTION_COUNT)) return "no such function";
    const Function f = (Function)attr(g, n, at);
    const int64_t *a = node_attrs(g, n) + at;
    for (uint32_t i = 0; i < 2; i++) {
        if (!is_finite(g, n, at + 1 + i)) return "a parameter is not finite";
        if (!function_row(f)->parameter[i][0] && a[1 + i]) return "a parameter that the function does not have";
    }
    return wrong_parameters(f, attr_real(a[1]), attr_real(a[2]));
}

static const char *check_values(const Graph *g, const GNode *n, uint32_t at) {
    if (!attr_below(g, n, at + 1, g->nconsts + 1) || !attr_below(g, n, at, g->nconsts - attr(g, n, at + 1) + 1)) return "outside the constants";
    return attr(g, n, at + 1) == n->size ? NULL : "count differs from the space";
}

static const char *check_perm(const Graph *g, const GNode *n, uint32_t at, uint32_t rank) {
    uint64_t seen = 0;
    _Static_assert(LIMIT_GRAPH_RANK <= 64, "one bit an axis");
    for (uint32_t k = at; k < at + rank; k++) {
        if (!attr_below(g, n, k, rank) || seen >> attr(g, n, k) & 1) return "not a permutation";
        seen |= UINT64_C(1) << attr(g, n, k);
    }
    return NULL;
}

/* A place along the axis that stands before it: of the node itself when that is a new one. */
static const char *check_at(const Graph *g, const GNode *n, uint32_t at, AttrKind axis) {
    const View v = axis == ATTR_new_axis ? own_view(g, n) : input_view(g, n, 0);
    return attr_below(g, n, at, v.dims[attr(g, n, at - 1)]) ? NULL : BAD_INDEX;
}

static const char *check_new_axis(const Graph *g, const GNode *n, uint32_t at) {
    const View x = input_view(g, n, 0);
    return attr_below(g, n, at, (uint64_t)x.rank + 1) && n->rank == x.rank + 1 ? NULL : BAD_AXIS;
}

static const char *check_amount(int64_t by) {
    return by >= -(int64_t)LIMIT_SPACE && by <= (int64_t)LIMIT_SPACE ? NULL : "an amount out of range";
}

/* The attribute that begins at `at`; all its places are there. before: the kind of the one before it in the row. */
static const char *check_attr(const Graph *g, const GNode *n, AttrKind kind, uint32_t at, AttrKind before) {
    switch (kind) {
    case ATTR_slot: return attr_below(g, n, at, g->nslots) ? NULL : "no such slot";
    case ATTR_network: return attr_below(g, n, at, g->nslots) && g->slots[attr(g, n, at)].role == SLOT_NETWORK ? NULL : "no such network";
    case ATTR_values: return check_values(g, n, at);
    case ATTR_axis: return attr_below(g, n, at, input_view(g, n, 0).rank) ? NULL : BAD_AXIS;
    case ATTR_new_axis: return check_new_axis(g, n, at);
    case ATTR_at: return check_at(g, n, at, before);
    case ATTR_index: return attr_below(g, n, at, UINT32_MAX) ? NULL : BAD_INDEX;
    case ATTR_mode: return attr_below(g, n, at, SHIFT_SATURATE + 1) ? NULL : "no such mode";
    case ATTR_flag: return attr_below(g, n, at, 2) ? NULL : "an attribute is neither 0 nor 1";
    case ATTR_real: return is_finite(g, n, at) ? NULL : "a number is not finite";
    case ATTR_amount: return check_amount(node_attrs(g, n)[at]);
    case ATTR_extent: return attr_below(g, n, at, LIMIT_SPACE) ? NULL : "a window, stride or padding out of range";
    case ATTR_count: return attr_below(g, n, at, LIMIT_GRAPH_NODES) ? NULL : BAD_ATTRS;
    case ATTR_function: return check_function(g, n, at);
    case ATTR_perm: return check_perm(g, n, at, input_view(g, n, 0).rank);
    case ATTR_none: case ATTR_integer: case ATTR_labels: case ATTR_readouts: break; /* the shape rule's */
    }
    return NULL;
}

static const char *check_attrs(const Graph *g, const GNode *n) {
    uint32_t at = 0;
    AttrKind before = ATTR_none;
    for (const OpAttr *a = op_row(n->op)->attrs; a->kind; before = a->kind, a++) {
        const uint32_t places = attr_places(g, n, a->kind, at);
        if (places == UINT32_MAX) return BAD_ATTRS;
        const char *wrong = check_attr(g, n, a->kind, at, before);
        if (wrong) return wrong;
        at += places;
    }
    return at == n->nattr ? NULL : BAD_ATTRS;
}

/* ---- rules ---- */

const char *shape_input(const Graph *g, const GNode *n, Shape *out) {
    const Slot *slot = &g->slots[attr(g, n, 0)];
    if (slot->role == SLOT_NETWORK) return "a network is no tensor";
    if (!slot->size || slot->size > LIMIT_SPACE) return "slot size out of range";
    *out = (Shape){.rank = 1, .dims = {(uint32_t)slot->size}};
    return NULL;
}

const char *shape_onehot(const Graph *g, const GNode *n, Shape *out) {
    if (n->rank != 1) return "not one axis";
    if (!attr_below(g, n, 0, n->size)) return BAD_INDEX;
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_eye(const Graph *g, const GNode *n, Shape *out) {
    if (n->rank != 2 || node_dims(g, n)[0] != node_dims(g, n)[1]) return "not square";
    copy(out, own_view(g, n));
    return NULL;
}

/* by: what the exact mode adds to the axis */
static const char *shifted(const Graph *g, const GNode *n, Shape *out, int by) {
    copy(out, input_view(g, n, 0));
    if (attr(g, n, 1) == SHIFT_EXACT) out->dims[attr(g, n, 0)] += (uint32_t)by;
    return NULL;
}
const char *shape_shift(const Graph *g, const GNode *n, Shape *out) { return shifted(g, n, out, 1); }
const char *shape_unshift(const Graph *g, const GNode *n, Shape *out) { return shifted(g, n, out, -1); }

const char *shape_resize(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->rank != x.rank) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0), to = node_dims(g, n)[axis];
    const int64_t by = node_attrs(g, n)[1];
    if (by >= (int64_t)to || by <= -(int64_t)x.dims[axis]) return "nothing stays";
    copy(out, x);
    out->dims[axis] = to;
    return NULL;
}

const char *shape_permute(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    out->rank = x.rank;
    for (uint32_t k = 0; k < x.rank; k++) out->dims[k] = x.dims[attr(g, n, k)];
    return NULL;
}

const char *shape_reshape(const Graph *g, const GNode *n, Shape *out) {
    if (input_view(g, n, 0).size != n->size) return "not as many elements";
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_if(const Graph *g, const GNode *n, Shape *out) {
    const View c = input_view(g, n, 0), a = input_view(g, n, 1);
    if (!c.rank || c.dims[c.rank - 1] != 2) return "the condition's last axis is not 2";
    if (!same_dims(a, input_view(g, n, 2))) return "branches differ in dims";
    out->rank = 0;
    push(out, c.dims, c.rank - 1);
    return push(out, a.dims, a.rank) ? NULL : BAD_RANK;
}

/* Marks the labels attrs[at ..) of an operand in `seen`; notes or compares their extents. */
static const char *mark(const Graph *g, const GNode *n, uint32_t at, View x, uint32_t extents[OP_LABELS], bool seen[OP_LABELS]) {
    for (uint32_t i = 0; i < x.rank; i++) {
        if (!attr_below(g, n, at + i, OP_LABELS)) return "label out of range";
        const uint32_t label = attr(g, n, at + i);
        if (seen[label]) return "a label stands twice in an operand";
        if (extents[label] && extents[label] != x.dims[i]) return "a label has two extents";
        seen[label] = true;
        extents[label] = x.dims[i];
    }
    return NULL;
}

const char *shape_contract(const Graph *g, const GNode *n, Shape *out) {
    const View a = input_view(g, n, 0), b = input_view(g, n, 1);
    uint32_t extents[OP_LABELS] = {0};
    bool in_a[OP_LABELS] = {0}, in_b[OP_LABELS] = {0}, in_out[OP_LABELS] = {0};
    const uint32_t rank = attr(g, n, 2);
    if (attr(g, n, 0) != a.rank || attr(g, n, 1) != b.rank) return BAD_ATTRS;
    const char *wrong = mark(g, n, 3, a, extents, in_a);
    if (!wrong) wrong = mark(g, n, 3 + a.rank, b, extents, in_b);
    if (wrong) return wrong;
    out->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        const uint32_t at = 3 + a.rank + b.rank + i;
        if (!attr_below(g, n, at, OP_LABELS)) return "label out of range";
        const uint32_t label = attr(g, n, at);
        if (in_out[label] || !(in_a[label] || in_b[label])) return "a label of the result stands twice or in no operand";
        in_out[label] = true;
        out->dims[i] = extents[label];
    }
    for (int label = 0; label < OP_LABELS; label++)
        if (in_a[label] + in_b[label] + in_out[label] == 1) return "a label stands in one operand only";
    return NULL;
}

/* What a step's slots must look like: the outer nodes behind its states, captures and cotangent (size 0: has none). */
typedef struct {
    const uint32_t *states, *captures;
    uint32_t nstates, ncaptures;
    size_t cotangent;
} StepOutside;

static const char *check_slots(const Graph *g, const Graph *sub, const StepOutside *step) {
    for (uint32_t i = 0; i < sub->nslots; i++) {
        const Slot *s = &sub->slots[i];
        bool fits = s->role == SLOT_NETWORK;
        if (s->role == SLOT_STATE) fits = s->index < step->nstates && s->size == g->nodes[step->states[s->index]].size;
        if (s->role == SLOT_CAPTURE) fits = s->index < step->ncaptures && s->size == g->nodes[step->captures[s->index]].size;
        if (s->role == SLOT_COTANGENT) fits = !s->index && step->cotangent && s->size == step->cotangent;
        if (!fits) return "a slot of the step fits nothing outside";
    }
    return NULL;
}

/* Outputs first .. first+count of sub: role, indices from 0, sizes of the outer nodes. Their dims are free. */
static bool check_outputs(const Graph *g, const Graph *sub, uint32_t first, OutRole role, const uint32_t *nodes, uint32_t count) {
    if (first > sub->noutputs || count > sub->noutputs - first) return false;
    for (uint32_t i = 0; i < count; i++) {
        const Output *o = &sub->outputs[first + i];
        if (o->role != role || o->index != i || sub->nodes[o->node].size != g->nodes[nodes[i]].size) return false;
    }
    return true;
}

/* [O…,D…] of a count [O…,k] and a state [D…] */
static const char *read_out(View count, View state, Shape *out) {
    if (!count.rank) return "a count without an axis";
    out->rank = 0;
    push(out, count.dims, count.rank - 1);
    return push(out, state.dims, state.rank) ? NULL : BAD_RANK;
}

const char *shape_iter(const Graph *g, const GNode *n, Shape *out) {
    const uint32_t *ins = node_ins(g, n);
    const IterAttrs a = op_iter(g, n);
    if (!a.counts || !a.comps || !a.readouts) return BAD_ATTRS;
    if (n->nin != a.counts + a.comps + a.captures) return "wrong number of inputs";
    for (uint32_t i = 1; i < a.counts; i++)
        if (!same_dims(view(g, ins[i]), view(g, ins[0]))) return "counts differ in dims";
    for (uint32_t r = 0; r < a.readouts; r++) {
        if (!attr_below(g, n, 4 + 2 * r, a.counts) || !attr_below(g, n, 5 + 2 * r, a.comps)) return "no such read-out";
        if (!same_dims(view(g, ins[a.counts + a.reads[2 * r + 1]]), view(g, ins[a.counts + a.reads[1]])))
            return "components read out differ in dims";
    }
    const StepOutside step = {.states = ins + a.counts, .nstates = a.comps, .captures = ins + a.counts + a.comps, .ncaptures = a.captures};
    const Graph *sub = g->subs[n->sub];
    const char *wrong = check_slots(g, sub, &step);
    if (wrong) return wrong;
    if (sub->noutputs != a.comps || !check_outputs(g, sub, 0, OUT_STATE, step.states, a.comps)) return "the step's outputs are not the states";
    return read_out(view(g, ins[0]), view(g, ins[a.counts + a.reads[1]]), out);
}

const char *shape_iter_vjp(const Graph *g, const GNode *n, Shape *out) {
    const uint32_t *ins = node_ins(g, n);
    const uint32_t captures = attr(g, n, 0);
    if (n->nin != 3 + captures) return "wrong number of inputs";
    StepOutside step = {.states = ins + 1, .nstates = 1, .captures = ins + 2, .ncaptures = captures};
    const Graph *forward = g->subs[n->sub], *backward = g->subs[n->sub + 1];
    const char *wrong = check_slots(g, forward, &step);
    step.cotangent = g->nodes[ins[1]].size;
    if (!wrong) wrong = check_slots(g, backward, &step);
    if (!wrong) wrong = read_out(view(g, ins[0]), view(g, ins[1]), out);
    if (wrong) return wrong;
    if (forward->noutputs != 1 || !check_outputs(g, forward, 0, OUT_STATE, step.states, 1)) return "the step's output is not the state";
    if (backward->noutputs != 1 + captures || !check_outputs(g, backward, 0, OUT_STATE, step.states, 1) ||
        !check_outputs(g, backward, 1, OUT_CAPTURE, step.captures, captures))
        return "the step's VJP does not give the cotangents of state and captures";
    if (!same_dims((View){.rank = out->rank, .dims = out->dims}, view(g, ins[n->nin - 1]))) return "the cotangent's dims are not the result's";
    out->rank = 0;
    return NULL;
}

const char *shape_tuple_get(const Graph *g, const GNode *n, Shape *out) {
    const GNode *tuple = &g->nodes[node_ins(g, n)[0]];
    if (tuple->op != OP_iter_vjp) return "the input is no tuple";
    if (!attr_below(g, n, 0, tuple->nin)) return BAD_INDEX;
    copy(out, input_view(g, tuple, attr(g, n, 0))); /* the result has the cotangent's dims */
    return NULL;
}

const char *op_shape(const Graph *g, const GNode *n, Shape *out) {
    static const char *(*const rules[OP_COUNT])(const Graph *, const GNode *, Shape *) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, ...) [OP_##name] = shape_##shape,
#include "schema/graph/ops.def"
#undef OP
    };
    const OpRow *row = op_row(n->op);
    if (row->inputs >= 0 && n->nin != (uint32_t)row->inputs) return "wrong number of inputs";
    if (n->nsub != row->subs) return "wrong number of sub-graphs";
    for (uint32_t i = 0; i < n->nin; i++)
        if (n->op != OP_tuple_get && g->nodes[node_ins(g, n)[i]].op == OP_iter_vjp) return "only tuple_get reads a tuple";
    const char *wrong = check_attrs(g, n);
    return wrong ? wrong : rules[n->op](g, n, out);
}
