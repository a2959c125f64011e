/* Values summed over rows: step by step, or gathered for one product. */
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

#define GATHER_FROM 16384          /* elements of the product: below, adding up tile by tile costs little */
#define GATHER_MOST ((size_t)1 << 24) /* elements gathered, of all sums */

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

uint32_t planner_sum_into(Planner *b, uint32_t value, uint32_t into, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, value)->size;
    return sum_step(b, (Step){.run = KERNEL_OF(b->plan, batch_sum), .op = op, .in = {value}, .size = size}, size, into);
}

uint32_t planner_sum(Planner *b, uint32_t value, Op op) { return planner_sum_into(b, value, VALUE_NONE, op); }

uint32_t planner_sum_axis_into(Planner *b, uint32_t i, uint32_t sum, uint32_t into) {
    const GNode *n = &b->g->nodes[sum], *in = &b->g->nodes[node_ins(b->g, n)[0]];
    const AxisView axis = axis_view(node_dims(b->g, in), in->rank, node_attrs(b->g, n)[0]);
    Step step = {.run = KERNEL_OF(b->plan, sum_batch_sum), .op = n->op, .in = {b->nodes[i].value}, .along = {.axis = axis}};
    if (planner_ok(b) && b->nodes[i].peaks) {
        step.run = KERNEL_OF(b->plan, peaks_sum);
        step.peaks = (PeaksDetail){.planes = axis.outer, .windows = (planner_get(b, step.in[0])->size / axis.outer - 1) / 3};
    }
    return sum_step(b, step, n->size, into);
}

uint32_t planner_plus(Planner *b, uint32_t x, uint32_t y, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, x)->size;
    uint32_t v = planner_value(b, size, false, HOME_SLAB, PHASE_ONCE);
    planner_work(b, false, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, add), .op = op, .out = v, .in = {x, y}, .size = size}, &(StepUse){.nin = 2});
    return v;
}

/* Puts the rows of a value [K, its other axis] behind those of the parts before. */
static void gather(Planner *b, uint32_t value, uint32_t into, size_t part, Op op) {
    size_t size = planner_get(b, value)->size;
    planner_work(b, true, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, gather), .op = op, .out = into, .in = {value}, .size = size, .rows_before = part * b->spec->rows},
                 &(StepUse){.nin = 1, .at_least = PHASE_EACH});
    planner_gathered(b, into);
}

bool planner_sum_gather(Planner *b, NodeInfo *top, uint32_t va, uint32_t vb, const ContractDetail *d, Op op) {
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
