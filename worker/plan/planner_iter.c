/* iter and iter_vjp: the step graphs get plans of their own; their memory is scratch values of the outer plan. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"
#include <stdlib.h>

/* What the makers of both ops need to know of a step graph's surroundings. */
typedef struct {
    bool state_batched, cotangent_batched;
    const bool *capture_batched;
} StepClass;

static bool slot_batched(const Slot *slot, const StepClass *c) {
    if (slot->role == SLOT_STATE) return c->state_batched;
    return slot->role == SLOT_COTANGENT ? c->cotangent_batched : c->capture_batched[slot->index];
}

/* Plans g with its slots classed by c, into `sub`, which is zeroed and stays where it is; the other arrays of `spec` are the caller's. */
static void sub_plan(Planner *b, const Graph *g, const StepClass *c, PlanSpec spec, SubPlan *sub) {
    *sub = (SubPlan){.shared = VALUE_NONE, .rows = VALUE_NONE};
    bool *batched = calloc(g->nslots + 1, sizeof *batched);
    if (!batched) {
        err_set(b->err, ERR_too_large, "This takes more memory than a worker may have.");
        return;
    }
    for (uint32_t s = 0; s < g->nslots; s++) batched[s] = slot_batched(&g->slots[s], c);
    spec.graph = g;
    spec.f64 = b->plan->f64;
    spec.isa_below = b->plan->isa + 1;
    spec.keep_bytes = b->spec->keep_bytes;
    spec.batched = batched;
    spec.is_step = true;
    if (planner_room_for_sub(b)) sub->plan = b->plan_step(&spec, b->err);
    free(batched);
    if (!sub->plan) return;
    b->plan->nested[b->plan->nsubs] = sub;
    b->plan->subs[b->plan->nsubs++] = sub->plan;
    b->plan->blas |= sub->plan->blas;
    if (sub->plan->shared_size) sub->shared = planner_fresh(b, sub->plan->shared_size, false);
    if (sub->plan->row_size) sub->rows = planner_fresh(b, sub->plan->row_size, true);
    sub->table = b->plan->table;
    b->plan->table += sub->plan->table;
}

enum { CALL_WORK = 64 }; /* what calling a kernel costs, in multiply-adds: most of a tiny step's time. COST_CALL is one row's share of it */

static void sub_work(Planner *b, const SubPlan *sub, size_t times) {
    planner_work(b, false, (sub->plan->macs_shared + (double)CALL_WORK * sub->plan->nsteps) * (double)times);
    planner_work(b, true, sub->plan->macs_row * (double)times);
}

static bool any_batched(const Planner *b, const uint32_t *ins, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (b->nodes[ins[i]].batched) return true;
    return false;
}

/* A recurrence to be run and read out: an iter, or the result of an iter_vjp that does not give it itself. */
typedef struct {
    Planner *b;
    const GNode *n;
    const uint32_t *ins;
    uint32_t ncounts, ncomps, ncaps, nreads;
    const int64_t *reads; /* count and component of each */
    uint32_t out; /* value */
    bool *flags;  /* ncaps, then ncomps twice */
} IterNode;

static void iter_values(const IterNode *m, IterDetail *d) {
    Planner *b = m->b;
    const Graph *g = b->g;
    for (uint32_t c = 0; c < m->ncomps; c++) {
        uint32_t base = m->ins[m->ncounts + c];
        d->bases[c] = b->nodes[base].value;
        d->sizes[c] = g->nodes[base].size;
        for (int turn = 0; turn < 2; turn++) d->states[2 * c + turn] = planner_fresh(b, d->sizes[c], d->state_batched);
    }
    for (uint32_t j = 0; j < m->ncaps; j++) {
        uint32_t capture = m->ins[m->ncounts + m->ncomps + j];
        d->captures[j] = b->nodes[capture].value;
        m->flags[j] = b->nodes[capture].batched;
    }
    for (uint32_t r = 0; r < m->nreads; r++) {
        uint32_t count = m->ins[m->reads[2 * r]];
        const GNode *cn = &g->nodes[count];
        size_t k = node_dims(g, cn)[cn->rank - 1];
        d->reads[r] = (Readout){b->nodes[count].value, (uint32_t)m->reads[2 * r + 1], cn->size / k, k};
        if (k - 1 > d->steps) d->steps = k - 1;
    }
}

