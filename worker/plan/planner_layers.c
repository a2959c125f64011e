/* Layers and losses: functions element by element, softmax, sums along an axis, padding and windows. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

typedef struct {
    Planner *b;
    const GNode *n;
    const uint32_t *ins;
    const int64_t *attrs;
    uint32_t out; /* its value */
} Layer;

static const GNode *operand(const Layer *m, uint32_t k) { return &m->b->g->nodes[m->ins[k]]; }
static const uint32_t *operand_dims(const Layer *m, uint32_t k) { return node_dims(m->b->g, operand(m, k)); }

/* The node as one step over its inputs; `work`: multiply-adds or elements, a row. */
static void emit(const Layer *m, Step step, double work) {
    Planner *b = m->b;
    step.op = m->n->op;
    step.out = m->out;
    for (uint32_t k = 0; k < m->n->nin; k++) step.in[k] = b->nodes[m->ins[planner_skips(b->g, m->n, k) ? 1 : k]].value;
    planner_work(b, planner_get(b, m->out)->batched, work);
    planner_step(b, step, &(StepUse){.nin = m->n->nin});
}

enum { MAP_WORK = 4, EXP_WORK = 16 }; /* an element of map, of softmax: about as many multiply-adds */

static MapDetail *map_detail(const Layer *m) {
    MapDetail *d = planner_alloc(m->b, 1, sizeof *d);
    if (d) *d = (MapDetail){.function = (uint32_t)m->attrs[0], .p = attr_real(m->attrs[1]), .q = attr_real(m->attrs[2])};
    return d;
}

static void make_map(const Layer *m) {
    const MapDetail *d = map_detail(m);
    if (d) emit(m, (Step){.run = KERNEL_OF(m->b->plan, map), .inner = m->n->size, .map = d}, MAP_WORK * (double)m->n->size);
}

/* Slopes that f(x) tells are read off it: x then need not be kept until the way back. */
static bool map_slope_of_value(uint32_t function) {
    return function == FUNCTION_relu || function == FUNCTION_tanh || function == FUNCTION_sigmoid || function == FUNCTION_hardtanh;
}

static void make_map_vjp(const Layer *m) {
    Planner *b = m->b;
    const MapDetail *d = map_detail(m);
    if (!d) return;
    Step s = {.run = KERNEL_OF(b->plan, map_vjp), .op = m->n->op, .out = m->out, .inner = m->n->size, .map = d,
              .in = {b->nodes[m->ins[map_slope_of_value(d->function)]].value, b->nodes[m->ins[2]].value}};
    bool batched = planner_get(b, m->out)->batched, read = planner_get(b, s.in[0])->batched || planner_get(b, s.in[1])->batched;
    planner_work(b, batched, MAP_WORK * (double)m->n->size);
    /* EACH even when what is batched is not read: there is one a row */
    planner_step(b, s, &(StepUse){.nin = 2, .at_least = batched && !read ? PHASE_EACH : PHASE_ONCE});
}

/* dims seen from one axis: [outer, extent, inner], into outer, nin and inner. */
static Step along(const uint32_t *dims, uint32_t rank, uint32_t axis) {
    Step s = {.outer = 1, .nin = dims[axis], .inner = 1};
    for (uint32_t i = 0; i < axis; i++) s.outer *= dims[i];
    for (uint32_t i = axis + 1; i < rank; i++) s.inner *= dims[i];
    return s;
}

static void make_softmax(const Layer *m) {
    Step s = along(operand_dims(m, 0), m->n->rank, (uint32_t)m->attrs[0]);
    bool forward = m->n->op == OP_softmax;
    s.run = forward ? KERNEL_OF(m->b->plan, softmax) : KERNEL_OF(m->b->plan, softmax_vjp);
    s.src = (size_t)m->attrs[1]; /* of the logarithm */
    s.dst = forward ? 0 : (size_t)m->attrs[2]; /* transposed */
    emit(m, s, EXP_WORK * (double)m->n->size);
}

