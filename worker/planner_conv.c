/* Convolutions and their transposes: x [C,H,W], w [O,C,kh,kw], y [O,OH,OW]; each operand shared or batched. */
#include "schema/limits.h"
#include "worker/kernels/kernels.h"
#include "worker/planner.h"

static ConvDetail *detail(Planner *b, const GNode *n) {
    const Graph *g = b->g;
    const uint32_t *ins = node_ins(g, n);
    const GNode *first = &g->nodes[ins[0]], *second = &g->nodes[ins[1]];
    const GNode *nx = n->op == OP_conv2d ? first : n->op == OP_conv2d_dx ? n : second, *nw = n->op == OP_conv2d_dw ? n : second;
    const uint32_t *x = node_dims(g, nx), *w = node_dims(g, nw);
    const int64_t *attrs = node_attrs(g, n);
    ConvDetail *d = planner_alloc(b, 1, sizeof *d);
    if (!d) return NULL;
    d->packed = d->scratch = d->sums = VALUE_NONE;
    d->shape = conv_shape(x[0], x[1], x[2], w[0], w[2], w[3],
                          (ConvStride){(size_t)attrs[0], (size_t)attrs[1], (size_t)attrs[2], (size_t)attrs[3]});
    d->turned = n->op == OP_conv2d_dx;
    if (d->turned) d->shape = conv_shape_dx(&d->shape);
    return d;
}

/* Memory that a step needs while it runs, a thread's own. */
static uint32_t scratch(Planner *b, size_t size) {
    if (size <= LIMIT_JOB_BYTES) return planner_value(b, size, false, HOME_SLAB, PHASE_ONCE);
    fault_set(b->fault, ERR_too_large, "A convolution needs more working memory than a job may take.");
    return 0;
}

/* The packed kernels, made once where all rows share them. */
static uint32_t pack(Planner *b, const ConvDetail *d, uint32_t w, Op op) {
    uint32_t v = planner_value(b, conv_packed(&d->shape), false, HOME_SLAB, PHASE_ONCE);
    planner_work(b, false, (double)conv_packed(&d->shape));
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, conv_pack), .op = op, .out = v, .in = {w}, .conv = d}, &(StepUse){.nin = 1});
    return v;
}

static Kernel kernel(const Planner *b, Op op, bool summed) {
    if (op != OP_conv2d_dw) return KERNEL_OF(b->plan, conv);
    return summed ? KERNEL_OF(b->plan, conv_dw_sum) : KERNEL_OF(b->plan, conv_dw);
}

uint32_t planner_conv(Planner *b, uint32_t i, bool summed, uint32_t into) {
    const GNode *n = &b->g->nodes[i];
    const uint32_t *ins = node_ins(b->g, n);
    uint32_t in[] = {b->nodes[ins[0]].value, b->nodes[ins[1]].value};
    bool batched[] = {b->nodes[ins[0]].batched, b->nodes[ins[1]].batched}, dw = n->op == OP_conv2d_dw;
    ConvDetail *d = detail(b, n);
    if (!d) return 0;
    if (summed && batched[0] != batched[1]) { /* linear in the batched one: sum that instead */
        in[!batched[0]] = planner_sum(b, in[!batched[0]], n->op);
        batched[0] = batched[1] = summed = false;
    }
    if (!planner_ok(b)) return 0;
    bool rows = batched[0] || batched[1];
    d->scratch = scratch(b, dw ? conv_dw_scratch(&d->shape) : conv_scratch(&d->shape));
    if (dw) d->sums = scratch(b, conv_dw_sums(&d->shape));
    else if (!batched[1]) in[1] = pack(b, d, in[1], n->op);
    else d->packed = scratch(b, conv_packed(&d->shape));
    if (!planner_ok(b)) return 0;
    bool more = summed && into != VALUE_NONE;
    uint32_t v = more ? into : planner_value(b, n->size, rows && !summed, HOME_SLAB, PHASE_ONCE), writes[] = {d->scratch, d->sums, d->packed};
    const ConvShape *s = &d->shape;
    planner_work(b, rows, (double)(s->O * s->OH * s->OW) * (double)(s->C * s->kh * s->kw));
    planner_step(b, (Step){.run = kernel(b, n->op, summed), .op = n->op, .out = v, .in = {in[0], in[1]}, .conv = d, .more = more},
                 &(StepUse){.nin = 2, .writes = writes, .nwrites = 3, .sums = summed});
    return v;
}
