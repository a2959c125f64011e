#include "compiler/prune.h"
#include <stdlib.h>

/* Inputs come before nodes, so one backward pass finds all that is needed. */
static void mark(const Graph *g, bool *needed) {
    for (uint32_t i = 0; i < g->noutputs; i++) needed[g->outputs[i].node] = true;
    for (uint32_t i = g->nnodes; i-- > 0;) {
        if (!needed[i]) continue;
        const uint32_t *ins = node_ins(g, &g->nodes[i]);
        for (uint32_t k = 0; k < g->nodes[i].nin; k++) needed[ins[k]] = true;
    }
}

static uint32_t copy_node(Graph *to, const Graph *g, const GNode *n, const uint32_t *moved, uint32_t *ins, Graph **subs) {
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = moved[node_ins(g, n)[k]];
    if (n->op == OP_const)
        return graph_const(to, g->consts + node_attrs(g, n)[0], node_dims(g, n), n->rank);
    for (uint32_t k = 0; k < n->nsub; k++) {
        subs[k] = prune_graph(g->subs[n->sub + k]);
        if (!subs[k]) {
            while (k--) graph_free(subs[k]);
            to->failed = true;
            return 0;
        }
    }
    return graph_add(to, &(NodeSpec){.op = n->op, .ins = ins, .nin = n->nin, .dims = node_dims(g, n), .rank = n->rank,
                                     .attrs = node_attrs(g, n), .nattr = n->nattr, .subs = subs, .nsub = n->nsub});
}

Graph *prune_graph(const Graph *g) {
    Graph *to = graph_new();
    uint32_t most = 0, subs = 0;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        if (g->nodes[i].nin > most) most = g->nodes[i].nin;
        if (g->nodes[i].nsub > subs) subs = g->nodes[i].nsub;
    }
    bool *needed = calloc(g->nnodes + 1, sizeof *needed);
    uint32_t *moved = calloc(g->nnodes + 1, sizeof *moved), *ins = calloc(most + 1, sizeof *ins);
    Graph **scratch = calloc(subs + 1, sizeof *scratch);
    if (to && needed && moved && ins && scratch) {
        mark(g, needed);
        for (uint32_t i = 0; i < g->nslots; i++) graph_slot(to, g->slots[i].role, g->slots[i].index, g->slots[i].size);
        for (uint32_t i = 0; i < g->nnodes && !to->failed; i++)
            if (needed[i]) moved[i] = copy_node(to, g, &g->nodes[i], moved, ins, scratch);
        for (uint32_t i = 0; i < g->noutputs && !to->failed; i++)
            graph_output(to, g->outputs[i].role, g->outputs[i].index, moved[g->outputs[i].node]);
    }
    bool ok = to && needed && moved && ins && scratch && !to->failed;
    free(needed);
    free(moved);
    free(ins);
    free(scratch);
    if (ok) return to;
    if (to) graph_free(to);
    return NULL;
}
