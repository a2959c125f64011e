#include "compiler/rewrite.h"
#include <string.h>

static void release_graph(void *graph) { graph_free(graph); }

Graph *rewrite_guard(Cx *cx, Graph *g) {
    if (!g) cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL, "There is no memory for another graph.");
    cx_guard(cx, g, release_graph);
    return g;
}

Graph *rewrite_give(Cx *cx, Graph *g) {
    cx_keep(cx, g);
    return g;
}

/* What was built beyond a limit, or without memory, is no graph. */
static void check(Cx *cx, const Graph *g) {
    if (g->failed)
        cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL,
                "The compiled program would have more than %d neurons, or a space of more than %zu numbers.", LIMIT_GRAPH_NODES, LIMIT_SPACE);
}

Rewrite *rewrite_new(Cx *cx, const Graph *from) {
    check(cx, from);
    Rewrite *rw = ARENA_NEW(&cx->arena, Rewrite);
    *rw = (Rewrite){.cx = cx, .from = from, .to = rewrite_guard(cx, graph_new())};
    rw->moved = ARENA_ARRAY(&cx->arena, uint32_t, from->nnodes);
    graph_copy_slots(rw->to, from);
    return rw;
}

uint32_t rewrite_add(Rewrite *rw, const NodeSpec *spec) {
    uint32_t node = graph_add(rw->to, spec);
    check(rw->cx, rw->to);
    return node;
}

uint32_t rewrite_node(Rewrite *rw, Op op, const uint32_t *ins, uint32_t nin, const Dims *dims, const int64_t *attrs, uint32_t nattr) {
    return rewrite_add(rw, &(NodeSpec){.op = op, .ins = ins, .nin = nin, .dims = dims->at, .rank = dims->rank, .attrs = attrs, .nattr = nattr});
}

uint32_t rewrite_copy(Rewrite *rw, uint32_t node) {
    const Graph *g = rw->from;
    const GNode *n = &g->nodes[node];
    if (n->op == OP_const) {
        uint32_t made = graph_const(rw->to, g->consts + node_attrs(g, n)[0], node_dims(g, n), n->rank);
        check(rw->cx, rw->to);
        return made;
    }
    uint32_t *ins = ARENA_ARRAY(&rw->cx->arena, uint32_t, n->nin);
    Graph **subs = ARENA_ARRAY(&rw->cx->arena, Graph *, n->nsub);
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = rw->moved[node_ins(g, n)[k]];
    for (uint32_t k = 0; k < n->nsub; k++) subs[k] = rewrite_prune(rw->cx, g->subs[n->sub + k]);
    for (uint32_t k = 0; k < n->nsub; k++) rewrite_give(rw->cx, subs[k]); /* graph_add takes them over, failing or not */
    return rewrite_add(rw, &(NodeSpec){.op = n->op, .ins = ins, .nin = n->nin, .dims = node_dims(g, n), .rank = n->rank,
                                       .attrs = node_attrs(g, n), .nattr = n->nattr, .subs = subs, .nsub = n->nsub});
}

Graph *rewrite_finish_as_is(Rewrite *rw) {
    check(rw->cx, rw->to);
    Graph *pruned = rewrite_prune(rw->cx, rw->to);
    graph_free(rewrite_give(rw->cx, rw->to));
    return pruned;
}

static void copy_outputs(Rewrite *rw) {
    for (uint32_t i = 0; i < rw->from->noutputs; i++)
        graph_output(rw->to, rw->from->outputs[i].role, rw->from->outputs[i].index, rw->moved[rw->from->outputs[i].node]);
}

Graph *rewrite_finish(Rewrite *rw) {
    copy_outputs(rw);
    return rewrite_finish_as_is(rw);
}

/* Inputs come before nodes, so one backward pass finds all that is needed. Steps nest at most LIMIT_GRAPH_DEPTH deep. */
Graph *rewrite_prune(Cx *cx, const Graph *g) {
    Rewrite *rw = rewrite_new(cx, g);
    bool *needed = ARENA_ARRAY(&cx->arena, bool, g->nnodes);
    for (uint32_t i = 0; i < g->noutputs; i++) needed[g->outputs[i].node] = true;
    for (uint32_t i = g->nnodes; i-- > 0;)
        for (uint32_t k = 0; needed[i] && k < g->nodes[i].nin; k++) needed[node_ins(g, &g->nodes[i])[k]] = true;
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (needed[i]) rw->moved[i] = rewrite_copy(rw, i);
    copy_outputs(rw);
    check(rw->cx, rw->to);
    return rw->to;
}

Dims dims_of(const Graph *g, uint32_t node) {
    Dims dims = {.rank = g->nodes[node].rank};
    memcpy(dims.at, node_dims(g, &g->nodes[node]), dims.rank * sizeof *dims.at);
    return dims;
}

bool dims_equal(const Dims *a, const Dims *b) { return a->rank == b->rank && memcmp(a->at, b->at, a->rank * sizeof *a->at) == 0; }

size_t dims_product(const Dims *dims) {
    size_t size = 1;
    for (uint32_t i = 0; i < dims->rank; i++) size *= dims->at[i];
    return size;
}

uint32_t rewrite_reshape(Rewrite *rw, uint32_t node, const Dims *dims) {
    Dims now = dims_of(rw->to, node);
    return dims_equal(&now, dims) ? node : rewrite_node(rw, OP_reshape, &node, 1, dims, NULL, 0);
}
