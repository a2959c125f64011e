/* Whether a plan gets a tape, and what of its graph is then left to the ordinary steps. */
#include "schema/graph/ops.h"
#include "worker/plan/tape.h"
#include <stdlib.h>

static void add_end(Tape *t, TapeEnd end) { t->ends[t->nends++] = end; }

static bool is_sum(const Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    return b->nodes[i].needed && n->op == OP_batch_sum && !b->nodes[i].batched && b->nodes[node_ins(b->g, n)[0]].batched;
}

/* Outputs with a row for each of the batch, and sums over it. */
static void find_ends(Tape *t, const Planner *b) {
    const Graph *g = b->g;
    for (uint32_t o = 0; o < g->noutputs; o++)
        if (b->spec->wanted[o] && b->nodes[g->outputs[o].node].batched) add_end(t, (TapeEnd){g->outputs[o].node, o, false});
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (is_sum(b, i)) add_end(t, (TapeEnd){node_ins(g, &g->nodes[i])[0], i, true});
}

/* Terms that stand for shared nodes keep these needed. */
static void need_shared(Planner *b, const Tape *t) {
    for (uint32_t k = 0; k < t->nterms; k++)
        if (t->terms[k].op == TERM_SHARED) b->nodes[t->terms[k].a].needed = true;
}

/* Nodes on the tape are not planned, nor shared ones that nothing else wants. */
static void find_rest(Planner *b, const Tape *t) {
    const Graph *g = b->g;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        NodeInfo *info = &b->nodes[i];
        info->taped = planner_on_tape(info);
        if (info->taped && g->nodes[i].op == OP_input) /* so that its tensor is asked for */
            b->plan->slot_values[node_attrs(g, &g->nodes[i])[0]] = planner_value(b, g->nodes[i].size, true, HOME_BOUND, PHASE_EACH);
        info->needed = info->needed && is_sum(b, i);
    }
    for (uint32_t o = 0; o < g->noutputs; o++)
        if (b->spec->wanted[o]) b->nodes[g->outputs[o].node].needed = true;
    need_shared(b, t);
    for (uint32_t i = g->nnodes; i-- > 0;) {
        const GNode *n = &g->nodes[i];
        if (b->nodes[i].taped) b->nodes[i].needed = false;
        if (!b->nodes[i].needed) continue;
        for (uint32_t k = 0; k < op_reads(n); k++) b->nodes[node_ins(g, n)[k]].needed = true;
    }
}

void planner_tape(Planner *b) {
    Tape *t = NULL;
    if (b->plan->is_step || b->plan->single_tile || b->spec->no_tape) return;
    bool ok = (t = calloc(1, sizeof *t)) && tape_init(t, b->g);
    if (ok && tape_expand(t, b)) {
        find_ends(t, b);
        if (tape_count(t, b) <= TAPE_CODE) {
            find_rest(b, t);
            b->tape = t;
            return;
        }
    }
    if (!ok) err_set(b->err, ERR_too_large, "This takes more memory than a worker may have.");
    else tape_release(t);
    free(t);
}

void planner_tape_finish(Planner *b) { tape_steps(b->tape, b); }
