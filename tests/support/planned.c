#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/planned.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void planned_verify(const Graph *g) {
    char why[300] = "";
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
}

void planned_fill(Planned *c, double (*number)(void *arg), void *arg) {
    for (uint32_t s = 0; s < c->g->nslots; s++) {
        size_t n = c->g->slots[s].size * (c->batched[s] ? c->rows : 1);
        c->data[s] = realloc(c->data[s], n * sizeof(double));
        c->data32[s] = realloc(c->data32[s], n * sizeof(float));
        for (size_t i = 0; i < n; i++) c->data[s][i] = c->data32[s][i] = (float)number(arg);
    }
}

void planned_release(Planned *c) {
    for (int s = 0; s < PLANNED_SLOTS; s++) {
        free(c->data[s]);
        free(c->data32[s]);
    }
    graph_free(c->g);
}

uint32_t planned_op(Graph *g, const LayerCase *op) {
    uint32_t ins[3], n = 0;
    for (uint32_t k = 0; k < op->nin; k++) {
        size_t size = 1;
        for (uint32_t i = 0; i < op->rank[k]; i++) size *= op->dims[k][i];
        if ((op->op == OP_map_vjp && k == 1) || (op->op == OP_softmax_vjp && !k)) {
            uint32_t x = k ? ins[0] : t_node(g, OP_reshape, INS(t_input(g, SLOT_INPUT, n++, (uint32_t)size)), op->dims[k], op->rank[k], ATTRS());
            ins[k] = t_node(g, k ? OP_map : OP_softmax, INS(x), op->dims[k], op->rank[k], op->attrs, k ? 3 : 2);
            continue;
        }
        uint32_t x = t_input(g, SLOT_INPUT, n++, (uint32_t)size);
        ins[k] = t_node(g, OP_reshape, INS(x), op->dims[k], op->rank[k], ATTRS());
    }
    return layer_node(g, op, ins);
}

void planned_run(const Planned *c, const PlannedWay *way, void **outs, bool *batched) {
    bool wanted[PLANNED_OUTPUTS];
    Err err = {0};
    Workspace w = {.threads = way->threads};
    ExecInput in[PLANNED_SLOTS] = {0};
    ExecOutput out[PLANNED_OUTPUTS] = {0};
    memset(wanted, true, sizeof wanted);
    size_t element = way->f64 ? sizeof(double) : sizeof(float);
    Plan *plan = plan_new(&(PlanSpec){.graph = c->g, .f64 = way->f64, .batched = c->batched, .wanted = wanted, .isa_below = way->below,
                                      .no_tape = way->no_tape, .keep_bytes = way->segments, .rows = way->known ? way->rows : 0}, &err);
    if (!plan) fail_msg("%s", err.message);
    for (uint32_t s = 0; s < c->g->nslots; s++) {
        size_t at = c->batched[s] ? way->first * c->g->slots[s].size : 0;
        in[s] = (ExecInput){.data = way->f64 ? (void *)(c->data[s] + at) : c->data32[s] + at, .dtype = way->f64 ? DT_F64 : DT_F32,
                            .batched = c->batched[s], .cols = c->g->slots[s].size};
    }
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        batched[o] = plan->outputs[o].batched;
        outs[o] = malloc((batched[o] ? way->rows : 1) * c->g->nodes[c->g->outputs[o].node].size * element);
        out[o] = (ExecOutput){outs[o], batched[o]};
    }
    if (!exec_run(plan, in, out, way->rows, way->tile, &w, &err)) fail_msg("%s", err.message);
    workspace_release(&w);
    plan_free(plan);
}

bool planned_near(double got, double want, double tolerance) {
    return fabs(got - want) <= tolerance || got == want || (isnan(got) && isnan(want));
}

static double largest(const NaiveOutput *y, size_t rows) {
    double most = 0;
    for (size_t i = 0; i < y->size * (y->batched ? rows : 1); i++)
        if (isfinite(y->data[i]) && fabs(y->data[i]) > most) most = fabs(y->data[i]);
    return most;
}

static void evaluate(const Planned *c, NaiveOutput *out) {
    NaiveInput in[PLANNED_SLOTS];
    for (uint32_t s = 0; s < c->g->nslots; s++) in[s] = (NaiveInput){c->data[s], c->batched[s]};
    assert_true(naive_eval(c->g, c->rows, in, out));
}

double planned_largest(const Planned *c) {
    NaiveOutput out[PLANNED_OUTPUTS];
    double most = 0;
    evaluate(c, out);
    for (uint32_t o = 0; o < c->g->noutputs; o++)
        for (size_t i = 0; i < out[o].size * (out[o].batched ? c->rows : 1); i++) most = isfinite(out[o].data[i]) ? fmax(most, fabs(out[o].data[i])) : INFINITY;
    naive_release(out, c->g->noutputs);
    return most;
}

void planned_against_naive(const Planned *c, const PlannedWay *way, const char *what) {
    NaiveOutput want[PLANNED_OUTPUTS];
    void *got[PLANNED_OUTPUTS];
    bool batched[PLANNED_OUTPUTS];
    evaluate(c, want);
    planned_run(c, way, got, batched);
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        assert_int_equal(batched[o], want[o].batched);
        double tolerance = (way->f64 ? way->near64 : way->near32) * (1 + largest(&want[o], c->rows));
        for (size_t i = 0; i < want[o].size * (batched[o] ? c->rows : 1); i++) {
            double v = way->f64 ? ((double *)got[o])[i] : (double)((float *)got[o])[i];
            if (!planned_near(v, want[o].data[i], tolerance) && (way->f64 || fabs(want[o].data[i]) < 1e38))
                fail_msg("f%d, below %d, tile %zu, output %u, element %zu: %.9g, should be %.9g; %s", way->f64 ? 64 : 32, (int)way->below, way->tile, o, i,
                         v, want[o].data[i], what);
        }
        free(got[o]);
    }
    naive_release(want, c->g->noutputs);
}

void planned_same_bits(const Planned *c, PlannedWay way, Rng *r, const char *what) {
    void *all[PLANNED_OUTPUTS], *some[PLANNED_OUTPUTS];
    bool batched[PLANNED_OUTPUTS];
    size_t element = way.f64 ? sizeof(double) : sizeof(float);
    way.rows = c->rows;
    planned_run(c, &way, all, batched);
    way.rows = 1 + rng_below(r, (uint32_t)c->rows);
    way.first = rng_below(r, (uint32_t)(c->rows - way.rows + 1));
    way.tile = rng_below(r, 4);
    planned_run(c, &way, some, batched);
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        size_t bytes = c->g->nodes[c->g->outputs[o].node].size * element;
        if (batched[o] && memcmp(some[o], (char *)all[o] + way.first * bytes, way.rows * bytes) != 0)
            fail_msg("%s, f%d, below %d: rows %zu to %zu have other bits", what, way.f64 ? 64 : 32, (int)way.below, way.first, way.first + way.rows);
        free(some[o]);
        free(all[o]);
    }
}

PlannedWay planned_way(Rng *r, size_t rows) {
    return (PlannedWay){.f64 = rng_below(r, 2), .no_tape = rng_below(r, 2), .below = (Isa)rng_below(r, ISA_COUNT + 1), .tile = rng_below(r, 4), .rows = rows,
                 .segments = rng_below(r, 2), .threads = rng_below(r, 8) ? 1 : 2, .near32 = 1e-5, .near64 = 1e-13};
}
