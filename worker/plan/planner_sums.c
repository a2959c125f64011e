/* Sums over the batch: `batch_sum`, and what a step graph's iteration sums.
 *
 * Where nobody else wants the operand, it is never made: rows join a product's summed axis. Operands that are sums themselves (a weight
 * used in every iteration has a gradient from each) are taken apart, each part added where it arises, so that what it is made from need not
 * live longer. When the plan is for a known number of rows, large products are put off instead: their operands are gathered over all rows
 * and parts, and multiplied once. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

static bool both_batched(const Planner *b, uint32_t i) {
    const uint32_t *ins = node_ins(b->g, &b->g->nodes[i]);
    return b->nodes[ins[0]].batched && b->nodes[ins[1]].batched;
}

static bool is_product(Op op) { return op == OP_contract || op == OP_conv2d_dw; }
/* Sums of these are sums of their inputs' sums; of `sum`, once on the way. */
static bool is_split(Op op) { return op == OP_reshape || op == OP_add || op == OP_sum; }

/* A part of an iteration's derivative sums for itself. */
static bool find_part(Planner *b, uint32_t top) {
    const Graph *g = b->g;
    uint32_t i = top;
    while (g->nodes[i].op == OP_reshape && b->nodes[i].uses == 1) i = node_ins(g, &g->nodes[i])[0];
    const GNode *n = &g->nodes[i];
    if (n->op != OP_tuple_get || b->nodes[i].uses != 1 || !b->nodes[i].batched || node_attrs(g, n)[0] < 2 || op_is_result(g, n)) return false;
    b->nodes[node_ins(g, n)[0]].part_summed[node_attrs(g, n)[0]] = true;
    for (;; top = node_ins(g, &g->nodes[top])[0]) {
        b->nodes[top].sum = top + 1;
        if (top == i) return true;
    }
}

/* Whether the operand i is not made but goes into the sum `top`; under: node + 1 of a `sum` on the way. */
static bool joins(Planner *b, uint32_t i, uint32_t top, uint32_t under) {
    NodeInfo *info = &b->nodes[i];
    Op op = b->g->nodes[i].op;
    if (info->uses != 1 || !info->batched || !(is_split(op) || is_product(op))) return false;
    if (under && (is_product(op) || op == OP_sum)) return false;
    info->sum = top + 1;
    info->under = op == OP_sum ? i + 1 : under;
    info->adds = info->rest = VALUE_NONE;
    b->nodes[top].parts += op == OP_contract && both_batched(b, i);
    return true;
}

static void find_sum(Planner *b, uint32_t top, bool parts) {
    if (!parts || !find_part(b, top)) joins(b, top, top, 0);
}

void planner_sums_find(Planner *b) {
    const Graph *g = b->g;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        const uint32_t *ins = node_ins(g, n);
        if (b->nodes[i].needed && n->op == OP_batch_sum && b->nodes[ins[0]].batched && !b->nodes[i].batched) find_sum(b, ins[0], true);
    }
    for (uint32_t o = 0; b->spec->sums && o < g->noutputs; o++)
        if (b->spec->wanted[o] && b->spec->sums[o]) find_sum(b, g->outputs[o].node, false);
    for (uint32_t i = g->nnodes; i-- > 0;) {
        const GNode *n = &g->nodes[i];
        for (uint32_t k = 0; b->nodes[i].sum && is_split(n->op) && k < n->nin; k++) {
            uint32_t in = node_ins(g, n)[k];
            if (!b->nodes[in].sum) joins(b, in, b->nodes[i].sum - 1, b->nodes[i].under);
        }
    }
}

/* A part that is there: the sum's own value, the first to become it, or one that is added after the tiles. */
static void join(Planner *b, NodeInfo *top, uint32_t v, Op op) {
    if (!planner_ok(b) || v == top->adds || v == VALUE_NONE) return;
    if (top->adds == VALUE_NONE && (b->plan->is_step || b->lives[v].sum)) top->adds = v;
    else top->rest = top->rest == VALUE_NONE ? v : planner_plus(b, top->rest, v, op);
}

void planner_sums_add(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const uint32_t *ins = node_ins(b->g, n);
    NodeInfo *top = &b->nodes[b->nodes[i].sum - 1];
    if (n->op == OP_contract) join(b, top, planner_contract(b, i, true, top), n->op);
    else if (n->op == OP_conv2d_dw) join(b, top, planner_conv(b, i, &(ConvUse){.summed = true, .into = top->adds}), n->op);
    uint32_t under = b->nodes[i].under;
    for (uint32_t k = 0; is_split(n->op) && k < n->nin; k++) {
        if (b->nodes[ins[k]].sum) continue;
        if (under) join(b, top, planner_sum_axis_into(b, ins[k], under - 1, top->adds), n->op);
        else join(b, top, planner_sum_into(b, b->nodes[ins[k]].value, top->adds, n->op), n->op);
    }
}

/* The product of what was gathered. */
static uint32_t multiply(Planner *b, const NodeInfo *top, Op op) {
    ContractDetail *d = top->gathered;
    uint32_t v = planner_value(b, d->M * d->N, false, HOME_SLAB, PHASE_ONCE);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, contract), .op = op, .out = v, .in = {top->gather[0], top->gather[1]}, .contract = d},
                 &(StepUse){.nin = 2});
    return v;
}

uint32_t planner_summed(Planner *b, uint32_t i) {
    Op op = b->g->nodes[i].op;
    NodeInfo *top = &b->nodes[i];
    if (!top->sum) return planner_sum(b, top->value, op);
    /* find_part has marked all on the way to a part that sums for itself; a part that is not marked is summed here, as anything else */
    while (b->g->nodes[i].op == OP_reshape && b->nodes[i].sum) i = node_ins(b->g, &b->g->nodes[i])[0];
    const GNode *n = &b->g->nodes[i];
    if (n->op == OP_tuple_get && b->nodes[i].sum) return b->nodes[node_ins(b->g, n)[0]].value + (uint32_t)node_attrs(b->g, n)[0];
    if (!planner_ok(b)) return 0;
    if (top->gathered) join(b, top, multiply(b, top, op), op);
    if (top->adds == VALUE_NONE || top->rest == VALUE_NONE) return top->adds == VALUE_NONE ? top->rest : top->adds;
    return planner_plus(b, top->adds, top->rest, op);
}
