#include "compiler/passes/rewrite.h"
#include "schema/graph/ops.h"
#include <string.h>

static void release_graph(void *graph) { graph_free(graph); }

void rewrite_no_memory(Cx *cx) { cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL, "There is no memory to compile this program."); }

Graph *rewrite_guard(Cx *cx, Graph *g) {
    if (!g) rewrite_no_memory(cx);
    cx_guard(cx, g, release_graph);
    return g;
}

Graph *rewrite_give(Cx *cx, Graph *g) {
    cx_keep(cx, g);
    return g;
}

Graph *rewrite_replace(Cx *cx, Graph *old, Graph *made) {
    graph_free(rewrite_give(cx, old));
    return made;
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

uint32_t rewrite_plus(Rewrite *rw, uint32_t a, uint32_t b) {
    const Dims dims = dims_of(rw->to, a);
    return rewrite_node(rw, OP_add, (uint32_t[]){a, b}, 2, &dims, NULL, 0);
}

/* subs: taken over. */
static uint32_t copy_node(Rewrite *rw, uint32_t node, Graph *const *subs) {
    const Graph *g = rw->from;
    const GNode *n = &g->nodes[node];
    uint32_t few[4], *ins = n->nin <= 4 ? few : ARENA_ARRAY(&rw->cx->arena, uint32_t, n->nin);
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = rw->moved[node_ins(g, n)[k]];
    for (uint32_t k = 0; k < n->nsub; k++) rewrite_give(rw->cx, subs[k]); /* graph_add takes them over, failing or not */
    if (n->op != OP_const)
        return rewrite_add(rw, &(NodeSpec){.op = n->op, .ins = ins, .nin = n->nin, .dims = node_dims(g, n), .rank = n->rank,
                                           .attrs = node_attrs(g, n), .nattr = n->nattr, .subs = subs, .nsub = n->nsub});
    uint32_t made = graph_const(rw->to, g->consts + node_attrs(g, n)[0], node_dims(g, n), n->rank);
    check(rw->cx, rw->to);
    return made;
}

uint32_t rewrite_copy(Rewrite *rw, uint32_t node) {
    const GNode *n = &rw->from->nodes[node];
    Graph *subs[2];
    _Static_assert(REWRITE_SUBS == sizeof subs / sizeof *subs, "all of them");
    for (uint32_t k = 0; k < n->nsub; k++) subs[k] = rewrite_guard(rw->cx, graph_copy(rw->from->subs[n->sub + k]));
    return copy_node(rw, node, subs);
}

static void copy_outputs(Rewrite *rw) {
    for (uint32_t i = 0; i < rw->from->noutputs; i++)
        graph_output(rw->to, rw->from->outputs[i].role, rw->from->outputs[i].index, rw->moved[rw->from->outputs[i].node]);
}

/* By node, whether an output needs it: inputs come before nodes, so one backward pass does. */
static bool *find_needed(Cx *cx, const Graph *g, uint32_t *count) {
    bool *needed = ARENA_ARRAY(&cx->arena, bool, g->nnodes);
    for (uint32_t i = 0; i < g->noutputs; i++) needed[g->outputs[i].node] = true;
    for (uint32_t i = g->nnodes; i-- > 0;) {
        *count += needed[i];
        for (uint32_t k = 0; needed[i] && k < g->nodes[i].nin; k++) needed[node_ins(g, &g->nodes[i])[k]] = true;
    }
    return needed;
}

/* The steps move over: the graph is thrown away. */
Graph *rewrite_finish_as_is(Rewrite *rw) {
    Graph *g = rw->to;
    uint32_t count = 0;
    check(rw->cx, g);
    const bool *needed = find_needed(rw->cx, g, &count);
    if (count == g->nnodes) return g;
    Rewrite *prune = rewrite_new(rw->cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        if (!needed[i]) continue;
        Graph *subs[REWRITE_SUBS], **at = g->subs + g->nodes[i].sub;
        for (uint32_t k = 0; k < g->nodes[i].nsub; k++) {
            subs[k] = rewrite_guard(rw->cx, at[k]);
            at[k] = NULL;
        }
        prune->moved[i] = copy_node(prune, i, subs);
    }
    copy_outputs(prune);
    graph_free(rewrite_give(rw->cx, g));
    check(rw->cx, prune->to);
    return prune->to;
}

Graph *rewrite_finish(Rewrite *rw) {
    copy_outputs(rw);
    return rewrite_finish_as_is(rw);
}

/* Steps nest at most LIMIT_GRAPH_DEPTH deep. */
Graph *rewrite_prune(Cx *cx, const Graph *g) {
    Rewrite *rw = rewrite_new(cx, g);
    uint32_t count = 0;
    const bool *needed = find_needed(cx, g, &count);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        Graph *subs[REWRITE_SUBS];
        for (uint32_t k = 0; needed[i] && k < g->nodes[i].nsub; k++) subs[k] = rewrite_prune(cx, g->subs[g->nodes[i].sub + k]);
        if (needed[i]) rw->moved[i] = copy_node(rw, i, subs);
    }
    copy_outputs(rw);
    check(cx, rw->to);
    return rw->to;
}

uint32_t *rewrite_readers(Cx *cx, const Graph *g) {
    uint32_t *readers = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    for (uint32_t i = 0; i < g->nnodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].nin; k++) readers[node_ins(g, &g->nodes[i])[k]]++;
    for (uint32_t i = 0; i < g->noutputs; i++) readers[g->outputs[i].node]++;
    return readers;
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

void rewrite_labels(int64_t *labels, uint32_t n) {
    int64_t name[OP_LABELS], next = 0;
    for (int i = 0; i < OP_LABELS; i++) name[i] = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (name[labels[i]] < 0) name[labels[i]] = next++;
        labels[i] = name[labels[i]];
    }
}

uint32_t rewrite_reshape(Rewrite *rw, uint32_t node, const Dims *dims) {
    while (rw->to->nodes[node].op == OP_reshape) node = node_ins(rw->to, &rw->to->nodes[node])[0];
    Dims now = dims_of(rw->to, node);
    return dims_equal(&now, dims) ? node : rewrite_node(rw, OP_reshape, &node, 1, dims, NULL, 0);
}

uint32_t rewrite_slide(Rewrite *rw, uint32_t node, uint32_t axis, uint32_t to, int64_t by) {
    Dims dims = dims_of(rw->to, node);
    uint32_t from = dims.at[axis];
    if (!by && from == to) return node;
    dims.at[axis] = to;
    bool exact = (int64_t)to == (int64_t)from + by;
    if ((by == 1 || by == -1) && (exact || from == to))
        return rewrite_node(rw, by > 0 ? OP_shift : OP_unshift, &node, 1, &dims, (int64_t[]){axis, exact ? SHIFT_EXACT : SHIFT_DROP}, 2);
    return rewrite_node(rw, OP_resize, &node, 1, &dims, (int64_t[]){axis, by}, 2);
}
