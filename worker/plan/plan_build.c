/* plan_new: what is batched and needed of a graph, its steps, and where they and their values go. */
#include "schema/graph/ops.h"
#include "worker/plan/planner.h"
#include "worker/plan/slab.h"
#include "worker/plan/tape.h"
#include <stdlib.h>

static bool no_memory(Err *err) { return err_set(err, ERR_too_large, "This takes more memory than a worker may have."); }

/* Which nodes are batched, and which complete only after the last tile. */
static void find_batched(Planner *b) {
    const Graph *g = b->g;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        const NodeInfo *first = n->nin ? &b->nodes[node_ins(g, n)[0]] : NULL;
        NodeInfo *info = &b->nodes[i];
        if (n->op == OP_batch_sum && b->plan->is_step) {
            info->batched = first->batched; /* a step is one row's: nothing to sum */
            continue;
        }
        const uint32_t *by, count = op_batched_by(g, n, &by);
        if (n->op == OP_input) info->batched = b->spec->batched[node_attrs(g, n)[0]];
        for (uint32_t k = 0; k < count; k++) {
            info->batched |= b->nodes[by[k]].batched;
            info->late |= b->nodes[by[k]].late && n->op != OP_batch_sum;
        }
        if (n->op == OP_batch_sum) info->late = first->late || (first->batched && !info->batched);
    }
}

static bool need(Planner *b, uint32_t i) {
    b->nodes[i].uses++;
    b->nodes[i].needed = true;
    return true;
}

/* Which nodes the wanted outputs need, and how often each is used. */
static bool find_needed(Planner *b) {
    const Graph *g = b->g;
    for (uint32_t o = 0; o < g->noutputs; o++)
        if (b->spec->wanted[o]) need(b, g->outputs[o].node);
    for (uint32_t i = g->nnodes; i-- > 0;) {
        const GNode *n = &g->nodes[i];
        const uint32_t *ins = node_ins(g, n);
        if (!b->nodes[i].needed) continue;
        if (n->op == OP_call) return err_set(b->err, ERR_not_tabulable, "The graph calls a network that was not linked.");
        if (b->nodes[i].late && b->nodes[i].batched) b->plan->single_tile = true;
        for (uint32_t k = 0, reads = planner_reads(b, i); k < reads; k++)
            if (!planner_skips(g, n, k)) need(b, ins[k]);
        if (n->op != OP_tuple_get) continue;
        NodeInfo *tuple = &b->nodes[ins[0]];
        if (!tuple->part_wanted) {
            tuple->part_wanted = planner_alloc(b, g->nodes[ins[0]].nin, sizeof(bool));
            tuple->part_summed = planner_alloc(b, g->nodes[ins[0]].nin, sizeof(bool));
            if (!planner_ok(b)) return false;
        }
        tuple->part_wanted[node_attrs(g, n)[0]] = true;
    }
    return true;
}

/* Steps into phases, each phase in the order they were made; the positions go into `at`. */
static bool order_steps(Planner *b, uint32_t *at) {
    Plan *p = b->plan;
    Step *sorted = calloc(p->nsteps ? p->nsteps : 1, sizeof *sorted);
    if (!sorted) return no_memory(b->err);
    uint32_t n = 0;
    for (int phase = 0; phase < PHASES; phase++) {
        p->phase_at[phase] = n;
        for (uint32_t s = 0; s < p->nsteps; s++) {
            if (b->infos[s].phase != (Phase)phase) continue;
            at[s] = n;
            sorted[n++] = p->steps[s];
        }
    }
    p->phase_at[PHASES] = n;
    free(p->steps);
    p->steps = sorted;
    return true;
}

static void find_lives(Planner *b, const uint32_t *at) {
    Plan *p = b->plan;
    uint32_t each = p->phase_at[PHASE_EACH], after = p->phase_at[PHASE_AFTER];
    for (uint32_t t = 0; t < b->ntouches; t++) {
        Life *life = &b->lives[b->touches[t].value];
        uint32_t pos = at[b->touches[t].step];
        if (pos < life->first) life->first = pos;
        if (pos > life->last) life->last = pos;
    }
    for (uint32_t v = 0; v < p->nvalues; v++) {
        Life *life = &b->lives[v];
        if (life->first == UINT32_MAX) continue;
        p->values[v].sum = life->sum;
        bool kept = life->sum || life->gathered;
        p->values[v].once = life->gathered || (!life->sum && life->first < each);
        bool repeats = kept || (life->first < each && life->last >= each); /* EACH runs again and again */
        if (kept && life->first > each) life->first = each;
        if (repeats && life->last + 1 < after) life->last = after - 1;
    }
}

