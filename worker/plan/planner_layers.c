/* Rules of ops along an axis, of functions element by element, and of windows on images. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

/* The node as one step, of its row's kernel, over its inputs; `work`: multiply-adds or elements, a row. */
static uint32_t emit(const PlanNode *m, Step step, double work) {
    Planner *b = m->b;
    step.run = m->kernel;
    step.op = m->n->op;
    step.out = planner_fresh(b, m->n->size, m->batched);
    if (!planner_ok(b)) return 0;
    for (uint32_t k = 0; k < m->n->nin; k++) step.in[k] = planner_operand(m, planner_skips(b->g, m->n, k) ? 1 : k);
    planner_work(b, m->batched, work);
    planner_step(b, step, &(StepUse){.nin = m->n->nin});
    return step.out;
}

enum { MAP_WORK = 4, EXP_WORK = 16 }; /* an element of map, of softmax: about as many multiply-adds */

static const MapDetail *map_detail(const PlanNode *m) {
    MapDetail *d = planner_alloc(m->b, 1, sizeof *d);
    if (d) *d = (MapDetail){.function = (uint32_t)m->attrs[0], .p = attr_real(m->attrs[1]), .q = attr_real(m->attrs[2])};
    return d;
}

uint32_t make_map(const PlanNode *m) {
    return emit(m, (Step){.size = m->n->size, .map = map_detail(m)}, MAP_WORK * (double)m->n->size);
}

uint32_t make_map_vjp(const PlanNode *m) {
    Planner *b = m->b;
    const bool by_value = function_row((Function)m->attrs[0])->slope_by_value;
    Step s = {.run = m->kernel, .op = m->n->op, .out = planner_fresh(b, m->n->size, m->batched), .size = m->n->size, .map = map_detail(m),
              .in = {planner_operand(m, by_value), planner_operand(m, 2)}};
    if (!planner_ok(b)) return 0;
    const bool read = planner_get(b, s.in[0])->batched || planner_get(b, s.in[1])->batched;
    planner_work(b, m->batched, MAP_WORK * (double)m->n->size);
    /* EACH even when what is batched is not read: there is one a row */
    planner_step(b, s, &(StepUse){.nin = 2, .at_least = m->batched && !read ? PHASE_EACH : PHASE_ONCE});
    return s.out;
}

/* Along the axis that attribute 0 says, of the larger of input and result; flags are the attributes behind it. */
static AlongDetail along(const PlanNode *m) {
    const GNode *x = planner_operand_node(m, 0), *of = m->n->rank > x->rank ? m->n : x;
    AlongDetail d = {.axis = axis_view(node_dims(m->b->g, of), of->rank, m->attrs[0])};
    for (uint32_t i = 1; i < m->n->nattr; i++) d.flag[i - 1] = m->attrs[i];
    return d;
}

uint32_t make_along(const PlanNode *m) {
    const AlongDetail d = along(m);
    return emit(m, (Step){.along = d}, (double)(d.axis.outer * d.axis.extent * d.axis.inner));
}

uint32_t make_softmax(const PlanNode *m) { return emit(m, (Step){.along = along(m)}, EXP_WORK * (double)m->n->size); }

/* x's and y's last two axes; all others are planes. */
static WindowDetail *window(const PlanNode *m, const GNode *nx, const GNode *ny) {
    WindowDetail *d = planner_alloc(m->b, 1, sizeof *d);
    const uint32_t *x = node_dims(m->b->g, nx) + nx->rank - 2, *y = node_dims(m->b->g, ny) + ny->rank - 2;
    if (!d) return NULL;
    *d = (WindowDetail){.planes = nx->size / x[0] / x[1], .H = x[0], .W = x[1], .Ho = y[0], .Wo = y[1]};
    return d;
}

uint32_t make_pad(const PlanNode *m) {
    WindowDetail *d = window(m, planner_operand_node(m, 0), m->n);
    if (!d) return 0;
    d->top = m->attrs[0];
    d->left = m->attrs[2];
    d->value = attr_real(m->attrs[4]);
    return emit(m, (Step){.window = d}, (double)m->n->size);
}

WindowDetail *planner_pool_window(const PlanNode *m) {
    const bool back = m->n->op == OP_max_pool2d_vjp || m->n->op == OP_avg_pool2d_vjp; /* from y to x */
    const GNode *x = back ? m->n : planner_operand_node(m, 0), *y = back ? planner_operand_node(m, m->n->nin - 1) : m->n;
    WindowDetail *d = window(m, x, y);
    if (!d) return NULL;
    d->kh = (size_t)m->attrs[0], d->kw = (size_t)m->attrs[1], d->sh = (size_t)m->attrs[2], d->sw = (size_t)m->attrs[3];
    d->top = m->attrs[4], d->left = m->attrs[5];
    return d;
}

uint32_t make_pool(const PlanNode *m) {
    const WindowDetail *d = planner_pool_window(m);
    return d ? emit(m, (Step){.window = d}, (double)(d->planes * d->Ho * d->Wo) * (double)d->kh * (double)d->kw) : 0;
}
