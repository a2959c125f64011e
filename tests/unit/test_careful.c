/* What is not taken takes nothing: what the kernels see to themselves, and what careful_mend makes again. f is 1e200, f·f·x infinite. */
#include "compiler/derive/derive.h"
#include "tests/support/graphs.h"
#include "worker/protocol/careful.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { K = 4, ROWS = 3 };

/* A run of a graph whose slots are f [1], x [1] and a coefficient; each row its own but for f. */
typedef struct {
    Graph *g;
    Plan *plan;
    bool f64;
    ExecInput inputs[4];
    ExecOutput outputs[4];
    double f[1], x[ROWS], c[ROWS * K], cotangent[ROWS];
    double got[4][ROWS * K];
} Taken;

static uint32_t slot(Graph *g, uint32_t index, uint32_t size) { return t_input(g, SLOT_INPUT, index, size); }
static uint32_t times(Graph *g, uint32_t f, uint32_t x) { return t_node(g, OP_contract, INS(f, x), DIMS(1), ATTRS(1, 1, 1, 0, 0, 0)); }

/* Σ nᵢ·fⁱ·x */
static Graph *power(void) {
    Graph *g = graph_new(), *step = graph_new();
    uint32_t f = t_input(step, SLOT_CAPTURE, 0, 1), y = t_input(step, SLOT_STATE, 0, 1);
    graph_output(step, OUT_STATE, 0, times(step, f, y));
    uint32_t n = slot(g, 2, K), x = slot(g, 1, 1);
    f = slot(g, 0, 1);
    graph_output(g, OUT_VALUE, 0, t_sub_node(g, OP_iter, INS(n, x, f), DIMS(1), ATTRS(1, 1, 1, 1, 0, 0), SUBS(step)));
    return g;
}

/* c₀·x + c₁·f·f·f·x */
static Graph *branch(void) {
    Graph *g = graph_new();
    uint32_t c = slot(g, 2, 2), x = slot(g, 1, 1), f = slot(g, 0, 1);
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_if, INS(c, x, times(g, f, times(g, f, times(g, f, x)))), DIMS(1), ATTRS()));
    return g;
}

static Graph *vjp_of(Graph *g) {
    Cx cx;
    cx_init(&cx);
    Graph *made = NULL;
    CX_TRY(&cx) made = derive_graph_vjp(&cx, g);
    assert_non_null(made);
    cx_release(&cx);
    graph_free(g);
    return made;
}

static const void *number(Taken *t, double *values, size_t n) {
    static float room[4][ROWS * K];
    static int next;
    float *to = room[next++ % 4];
    for (size_t i = 0; i < n; i++) to[i] = (float)values[i];
    return t->f64 ? (const void *)values : to;
}

/* Without what `wanted` leaves out (a letter an output: '-'). */
static void run(Taken *t, Graph *g, bool f64, bool tape, const char *wanted) {
    bool batched[4] = {0}, want[4] = {0};
    Err err = {0};
    Workspace w = {0};
    t->g = g;
    t->f64 = f64;
    for (uint32_t s = 0; s < g->nslots; s++) {
        const Slot *at = &g->slots[s];
        double *const data = at->role == SLOT_COTANGENT ? t->cotangent : at->index == 0 ? t->f : at->index == 1 ? t->x : t->c;
        batched[s] = data != t->f;
        t->inputs[s] = (ExecInput){.data = number(t, data, at->size * (batched[s] ? ROWS : 1)), .dtype = f64 ? DT_F64 : DT_F32, .batched = batched[s],
                                   .cols = at->size};
    }
    for (uint32_t o = 0; o < g->noutputs; o++) want[o] = wanted[o] != '-';
    t->plan = plan_new(&(PlanSpec){.graph = g, .f64 = f64, .batched = batched, .wanted = want, .no_tape = !tape}, &err);
    assert_non_null(t->plan);
    for (uint32_t o = 0; o < g->noutputs; o++) t->outputs[o] = (ExecOutput){want[o] ? t->got[o] : NULL, t->plan->outputs[o].batched};
    assert_true(exec_run(t->plan, t->inputs, t->outputs, ROWS, 0, &w, &err));
    workspace_release(&w);
}