static void make_broadcast(const Layer *m) {
    Step s = along(node_dims(m->b->g, m->n), m->n->rank, (uint32_t)m->attrs[0]);
    s.run = KERNEL_OF(m->b->plan, broadcast);
    emit(m, s, (double)m->n->size);
}

static void make_sum(const Layer *m) {
    Step s = along(operand_dims(m, 0), operand(m, 0)->rank, (uint32_t)m->attrs[0]);
    s.run = KERNEL_OF(m->b->plan, sum);
    emit(m, s, (double)operand(m, 0)->size);
}

/* x's and y's last two axes; all others are planes. */
static WindowDetail *window(const Layer *m, const GNode *nx, const GNode *ny) {
    WindowDetail *d = planner_alloc(m->b, 1, sizeof *d);
    const uint32_t *x = node_dims(m->b->g, nx) + nx->rank - 2, *y = node_dims(m->b->g, ny) + ny->rank - 2;
    if (!d) return NULL;
    *d = (WindowDetail){.planes = nx->size / x[0] / x[1], .H = x[0], .W = x[1], .Ho = y[0], .Wo = y[1]};
    return d;
}

static void make_pad(const Layer *m) {
    WindowDetail *d = window(m, operand(m, 0), m->n);
    if (!d) return;
    d->top = m->attrs[0];
    d->left = m->attrs[2];
    d->value = attr_real(m->attrs[4]);
    emit(m, (Step){.run = KERNEL_OF(m->b->plan, pad), .window = d}, (double)m->n->size);
}

WindowDetail *planner_pool_window(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const Layer m = {.b = b, .n = n, .ins = node_ins(b->g, n), .attrs = node_attrs(b->g, n)};
    bool back = n->op == OP_max_pool2d_vjp || n->op == OP_avg_pool2d_vjp;
    const GNode *x = back ? n : operand(&m, 0), *y = back ? operand(&m, n->nin - 1) : n;
    WindowDetail *d = window(&m, x, y);
    if (!d) return NULL;
    d->kh = (size_t)m.attrs[0], d->kw = (size_t)m.attrs[1], d->sh = (size_t)m.attrs[2], d->sw = (size_t)m.attrs[3];
    d->top = m.attrs[4], d->left = m.attrs[5];
    return d;
}

static void make_pool(const Layer *m) {
    const Plan *p = m->b->plan;
    const WindowDetail *d = planner_pool_window(m->b, (uint32_t)(m->n - m->b->g->nodes));
    if (!d) return;
    Kernel run = m->n->op == OP_max_pool2d       ? KERNEL_OF(p, max_pool)
                 : m->n->op == OP_max_pool2d_vjp ? KERNEL_OF(p, max_pool_vjp)
                 : m->n->op == OP_max_pool2d_jvp ? KERNEL_OF(p, max_pool_jvp)
                 : m->n->op == OP_avg_pool2d     ? KERNEL_OF(p, avg_pool)
                                                 : KERNEL_OF(p, avg_pool_vjp);
    emit(m, (Step){.run = run, .window = d}, (double)(d->planes * d->Ho * d->Wo) * (double)d->kh * (double)d->kw);
}

uint32_t planner_layer(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const Layer m = {.b = b, .n = n, .ins = node_ins(b->g, n), .attrs = node_attrs(b->g, n),
                     .out = planner_value(b, n->size, b->nodes[i].batched, HOME_SLAB, PHASE_ONCE)};
    if (!planner_ok(b)) return 0;
    switch (n->op) {
    case OP_map: make_map(&m); break;
    case OP_map_vjp: make_map_vjp(&m); break;
    case OP_softmax: case OP_softmax_vjp: make_softmax(&m); break;
    case OP_broadcast: make_broadcast(&m); break;
    case OP_sum: make_sum(&m); break;
    case OP_pad: make_pad(&m); break;
    default: make_pool(&m); break;
    }
    return m.out;
}
