/* Vectors of the lowering: typed nodes with open axes. Every function here first settles the type, and in a dry run that is all. */
#include "compiler/lower/lower.h"
#include "compiler/passes/rewrite.h"
#include <string.h>

enum { MAX_RANK = LIMIT_GRAPH_RANK };

/* ---- emitting nodes ---- */

static Graph *graph_at(Lower *lower, uint32_t level) { return lower->levels[level].graph; }
static const GNode *node_of(Lower *lower, Ref ref) { return &graph_at(lower, ref.level)->nodes[ref.node]; }

static uint32_t *import_cell(Lower *lower, Level *at, Ref ref) {
    Arena *arena = &lower->cx->arena;
    if (!at->imported) {
        at->imported = ARENA_ARRAY(arena, uint32_t *, lower->levels_room);
        at->imported_room = ARENA_ARRAY(arena, uint32_t, lower->levels_room);
    }
    uint32_t *room = &at->imported_room[ref.level];
    if (ref.node >= *room) {
        uint32_t wanted = ref.node * 2 + 32;
        at->imported[ref.level] = arena_grow(arena, at->imported[ref.level], *room, wanted, sizeof(uint32_t));
        *room = wanted;
    }
    return &at->imported[ref.level][ref.node];
}

static bool is_constant(Op op) { return op == OP_zero || op == OP_onehot || op == OP_eye; }

Graph *level_graph(Lower *lower) { return rewrite_guard(lower->cx, graph_new()); }

static uint32_t add(Lower *lower, Graph *g, const NodeSpec *spec) {
    uint32_t node = graph_add(g, spec);
    if (g->failed)
        cx_fail(lower->cx, ERR_too_large, AT_NOWHERE, NULL,
                "The compiled program would have more than %d neurons, or a space of more than %zu numbers.", LIMIT_GRAPH_NODES, LIMIT_SPACE);
    return node;
}

static uint32_t reshape_in(Lower *lower, Graph *g, uint32_t node, const uint32_t *dims, uint32_t rank) {
    const GNode *n = &g->nodes[node];
    if (n->rank == rank && memcmp(node_dims(g, n), dims, rank * sizeof *dims) == 0) return node;
    return add(lower, g, &(NodeSpec){.op = OP_reshape, .ins = &node, .nin = 1, .dims = dims, .rank = rank});
}

/* The node as seen from a higher level: constants are made again there, others come in through a capture slot. */
static uint32_t import(Lower *lower, Ref ref, uint32_t level) {
    if (ref.level == level) return ref.node;
    Level *at = &lower->levels[level];
    uint32_t *cell = import_cell(lower, at, ref);
    if (*cell) return *cell - 1;
    Graph *from = graph_at(lower, ref.level), *g = at->graph;
    const GNode *n = &from->nodes[ref.node];
    uint32_t dims[MAX_RANK], rank = n->rank, node;
    memcpy(dims, node_dims(from, n), rank * sizeof *dims);
    if (is_constant(n->op)) {
        node = add(lower, g, &(NodeSpec){.op = n->op, .dims = dims, .rank = rank, .attrs = node_attrs(from, n), .nattr = n->nattr});
    } else {
        uint32_t flat = (uint32_t)n->size;
        int64_t slot = graph_slot(g, SLOT_CAPTURE, at->ncaptures, n->size);
        node = add(lower, g, &(NodeSpec){.op = OP_input, .attrs = &slot, .nattr = 1, .dims = &flat, .rank = 1});
        node = reshape_in(lower, g, node, dims, rank);
        if (at->ncaptures == at->captures_room) {
            uint32_t room = at->captures_room ? at->captures_room * 2 : 8;
            at->captures = arena_grow(&lower->cx->arena, at->captures, at->ncaptures, room, sizeof *at->captures);
            at->captures_room = room;
        }
        at->captures[at->ncaptures++] = (Capture){ref, node};
    }
    *cell = node + 1;
    return node;
}

typedef struct {
    Op op;
    const Ref *ins;
    uint32_t nin;
    const uint32_t *dims;
    uint32_t rank;
    const int64_t *attrs;
    uint32_t nattr;
    Graph *const *subs;
    uint32_t nsub;
} Emit;

