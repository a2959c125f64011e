/* Sums over the batch: `reduce`, and what a step graph's iteration sums.
 *
 * Where nobody else wants the operand, it is never made: rows join a product's summed axis. Operands that are sums themselves (a weight
 * used in every iteration has a gradient from each) are taken apart, each part added where it arises, so that what it is made from need not
 * live longer. When the plan is for a known number of rows, large products are put off instead: their operands are gathered over all rows
 * and parts, and multiplied once. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

#define GATHER_FROM 16384          /* elements of the product: below, adding up tile by tile costs little */
#define GATHER_MOST ((size_t)1 << 24) /* elements gathered, of all sums */

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

/* One more step of a sum of `size` elements, the first when `into` is VALUE_NONE. */
static uint32_t sum_step(Planner *b, Step step, size_t size, uint32_t into) {
    if (!planner_ok(b)) return 0;
    step.more = into != VALUE_NONE;
    step.out = step.more ? into : planner_value(b, size, false, HOME_SLAB, PHASE_ONCE);
    planner_work(b, planner_get(b, step.in[0])->batched, (double)planner_get(b, step.in[0])->size);
    /* EACH even for a shared value, of which there is one a row of every tile */
    planner_step(b, step, &(StepUse){.nin = 1, .sums = true, .at_least = PHASE_EACH});
    return step.out;
}

static uint32_t sum_into(Planner *b, uint32_t value, uint32_t into, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, value)->size;
    return sum_step(b, (Step){.run = KERNEL_OF(b->plan, batch_sum), .op = op, .in = {value}, .inner = size}, size, into);
}

uint32_t planner_sum(Planner *b, uint32_t value, Op op) { return sum_into(b, value, VALUE_NONE, op); }

/* A node's value, summed over rows and as the `sum` says. */
static uint32_t total_into(Planner *b, uint32_t i, uint32_t total, uint32_t into) {
    const GNode *n = &b->g->nodes[total], *in = &b->g->nodes[node_ins(b->g, n)[0]];
    const uint32_t *dims = node_dims(b->g, in), axis = (uint32_t)node_attrs(b->g, n)[0];
    Step step = {.run = KERNEL_OF(b->plan, sum_batch_sum), .op = n->op, .in = {b->nodes[i].value}, .outer = 1, .nin = dims[axis], .inner = 1};
    for (uint32_t k = 0; k < axis; k++) step.outer *= dims[k];
    for (uint32_t k = axis + 1; k < in->rank; k++) step.inner *= dims[k];
    if (planner_ok(b) && b->nodes[i].peaks) {
        step.run = KERNEL_OF(b->plan, peaks_sum);
        step.nin = (planner_get(b, step.in[0])->size / step.outer - 1) / 3;
    }
    return sum_step(b, step, n->size, into);
}

static uint32_t plus(Planner *b, uint32_t x, uint32_t y, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, x)->size;
    uint32_t v = planner_value(b, size, false, HOME_SLAB, PHASE_ONCE);
    planner_work(b, false, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, add), .op = op, .out = v, .in = {x, y}, .inner = size}, &(StepUse){.nin = 2});
    return v;
}

/* A part that is there: the sum's own value, the first to become it, or one that is added after the tiles. */
static void join(Planner *b, NodeInfo *top, uint32_t v, Op op) {
    if (!planner_ok(b) || v == top->adds || v == VALUE_NONE) return;
    if (top->adds == VALUE_NONE && (b->plan->is_step || b->lives[v].sum)) top->adds = v;
    else top->rest = top->rest == VALUE_NONE ? v : plus(b, top->rest, v, op);
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
        if (under) join(b, top, total_into(b, ins[k], under - 1, top->adds), n->op);
        else join(b, top, sum_into(b, b->nodes[ins[k]].value, top->adds, n->op), n->op);
    }
}

/* Puts the rows of a value [K, its other axis] behind those of the parts before. */
static void gather(Planner *b, uint32_t value, uint32_t into, size_t part, Op op) {
    size_t size = planner_get(b, value)->size;
    planner_work(b, true, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, gather), .op = op, .out = into, .in = {value}, .inner = size, .dst = part * b->spec->rows},
                 &(StepUse){.nin = 1, .at_least = PHASE_EACH});
    planner_gathered(b, into);
}

bool planner_sums_gather(Planner *b, NodeInfo *top, uint32_t va, uint32_t vb, const ContractDetail *d, Op op) {
    size_t rows = b->spec->rows, all, na, nb;
    if (!planner_ok(b) || !rows || b->plan->is_step || b->plan->single_tile || d->G != 1 || d->M * d->N < GATHER_FROM) return false;
    if (__builtin_mul_overflow(rows * top->parts, d->K, &all) || __builtin_mul_overflow(all, d->M, &na) ||
        __builtin_mul_overflow(all, d->N, &nb) || na > GATHER_MOST || nb > GATHER_MOST - na)
        return false;
    if (!top->gathered && na + nb > GATHER_MOST - b->gathered) return false;
    if (!top->gathered) {
        b->gathered += na + nb;
        ContractDetail *made = planner_alloc(b, 1, sizeof *made);
        if (!made) return false;
        *made = *d;
        made->K = 0;
        top->gathered = made;
        top->gather[0] = planner_value(b, na, false, HOME_SLAB, PHASE_ONCE);
        top->gather[1] = planner_value(b, nb, false, HOME_SLAB, PHASE_ONCE);
        top->depth = d->K;
    }
    if (top->gathered->M != d->M || top->gathered->N != d->N || top->depth != d->K) return false;
    size_t part = top->gathered->K / (rows * d->K);
    gather(b, va, top->gather[0], part, op);
    gather(b, vb, top->gather[1], part, op);
    top->gathered->K += rows * d->K;
    planner_work(b, true, (double)d->M * (double)d->N * (double)d->K);
    return true;
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
    return plus(b, top->adds, top->rest, op);
}
