#include "compiler/passes/optimise.h"

/* `made` in the place of `old`. */
static Graph *replaced(Cx *cx, Graph *old, Graph *made) {
    graph_free(rewrite_give(cx, old));
    return made;
}

/* A graph that costs nothing, as many a step does, is left alone. */
Graph *optimise_all(Cx *cx, const Graph *g) {
    if (cost_total(graph_cost(g)) == 0) return rewrite_guard(cx, graph_copy(g));
    Graph *now = optimise_structure(cx, g);
    now = replaced(cx, now, optimise_collapse(cx, now));
    now = replaced(cx, now, optimise_recur(cx, now));
    now = replaced(cx, now, optimise_structure(cx, now));
    now = replaced(cx, now, optimise_contraction(cx, now));
    now = replaced(cx, now, optimise_collapse(cx, now));
    return replaced(cx, now, optimise_share(cx, now));
}

Graph *optimise_graph(Cx *cx, const Graph *g) { return rewrite_give(cx, optimise_all(cx, g)); }