static Ref emit(Lower *lower, const Emit *e) {
    uint32_t level = 0, few[4], *ins = e->nin <= 4 ? few : ARENA_ARRAY(&lower->cx->arena, uint32_t, e->nin);
    for (uint32_t i = 0; i < e->nin; i++)
        if (e->ins[i].level > level) level = e->ins[i].level;
    for (uint32_t i = 0; i < e->nin; i++) ins[i] = import(lower, e->ins[i], level);
    Graph *g = graph_at(lower, level);
    for (uint32_t i = 0; i < e->nsub; i++) rewrite_give(lower->cx, e->subs[i]); /* taken over, even when the graph is full */
    uint32_t node = add(lower, g, &(NodeSpec){.op = e->op, .ins = ins, .nin = e->nin, .dims = e->dims, .rank = e->rank,
                                             .attrs = e->attrs, .nattr = e->nattr, .subs = e->subs, .nsub = e->nsub});
    return (Ref){level, node};
}

static Ref emit1(Lower *lower, Op op, Ref in, const uint32_t *dims, uint32_t rank, const int64_t *attrs, uint32_t nattr) {
    return emit(lower, &(Emit){.op = op, .ins = &in, .nin = 1, .dims = dims, .rank = rank, .attrs = attrs, .nattr = nattr});
}

static Ref reshape(Lower *lower, Ref ref, const uint32_t *dims, uint32_t rank) {
    return (Ref){ref.level, reshape_in(lower, graph_at(lower, ref.level), ref.node, dims, rank)};
}

/* ---- values ---- */

static const Val *make_vec(Lower *lower, const Type *type, Ref ref, const uint32_t *axes, uint32_t naxes) {
    Val *val = ARENA_NEW(&lower->cx->arena, Val);
    *val = (Val){.kind = VAL_VEC, .type = type};
    val->vec.ref = ref;
    val->vec.naxes = naxes;
    val->vec.axes = axes;
    return val;
}

static const Val *dry_vec(Lower *lower, const Type *type) { return make_vec(lower, type, (Ref){0, 0}, NULL, 0); }

void check_space(Lower *lower, const Type *type, uint32_t node) {
    if (type->dim > LIMIT_SPACE)
        lower_fail(lower, ERR_too_large, node, NULL, "A value here would be a tensor of more than %zu numbers.", LIMIT_SPACE);
}

static void check_nat(Lower *lower, uint64_t size, uint32_t node) {
    if (size > lower->cx->nat_limit)
        lower_fail(lower, ERR_nat_bound_exceeded, node, NULL,
                   "A natural here may be as large as %llu; the service allows naturals below %llu.",
                   (unsigned long long)(size - 1), (unsigned long long)lower->cx->nat_limit);
}

/* Extents of the open axes, for a node's leading dims. */
static uint32_t lead(Lower *lower, const Val *val, uint32_t *dims) {
    if (val->vec.naxes > MAX_RANK - 6)
        cx_fail(lower->cx, ERR_too_large, AT_NOWHERE, NULL, "A tabulated function has more than %d parameters.", MAX_RANK - 6);
    for (uint32_t i = 0; i < val->vec.naxes; i++) dims[i] = (uint32_t)lower->axes[val->vec.axes[i]];
    return val->vec.naxes;
}

static const uint32_t *join_axes(Lower *lower, const Val *a, const Val *b, uint32_t *n) {
    *n = a->vec.naxes + b->vec.naxes;
    uint32_t *axes = arena_grow(&lower->cx->arena, a->vec.axes, a->vec.naxes, *n, sizeof *axes);
    if (b->vec.naxes) memcpy(axes + a->vec.naxes, b->vec.axes, b->vec.naxes * sizeof *axes);
    return axes;
}

const Val *vec_slot(Lower *lower, SlotRole role, uint32_t index, const Type *type, uint32_t node) {
    check_space(lower, type, node);
    if (lower->dry) return dry_vec(lower, type);
    int64_t slot = graph_slot(graph_at(lower, 0), role, index, type->dim);
    uint32_t dim = (uint32_t)type->dim;
    return make_vec(lower, type, emit(lower, &(Emit){.op = OP_input, .dims = &dim, .rank = 1, .attrs = &slot, .nattr = 1}), NULL, 0);
}