static void iter_sub(const IterNode *m, IterDetail *d) {
    const Graph *step = m->b->g->subs[m->n->sub];
    bool *wanted = m->flags + m->ncaps, *batched = wanted + step->noutputs;
    for (uint32_t o = 0; o < step->noutputs; o++) {
        wanted[o] = step->outputs[o].role == OUT_STATE;
        batched[o] = d->state_batched;
    }
    StepClass c = {.state_batched = d->state_batched, .capture_batched = m->flags};
    sub_plan(m->b, step, &c, (PlanSpec){.wanted = wanted, .out_batched = batched}, &d->step);
    if (d->step.plan) sub_work(m->b, &d->step, d->steps);
}

static IterDetail *iter_detail(const IterNode *m) {
    Planner *b = m->b;
    IterDetail *d = planner_alloc(b, 1, sizeof *d);
    uint32_t *ids = planner_alloc(b, 3 * (size_t)m->ncomps + m->ncaps, sizeof *ids);
    size_t *sizes = planner_alloc(b, m->ncomps, sizeof *sizes);
    Readout *reads = planner_alloc(b, m->nreads, sizeof *reads);
    if (!planner_ok(b)) return NULL;
    *d = (IterDetail){.ncomps = m->ncomps,
                      .ncaps = m->ncaps,
                      .nreads = m->nreads,
                      .bases = ids,
                      .states = ids + m->ncomps,
                      .captures = ids + 3 * m->ncomps,
                      .sizes = sizes,
                      .reads = reads,
                      .now = b->plan->table,
                      .state_batched = any_batched(b, m->ins + m->ncounts, m->ncomps + m->ncaps)};
    b->plan->table += m->ncomps;
    return d;
}

static void read_out(Planner *b, const GNode *n, IterAttrs attrs, uint32_t out) {
    IterNode m = {b, n, node_ins(b->g, n), attrs.counts, attrs.comps, attrs.captures, attrs.readouts, attrs.reads, out, NULL};
    uint32_t nin = m.ncounts + m.ncomps + m.ncaps;
    m.flags = calloc((size_t)m.ncaps + 2 * (size_t)b->g->subs[n->sub]->noutputs + 1, sizeof *m.flags);
    if (!m.flags) {
        err_set(b->err, ERR_too_large, "This takes more memory than a worker may have.");
        return;
    }
    IterDetail *d = iter_detail(&m);
    if (d) {
        iter_values(&m, d);
        iter_sub(&m, d);
    }
    free(m.flags);
    uint32_t *extra = d ? planner_alloc(b, 2 * (size_t)m.ncomps + 2, sizeof *extra) : NULL;
    uint32_t *reads = d ? planner_alloc(b, nin, sizeof *reads) : NULL;
    if (!planner_ok(b)) return;
    for (uint32_t k = 0; k < nin; k++) reads[k] = b->nodes[m.ins[k]].value;
    for (uint32_t k = 0; k < 2 * m.ncomps; k++) extra[k] = d->states[k];
    extra[2 * m.ncomps] = d->step.shared;
    extra[2 * m.ncomps + 1] = d->step.rows;
    size_t size = planner_get(b, out)->size;
    planner_work(b, planner_get(b, out)->batched, (double)size * (double)(d->steps + 1) * m.nreads);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, iter), .op = n->op, .out = out, .size = size, .iter = d},
                 &(StepUse){.reads = reads, .nreads = nin, .writes = extra, .nwrites = 2 * m.ncomps + 2});
}

uint32_t make_iter(const PlanNode *m) {
    uint32_t out = planner_fresh(m->b, m->n->size, m->batched);
    if (planner_ok(m->b)) read_out(m->b, m->n, op_iter(m->b->g, m->n), out);
    return out;
}

