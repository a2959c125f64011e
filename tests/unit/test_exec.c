/* Running a plan: what goes in and comes out, in whose memory, and what is refused. (What it computes: test_plans.c.) */
#include "schema/limits.h"
#include "tests/support/graphs.h"
#include "worker/plan/exec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* One input of size n straight to the output. */
typedef struct {
    Graph *g;
    Plan *plan;
} Identity;

static Identity identity(uint32_t n, bool batched) {
    Identity id = {.g = graph_new()};
    Err err = {0};
    graph_output(id.g, OUT_VALUE, 0, t_input(id.g, SLOT_ARG, 0, n));
    id.plan = plan_new(&(PlanSpec){.graph = id.g, .f64 = true, .batched = &batched, .wanted = (bool[]){true}}, &err);
    assert_non_null(id.plan);
    return id;
}

static void identity_release(Identity *id) {
    plan_free(id->plan);
    graph_free(id->g);
}

static void test_load(void **state) {
    (void)state;
    Identity id = identity(3, true);
    Workspace w = {0};
    Err err = {0};
    double out[6];
    ExecOutput output = {out, true};
    ExecInput in = {.data = (int64_t[]){2, 0}, .dtype = DT_I64, .discrete = 1, .batched = true};
    assert_true(exec_run(id.plan, &in, &output, 2, 0, &w, &err));
    assert_memory_equal(out, ((double[]){0, 0, 1, 1, 0, 0}), sizeof out);
    in = (ExecInput){.data = (float[]){1, 2, 3, 4}, .dtype = DT_F32, .batched = true, .cols = 2};
    assert_true(exec_run(id.plan, &in, &output, 2, 1, &w, &err));
    assert_memory_equal(out, ((double[]){1, 2, 0, 3, 4, 0}), sizeof out);
    in = (ExecInput){.data = (int64_t[]){2, 3}, .dtype = DT_I64, .discrete = 1, .batched = true};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &err));
    assert_int_equal(err.code, ERR_nat_bound_exceeded);
    err = (Err){0};
    in.data = (int64_t[]){0, -1};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &err));
    assert_int_equal(err.code, ERR_bad_tensor);
    err = (Err){0};
    output.batched = false;
    in.data = (int64_t[]){0, 1};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &err));
    assert_int_equal(err.code, ERR_bad_request);
    identity_release(&id);
    id = identity(2, true);
    err = (Err){0};
    in = (ExecInput){.data = (uint8_t[]){1, 0}, .dtype = DT_BOOL, .discrete = 2, .batched = true};
    output.batched = true;
    assert_true(exec_run(id.plan, &in, &output, 2, 0, &w, &err));
    assert_memory_equal(out, ((double[]){1, 0, 0, 1}), 4 * sizeof *out);
    identity_release(&id);
    workspace_release(&w);
}

/* Tensors at odd addresses, in rows of several lengths; some of them end in the middle of four. */
static void test_unaligned(void **state) {
    (void)state;
    enum { ROWS = 7, MOST = 9 };
    for (uint32_t n = 1; n <= MOST; n++)
        for (int tape = 0; tape < 2; tape++) {
            Identity id = identity(n, true);
            Err err = {0};
            Workspace w = {0};
            unsigned char in[ROWS * MOST * sizeof(double) + 1];
            double out[ROWS * MOST];
            plan_free(id.plan);
            id.plan = plan_new(
                &(PlanSpec){.graph = id.g, .f64 = true, .batched = (bool[]){true}, .wanted = (bool[]){true}, .no_tape = !tape}, &err);
            for (uint32_t i = 0; i < ROWS * n; i++) memcpy(in + 1 + i * sizeof(double), &(double){i + 1}, sizeof(double));
            ExecInput input = {.data = in + 1, .dtype = DT_F64, .batched = true, .cols = n};
            assert_true(exec_run(id.plan, &input, &(ExecOutput){out, true}, ROWS, 0, &w, &err));
            for (uint32_t i = 0; i < ROWS * n; i++) assert_true(out[i] == i + 1);
            identity_release(&id);
            workspace_release(&w);
        }
}

