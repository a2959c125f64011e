/* Convolutions and their transposes: x [C,H,W], w [O,C,kh,kw], y [O,OH,OW]; each operand shared or batched. */
#include "schema/limits.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

typedef struct {
    Planner *b;
    const GNode *n;
    ConvDetail *d;
    uint32_t in[3], nin; /* values; the third: bias or mask */
    bool batched[2];     /* the first two */
    bool summed;
} Conv;

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
    return d;
}

static uint32_t too_large(Planner *b) {
    err_set(b->err, ERR_too_large, "A convolution needs more working memory than a job may take.");
    return 0;
}

/* Memory that a step needs while it runs, a thread's own. */
static uint32_t scratch(Planner *b, size_t size) {
    return size <= LIMIT_JOB_BYTES ? planner_value(b, size, false, HOME_SLAB, PHASE_ONCE) : too_large(b);
}

static bool same_pack(const Step *a, const Step *b) {
    const ConvShape *s = &a->conv->shape, *t = &b->conv->shape;
    return s->O == t->O && s->C == t->C && s->kh == t->kh && s->kw == t->kw && a->conv->turned == b->conv->turned &&
           !a->conv->peaks == !b->conv->peaks;
}

/* The packed kernels, made once where all rows share them. */
static uint32_t pack(const Conv *c) {
    Planner *b = c->b;
    const size_t size = c->d->peaks ? conv_peaks_packed(&c->d->shape) : conv_packed(&c->d->shape);
    if (size > LIMIT_JOB_BYTES) return too_large(b);
    return planner_prepare(b, (Step){.run = KERNEL_OF(b->plan, conv_pack), .op = c->n->op, .in = {c->in[1]}, .conv = c->d}, size, same_pack);
}

/* Only what a pad leaves of x̄. */
static void crop(Conv *c, uint32_t pad) {
    const GNode *n = &c->b->g->nodes[pad];
    const int64_t *by = node_attrs(c->b->g, n);
    const uint32_t *dims = node_dims(c->b->g, n);
    ConvShape *s = &c->d->shape;
    if (c->d->peaks) {
        s->H = dims[1], s->W = dims[2];
        s->top -= by[0], s->left -= by[2];
    } else {
        s->OH = dims[1], s->OW = dims[2];
        s->top += by[0], s->left += by[2];
    }
}

/* Memory and operands as the kernels want them. */
static void settle(Conv *c, const GNode *y, const NodeInfo *maker) {
    Planner *b = c->b;
    ConvDetail *d = c->d;
    const uint32_t *ins = node_ins(b->g, c->n);
    if (c->n->op != OP_conv2d && b->nodes[ins[0]].peaks) {
        d->peaks = (planner_get(b, c->in[0])->size / node_dims(b->g, y)[0] - 1) / 3;
    }
    if (c->n->op == OP_conv2d_dx && !d->peaks) {
        d->turned = true;
        d->shape = conv_shape_dx(&d->shape);
    }
    if (maker && maker->crop) crop(c, maker->crop - 1);
    if (c->n->op == OP_conv2d_dw) {
        d->scratch = scratch(b, d->peaks ? conv_peaks_scratch(&d->shape) : conv_dw_scratch(&d->shape));
        d->sums = scratch(b, d->peaks ? conv_peaks_packed(&d->shape) : conv_dw_sums(&d->shape));
        return;
    }
    d->scratch = scratch(b, d->peaks ? conv_peaks_scratch(&d->shape) : conv_scratch(&d->shape));
    if (!c->batched[1]) c->in[1] = pack(c);
    else d->packed = scratch(b, conv_packed(&d->shape));
}

static Kernel kernel(const Conv *c) {
    const Plan *p = c->b->plan;
    if (c->n->op == OP_conv2d_dw) return c->summed ? KERNEL_OF(p, conv_dw_sum) : KERNEL_OF(p, conv_dw);
    return c->d->peaks ? KERNEL_OF(p, conv_peaks) : KERNEL_OF(p, conv);
}

/* What the step does along with the convolution. */
static void add_end(Conv *c, const NodeInfo *maker) {
    if (!maker) return;
    c->d->relu = maker->relu;
    c->d->bias = maker->bias;
    c->d->mask = maker->mask;
    if (!maker->bias && !maker->mask) return;
    c->in[2] = c->b->nodes[(maker->bias ? maker->bias : maker->mask) - 1].value;
    c->nin = 3;
}

uint32_t planner_conv(Planner *b, uint32_t i, const ConvUse *use) {
    const GNode *n = &b->g->nodes[i];
    const uint32_t *ins = node_ins(b->g, n);
    Conv c = {.b = b, .n = n, .d = detail(b, n), .in = {b->nodes[ins[0]].value, b->nodes[ins[1]].value}, .nin = 2,
              .batched = {b->nodes[ins[0]].batched, b->nodes[ins[1]].batched}, .summed = use->summed};
    if (!c.d) return 0;
    if (c.summed && c.batched[0] != c.batched[1]) { /* linear in the batched one: sum that instead */
        c.in[!c.batched[0]] = planner_sum(b, c.in[!c.batched[0]], n->op);
        c.batched[0] = c.batched[1] = c.summed = false;
    }
    if (!planner_ok(b)) return 0;
    settle(&c, &b->g->nodes[ins[0]], use->maker);
    add_end(&c, use->maker);
    if (!planner_ok(b)) return 0;
    const ConvDetail *d = c.d;
    bool rows = c.batched[0] || c.batched[1], more = c.summed && use->into != VALUE_NONE;
    size_t size = use->maker && use->maker->crop ? b->g->nodes[use->maker->crop - 1].size : n->size;
    uint32_t v = more ? use->into : planner_value(b, size, rows && !c.summed, HOME_SLAB, PHASE_ONCE);
    size_t places = d->peaks ? d->peaks : d->shape.OH * d->shape.OW;
    planner_work(b, rows, (double)(d->shape.O * places) * (double)(d->shape.C * d->shape.kh * d->shape.kw));
    planner_step(b, (Step){.run = kernel(&c), .op = n->op, .out = v, .in = {c.in[0], c.in[1], c.in[2]}, .conv = d, .more = more},
                 &(StepUse){.nin = c.nin, .writes = (uint32_t[]){d->scratch, d->sums, d->packed}, .nwrites = 3, .sums = c.summed});
    return v;
}
