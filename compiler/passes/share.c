/* An iteration and its VJP run the same recurrence. The VJP keeps the states, so it can read the result out on the way: a tuple_get gives it, and the
 * iteration goes. That is so unless the cotangent depends on the result itself (a loss of it, a square), where the result must come first. */
#include "compiler/passes/optimise.h"

enum { NONE = UINT32_MAX };
enum { LOOKS = 64 }; /* nodes looked at for cycles, by node of the graph: merging more is given up */

typedef struct {
    Cx *cx;
    const Graph *g;
    uint32_t *vjp; /* by node: the iter_vjp that an iter is read out by, NONE */
    uint32_t *stack, *seen, stamp;
    uint64_t looks;
} Share;

/* What a node reads, once iterations are merged. */
static uint32_t reads(const Share *s, uint32_t node, const uint32_t **ins) {
    if (s->vjp[node] == NONE) {
        *ins = node_ins(s->g, &s->g->nodes[node]);
        return s->g->nodes[node].nin;
    }
    *ins = &s->vjp[node];
    return 1;
}

/* Whether `from` depends on `node`; also when it takes too long to find out. */
static bool depends(Share *s, uint32_t from, uint32_t node) {
    uint32_t n = 0;
    s->seen[from] = ++s->stamp;
    s->stack[n++] = from;
    while (n) {
        const uint32_t *ins;
        uint32_t nin = reads(s, s->stack[--n], &ins);
        for (uint32_t k = 0; k < nin; k++) {
            if (ins[k] == node || !s->looks) return true;
            s->looks--;
            if (s->seen[ins[k]] == s->stamp) continue;
            s->seen[ins[k]] = s->stamp;
            s->stack[n++] = ins[k];
        }
    }
    return false;
}

/* The iteration of each iter_vjp that has one here: adding it to a copy of the graph finds it. True: some were merged. */
static bool find_pairs(Share *s) {
    Graph *copy = rewrite_guard(s->cx, graph_copy(s->g));
    bool any = false;
    for (uint32_t v = 0; v < s->g->nnodes; v++) {
        const GNode *n = &s->g->nodes[v];
        if (n->op != OP_iter_vjp) continue;
        const GNode *result = &s->g->nodes[node_ins(s->g, n)[n->nin - 1]];
        const Graph *sub = s->g->subs[n->sub];
        int64_t attrs[] = {1, 1, node_attrs(s->g, n)[0], 1, 0, 0};
        if ((uint64_t)copy->nnodes + copy->inside + sub->nnodes + sub->inside >= LIMIT_GRAPH_NODES) break; /* no room to look for more */
        Graph *step = rewrite_give(s->cx, rewrite_guard(s->cx, graph_copy(sub)));
        uint32_t found = graph_add(copy, &(NodeSpec){.op = OP_iter, .ins = node_ins(s->g, n), .nin = n->nin - 1, .dims = node_dims(s->g, result),
                                                     .rank = result->rank, .attrs = attrs, .nattr = 6, .subs = &step, .nsub = 1});
        if (copy->failed) rewrite_no_memory(s->cx);
        if (found >= s->g->nnodes || s->vjp[found] != NONE || !s->looks || depends(s, v, found)) continue;
        s->vjp[found] = v;
        any = true;
    }
    graph_free(rewrite_give(s->cx, copy));
    return any;
}

static void put(Rewrite *rw, const Share *s, uint32_t node) {
    if (s->vjp[node] == NONE) {
        rw->moved[node] = rewrite_copy(rw, node);
        return;
    }
    Dims dims = dims_of(s->g, node);
    int64_t part = s->g->nodes[s->vjp[node]].nin - 1;
    rw->moved[node] = rewrite_node(rw, OP_tuple_get, &rw->moved[s->vjp[node]], 1, &dims, &part, 1);
}

/* Everything `root` needs, what is read first. The stack holds a node until all it reads is put. */
static void put_all(Rewrite *rw, Share *s, uint32_t root, bool *done) {
    uint32_t n = 0, *next = s->seen; /* by node on the stack: the input to be looked at */
    if (done[root]) return;
    next[root] = 0;
    s->stack[n++] = root;
    while (n) {
        const uint32_t *ins;
        uint32_t node = s->stack[n - 1], nin = reads(s, node, &ins);
        while (next[node] < nin && done[ins[next[node]]]) next[node]++;
        if (next[node] < nin) {
            s->stack[n++] = ins[next[node]];
            next[ins[next[node]]] = 0;
            continue;
        }
        put(rw, s, node);
        done[node] = true;
        n--;
    }
}

Graph *optimise_share(Cx *cx, const Graph *g) {
    bool vjps = false;
    for (uint32_t i = 0; i < g->nnodes; i++) vjps = vjps || g->nodes[i].op == OP_iter_vjp;
    if (!vjps) return rewrite_guard(cx, graph_copy(g));
    Share s = {.cx = cx, .g = g, .looks = (uint64_t)LOOKS * g->nnodes};
    s.vjp = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    s.stack = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    s.seen = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    for (uint32_t i = 0; i < g->nnodes; i++) s.vjp[i] = NONE;
    if (!find_pairs(&s)) return rewrite_guard(cx, graph_copy(g));
    Rewrite *rw = rewrite_new(cx, g);
    bool *done = ARENA_ARRAY(&cx->arena, bool, g->nnodes);
    for (uint32_t i = 0; i < g->noutputs; i++) put_all(rw, &s, g->outputs[i].node, done);
    return rewrite_finish(rw);
}
