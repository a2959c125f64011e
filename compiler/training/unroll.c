#include "compiler/training/unroll.h"
#include "schema/graph/ops.h"

typedef struct {
    Rewrite *rw;
    bool *trained; /* by node of rw->from: depends on a weight */
    UnrollRoom *room;
} Unroll;

static Graph *unroll(Cx *cx, const Graph *g, const bool *captures, UnrollRoom *room);

static int64_t attr_of(const Graph *g, const GNode *n, uint32_t i) { return node_attrs(g, n)[i]; }

/* Elements a copy keeps: of what depends on the state; a reshape is the same elements again. */
static double kept_of(Cx *cx, const Graph *step) {
    bool *moves = ARENA_ARRAY(&cx->arena, bool, step->nnodes);
    double elements = 0;
    for (uint32_t i = 0; i < step->nnodes; i++) {
        const GNode *n = &step->nodes[i];
        if (n->op == OP_input) moves[i] = step->slots[attr_of(step, n, 0)].role == SLOT_STATE;
        for (uint32_t k = 0; k < n->nin; k++) moves[i] = moves[i] || moves[node_ins(step, n)[k]];
        if (moves[i] && n->op != OP_input && n->op != OP_reshape) elements += (double)n->size;
    }
    return elements;
}

static bool has_layer(const Graph *step) {
    for (uint32_t i = 0; i < step->nnodes; i++)
        if (op_row(step->nodes[i].op)->family == FAMILY_layer) return true;
    return false;
}

/* Whether the copies are wanted, and there is room for them; takes the room. */
static bool take_room(Unroll *u, const GNode *n, const Graph *step, bool trained) {
    const Graph *g = u->rw->from;
    const uint64_t states = op_iter_states(g, n), copies = states - 1;
    const double kept = kept_of(u->rw->cx, step) * (double)copies;
    const uint64_t nodes = copies * ((uint64_t)step->nnodes + step->inside) + 3 * states;
    if (!op_iter_is_plain(g, n) || !(trained || has_layer(step)) || kept > u->room->elements || nodes > u->room->nodes) return false;
    u->room->elements -= kept;
    u->room->nodes -= nodes;
    return true;
}

/* One copy of the step: the state after `state`. */
static uint32_t put_step(Unroll *u, const GNode *n, const Graph *step, uint32_t state) {
    Rewrite sub = {.cx = u->rw->cx, .from = step, .to = u->rw->to};
    sub.moved = ARENA_ARRAY(&u->rw->cx->arena, uint32_t, step->nnodes);
    for (uint32_t i = 0; i < step->nnodes; i++) {
        const GNode *inner = &step->nodes[i];
        if (inner->op == OP_input) {
            const Slot *slot = &step->slots[attr_of(step, inner, 0)];
            const Dims flat = {.rank = 1, .at = {(uint32_t)slot->size}};
            const uint32_t outside = slot->role == SLOT_STATE ? state : u->rw->moved[node_ins(u->rw->from, n)[2 + slot->index]];
            sub.moved[i] = rewrite_reshape(u->rw, outside, &flat);
        } else {
            sub.moved[i] = rewrite_copy(&sub, i);
        }
    }
    return sub.moved[step->outputs[0].node];
}

/* n_i[o…]·s[d…] */
static uint32_t read_state(Unroll *u, const GNode *n, uint32_t state, uint64_t i) {
    Rewrite *rw = u->rw;
    const uint32_t count = rw->moved[node_ins(rw->from, n)[0]];
    Dims outer = dims_of(rw->to, count);
    const Dims inner = dims_of(rw->to, state);
    int64_t attrs[3 + 4 * LIMIT_GRAPH_RANK], *at = attrs + 3;
    const int64_t place[] = {--outer.rank, (int64_t)i};
    const uint32_t factor = rewrite_node(rw, OP_select, &count, 1, &outer, place, 2), rank = outer.rank + inner.rank;
    Dims dims = {.rank = rank};
    for (int twice = 0; twice < 2; twice++)
        for (uint32_t k = 0; k < rank; k++) *at++ = k;
    for (uint32_t k = 0; k < rank; k++) dims.at[k] = k < outer.rank ? outer.at[k] : inner.at[k - outer.rank];
    attrs[0] = outer.rank;
    attrs[1] = inner.rank;
    attrs[2] = rank;
    return rewrite_node(rw, OP_contract, (uint32_t[]){factor, state}, 2, &dims, attrs, 3 + 2 * rank);
}

/* Σᵢ nᵢ·sᵢ, s₀ the base, sᵢ₊₁ = step(sᵢ) */
static uint32_t put_states(Unroll *u, const GNode *n, const Graph *step) {
    Rewrite *rw = u->rw;
    const uint32_t base = node_ins(rw->from, n)[1];
    const uint64_t states = op_iter_states(rw->from, n);
    const Dims dims = dims_of(rw->from, base);
    uint32_t state = rw->moved[base], sum = read_state(u, n, state, 0);
    for (uint64_t i = 1; i < states; i++) {
        state = rewrite_reshape(rw, put_step(u, n, step, state), &dims);
        const uint32_t term = read_state(u, n, state, i);
        sum = rewrite_plus(rw, sum, term);
    }
    return sum;
}

static uint32_t put_iter(Unroll *u, const GNode *n) {
    Rewrite *rw = u->rw;
    Arena *arena = &rw->cx->arena;
    const Graph *g = rw->from;
    const IterAttrs a = op_iter(g, n);
    const uint32_t first = a.counts + a.comps, ncaptures = a.captures;
    bool *captures = ARENA_ARRAY(arena, bool, ncaptures), trained = false;
    for (uint32_t k = 0; k < ncaptures; k++) {
        captures[k] = u->trained[node_ins(g, n)[first + k]];
        trained = trained || captures[k];
    }
    Graph *step = unroll(rw->cx, g->subs[n->sub], captures, u->room);
    if (take_room(u, n, step, trained)) {
        const uint32_t made = put_states(u, n, step);
        graph_free(rewrite_give(rw->cx, step));
        return made;
    }
    uint32_t *ins = ARENA_ARRAY(arena, uint32_t, n->nin);
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = rw->moved[node_ins(g, n)[k]];
    rewrite_give(rw->cx, step);
    return rewrite_add(rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = n->nin, .dims = node_dims(g, n), .rank = n->rank,
                                       .attrs = node_attrs(g, n), .nattr = n->nattr, .subs = &step, .nsub = 1});
}

/* Recursion through steps is at most LIMIT_GRAPH_DEPTH deep. captures: of the step g, by index, whether they depend on a weight. */
static Graph *unroll(Cx *cx, const Graph *g, const bool *captures, UnrollRoom *room) {
    Unroll u = {.rw = rewrite_new(cx, g), .trained = ARENA_ARRAY(&cx->arena, bool, g->nnodes), .room = room};
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        for (uint32_t k = 0; k < n->nin; k++) u.trained[i] = u.trained[i] || u.trained[node_ins(g, n)[k]];
        if (n->op == OP_input) {
            const Slot *slot = &g->slots[attr_of(g, n, 0)];
            u.trained[i] = slot->role == SLOT_WEIGHT || (slot->role == SLOT_CAPTURE && captures[slot->index]);
        }
        u.rw->moved[i] = n->op == OP_iter ? put_iter(&u, n) : rewrite_copy(u.rw, i);
    }
    return rewrite_finish(u.rw);
}

Graph *unroll_graph(Cx *cx, const Graph *g, UnrollRoom room) { return unroll(cx, g, NULL, &room); }