static void mend(Taken *t) {
    Err err = {0};
    assert_true(careful_mend(t->g, t->f64, t->inputs, t->outputs, ROWS, &err));
}

static void release(Taken *t) {
    plan_free(t->plan);
    graph_free(t->g);
}

static double got(const Taken *t, uint32_t output, size_t i) { return t->f64 ? t->got[output][i] : ((const float *)t->got[output])[i]; }

/* The states beyond a row's count are none of its business, and those beyond all counts are not computed. */
static void test_kernels(void **state) {
    (void)state;
    Taken t = {.f = {1e200}, .x = {3, 5, 7}, .c = {1, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0}};
    run(&t, power(), true, false, "+");
    assert_true(got(&t, 0, 0) == 3);
    assert_true(isinf(got(&t, 0, 1)));
    assert_true(got(&t, 0, 2) == 14e200);
    release(&t);
    t = (Taken){.f = {1e200}, .x = {3, 5, 7}, .c = {1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}, .cotangent = {1, 1, 1}};
    run(&t, vjp_of(power()), true, false, "+-++"); /* value, count, x, f by the slots' order */
    assert_true(got(&t, 2, 0) == 1);
    assert_true(got(&t, 2, 1) == 1e200);
    assert_true(got(&t, 2, 2) == 2e200);
    assert_true(got(&t, 3, 0) == 5 + 14);
    release(&t);
}

static void test_mended(void **state) {
    (void)state;
    for (int f64 = 0; f64 < 2; f64++) {
        Taken t = {.f = {f64 ? 1e200 : 1e30}, .x = {3, 0.1, 7}, .c = {1, 0, 0.3, 0, 0, 1}};
        run(&t, branch(), f64, true, "+");
        assert_true(isnan(got(&t, 0, 0)) && isnan(got(&t, 0, 1)));
        double before[ROWS];
        memcpy(before, t.got[0], sizeof before);
        mend(&t);
        assert_true(got(&t, 0, 0) == 3);
        assert_true(got(&t, 0, 1) == (f64 ? 0.3 * 0.1 : (float)((double)0.3f * (double)0.1f)));
        assert_true(isinf(got(&t, 0, 2)));
        release(&t);
    }
}

/* Sums over rows are made again whole; what is finite stays as it is. */
static void test_sums(void **state) {
    (void)state;
    Taken t = {.f = {1e200}, .x = {3, 5, 7}, .c = {1, 0, 2, 0, 1, 0}, .cotangent = {1, 1, 1}};
    run(&t, vjp_of(branch()), true, true, "++++"); /* value, c, x, f */
    assert_true(isnan(got(&t, 0, 0)) && isnan(got(&t, 3, 0)));
    mend(&t);
    assert_true(got(&t, 0, 0) == 3 && got(&t, 0, 1) == 10 && got(&t, 0, 2) == 7);
    for (size_t r = 0; r < ROWS; r++) assert_true(got(&t, 1, 2 * r) == t.x[r] && got(&t, 1, 2 * r + 1) == 0);
    assert_true(got(&t, 2, 0) == 1 && got(&t, 2, 1) == 2 && got(&t, 2, 2) == 1);
    assert_true(got(&t, 3, 0) == 0);
    release(&t);
    t = (Taken){.f = {1e200}, .x = {1, 2, 4}, .c = {1, 0, 1, 0, 1, 0}, .cotangent = {1, 1, 1}};
    run(&t, vjp_of(branch()), true, true, "-+--");
    t.got[1][2] = 0.25; /* a finite number that is not what would come out */
    mend(&t);
    assert_true(got(&t, 1, 2) == 2); /* its row had something that was not finite */
    release(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_mended), cmocka_unit_test(test_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
