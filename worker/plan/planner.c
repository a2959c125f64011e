#include "worker/plan/planner.h"
#include "schema/graph/ops.h"
#include <stdlib.h>

static bool no_memory(Err *err) { return err_set(err, ERR_too_large, "This takes more memory than a worker may have."); }

void *planner_alloc(Planner *b, size_t count, size_t size) {
    Plan *p = b->plan;
    if ((p->nowned & (p->nowned - 1)) == 0) { /* grows at powers of two */
        void **owned = realloc(p->owned, (p->nowned ? p->nowned * 2 : 1) * sizeof *owned);
        if (!owned) return no_memory(b->err), NULL;
        p->owned = owned;
    }
    void *made = calloc(count ? count : 1, size);
    if (!made) return no_memory(b->err), NULL;
    return p->owned[p->nowned++] = made;
}

bool planner_room_for_sub(Planner *b) {
    Plan *p = b->plan;
    Plan **subs = realloc(p->subs, (p->nsubs + 1) * sizeof *subs);
    if (!subs) return no_memory(b->err);
    p->subs = subs;
    const SubPlan **nested = realloc(p->nested, (p->nsubs + 1) * sizeof *nested);
    if (!nested) return no_memory(b->err);
    p->nested = nested;
    return true;
}

/* Room for one more element in an array that doubles. */
static bool grow(Planner *b, void **array, uint32_t count, uint32_t *room, size_t size) {
    if (count < *room) return true;
    uint32_t more = *room ? *room * 2 : 64;
    void *p = realloc(*array, (size_t)more * size);
    if (!p) return no_memory(b->err);
    *array = p;
    *room = more;
    return true;
}

uint32_t planner_value(Planner *b, size_t size, bool batched, Home home, Phase phase) {
    Plan *p = b->plan;
    uint32_t room = b->values_room;
    if (!grow(b, (void **)&b->lives, p->nvalues, &room, sizeof *b->lives)) return 0;
    room = b->values_room;
    if (!grow(b, (void **)&p->values, p->nvalues, &room, sizeof *p->values)) return 0;
    b->values_room = room;
    p->values[p->nvalues] = (PlanValue){.size = size, .batched = batched, .home = (uint8_t)home};
    b->lives[p->nvalues] = (Life){.phase = phase, .first = UINT32_MAX};
    return p->nvalues++;
}

void planner_work(Planner *b, bool batched, double work) {
    if (batched) b->plan->macs_row += work;
    else b->plan->macs_shared += work;
}

static void touch(Planner *b, uint32_t value) {
    if (value == VALUE_NONE || !grow(b, (void **)&b->touches, b->ntouches, &b->touches_room, sizeof *b->touches)) return;
    b->touches[b->ntouches++] = (Touch){b->plan->nsteps, value};
}

static void read_value(Planner *b, uint32_t value, Phase *phase) {
    if (value == VALUE_NONE) return;
    touch(b, value);
    if (b->lives[value].phase > *phase) *phase = b->lives[value].phase;
}

void planner_late(Planner *b, uint32_t value) {
    if (b->plan->is_step) return;
    b->lives[value].sum = true;
    b->lives[value].phase = b->plan->single_tile ? PHASE_EACH : PHASE_AFTER;
}

void planner_gathered(Planner *b, uint32_t value) {
    b->lives[value].gathered = true;
    b->lives[value].phase = PHASE_AFTER;
}

void planner_step(Planner *b, Step step, const StepUse *use) {
    Plan *p = b->plan;
    uint32_t room = b->steps_room;
    if (!planner_ok(b) || !grow(b, (void **)&b->infos, p->nsteps, &room, sizeof *b->infos)) return;
    room = b->steps_room;
    if (!grow(b, (void **)&p->steps, p->nsteps, &room, sizeof *p->steps)) return;
    b->steps_room = room;
    Phase phase = use->at_least;
    for (uint32_t i = 0; i < use->nin; i++) {
        read_value(b, step.in[i], &phase);
        step.in_batched[i] = planner_get(b, step.in[i])->batched;
    }
    for (uint32_t i = 0; i < use->nreads; i++) read_value(b, use->reads[i], &phase);
    if (step.out != VALUE_NONE) {
        step.out_batched = planner_get(b, step.out)->batched;
        touch(b, step.out);
        b->lives[step.out].phase = phase;
        if (use->sums) planner_late(b, step.out);
    }
    for (uint32_t i = 0; i < use->nwrites; i++) {
        uint32_t v = use->writes[i];
        touch(b, v);
        if (v != VALUE_NONE && !b->lives[v].sum) b->lives[v].phase = phase;
    }
    b->infos[p->nsteps] = (StepInfo){.phase = phase};
    p->steps[p->nsteps++] = step;
}

uint32_t planner_prepare(Planner *b, Step step, size_t size, StepSame same) {
    const uint32_t from = step.in[0];
    if (!planner_ok(b)) return 0;
    for (uint32_t s = b->lives[from].prepared; s > 0; s = b->infos[s - 1].before) {
        const Step *made = &b->plan->steps[s - 1];
        if (made->run == step.run && same(made, &step)) return made->out;
    }
    step.out = planner_value(b, size, false, HOME_SLAB, PHASE_ONCE);
    planner_work(b, false, (double)size);
    planner_step(b, step, &(StepUse){.nin = 1});
    if (!planner_ok(b)) return 0;
    b->infos[b->plan->nsteps - 1].before = b->lives[from].prepared;
    b->lives[from].prepared = b->plan->nsteps;
    return step.out;
}

uint32_t planner_reads(const Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    const bool *wanted = b->nodes[i].part_wanted;
    bool backward = !wanted;
    for (uint32_t k = 0; wanted && k + 1 < n->nin; k++) backward |= wanted[k];
    return op_reads(n) - !backward;
}

bool planner_skips(const Graph *g, const GNode *n, uint32_t k) {
    if (n->op != OP_map_vjp || k > 0 || node_attrs(g, n)[0] != FUNCTION_relu) return false;
    const uint32_t *ins = node_ins(g, n);
    const GNode *y = &g->nodes[ins[1]];
    return y->op == OP_map && node_ins(g, y)[0] == ins[0] && node_attrs(g, y)[0] == FUNCTION_relu;
}
