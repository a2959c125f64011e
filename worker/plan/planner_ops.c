/* One maker an op: how a node becomes steps. */
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

typedef struct {
    Planner *b;
    const GNode *n;
    const uint32_t *ins, *dims;
    const int64_t *attrs;
    bool batched;
} Node;

static Node node_of(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    return (Node){b, n, node_ins(b->g, n), node_dims(b->g, n), node_attrs(b->g, n), b->nodes[i].batched};
}

static double work_of(const Node *m) {
    Cost cost = op_cost(m->b->g, m->n);
    return cost.macs + cost.moved;
}

static uint32_t operand(const Node *m, uint32_t k) { return m->b->nodes[m->ins[k]].value; }
static const GNode *operand_node(const Node *m, uint32_t k) { return &m->b->g->nodes[m->ins[k]]; }

static size_t product(const uint32_t *dims, uint32_t from, uint32_t to) {
    size_t n = 1;
    for (uint32_t i = from; i < to; i++) n *= dims[i];
    return n;
}

static uint32_t fresh(Planner *b, size_t size, bool batched) { return planner_value(b, size, batched, HOME_SLAB, PHASE_ONCE); }

/* A step with one operand. */
static uint32_t unary(Planner *b, Step step, uint32_t in, size_t size, Phase at_least) {
    if (!planner_ok(b)) return 0;
    bool batched = planner_get(b, in)->batched;
    step.in[0] = in;
    step.out = fresh(b, size, batched);
    planner_work(b, batched, (double)size);
    planner_step(b, step, &(StepUse){.nin = 1, .at_least = at_least});
    return step.out;
}

static uint32_t make_input(Node m) {
    Planner *b = m.b;
    uint32_t slot = (uint32_t)m.attrs[0];
    if (b->plan->is_step) {
        SlotRole role = b->g->slots[slot].role;
        Phase phase = role == SLOT_STATE || role == SLOT_COTANGENT ? PHASE_EACH : PHASE_ONCE;
        return b->plan->slot_values[slot] = planner_value(b, m.n->size, m.batched, HOME_BOUND, phase);
    }
    uint32_t v = fresh(b, m.n->size, m.batched);
    planner_work(b, m.batched, (double)m.n->size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, load), .op = m.n->op, .out = v, .src = slot, .inner = m.n->size},
                 &(StepUse){.at_least = m.batched ? PHASE_EACH : PHASE_ONCE});
    return b->plan->slot_values[slot] = v;
}

static uint32_t make_const(Node m) {
    uint32_t v = planner_value(m.b, m.n->size, false, HOME_CONST, PHASE_ONCE);
    if (planner_ok(m.b)) m.b->plan->values[v].offset = (size_t)m.attrs[0];
    return v;
}

static uint32_t fill(Node m, size_t first, size_t count, size_t stride) {
    uint32_t v = fresh(m.b, m.n->size, false);
    planner_work(m.b, false, (double)m.n->size);
    planner_step(m.b,
                 (Step){.run = KERNEL_OF(m.b->plan, fill),
                        .op = m.n->op,
                        .out = v,
                        .inner = m.n->size,
                        .src = first,
                        .count = count,
                        .stride = stride},
                 &(StepUse){0});
    return v;
}

static uint32_t make_zero(Node m) { return fill(m, 0, 0, 0); }
static uint32_t make_onehot(Node m) { return fill(m, (size_t)m.attrs[0], 1, 0); }
static uint32_t make_eye(Node m) { return fill(m, 0, m.dims[0], (size_t)m.dims[0] + 1); }

/* The five ops that move a stretch along one axis: out[dst+j] = in[src+j], j < count, zero elsewhere. */
static uint32_t slide(Node m, size_t nin, size_t nout, size_t inner, size_t src, size_t dst, bool keep) {
    size_t room_in = nin - src, room_out = nout - dst;
    Step step = {.run = KERNEL_OF(m.b->plan, slide),
                 .op = m.n->op,
                 .outer = m.n->size / nout / inner,
                 .inner = inner,
                 .nin = nin,
                 .nout = nout,
                 .src = src,
                 .dst = dst,
                 .count = room_in < room_out ? room_in : room_out,
                 .keep = keep};
    return unary(m.b, step, operand(&m, 0), m.n->size, PHASE_ONCE);
}

