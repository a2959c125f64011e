#include "compiler/passes/optimise.h"
#include "compiler/passes/recur.h"

/* Steps go through all passes too: so this one is given them. */
Graph *optimise_recur(Cx *cx, const Graph *g) { return recur_graph(cx, g, optimise_all); }

/* A graph that costs nothing, as many a step does, is left alone. */
Graph *optimise_all(Cx *cx, const Graph *g) {
    if (cost_total(graph_cost(g)) == 0) return rewrite_guard(cx, graph_copy(g));
    Graph *now = optimise_structure(cx, g);
    now = rewrite_replace(cx, now, optimise_collapse(cx, now));
    now = rewrite_replace(cx, now, optimise_recur(cx, now));
    now = rewrite_replace(cx, now, optimise_structure(cx, now));
    now = rewrite_replace(cx, now, optimise_contraction(cx, now));
    now = rewrite_replace(cx, now, optimise_collapse(cx, now));
    return rewrite_replace(cx, now, optimise_share(cx, now));
}

Graph *optimise_graph(Cx *cx, const Graph *g) { return rewrite_give(cx, optimise_all(cx, g)); }