static const Val *onehot(Lower *lower, const Type *type, uint64_t index) {
    if (lower->dry) return dry_vec(lower, type);
    uint32_t dim = (uint32_t)type->dim;
    int64_t at = (int64_t)index;
    Emit zero = {.op = OP_zero, .dims = &dim, .rank = 1}, one = {.op = OP_onehot, .dims = &dim, .rank = 1, .attrs = &at, .nattr = 1};
    return make_vec(lower, type, emit(lower, index < type->dim ? &one : &zero), NULL, 0);
}

/* A numeral: its successors and its padding are numerals again. */
static bool is_onehot(Lower *lower, const Val *val, uint64_t *index) {
    const GNode *n = node_of(lower, val->vec.ref);
    if (n->op != OP_onehot) return false;
    *index = (uint64_t)node_attrs(graph_at(lower, val->vec.ref.level), n)[0];
    return true;
}

const Val *vec_bool(Lower *lower, bool value) { return onehot(lower, type_bool(lower->cx), value ? 0 : 1); }

const Val *vec_nat(Lower *lower, uint64_t value, uint32_t node) {
    Nat nat = lower->p->nat;
    if (nat.overflow == NAT_EXACT) check_nat(lower, value + 1, node);
    else if (nat.overflow == NAT_SATURATE && value >= nat.dim) value = nat.dim - 1;
    return onehot(lower, type_nat(lower->cx, nat.overflow == NAT_EXACT ? value + 1 : nat.dim), value);
}

const Val *vec_succ(Lower *lower, const Val *val, uint32_t node) {
    static const ShiftMode modes[] = {[NAT_EXACT] = SHIFT_EXACT, [NAT_DROP] = SHIFT_DROP, [NAT_SATURATE] = SHIFT_SATURATE};
    NatPolicy policy = lower->p->nat.overflow;
    const Type *type = val->type;
    if (policy == NAT_EXACT) {
        check_nat(lower, type->bound + 1, node);
        type = type_nat(lower->cx, type->bound + 1);
    }
    if (lower->dry) return dry_vec(lower, type);
    uint64_t index;
    if (is_onehot(lower, val, &index)) return onehot(lower, type, policy == NAT_SATURATE && index + 1 == type->dim ? index : index + 1);
    uint32_t dims[MAX_RANK], axis = lead(lower, val, dims);
    dims[axis] = (uint32_t)type->dim;
    return make_vec(lower, type, emit1(lower, OP_shift, val->vec.ref, dims, axis + 1, (int64_t[]){axis, modes[policy]}, 2),
                    val->vec.axes, val->vec.naxes);
}

/* ---- sizes ---- */

/* Extents of the naturals, booleans and reals a sized vector type is a product of, in the order of its layout. */
static uint32_t extents(const Type *type, uint32_t *out) {
    if (type->kind != TYPE_LIN) {
        out[0] = (uint32_t)type->dim;
        return 1;
    }
    uint32_t n = extents(type->cod, out);
    return n + extents(type->dom, out + n);
}

static uint32_t count_extents(const Type *type) {
    uint32_t n = 1;
    for (; type->kind == TYPE_LIN; type = type->cod) n += count_extents(type->dom);
    return n;
}

/* [outer, from, inner] -> [outer, to, inner] behind the open axes; flat to flat. */
static Ref resize_axis(Lower *lower, Ref ref, const uint32_t *axes, uint32_t naxes, uint32_t outer, uint32_t inner, uint32_t from, uint32_t to) {
    uint32_t dims[MAX_RANK], rank = naxes, at = naxes + (outer > 1);
    memcpy(dims, axes, naxes * sizeof *dims);
    if (outer > 1) dims[rank++] = outer;
    dims[rank++] = from;
    if (inner > 1) dims[rank++] = inner;
    ref = reshape(lower, ref, dims, rank);
    dims[at] = to;
    ref = emit1(lower, OP_resize, ref, dims, rank, (int64_t[]){at, 0}, 2);
    dims[naxes] = outer * to * inner;
    return reshape(lower, ref, dims, naxes + 1);
}

