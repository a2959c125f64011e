/* The program's graph with bound values for its inputs and networks for its calls, in steps of iterations too. */
#include "compiler/training/link_inside.h"
#include <string.h>

static uint32_t inline_input(LinkLevel *level, const GNode *n) {
    const Slot *slot = &level->rw.from->slots[node_attrs(level->rw.from, n)[0]];
    if (slot->role == SLOT_INPUT) return level->bound[slot->index];
    return link_input(&level->rw, slot->role, slot->index, slot->size);
}

static uint32_t inline_call(LinkLevel *level, const GNode *n) {
    Link *k = level->link;
    const Graph *g = level->rw.from;
    const uint32_t variable = g->slots[node_attrs(g, n)[0]].index;
    const NetPlan *net = &k->nets[k->spec->binds[k->bind_of[variable]].net];
    const Dims flat = {.rank = 1, .at = {(uint32_t)n->size}};
    uint32_t *inputs = ARENA_ARRAY(&k->cx->arena, uint32_t, n->nin);
    for (uint32_t i = 0; i < n->nin; i++) {
        inputs[i] = level->rw.moved[node_ins(g, n)[i]];
        if (level->rw.to->nodes[inputs[i]].size != dims_product(&net->values[i]))
            cx_fail(k->cx, ERR_internal, AT_NOWHERE, NULL, "A network's argument carries an open axis, though the network is smooth.");
    }
    return rewrite_reshape(&level->rw, net_emit(level, net, inputs), &flat);
}

static void inline_nodes(LinkLevel *level);

/* The step in a graph of its own; weights that its networks need are more captures. Steps nest at most LIMIT_GRAPH_DEPTH deep. */
static uint32_t inline_iter(LinkLevel *level, const GNode *n) {
    Link *k = level->link;
    const Graph *g = level->rw.from, *sub = g->subs[n->sub];
    Arena *arena = &k->cx->arena;
    LinkLevel step = {.link = k, .outer = level, .ncaptures = (uint32_t)node_attrs(g, n)[2]};
    step.rw = (Rewrite){.cx = k->cx, .from = sub, .to = rewrite_guard(k->cx, graph_new())};
    step.rw.moved = ARENA_ARRAY(arena, uint32_t, sub->nnodes);
    step.weights = ARENA_ARRAY(arena, uint32_t, k->out->nweights);
    for (uint32_t i = 0; i < sub->nslots; i++)
        if (sub->slots[i].role != SLOT_NETWORK) graph_slot(step.rw.to, sub->slots[i].role, sub->slots[i].index, sub->slots[i].size);
    inline_nodes(&step);
    Graph *made = rewrite_finish(&step.rw);

    uint32_t *ins = ARENA_ARRAY(arena, uint32_t, (size_t)n->nin + step.ncaptured);
    for (uint32_t i = 0; i < n->nin; i++) ins[i] = level->rw.moved[node_ins(g, n)[i]];
    for (uint32_t i = 0; i < step.ncaptured; i++) ins[n->nin + i] = step.captured[i];
    int64_t *attrs = ARENA_ARRAY(arena, int64_t, n->nattr);
    memcpy(attrs, node_attrs(g, n), n->nattr * sizeof *attrs);
    attrs[2] = step.ncaptures;
    rewrite_give(k->cx, made);
    return rewrite_add(&level->rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = n->nin + step.ncaptured, .dims = node_dims(g, n),
                                               .rank = n->rank,
                                               .attrs = attrs, .nattr = n->nattr, .subs = &made, .nsub = 1});
}

static void inline_nodes(LinkLevel *level) {
    Rewrite *rw = &level->rw;
    for (uint32_t i = 0; i < rw->from->nnodes; i++) {
        const GNode *n = &rw->from->nodes[i];
        if (n->op == OP_input) rw->moved[i] = inline_input(level, n);
        else if (n->op == OP_call) rw->moved[i] = inline_call(level, n);
        else rw->moved[i] = n->op == OP_iter ? inline_iter(level, n) : rewrite_copy(rw, i);
    }
}

uint32_t link_inline(LinkLevel *level) {
    inline_nodes(level);
    return level->rw.moved[level->rw.from->outputs[0].node];
}