/* The parts that are wanted become values, one index after the other so that tuple_get finds them. */
static void vjp_parts(Planner *b, uint32_t i, IterVjpDetail *d) {
    const Graph *g = b->g;
    const GNode *n = &g->nodes[i];
    NodeInfo *info = &b->nodes[i];
    for (uint32_t k = 0; k < n->nin; k++) {
        bool summed = info->part_summed[k];
        bool last = k + 1 == n->nin, batched = last ? any_batched(b, node_ins(g, n), k) : d->batched && !summed;
        uint32_t v = planner_fresh(b, g->nodes[node_ins(g, n)[k]].size, batched);
        if (k == 0) info->value = v;
        if (!info->part_wanted[k]) v = VALUE_NONE;
        else if (summed) planner_late(b, v);
        if (k == 0) d->count_bar = v;
        else if (k == 1) d->base_bar = v;
        else if (last) d->result = v;
        else {
            d->capture_bar[k - 2] = v;
            d->capture_sum[k - 2] = summed;
            d->capture_size[k - 2] = g->nodes[node_ins(g, n)[k]].size;
        }
    }
}

static void vjp_subs(Planner *b, const GNode *n, IterVjpDetail *d, bool *flags) {
    const Graph *step = b->g->subs[n->sub], *vjp = b->g->subs[n->sub + 1];
    uint32_t most = step->noutputs > vjp->noutputs ? step->noutputs : vjp->noutputs;
    bool *wanted = flags + d->ncaps, *batched = wanted + most, *adds = batched + most, *sums = adds + most;
    StepClass c = {d->state_batched, d->batched, flags};
    for (uint32_t o = 0; o < step->noutputs; o++) {
        wanted[o] = step->outputs[o].role == OUT_STATE;
        batched[o] = d->state_batched;
    }
    sub_plan(b, step, &c, (PlanSpec){.wanted = wanted, .out_batched = batched}, &d->step);
    for (uint32_t o = 0; o < vjp->noutputs; o++) {
        const Output *out = &vjp->outputs[o];
        bool capture = out->role == OUT_CAPTURE;
        wanted[o] = out->role == OUT_STATE || (capture && d->capture_bar[out->index] != VALUE_NONE);
        adds[o] = capture;
        sums[o] = capture && d->batched && d->capture_sum[out->index];
        batched[o] = d->batched && !sums[o];
    }
    if (planner_ok(b))
        sub_plan(b, vjp, &c, (PlanSpec){.wanted = wanted, .out_batched = batched, .adds = adds, .sums = sums}, &d->vjp);
    if (!planner_ok(b)) return;
    sub_work(b, &d->step, d->marks == VALUE_NONE ? d->k - 1 : 2 * (d->k - 1));
    sub_work(b, &d->vjp, d->k - 1);
}

/* All states where they fit, else segments of √k: as many first states as states in between. */
static void keep_states(Planner *b, IterVjpDetail *d) {
    size_t most = b->spec->keep_bytes ? b->spec->keep_bytes : PLAN_KEEP_BYTES;
    d->segment = d->k;
    d->marks = VALUE_NONE;
    if (d->k * d->size > most / plan_element(b->plan))
        for (d->segment = 1; d->segment * d->segment < d->k;) d->segment++;
    size_t segments = (d->k + d->segment - 1) / d->segment;
    d->states = planner_fresh(b, d->segment * d->size, d->state_batched);
    if (segments > 1) d->marks = planner_fresh(b, segments * d->size, d->state_batched);
}

