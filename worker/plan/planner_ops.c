/* A node to its steps, by the rule that its op's row names; the rules of single ops that are no more than a step. */
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

/* The node as one step, of its row's kernel, with these extents; its work is what the cost model says. */
static uint32_t one_step(const PlanNode *m, Step step) {
    const Cost cost = op_cost(m->b->g, m->n);
    step.run = m->kernel;
    step.op = m->n->op;
    step.out = planner_fresh(m->b, m->n->size, m->batched);
    for (uint32_t k = 0; k < m->n->nin; k++) step.in[k] = planner_operand(m, k);
    planner_work(m->b, m->batched, cost.macs + cost.moved);
    planner_step(m->b, step, &(StepUse){.nin = m->n->nin});
    return step.out;
}

uint32_t make_add(const PlanNode *m) { return one_step(m, (Step){.size = m->n->size}); }
uint32_t make_if(const PlanNode *m) {
    const size_t branch = planner_operand_node(m, 1)->size;
    return one_step(m, (Step){.conditions = m->n->size / branch, .size = branch});
}

uint32_t make_input(const PlanNode *m) {
    Planner *b = m->b;
    uint32_t slot = (uint32_t)m->attrs[0];
    if (b->plan->is_step) {
        SlotRole role = b->g->slots[slot].role;
        Phase phase = role == SLOT_STATE || role == SLOT_COTANGENT ? PHASE_EACH : PHASE_ONCE;
        return b->plan->slot_values[slot] = planner_value(b, m->n->size, m->batched, HOME_BOUND, phase);
    }
    uint32_t v = planner_fresh(b, m->n->size, m->batched);
    planner_work(b, m->batched, (double)m->n->size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, load), .op = m->n->op, .out = v, .port = slot, .size = m->n->size},
                 &(StepUse){.at_least = m->batched ? PHASE_EACH : PHASE_ONCE});
    return b->plan->slot_values[slot] = v;
}

uint32_t make_const(const PlanNode *m) {
    uint32_t v = planner_value(m->b, m->n->size, false, HOME_CONST, PHASE_ONCE);
    if (planner_ok(m->b)) m->b->plan->values[v].offset = (size_t)m->attrs[0];
    return v;
}

/* The first input's value. */
uint32_t make_first(const PlanNode *m) { return planner_operand(m, 0); }
/* find_needed refuses these. */
uint32_t make_never(const PlanNode *m) { return m->b->nodes[m->id].value; }
uint32_t make_tuple_get(const PlanNode *m) { return planner_operand(m, 0) + (uint32_t)m->attrs[0]; }
uint32_t make_contract(const PlanNode *m) { return planner_contract(m->b, m->id, false, NULL); }
uint32_t make_conv(const PlanNode *m) { return planner_conv(m->b, m->id, &(ConvUse){.into = VALUE_NONE}); }

uint32_t make_batch_sum(const PlanNode *m) {
    const NodeInfo *x = &m->b->nodes[m->ins[0]];
    if (x->taped) { /* the tape sums */
        uint32_t v = planner_fresh(m->b, m->n->size, false);
        if (planner_ok(m->b)) planner_late(m->b, v);
        return v;
    }
    if (x->batched && !m->batched) return planner_summed(m->b, m->ins[0]);
    if (!x->batched && m->batched) return planner_copy(m->b, planner_operand(m, 0), true, PHASE_EACH, m->n->op);
    return planner_operand(m, 0);
}

typedef struct {
    uint32_t (*rule)(const PlanNode *m);
    Kernel kernels[2 * ISA_COUNT]; /* of a STEP, as KERNEL_OF has them */
} PlanRow;

static const PlanRow rows[OP_COUNT] = {
#define STEP(rule, kernel) {make_##rule, {KERNEL_VARIANTS(KERNEL_BOTH, kernel)}}
#define STEPS(rule) {make_##rule, {NULL}}
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, ...) [OP_##name] = plan,
#include "schema/graph/ops.def"
#undef OP
#undef STEPS
#undef STEP
};

void planner_node(Planner *b, uint32_t i) {
    const PlanRow *row = &rows[b->g->nodes[i].op];
    PlanNode m = planner_node_of(b, i);
    m.kernel = row->kernels[2 * b->plan->isa + b->plan->f64];
    uint32_t value = row->rule(&m);
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
        uint32_t to = planner_fresh(b, size, spec->out_batched[o]);
        planner_work(b, spec->out_batched[o], (double)size);
        planner_step(b, (Step){.run = KERNEL_OF(p, accumulate), .op = b->g->nodes[node].op, .out = to, .in = {v}, .size = size},
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
        planner_step(b, (Step){.run = KERNEL_OF(p, store), .op = n->op, .out = VALUE_NONE, .in = {v}, .port = o, .size = n->size},
                     &(StepUse){.nin = 1});
    }
}