const Val *vec_resize(Lower *lower, const Val *val, const Type *type) {
    if (val->type == type) return val;
    if (lower->dry) return dry_vec(lower, type);
    uint64_t index;
    if (is_onehot(lower, val, &index)) return onehot(lower, type, index);
    uint32_t n = count_extents(type), dims[MAX_RANK], rank = lead(lower, val, dims);
    uint32_t *from = ARENA_ARRAY(&lower->cx->arena, uint32_t, n), *to = ARENA_ARRAY(&lower->cx->arena, uint32_t, n);
    extents(val->type, from);
    extents(type, to);
    size_t outer = 1, inner = val->type->dim;
    Ref ref = val->vec.ref;
    for (uint32_t i = 0; i < n; i++) {
        inner /= from[i];
        if (from[i] != to[i]) ref = resize_axis(lower, ref, dims, rank, (uint32_t)outer, (uint32_t)inner, from[i], to[i]);
        outer *= to[i];
    }
    return make_vec(lower, type, ref, val->vec.axes, val->vec.naxes);
}

/* The first natural in which `type` does not fit into `want`. */
static bool misfit(const Type *type, const Type *want, uint64_t *bound, uint64_t *need) {
    for (; type_is_arrow(type); type = type->cod, want = want->cod)
        if (misfit(want->dom, type->dom, bound, need)) return true;
    *bound = want->bound;
    *need = type->bound;
    return *need > *bound;
}

const Val *vec_fit(Lower *lower, const Val *val, const Type *type, uint32_t node) {
    uint64_t bound, need;
    if (misfit(val->type, type, &bound, &need)) fail_bound(lower, node, bound, need, "The table");
    return vec_resize(lower, val, type);
}

/* ---- linear structure ---- */

static Ref permute(Lower *lower, Ref ref, const uint32_t *perm, uint32_t rank) {
    uint32_t dims[MAX_RANK];
    int64_t attrs[MAX_RANK];
    const uint32_t *from = node_dims(graph_at(lower, ref.level), node_of(lower, ref));
    bool same = true;
    for (uint32_t i = 0; i < rank; i++) {
        dims[i] = from[perm[i]];
        attrs[i] = perm[i];
        same = same && perm[i] == i;
    }
    return same ? ref : emit1(lower, OP_permute, ref, dims, rank, attrs, rank);
}

static uint32_t axis_at(Lower *lower, const Val *val, uint32_t axis) {
    for (uint32_t i = 0; i < val->vec.naxes; i++)
        if (val->vec.axes[i] == axis) return i;
    cx_fail(lower->cx, ERR_internal, AT_NOWHERE, NULL, "A linear parameter was lost in lowering.");
}

/* The same value with its open axes in the order of `like`'s: both have the same ones, by linearity. */
static const Val *align(Lower *lower, const Val *val, const Val *like) {
    uint32_t perm[MAX_RANK], n = val->vec.naxes;
    if (n != like->vec.naxes) cx_fail(lower->cx, ERR_internal, AT_NOWHERE, NULL, "Branches differ in their linear parameters.");
    for (uint32_t i = 0; i < n; i++) perm[i] = axis_at(lower, val, like->vec.axes[i]);
    perm[n] = n;
    return make_vec(lower, val->type, permute(lower, val->vec.ref, perm, n + 1), like->vec.axes, n);
}

const Val *vec_if(Lower *lower, const Val *cond, const Val *then, const Val *otherwise) {
    const Type *type = type_join(lower->cx, then->type, otherwise->type);
    if (lower->dry) return dry_vec(lower, type);
    then = vec_resize(lower, then, type);
    otherwise = align(lower, vec_resize(lower, otherwise, type), then);
    uint32_t dims[2 * MAX_RANK], rank = lead(lower, cond, dims), naxes;
    rank += lead(lower, then, dims + rank);
    dims[rank++] = (uint32_t)type->dim;
    const uint32_t *axes = join_axes(lower, cond, then, &naxes);
    Ref ins[] = {cond->vec.ref, then->vec.ref, otherwise->vec.ref};
    return make_vec(lower, type, emit(lower, &(Emit){.op = OP_if, .ins = ins, .nin = 3, .dims = dims, .rank = rank}), axes, naxes);
}

