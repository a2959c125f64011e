/* What a training step computes. */
#include "compiler/derive/derive.h"
#include "compiler/training/link_inside.h"
#include "compiler/passes/optimise.h"
#include "compiler/training/unroll.h"

/* How much of a job's memory the kept values of unrolled iterations may take, and how many of a graph's nodes their copies: the backward pass
 * needs about as much again of the one, and three times as many of the other. */
enum { UNROLL_MEMORY = 2, UNROLL_NODES = 8 };

/* Only the loss and the value. */
static Graph *step_forward(Cx *cx, const Graph *g) {
    static const OutRole roles[] = {OUT_LOSS, OUT_VALUE};
    Rewrite *rw = rewrite_new(cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) rw->moved[i] = rewrite_copy(rw, i);
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < g->noutputs; i++)
            if (g->outputs[i].role == roles[k]) graph_output(rw->to, roles[k], 0, rw->moved[g->outputs[i].node]);
    return rewrite_finish_as_is(rw);
}

Graph *link_train(Cx *cx, const Linked *linked, uint64_t batch) {
    const double room = (double)LIMIT_JOB_BYTES / UNROLL_MEMORY / (double)dtype_size(linked->dtype) / (double)(batch ? batch : 1);
    Graph *g = step_forward(cx, linked->forward);
    g = rewrite_replace(cx, g, unroll_graph(cx, g, (UnrollRoom){.elements = room, .nodes = LIMIT_GRAPH_NODES / UNROLL_NODES}));
    g = rewrite_replace(cx, g, optimise_all(cx, g)); /* the gradient of contractions in a good order is in a good order */
    bool *trained = ARENA_ARRAY(&cx->arena, bool, g->nslots);
    for (uint32_t i = 0; i < g->nslots; i++) trained[i] = g->slots[i].role == SLOT_WEIGHT && linked->weights[g->slots[i].index].train;
    g = rewrite_replace(cx, g, derive_vjp(cx, g, &(DeriveSpec){.output = 0, .slots = trained}));
    return rewrite_give(cx, rewrite_replace(cx, g, optimise_all(cx, g)));
}