static uint32_t slide_axis(Node m, size_t src, size_t dst, bool keep) {
    uint32_t axis = (uint32_t)m.attrs[0];
    return slide(m, node_dims(m.b->g, operand_node(&m, 0))[axis], m.dims[axis], product(m.dims, axis + 1, m.n->rank), src, dst,
                 keep);
}

static uint32_t make_shift(Node m) { return slide_axis(m, 0, 1, m.attrs[1] == SHIFT_SATURATE); }
static uint32_t make_unshift(Node m) { return slide_axis(m, 1, 0, m.attrs[1] == SHIFT_SATURATE); }
static uint32_t make_resize(Node m) {
    int64_t by = m.attrs[1];
    return slide_axis(m, by < 0 ? (size_t)-by : 0, by > 0 ? (size_t)by : 0, false);
}

static uint32_t make_select(Node m) {
    const GNode *in = operand_node(&m, 0);
    uint32_t axis = (uint32_t)m.attrs[0];
    const uint32_t *dims = node_dims(m.b->g, in);
    return slide(m, dims[axis], 1, product(dims, axis + 1, in->rank), (size_t)m.attrs[1], 0, false);
}

static uint32_t make_scatter(Node m) {
    uint32_t axis = (uint32_t)m.attrs[0];
    return slide(m, 1, m.dims[axis], product(m.dims, axis + 1, m.n->rank), 0, (size_t)m.attrs[1], false);
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
    return unary(b, (Step){.run = KERNEL_OF(b->plan, permute), .op = op, .permute = d, .inner = size}, value, size, PHASE_ONCE);
}

static uint32_t make_permute(Node m) {
    uint32_t rank = m.n->rank;
    size_t *dims = planner_alloc(m.b, rank, sizeof *dims);
    uint32_t *perm = planner_alloc(m.b, rank, sizeof *perm);
    if (!planner_ok(m.b)) return 0;
    for (uint32_t i = 0; i < rank; i++) {
        dims[i] = node_dims(m.b->g, operand_node(&m, 0))[i];
        perm[i] = (uint32_t)m.attrs[i];
    }
    return planner_permute(m.b, operand(&m, 0), dims, rank, perm, m.n->op);
}

static uint32_t make_reshape(Node m) { return operand(&m, 0); }

static uint32_t make_add(Node m) {
    uint32_t v = fresh(m.b, m.n->size, m.batched);
    planner_work(m.b, m.batched, work_of(&m));
    planner_step(m.b,
                 (Step){.run = KERNEL_OF(m.b->plan, add),
                        .op = m.n->op,
                        .out = v,
                        .in = {operand(&m, 0), operand(&m, 1)},
                        .inner = m.n->size},
                 &(StepUse){.nin = 2});
    return v;
}

static uint32_t make_if(Node m) {
    size_t inner = operand_node(&m, 1)->size;
    uint32_t v = fresh(m.b, m.n->size, m.batched);
    planner_work(m.b, m.batched, work_of(&m));
    planner_step(
        m.b,
        (Step) {
            .run = KERNEL_OF(m.b->plan, if), .op = m.n->op, .out = v, .in = {operand(&m, 0), operand(&m, 1), operand(&m, 2)},
            .outer = m.n->size / inner, .inner = inner
        },
        &(StepUse){.nin = 3});
    return v;
}

uint32_t planner_copy(Planner *b, uint32_t value, bool batched, Phase at_least, Op op) {
    if (!planner_ok(b)) return 0;
    size_t size = planner_get(b, value)->size;
    uint32_t v = fresh(b, size, batched);
    planner_work(b, batched, (double)size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, copy), .op = op, .out = v, .in = {value}, .inner = size},
                 &(StepUse){.nin = 1, .at_least = at_least});
    return v;
}

static uint32_t make_batch_sum(Node m) {
    bool x = m.b->nodes[m.ins[0]].batched;
    if (m.b->nodes[m.ins[0]].taped) { /* the tape sums */
        uint32_t v = fresh(m.b, m.n->size, false);
        if (planner_ok(m.b)) planner_late(m.b, v);
        return v;
    }
    if (x && !m.batched) return planner_summed(m.b, m.ins[0]);
    if (!x && m.batched) return planner_copy(m.b, operand(&m, 0), true, PHASE_EACH, m.n->op);
    return operand(&m, 0);
}

static uint32_t make_tuple_get(Node m) { return m.b->nodes[m.ins[0]].value + (uint32_t)m.attrs[0]; }
static uint32_t make_contract(Node m) { return planner_contract(m.b, (uint32_t)(m.n - m.b->g->nodes), false, NULL); }