static bool place_region(Planner *b, bool batched, size_t *total) {
    Plan *p = b->plan;
    SlabItem *items = calloc(p->nvalues ? p->nvalues : 1, sizeof *items);
    uint32_t *which = calloc(p->nvalues ? p->nvalues : 1, sizeof *which), n = 0;
    bool ok = items && which;
    for (uint32_t v = 0; ok && v < p->nvalues; v++) {
        if (p->values[v].home != HOME_SLAB || p->values[v].batched != batched || b->lives[v].first == UINT32_MAX) continue;
        which[n] = v;
        /* shared values start on cache lines of 64 bytes */
        size_t size = batched ? p->values[v].size : (p->values[v].size + 15) / 16 * 16;
        items[n++] = (SlabItem){.size = size, .first = b->lives[v].first, .last = b->lives[v].last};
    }
    ok = ok && slab_place(items, n, p->nsteps, total);
    for (uint32_t i = 0; ok && i < n; i++) p->values[which[i]].offset = items[i].offset;
    free(items);
    free(which);
    return ok || no_memory(b->err);
}

static bool convert_consts(Planner *b) {
    const Graph *g = b->g;
    if (b->plan->f64 || !g->nconsts) return true;
    float *c = b->plan->consts32 = malloc(g->nconsts * sizeof *c);
    if (!c) return no_memory(b->err);
    for (size_t i = 0; i < g->nconsts; i++) c[i] = (float)g->consts[i];
    return true;
}

static bool build(Planner *b) {
    Plan *p = b->plan;
    find_batched(b);
    if (!find_needed(b)) return false;
    planner_tape(b);
    if (!b->tape) {
        planner_sums_find(b);
        planner_fuse(b);
    }
    for (uint32_t i = 0; i < b->g->nnodes && planner_ok(b); i++) {
        NodeInfo *info = &b->nodes[i];
        if (info->sum) planner_sums_add(b, i);
        else if (info->conv || info->peaks || info->places) info->value = planner_fused(b, i);
        else if (info->needed && !info->absorbed) planner_node(b, i);
    }
    if (planner_ok(b)) planner_outputs(b);
    if (planner_ok(b) && b->tape) planner_tape_finish(b);
    if (!planner_ok(b)) return false;
    uint32_t *at = calloc(p->nsteps ? p->nsteps : 1, sizeof *at);
    if (!at) return no_memory(b->err);
    bool ok = order_steps(b, at);
    if (ok) find_lives(b, at);
    free(at);
    p->table += p->nvalues;
    return ok && place_region(b, false, &p->shared_size) && place_region(b, true, &p->row_size) && convert_consts(b);
}

static Isa best_isa(Isa below) {
    Isa best = ISA_BASE;
#ifdef __x86_64__
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    best = avx512 ? ISA_AVX512 : avx2 ? ISA_AVX2 : ISA_BASE;
#endif
    return below != ISA_BASE && best >= below ? below - 1 : best;
}

Plan *plan_new(const PlanSpec *spec, Err *err) {
    const Graph *g = spec->graph;
    Plan *p = calloc(1, sizeof *p);
    Planner b = {.spec = spec, .plan_step = plan_new, .g = g, .plan = p, .err = err};
    if (!p) return no_memory(err), NULL;
    *p = (Plan){.graph = g, .f64 = spec->f64, .is_step = spec->is_step, .rows = spec->rows, .isa = best_isa(spec->isa_below)};
    b.nodes = calloc(g->nnodes ? g->nnodes : 1, sizeof *b.nodes);
    p->slot_values = calloc(g->nslots ? g->nslots : 1, sizeof *p->slot_values);
    p->outputs = calloc(g->noutputs ? g->noutputs : 1, sizeof *p->outputs);
    bool ok = b.nodes && p->slot_values && p->outputs;
    if (ok) {
        for (uint32_t s = 0; s < g->nslots; s++) p->slot_values[s] = VALUE_NONE;
        for (uint32_t o = 0; o < g->noutputs; o++) p->outputs[o].value = VALUE_NONE;
        ok = build(&b);
    } else {
        no_memory(err);
    }
    free(b.nodes);
    free(b.lives);
    free(b.infos);
    free(b.touches);
    if (b.tape) tape_release(b.tape);
    free(b.tape);
    if (ok) return p;
    plan_free(p);
    return NULL;
}

void plan_free(Plan *p) {
    if (!p) return;
    for (size_t i = 0; i < p->nsubs; i++) plan_free(p->subs[i]);
    free(p->subs);
    free(p->nested);
    for (size_t i = 0; i < p->nowned; i++) free(p->owned[i]);
    free(p->owned);
    free(p->values);
    free(p->steps);
    free(p->slot_values);
    free(p->outputs);
    free(p->consts32);
    free(p);
}
