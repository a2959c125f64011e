/* Plans and kernels against the naive evaluator, on random small graphs: f32 and f64, shared and batched slots, several tile
 * sizes, numbers of threads and instruction sets, with and without tapes. */
#include "tests/support/gen_graph.h"
#include "tests/support/planned.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* NaN when one of them is. */
static double largest(const NaiveOutput *out, size_t rows) {
    double most = 0;
    for (size_t i = 0; i < out->size * (out->batched ? rows : 1) && !isnan(most); i++)
        if (!(fabs(out->data[i]) <= most)) most = fabs(out->data[i]);
    return most;
}

static void compare(const Planned *c, uint64_t seed, const NaiveOutput *want, void *const *got, bool f64, size_t tile) {
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        double scale = 1 + largest(&want[o], c->rows), tolerance = (f64 ? 1e-9 : 2e-3) * scale;
        if (!(scale < 1e12)) continue;
        for (size_t i = 0; i < want[o].size * (want[o].batched ? c->rows : 1); i++) {
            double v = f64 ? ((double *)got[o])[i] : ((float *)got[o])[i];
            if (fabs(v - want[o].data[i]) <= tolerance) continue;
            if (!f64 && !isfinite(v)) continue; /* powers of powers inside overflow a float; f64 judges these */
            fail_msg("seed %llu, f%d, tile %zu, output %u, element %zu: %g, should be %g", (unsigned long long)seed,
                     f64 ? 64 : 32, tile, o, i, v, want[o].data[i]);
        }
    }
}

static void run_case(const Planned *c, uint64_t seed, const NaiveOutput *want, bool f64, size_t tile, Workspace *w) {
    bool wanted[3] = {true, true, true};
    Err err = {0};
    Isa below = seed % (ISA_COUNT + 1); /* every instruction set this CPU has */
    PlanSpec spec = {.graph = c->g, .f64 = f64, .batched = c->batched, .wanted = wanted, .isa_below = below, .no_tape = seed / 5 % 2, .keep_bytes = seed % 7 < 3};
    Plan *plan = plan_new(&spec, &err);
    w->threads = seed % 8 ? 1 : 3;
    if (!plan) fail_msg("seed %llu: %s", (unsigned long long)seed, err.message);
    ExecInput inputs[PLANNED_SLOTS] = {0};
    ExecOutput outputs[3] = {0};
    void *got[3] = {0};
    for (uint32_t s = 0; s < c->g->nslots; s++)
        inputs[s] = (ExecInput){.data = f64 ? (void *)c->data[s] : c->data32[s],
                                .dtype = f64 ? DT_F64 : DT_F32,
                                .batched = c->batched[s],
                                .cols = c->g->slots[s].size};
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        assert_int_equal(plan->outputs[o].batched, want[o].batched);
        const size_t bytes = want[o].size * (want[o].batched ? c->rows : 1) * plan_element(plan);
        const size_t align = seed / 3 % 2 ? sizeof(void *) : 64; /* at 64 shared ones are made in place */
        assert_int_equal(posix_memalign(&got[o], align, bytes), 0);
        outputs[o] = (ExecOutput){got[o], want[o].batched};
    }
    if (!exec_run(plan, inputs, outputs, c->rows, tile, w, &err))
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.message);
    compare(c, seed, want, got, f64, tile);
    for (uint32_t o = 0; o < c->g->noutputs; o++) free(got[o]);
    plan_free(plan);
}

/* Care changes nothing where everything is finite. */
static void compare_careful(const Planned *c, uint64_t seed, const NaiveInput *inputs, const NaiveOutput *want) {
    NaiveOutput careful[3];
    assert_true(naive_eval_careful(c->g, true, c->rows, inputs, careful));
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        const size_t elements = want[o].size * (want[o].batched ? c->rows : 1);
        for (size_t i = 0; isfinite(largest(&want[o], c->rows)) && i < elements; i++)
            if (careful[o].data[i] != want[o].data[i])
                fail_msg("seed %llu, output %u, element %zu: %g with care, %g without", (unsigned long long)seed, o, i, careful[o].data[i],
                         want[o].data[i]);
    }
    naive_release(careful, c->g->noutputs);
}

static double any_number(void *r) { return gen_number(r); }

static void test_random(void **state) {
    (void)state;
    const char *from = getenv("CAJAL_SEED");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, last = from ? first : 4000;
    print_message("seeds %llu to %llu (CAJAL_SEED=n runs one)\n", (unsigned long long)first, (unsigned long long)last);
    Workspace w = {0};
    for (uint64_t seed = first; seed <= last; seed++) {
        Rng r = {.seed = seed};
        Planned c = {.g = gen_graph(&r), .rows = 1 + rng_below(&r, 9)};
        for (uint32_t s = 0; s < c.g->nslots; s++) c.batched[s] = rng_below(&r, 2);
        planned_verify(c.g);
        planned_fill(&c, any_number, &r);
        NaiveInput inputs[PLANNED_SLOTS];
        NaiveOutput want[3];
        for (uint32_t s = 0; s < c.g->nslots; s++) inputs[s] = (NaiveInput){c.data[s], c.batched[s]};
        assert_true(naive_eval(c.g, c.rows, inputs, want));
        compare_careful(&c, seed, inputs, want);
        run_case(&c, seed, want, true, 0, &w);
        run_case(&c, seed, want, true, 1 + seed % 4, &w);
        run_case(&c, seed, want, false, 1 + seed % 3, &w);
        naive_release(want, c.g->noutputs);
        planned_release(&c);
    }
    workspace_release(&w);
}

/* y = x·W for a batch, large enough for BLAS, in both dtypes. */
static void test_blas(void **state) {
    (void)state;
    enum { ROWS = 70, IN = 33, OUT = 21 };
    Rng r = {.seed = 5};
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_ARG, 0, IN), wide = t_node(g, OP_reshape, INS(t_input(g, SLOT_INPUT, 0, IN * OUT)), DIMS(OUT, IN), ATTRS());
    uint32_t y = t_matvec(g, wide, x, OUT), grad = t_node(g, OP_contract, INS(y, x), DIMS(OUT, IN), ATTRS(1, 1, 2, 0, 1, 0, 1));
    graph_output(g, OUT_VALUE, 0, y);
    graph_output(g, OUT_GRAD_INPUT, 0, t_node(g, OP_batch_sum, INS(grad, wide), DIMS(OUT, IN), ATTRS()));
    Planned c = {.g = g, .rows = ROWS, .batched = {true, false}};
    planned_fill(&c, any_number, &r);
    NaiveInput inputs[] = {{c.data[0], true}, {c.data[1], false}};
    NaiveOutput want[2];
    Workspace w = {0};
    assert_true(naive_eval(g, ROWS, inputs, want));
    for (size_t tile = 0; tile <= 32; tile += 16) {
        run_case(&c, 0, want, true, tile, &w);
        run_case(&c, 0, want, false, tile, &w);
    }
    naive_release(want, 2);
    workspace_release(&w);
    planned_release(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_blas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