/* These three set the node's value themselves, or have none (find_needed refuses `call`). */
static uint32_t value_set(Node m) { return m.b->nodes[m.n - m.b->g->nodes].value; }
static uint32_t make_iter(Node m) {
    planner_iter(m.b, (uint32_t)(m.n - m.b->g->nodes));
    return value_set(m);
}
static uint32_t make_iter_vjp(Node m) {
    planner_iter_vjp(m.b, (uint32_t)(m.n - m.b->g->nodes));
    return value_set(m);
}
static uint32_t make_call(Node m) { return value_set(m); }

static uint32_t make_layer(Node m) { return planner_layer(m.b, (uint32_t)(m.n - m.b->g->nodes)); }
static uint32_t make_conv2d(Node m) { return planner_conv(m.b, (uint32_t)(m.n - m.b->g->nodes), &(ConvUse){.into = VALUE_NONE}); }

#define make_map make_layer
#define make_map_vjp make_layer
#define make_softmax make_layer
#define make_softmax_vjp make_layer
#define make_broadcast make_layer
#define make_sum make_layer
#define make_pad make_layer
#define make_max_pool2d make_layer
#define make_max_pool2d_vjp make_layer
#define make_max_pool2d_jvp make_layer
#define make_avg_pool2d make_layer
#define make_avg_pool2d_vjp make_layer
#define make_conv2d_dx make_conv2d
#define make_conv2d_dw make_conv2d

void planner_node(Planner *b, uint32_t i) {
    static uint32_t (*const makers[OP_COUNT])(Node) = {
#define OP(name, inputs, linear) [OP_##name] = make_##name,
#include "schema/graph/ops.def"
#undef OP
    };
    uint32_t value = makers[b->g->nodes[i].op](node_of(b, i));
    b->nodes[i].value = value;
}

/* A step graph's output: a value of its own, made anew in every iteration, that the iteration may bind. */
static void bind_output(Planner *b, uint32_t o) {
    const PlanSpec *spec = b->spec;
    Plan *p = b->plan;
    uint32_t node = b->g->outputs[o].node;
    bool sum = spec->sums && spec->sums[o], add = spec->adds && spec->adds[o];
    uint32_t v = sum ? planner_summed(b, node) : b->nodes[node].value;
    if (!planner_ok(b)) return;
    bool taken = add || planner_get(b, v)->home != HOME_SLAB || b->lives[v].phase != PHASE_EACH ||
                 planner_get(b, v)->batched != spec->out_batched[o];
    if (taken && !add) v = planner_copy(b, v, spec->out_batched[o], PHASE_EACH, b->g->nodes[node].op);
    if (add) {
        size_t size = planner_get(b, v)->size;
        uint32_t to = fresh(b, size, spec->out_batched[o]);
        planner_work(b, spec->out_batched[o], (double)size);
        planner_step(b, (Step){.run = KERNEL_OF(p, accumulate), .op = b->g->nodes[node].op, .out = to, .in = {v}, .inner = size},
                     &(StepUse){.nin = 1, .at_least = PHASE_EACH});
        v = to;
    }
    if (!planner_ok(b)) return;
    p->values[v].home = HOME_BOUND; /* so a second output of the same node gets a copy */
    p->outputs[o] = (PlanOutput){v, spec->out_batched[o]};
}

void planner_outputs(Planner *b) {
    Plan *p = b->plan;
    for (uint32_t o = 0; o < b->g->noutputs && planner_ok(b); o++) {
        if (!b->spec->wanted[o]) continue;
        if (p->is_step) {
            bind_output(b, o);
            continue;
        }
        const GNode *n = &b->g->nodes[b->g->outputs[o].node];
        if (b->nodes[b->g->outputs[o].node].taped) {
            p->outputs[o] = (PlanOutput){VALUE_NONE, true};
            continue;
        }
        uint32_t v = b->nodes[b->g->outputs[o].node].value;
        p->outputs[o] = (PlanOutput){v, planner_get(b, v)->batched};
        planner_work(b, p->outputs[o].batched, (double)n->size);
        planner_step(b, (Step){.run = KERNEL_OF(p, store), .op = n->op, .out = VALUE_NONE, .in = {v}, .src = o, .inner = n->size},
                     &(StepUse){.nin = 1});
    }
}