/* Σ over the last dim of b's node and the one before… of a: a [A…, m, k], b [B…, k] -> [A…, B…, m]; with `m` 0 there is no m. */
static Ref contract_last(Lower *lower, Ref a, const uint32_t *alead, uint32_t na, uint32_t m, Ref b, const uint32_t *blead, uint32_t nb,
                         uint32_t k) {
    uint32_t dims[2 * MAX_RANK], rank = 0, label = 0;
    int64_t attrs[3 + 6 * MAX_RANK], *at = attrs + 3;
    uint32_t ra = na + (m != 0) + 1, rb = nb + 1;
    memcpy(dims, alead, na * sizeof *dims);
    dims[na] = m ? m : k;
    dims[ra - 1] = k;
    a = reshape(lower, a, dims, ra);
    for (uint32_t i = 0; i < ra; i++) *at++ = label++; /* a: 0 … ra-1; k is ra-1, m is ra-2 */
    for (uint32_t i = 0; i < nb; i++) *at++ = label++;
    *at++ = ra - 1;
    for (uint32_t i = 0; i < na; i++, rank++) *at++ = i;
    for (uint32_t i = 0; i < nb; i++) dims[rank++] = blead[i], *at++ = ra + i;
    if (m) dims[rank++] = m, *at++ = ra - 2;
    attrs[0] = ra;
    attrs[1] = rb;
    attrs[2] = rank;
    return emit(lower, &(Emit){.op = OP_contract, .ins = (Ref[]){a, b}, .nin = 2, .dims = dims, .rank = rank, .attrs = attrs,
                               .nattr = (uint32_t)(at - attrs)});
}

const Val *vec_apply(Lower *lower, const Val *table, const Val *argument, uint32_t node) {
    const Type *dom = table->type->dom, *cod = table->type->cod;
    argument = vec_fit(lower, argument, dom, node);
    if (lower->dry) return dry_vec(lower, cod);
    uint32_t tlead[MAX_RANK], alead[MAX_RANK], naxes;
    uint32_t nt = lead(lower, table, tlead), na = lead(lower, argument, alead);
    const uint32_t *axes = join_axes(lower, table, argument, &naxes);
    Ref ref = contract_last(lower, table->vec.ref, tlead, nt, (uint32_t)cod->dim, argument->vec.ref, alead, na, (uint32_t)dom->dim);
    return make_vec(lower, cod, ref, axes, naxes);
}

/* ---- tabulated parameters ---- */

const Val *vec_param(Lower *lower, const Type *type, uint32_t *axis, uint32_t node) {
    check_space(lower, type, node);
    if (lower->dry) return dry_vec(lower, type);
    if (type->dim > LIMIT_SPACE / type->dim)
        lower_fail(lower, ERR_too_large, node, NULL, "A function over %zu numbers would have to be tabulated here.", type->dim);
    if (lower->naxes == lower->axes_room) {
        uint32_t room = lower->axes_room ? lower->axes_room * 2 : 16;
        lower->axes = arena_grow(&lower->cx->arena, lower->axes, lower->naxes, room, sizeof *lower->axes);
        lower->axes_room = room;
    }
    *axis = lower->naxes++;
    lower->axes[*axis] = type->dim;
    uint32_t dim = (uint32_t)type->dim, *axes = ARENA_NEW(&lower->cx->arena, uint32_t);
    axes[0] = *axis;
    return make_vec(lower, type, emit(lower, &(Emit){.op = OP_eye, .dims = (uint32_t[]){dim, dim}, .rank = 2}), axes, 1);
}

const Val *vec_close(Lower *lower, const Val *body, uint32_t axis, const Type *param, uint32_t node) {
    const Type *type = type_arrow(lower->cx, false, param, body->type, AT(AT_NODE, node));
    check_space(lower, type, node);
    if (lower->dry) return dry_vec(lower, type);
    uint32_t at = axis_at(lower, body, axis), n = body->vec.naxes, perm[MAX_RANK], dims[MAX_RANK], rank = 0;
    uint32_t *axes = ARENA_ARRAY(&lower->cx->arena, uint32_t, n);
    lead(lower, body, dims);
    for (uint32_t i = 0; i < n; i++) {
        if (i == at) continue;
        perm[rank] = i;
        axes[rank++] = body->vec.axes[i];
    }
    perm[rank] = n;
    perm[rank + 1] = at;
    Ref ref = permute(lower, body->vec.ref, perm, n + 1);
    for (uint32_t i = 0; i < rank; i++) dims[i] = (uint32_t)lower->axes[axes[i]];
    dims[rank] = (uint32_t)type->dim;
    return make_vec(lower, type, reshape(lower, ref, dims, rank + 1), axes, rank);
}

