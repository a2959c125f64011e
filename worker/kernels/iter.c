/* Recurrent nodes: iter runs its step graph and reads the states out; iter_vjp keeps the states and goes back through them. */
#include "worker/kernels/kernels.h"
#include <string.h>

/* The execution of a step graph inside the outer one. */
static Exec sub_exec(const Exec *x, const SubPlan *sub, bool batched) {
    return (Exec){.plan = sub->plan,
                  .at = x->at + x->plan->nvalues + sub->table,
                  .rows = batched ? x->rows : 1,
                  .all_rows = x->all_rows,
                  .op = x->op};
}

/* data[i] is where slot or output i of that role is from now on. */
static void bind_slots(Exec *sub, SlotRole role, void *const *data) {
    const Plan *p = sub->plan;
    for (uint32_t s = 0; s < p->graph->nslots; s++)
        if (p->slot_values[s] != VALUE_NONE && p->graph->slots[s].role == role)
            sub->at[p->slot_values[s]] = data[p->graph->slots[s].index];
}

static void bind_outputs(Exec *sub, OutRole role, void *const *data) {
    const Plan *p = sub->plan;
    for (uint32_t o = 0; o < p->graph->noutputs; o++)
        if (p->outputs[o].value != VALUE_NONE && p->graph->outputs[o].role == role)
            sub->at[p->outputs[o].value] = data[p->graph->outputs[o].index];
}

/* values[j]: where the outer execution has what the step graph knows as capture j. */
static void bind_captures(const Exec *x, Exec *sub, const uint32_t *values) {
    const Plan *p = sub->plan;
    for (uint32_t s = 0; s < p->graph->nslots; s++)
        if (p->slot_values[s] != VALUE_NONE && p->graph->slots[s].role == SLOT_CAPTURE)
            sub->at[p->slot_values[s]] = x->at[values[p->graph->slots[s].index]];
}

static void bind_capture_bars(const Exec *x, Exec *sub, const uint32_t *values) {
    const Plan *p = sub->plan;
    for (uint32_t o = 0; o < p->graph->noutputs; o++)
        if (p->outputs[o].value != VALUE_NONE && p->graph->outputs[o].role == OUT_CAPTURE)
            sub->at[p->outputs[o].value] = x->at[values[p->graph->outputs[o].index]];
}

#define KERNEL_TEMPLATE "worker/kernels/iter.h"
#include "worker/kernels/variants.h"
