/* Rules of ops that only move numbers, and the values that rows tell themselves. */
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

static size_t product(const uint32_t *dims, uint32_t from, uint32_t to) {
    size_t n = 1;
    for (uint32_t i = from; i < to; i++) n *= dims[i];
    return n;
}

/* A step with one operand. */
static uint32_t unary(Planner *b, Step step, uint32_t in, size_t size, Phase at_least) {
    if (!planner_ok(b)) return 0;
    bool batched = planner_get(b, in)->batched;
    step.in[0] = in;
    step.out = planner_fresh(b, size, batched);
    planner_work(b, batched, (double)size);
    planner_step(b, step, &(StepUse){.nin = 1, .at_least = at_least});
    return step.out;
}

static uint32_t fill(const PlanNode *m, size_t first, size_t count, size_t stride) {
    uint32_t v = planner_fresh(m->b, m->n->size, false);
    planner_work(m->b, false, (double)m->n->size);
    planner_step(m->b,
                 (Step){.run = m->kernel, .op = m->n->op, .out = v, .size = m->n->size, .fill = {first, count, stride}},
                 &(StepUse){0});
    return v;
}

uint32_t make_zero(const PlanNode *m) { return fill(m, 0, 0, 0); }
uint32_t make_onehot(const PlanNode *m) { return fill(m, (size_t)m->attrs[0], 1, 0); }
uint32_t make_eye(const PlanNode *m) { return fill(m, 0, m->dims[0], (size_t)m->dims[0] + 1); }

/* A stretch along one axis: out[dst+j] = in[src+j], j < count, zero elsewhere. */
static uint32_t slide(const PlanNode *m, size_t nin, size_t nout, size_t inner, size_t src, size_t dst, bool keep) {
    size_t room_in = nin - src, room_out = nout - dst;
    const SlideDetail d = {.outer = m->n->size / nout / inner,
                           .inner = inner,
                           .nin = nin,
                           .nout = nout,
                           .src = src,
                           .dst = dst,
                           .count = room_in < room_out ? room_in : room_out,
                           .keep = keep};
    return unary(m->b, (Step){.run = m->kernel, .op = m->n->op, .slide = d}, planner_operand(m, 0), m->n->size, PHASE_ONCE);
}

static uint32_t slide_axis(const PlanNode *m, size_t src, size_t dst, bool keep) {
    uint32_t axis = (uint32_t)m->attrs[0];
    return slide(m, planner_operand_dims(m, 0)[axis], m->dims[axis], product(m->dims, axis + 1, m->n->rank), src, dst, keep);
}

uint32_t make_shift(const PlanNode *m) { return slide_axis(m, 0, 1, m->attrs[1] == SHIFT_SATURATE); }
uint32_t make_unshift(const PlanNode *m) { return slide_axis(m, 1, 0, m->attrs[1] == SHIFT_SATURATE); }
uint32_t make_resize(const PlanNode *m) {
    int64_t by = m->attrs[1];
    return slide_axis(m, by < 0 ? (size_t)-by : 0, by > 0 ? (size_t)by : 0, false);
}

uint32_t make_select(const PlanNode *m) {
    uint32_t axis = (uint32_t)m->attrs[0];
    const uint32_t *dims = planner_operand_dims(m, 0);
    return slide(m, dims[axis], 1, product(dims, axis + 1, planner_operand_node(m, 0)->rank), (size_t)m->attrs[1], 0, false);
}

uint32_t make_scatter(const PlanNode *m) {
    uint32_t axis = (uint32_t)m->attrs[0];
    return slide(m, 1, m->dims[axis], product(m->dims, axis + 1, m->n->rank), 0, (size_t)m->attrs[1], false);
}

uint32_t planner_permute(Planner *b, uint32_t value, const size_t *dims, uint32_t rank, const uint32_t *perm, Op op) {
    PermuteDetail *d = planner_alloc(b, 1, sizeof *d);
    size_t *room = planner_alloc(b, 3 * (size_t)rank, sizeof *room);
    if (!planner_ok(b)) return 0;
    *d = (PermuteDetail){.dims = room, .strides = room + rank};
    size_t *in_strides = room + 2 * rank, size = 1;
    for (uint32_t i = rank; i-- > 0; size *= dims[i]) in_strides[i] = size;
    for (uint32_t i = 0; i < rank; i++) {
        size_t n = dims[perm[i]], stride = in_strides[perm[i]];
        if (n == 1) continue;
        if (d->rank && d->strides[d->rank - 1] == n * stride) { /* axes that stay neighbours are one */
            d->dims[d->rank - 1] *= n;
            d->strides[d->rank - 1] = stride;
        } else {
            d->dims[d->rank] = n;
            d->strides[d->rank++] = stride;
        }
    }
    if (d->rank <= 1) return value;
    return unary(b, (Step){.run = KERNEL_OF(b->plan, permute), .op = op, .permute = d, .size = size}, value, size, PHASE_ONCE);
}

uint32_t make_permute(const PlanNode *m) {
    uint32_t rank = m->n->rank;
    size_t *dims = planner_alloc(m->b, rank, sizeof *dims);
    uint32_t *perm = planner_alloc(m->b, rank, sizeof *perm);
    if (!planner_ok(m->b)) return 0;
    for (uint32_t i = 0; i < rank; i++) {
        dims[i] = planner_operand_dims(m, 0)[i];
        perm[i] = (uint32_t)m->attrs[i];
    }
    return planner_permute(m->b, planner_operand(m, 0), dims, rank, perm, m->n->op);
}

uint32_t planner_copy(Planner *b, uint32_t value, bool batched, Phase at_least, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, value)->size;
    uint32_t v = planner_fresh(b, size, batched);
    planner_work(b, batched, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, copy), .op = op, .out = v, .in = {value}, .size = size},
                 &(StepUse){.nin = 1, .at_least = at_least});
    return v;
}