/* A shared output, asked for in every row. */
static void test_store_spread(void **state) {
    (void)state;
    Identity id = identity(2, false);
    Workspace w = {0};
    Err err = {0};
    double out[6];
    ExecInput in = {.data = (double[]){1, 2}, .dtype = DT_F64, .cols = 2};
    assert_true(exec_run(id.plan, &in, &(ExecOutput){out, true}, 3, 0, &w, &err));
    assert_memory_equal(out, ((double[]){1, 2, 1, 2, 1, 2}), sizeof out);
    identity_release(&id);
    workspace_release(&w);
}

/* Shared outputs are made where they are wanted, when that is aligned. */
static void test_in_place(void **state) {
    (void)state;
    uint32_t n = 3;
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_ARG, 0, n), twice = t_node(g, OP_add, INS(x, x), DIMS(n), ATTRS());
    graph_output(g, OUT_VALUE, 0, twice);
    graph_output(g, OUT_VALUE, 1, t_node(g, OP_add, INS(twice, x), DIMS(n), ATTRS()));
    Err err = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .f64 = true, .batched = (bool[]){false}, .wanted = (bool[]){true, true}}, &err);
    const ExecInput in = {.data = (double[]){1, 2, 3}, .dtype = DT_F64, .cols = n};
    for (size_t off = 0; off < 3; off++) { /* at 2 the first is not wanted */
        _Alignas(64) double out[2][8] = {0};
        ExecOutput outputs[] = {{off < 2 ? out[0] + off : NULL, false}, {out[1] + off % 2, false}};
        assert_true(exec_run(plan, &in, outputs, 1, 0, &w, &err));
        for (int o = 0; o < 2; o++) assert_true((w.table[plan->outputs[o].value] == outputs[o].data) == (off == 0 || (off == 2 && o == 1)));
        assert_memory_equal(out[0] + off % 2, off < 2 ? ((double[]){2, 4, 6}) : ((double[]){0, 0, 0}), 3 * sizeof(double));
        assert_memory_equal(out[1] + off % 2, ((double[]){3, 6, 9}), 3 * sizeof(double));
    }
    plan_free(plan);
    graph_free(g);
    workspace_release(&w);
}

/* 0·NaN is NaN in every product. */
static void test_nan(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t n = 2, c = t_input(g, SLOT_ARG, 0, 2), a = t_input(g, SLOT_ARG, 1, 2);
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_if, INS(c, a, c), DIMS(n), ATTRS()));
    graph_output(g, OUT_VALUE, 1, t_node(g, OP_contract, INS(c, a), DIMS(), ATTRS(1, 1, 0, 0, 0)));
    Err err = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .batched = (bool[]){true, true}, .wanted = (bool[]){true, true}}, &err);
    float choice[] = {0, 1}, value[] = {NAN, 1}, y[2], dot;
    ExecInput inputs[] = {{choice, DT_F32, 0, true, 2}, {value, DT_F32, 0, true, 2}};
    assert_true(exec_run(plan, inputs, (ExecOutput[]){{y, true}, {&dot, true}}, 1, 0, &w, &err));
    assert_true(isnan(y[0]) && y[1] == 1);
    assert_true(isnan(dot));
    plan_free(plan);
    graph_free(g);
    workspace_release(&w);
}

/* Work and memory are estimated, and refused, before any is taken. */
static void test_admission(void **state) {
    (void)state;
    Graph *g = graph_new();
    const uint32_t n = 1 << 14;
    uint32_t eye = t_node(g, OP_eye, INS(), DIMS(n, n), ATTRS());
    for (int i = 0; i < 5; i++) eye = t_node(g, OP_contract, INS(eye, eye), DIMS(n, n), ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2));
    graph_output(g, OUT_VALUE, 0, eye);
    Err err = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .wanted = (bool[]){true}}, &err);
    assert_non_null(plan);
    float one;
    assert_false(exec_run(plan, NULL, &(ExecOutput){&one, false}, 1, 0, &w, &err));
    assert_int_equal(err.code, ERR_too_large);
    assert_null(w.slab);
    plan_free(plan);
    graph_free(g);
    Identity id = identity(1 << 26, true);
    assert_int_equal(exec_tile(id.plan, 100, 0), 1);
    id.plan->single_tile = true;
    assert_int_equal(exec_tile(id.plan, 100, 0), 0);
    identity_release(&id);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load), cmocka_unit_test(test_unaligned), cmocka_unit_test(test_store_spread),
        cmocka_unit_test(test_in_place), cmocka_unit_test(test_nan), cmocka_unit_test(test_admission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