const Val *vec_call(Lower *lower, const Val *network, const Type *type, uint32_t node) {
    check_space(lower, type, node);
    if (lower->dry) return dry_vec(lower, type);
    uint32_t n = network->network.nargs, dims[MAX_RANK], rank = 0, naxes = 0, level = 0;
    Ref *ins = ARENA_ARRAY(&lower->cx->arena, Ref, n);
    const uint32_t *axes = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const Val *arg = network->network.args[i];
        ins[i] = arg->vec.ref;
        if (ins[i].level > level) level = ins[i].level;
        if (!arg->vec.naxes) continue;
        if (naxes) cx_fail(lower->cx, ERR_not_tabulable, AT(AT_NODE, node), NULL, "A network that is linear in several arguments cannot be tabulated.");
        axes = arg->vec.axes;
        naxes = arg->vec.naxes;
        rank = lead(lower, arg, dims);
    }
    dims[rank++] = (uint32_t)type->dim;
    int64_t slot = graph_slot(graph_at(lower, level), SLOT_NETWORK, network->network.index, 0); /* where the node will be */
    Ref ref = emit(lower, &(Emit){.op = OP_call, .ins = ins, .nin = n, .dims = dims, .rank = rank, .attrs = &slot, .nattr = 1});
    return make_vec(lower, type, ref, axes, naxes);
}

/* ---- iterations ---- */

const Val *vec_first(Lower *lower, const Val *count, const Val *base) {
    if (lower->dry) return base;
    uint32_t clead[MAX_RANK], blead[MAX_RANK], naxes, nc = lead(lower, count, clead), nb = lead(lower, base, blead);
    blead[nb++] = (uint32_t)base->type->dim;
    blead[nb] = 1;
    Ref first = emit1(lower, OP_select, count->vec.ref, clead, nc, (int64_t[]){nc, 0}, 2);
    const uint32_t *axes = join_axes(lower, count, base, &naxes);
    Ref state = reshape(lower, base->vec.ref, blead, nb + 1);
    return make_vec(lower, base->type, contract_last(lower, first, clead, nc, 0, state, blead, nb, 1), axes, naxes);
}

const Val *vec_state(Lower *lower, const Val *base) {
    Graph *g = graph_at(lower, lower->level);
    uint32_t dims[MAX_RANK], rank = lead(lower, base, dims), flat = (uint32_t)node_of(lower, base->vec.ref)->size;
    dims[rank++] = (uint32_t)base->type->dim;
    int64_t slot = graph_slot(g, SLOT_STATE, 0, flat);
    uint32_t node = add(lower, g, &(NodeSpec){.op = OP_input, .attrs = &slot, .nattr = 1, .dims = &flat, .rank = 1});
    return make_vec(lower, base->type, (Ref){lower->level, reshape_in(lower, g, node, dims, rank)}, base->vec.axes, base->vec.naxes);
}

void vec_step_output(Lower *lower, const Val *next, const Val *base) {
    next = align(lower, next, base);
    graph_output(graph_at(lower, lower->level), OUT_STATE, 0, import(lower, next->vec.ref, lower->level));
}

const Val *vec_iter(Lower *lower, const Val *count, const Val *base, const Level *step) {
    uint32_t dims[2 * MAX_RANK], rank = lead(lower, count, dims), naxes;
    rank += lead(lower, base, dims + rank);
    dims[rank++] = (uint32_t)base->type->dim;
    Ref *ins = ARENA_ARRAY(&lower->cx->arena, Ref, step->ncaptures + 2);
    ins[0] = count->vec.ref;
    ins[1] = base->vec.ref;
    for (uint32_t i = 0; i < step->ncaptures; i++) ins[2 + i] = step->captures[i].source;
    const uint32_t *axes = join_axes(lower, count, base, &naxes);
    Ref ref = emit(lower, &(Emit){.op = OP_iter, .ins = ins, .nin = step->ncaptures + 2, .dims = dims, .rank = rank,
                                  .attrs = (int64_t[]){1, 1, step->ncaptures, 1, 0, 0}, .nattr = 6, .subs = &step->graph, .nsub = 1});
    return make_vec(lower, base->type, ref, axes, naxes);
}
