#include "compiler/optimise.h"

/* `made` in the place of `old`. */
static Graph *replaced(Cx *cx, Graph *old, Graph *made) {
    graph_free(rewrite_give(cx, old));
    return made;
}

/* Collapsing shows which steps are constant; tables that recur made let their surroundings collapse again. */
Graph *optimise_all(Cx *cx, const Graph *g) {
    Graph *now = optimise_collapse(cx, g);
    now = replaced(cx, now, optimise_recur(cx, now));
    return replaced(cx, now, optimise_collapse(cx, now));
}

Graph *optimise_graph(Cx *cx, const Graph *g) { return rewrite_give(cx, optimise_all(cx, g)); }
