#include "schema/graph/ops_rules.h"

static const OpRow rows[OP_COUNT] = {
#define OP(name, inputs, linear) {#name, inputs, linear},
#include "schema/graph/ops.def"
#undef OP
};

const OpRow *op_row(Op op) { return &rows[op]; }

/* Raised when an op's meaning changes while its row stays. */
enum { OP_MEANING = 2 };

static uint64_t hash_text(uint64_t h, const char *text) {
    for (;; text++) {
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3); /* FNV-1a, the NUL included as a separator */
        if (!*text) return h;
    }
}

uint64_t op_table_hash(void) {
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ OP_MEANING;
    for (int op = 0; op < OP_COUNT; op++) {
        h = hash_text(h, rows[op].name);
        h = hash_text(h, rows[op].linear);
        h = (h ^ (uint64_t)(rows[op].inputs + 1)) * UINT64_C(0x100000001b3);
    }
    for (int f = 0; f < FUNCTION_COUNT; f++) h = hash_text(h, function_row((Function)f)->name);
    return h;
}

bool op_is_result(const Graph *g, const GNode *part) {
    return part->op == OP_tuple_get && node_attrs(g, part)[0] + 1 == g->nodes[node_ins(g, part)[0]].nin;
}

const char *slot_role_name(SlotRole role) {
    static const char *const names[SLOT_ROLES] = {"input", "arg", "cotangent", "tangent_input", "tangent_arg", "state",
                                                   "capture", "network", "column", "weight"};
    return names[role];
}

const char *out_role_name(OutRole role) {
    static const char *const names[OUT_ROLES] = {"value", "grad_input", "grad_arg", "tangent", "state",
                                                 "capture", "loss", "bound", "grad_weight"};
    return names[role];
}

const char *shift_mode_name(ShiftMode mode) {
    static const char *const names[] = {"exact", "drop", "saturate"};
    return names[mode];
}

bool dims_size(const uint32_t *dims, uint32_t rank, size_t *size) {
    *size = 1;
    if (rank > LIMIT_GRAPH_RANK) return false;
    for (uint32_t i = 0; i < rank; i++)
        if (!dims[i] || __builtin_mul_overflow(*size, dims[i], size) || *size > LIMIT_SPACE) return false;
    return true;
}

const char *shape_input(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr != 1) return BAD_ATTRS;
    if (!attr_below(g, n, 0, g->nslots)) return "no such slot";
    const Slot *slot = &g->slots[attr(g, n, 0)];
    if (slot->role == SLOT_NETWORK) return "a network is no tensor";
    if (!slot->size || slot->size > LIMIT_SPACE) return "slot size out of range";
    *out = (Shape){.rank = 1, .dims = {(uint32_t)slot->size}};
    return NULL;
}

const char *shape_const(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr != 2) return BAD_ATTRS;
    if (!attr_below(g, n, 1, g->nconsts + 1) || !attr_below(g, n, 0, g->nconsts - attr(g, n, 1) + 1)) return "outside the constants";
    if (attr(g, n, 1) != n->size) return "count differs from the space";
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_zero(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr) return BAD_ATTRS;
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_onehot(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr != 1) return BAD_ATTRS;
    if (n->rank != 1) return "not one axis";
    if (!attr_below(g, n, 0, n->size)) return BAD_INDEX;
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_eye(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr) return BAD_ATTRS;
    if (n->rank != 2 || node_dims(g, n)[0] != node_dims(g, n)[1]) return "not square";
    copy(out, own_view(g, n));
    return NULL;
}

/* by: what the exact mode adds to the axis */
static const char *shifted(const Graph *g, const GNode *n, Shape *out, int by) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 2) return BAD_ATTRS;
    if (!attr_below(g, n, 0, x.rank)) return BAD_AXIS;
    if (!attr_below(g, n, 1, SHIFT_SATURATE + 1)) return "no such mode";
    copy(out, x);
    if (attr(g, n, 1) == SHIFT_EXACT) out->dims[attr(g, n, 0)] += (uint32_t)by;
    return NULL;
}
const char *shape_shift(const Graph *g, const GNode *n, Shape *out) { return shifted(g, n, out, 1); }
const char *shape_unshift(const Graph *g, const GNode *n, Shape *out) { return shifted(g, n, out, -1); }

const char *shape_resize(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 2) return BAD_ATTRS;
    if (!attr_below(g, n, 0, x.rank) || n->rank != x.rank) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0), to = node_dims(g, n)[axis];
    const int64_t by = node_attrs(g, n)[1];
    if (by >= (int64_t)to || by <= -(int64_t)x.dims[axis]) return "nothing stays";
    copy(out, x);
    out->dims[axis] = to;
    return NULL;
}

const char *shape_select(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 2) return BAD_ATTRS;
    if (!attr_below(g, n, 0, x.rank)) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0);
    if (!attr_below(g, n, 1, x.dims[axis])) return BAD_INDEX;
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, x.dims + axis + 1, x.rank - axis - 1);
    return NULL;
}

const char *shape_scatter(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    if (n->nattr != 2) return BAD_ATTRS;
    if (!attr_below(g, n, 0, (uint64_t)x.rank + 1) || n->rank != x.rank + 1) return BAD_AXIS;
    const uint32_t axis = attr(g, n, 0);
    if (!attr_below(g, n, 1, node_dims(g, n)[axis])) return BAD_INDEX;
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, node_dims(g, n) + axis, 1);
    return push(out, x.dims + axis, x.rank - axis) ? NULL : BAD_RANK;
}