static IterVjpDetail *vjp_detail(Planner *b, uint32_t i) {
    const Graph *g = b->g;
    const GNode *n = &g->nodes[i];
    const uint32_t *ins = node_ins(g, n);
    uint32_t ncaps = (uint32_t)node_attrs(g, n)[0];
    const GNode *count = &g->nodes[ins[0]];
    IterVjpDetail *d = planner_alloc(b, 1, sizeof *d);
    uint32_t *ids = planner_alloc(b, 2 * (size_t)ncaps, sizeof *ids);
    bool *sum = planner_alloc(b, ncaps, sizeof *sum);
    size_t *sizes = planner_alloc(b, ncaps, sizeof *sizes), all;
    if (!planner_ok(b)) return NULL;
    size_t k = node_dims(g, count)[count->rank - 1], size = g->nodes[ins[1]].size;
    *d = (IterVjpDetail){.count = b->nodes[ins[0]].value,
                         .base = b->nodes[ins[1]].value,
                         .cotangent = b->nodes[ins[2 + ncaps]].value,
                         .ncaps = ncaps,
                         .captures = ids,
                         .capture_bar = ids + ncaps,
                         .capture_sum = sum,
                         .capture_size = sizes,
                         .outer = count->size / k,
                         .k = k,
                         .size = size,
                         .state_batched = any_batched(b, ins + 1, 1 + ncaps),
                         .batched = b->nodes[i].batched};
    for (uint32_t j = 0; j < ncaps; j++) ids[j] = b->nodes[ins[2 + j]].value;
    if (__builtin_mul_overflow(k, size, &all)) {
        err_set(b->err, ERR_too_large, "The gradient of an iteration needs more memory than a job may take.");
        return NULL;
    }
    keep_states(b, d);
    for (int turn = 0; turn < 2; turn++) d->adjoint[turn] = planner_fresh(b, size, d->batched);
    return d;
}

/* The result comes from the states on their way, where it has a row for each of theirs; else, and when nothing else is wanted, the recurrence
 * is run for it. False: that was all. */
static bool vjp_result(Planner *b, uint32_t i, IterVjpDetail *d) {
    const NodeInfo *info = &b->nodes[i];
    bool backward = false;
    for (uint32_t k = 0; k < 2 + d->ncaps; k++) backward |= info->part_wanted[k];
    if (!planner_ok(b) || d->result == VALUE_NONE) return backward;
    if (backward && !info->late && planner_get(b, d->result)->batched == d->batched) {
        planner_work(b, d->batched, (double)d->outer * (double)d->k * (double)d->size);
        return true;
    }
    read_out(b, &b->g->nodes[i], (IterAttrs){1, 1, d->ncaps, 1, (int64_t[]){0, 0}}, d->result);
    d->result = VALUE_NONE;
    return backward;
}

static void plan_vjp(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const uint32_t *ins = node_ins(b->g, n);
    IterVjpDetail *d = vjp_detail(b, i);
    if (!d) return;
    const Graph *step = b->g->subs[n->sub], *vjp = b->g->subs[n->sub + 1];
    size_t most = step->noutputs > vjp->noutputs ? step->noutputs : vjp->noutputs;
    bool *flags = planner_alloc(b, d->ncaps + 4 * most, sizeof *flags);
    uint32_t *reads = planner_alloc(b, n->nin, sizeof *reads), *writes = planner_alloc(b, (size_t)d->ncaps + 11, sizeof *writes);
    if (!planner_ok(b)) return;
    for (uint32_t j = 0; j < d->ncaps; j++) flags[j] = b->nodes[ins[2 + j]].batched;
    vjp_parts(b, i, d);
    if (!vjp_result(b, i, d)) return;
    vjp_subs(b, n, d, flags);
    if (!planner_ok(b)) return;
    for (uint32_t k = 0; k < n->nin; k++) reads[k] = b->nodes[ins[k]].value;
    const uint32_t scratch[] = {d->states,     d->adjoint[0], d->adjoint[1], d->step.shared, d->step.rows,
                                d->vjp.shared, d->vjp.rows,   d->count_bar,  d->base_bar,   d->marks, d->result};
    for (uint32_t k = 0; k < 11; k++) writes[k] = scratch[k];
    for (uint32_t j = 0; j < d->ncaps; j++) writes[11 + j] = d->capture_bar[j];
    planner_work(b, d->batched, 2 * (double)d->outer * (double)d->k * (double)d->size);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, iter_vjp), .op = n->op, .out = VALUE_NONE, .vjp = d},
                 &(StepUse){.reads = reads, .nreads = n->nin, .writes = writes, .nwrites = d->ncaps + 11});
}

/* The value of the first part. */
uint32_t make_iter_vjp(const PlanNode *m) {
    plan_vjp(m->b, m->id);
    return m->b->nodes[m->id].value;
}