const char *shape_permute(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    uint64_t seen = 0;
    _Static_assert(LIMIT_GRAPH_RANK <= 64, "one bit an axis");
    if (n->nattr != x.rank) return BAD_ATTRS;
    out->rank = x.rank;
    for (uint32_t k = 0; k < x.rank; k++) {
        if (!attr_below(g, n, k, x.rank) || seen >> attr(g, n, k) & 1) return "not a permutation";
        seen |= UINT64_C(1) << attr(g, n, k);
        out->dims[k] = x.dims[attr(g, n, k)];
    }
    return NULL;
}

const char *shape_reshape(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr) return BAD_ATTRS;
    if (input_view(g, n, 0).size != n->size) return "not as many elements";
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_add(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr) return BAD_ATTRS;
    if (!same_dims(input_view(g, n, 0), input_view(g, n, 1))) return "inputs differ in dims";
    copy(out, input_view(g, n, 0));
    return NULL;
}

const char *shape_if(const Graph *g, const GNode *n, Shape *out) {
    const View c = input_view(g, n, 0), a = input_view(g, n, 1);
    if (n->nattr) return BAD_ATTRS;
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
    if (n->nattr < 3 || !attr_below(g, n, 2, LIMIT_GRAPH_RANK + 1)) return BAD_ATTRS;
    const uint32_t rank = attr(g, n, 2);
    if (node_attrs(g, n)[0] != a.rank || node_attrs(g, n)[1] != b.rank || n->nattr != 3 + a.rank + b.rank + rank) return BAD_ATTRS;
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
} Step;

static const char *check_slots(const Graph *g, const Graph *sub, const Step *step) {
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
    for (uint32_t i = 0; i < 4; i++)
        if (!attr_below(g, n, i, LIMIT_GRAPH_NODES)) return BAD_ATTRS;
    const uint32_t counts = attr(g, n, 0), comps = attr(g, n, 1), captures = attr(g, n, 2), readouts = attr(g, n, 3);
    if (!counts || !comps || !readouts || n->nattr != 4 + 2 * readouts) return BAD_ATTRS;
    if (n->nin != counts + comps + captures) return "wrong number of inputs";
    for (uint32_t i = 1; i < counts; i++)
        if (!same_dims(view(g, ins[i]), view(g, ins[0]))) return "counts differ in dims";
    for (uint32_t r = 0; r < readouts; r++) {
        if (!attr_below(g, n, 4 + 2 * r, counts) || !attr_below(g, n, 5 + 2 * r, comps)) return "no such read-out";
        if (!same_dims(view(g, ins[counts + attr(g, n, 5 + 2 * r)]), view(g, ins[counts + attr(g, n, 5)])))
            return "components read out differ in dims";
    }
    const Step step = {.states = ins + counts, .nstates = comps, .captures = ins + counts + comps, .ncaptures = captures};
    const Graph *sub = g->subs[n->sub];
    const char *wrong = check_slots(g, sub, &step);
    if (wrong) return wrong;
    if (sub->noutputs != comps || !check_outputs(g, sub, 0, OUT_STATE, step.states, comps)) return "the step's outputs are not the states";
    return read_out(view(g, ins[0]), view(g, ins[counts + attr(g, n, 5)]), out);
}

const char *shape_iter_vjp(const Graph *g, const GNode *n, Shape *out) {
    const uint32_t *ins = node_ins(g, n);
    if (n->nattr != 1 || !attr_below(g, n, 0, LIMIT_GRAPH_NODES)) return BAD_ATTRS;
    const uint32_t captures = attr(g, n, 0);
    if (n->nin != 3 + captures) return "wrong number of inputs";
    Step step = {.states = ins + 1, .nstates = 1, .captures = ins + 2, .ncaptures = captures};
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
    if (n->nattr != 1) return BAD_ATTRS;
    if (tuple->op != OP_iter_vjp) return "the input is no tuple";
    if (!attr_below(g, n, 0, tuple->nin)) return BAD_INDEX;
    copy(out, input_view(g, tuple, attr(g, n, 0))); /* the result has the cotangent's dims */
    return NULL;
}

const char *shape_call(const Graph *g, const GNode *n, Shape *out) {
    if (n->nattr != 1) return BAD_ATTRS;
    if (!attr_below(g, n, 0, g->nslots) || g->slots[attr(g, n, 0)].role != SLOT_NETWORK) return "no such network";
    copy(out, own_view(g, n));
    return NULL;
}

const char *shape_batch_sum(const Graph *g, const GNode *n, Shape *out) { return shape_add(g, n, out); }

const char *op_shape(const Graph *g, const GNode *n, Shape *out) {
    static const char *(*const rules[OP_COUNT])(const Graph *, const GNode *, Shape *) = {
#define OP(name, inputs, linear) shape_##name,
#include "schema/graph/ops.def"
#undef OP
    };
    const uint32_t nsub = n->op == OP_iter ? 1 : n->op == OP_iter_vjp ? 2 : 0;
    if (rows[n->op].inputs >= 0 && n->nin != (uint32_t)rows[n->op].inputs) return "wrong number of inputs";
    if (n->nsub != nsub) return "wrong number of sub-graphs";
    for (uint32_t i = 0; i < n->nin; i++)
        if (n->op != OP_tuple_get && g->nodes[node_ins(g, n)[i]].op == OP_iter_vjp) return "only part reads a tuple";
    return rules[n->op](g, n, out);
}
