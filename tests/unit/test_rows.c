/* A row's bits depend on nothing but the row: alone and in batches of 2 to 4,096, in other tiles, on one and two threads; values,
 * gradients of batched inputs and tangents, f32 and f64. Programs from tiny (tapes) to those with matrix products. */
#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/optimise.h"
#include "compiler/language/syntax.h"
#include "schema/protocol/wire.h"
#include "worker/plan/exec.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/graphs.h"

enum { MOST_ROWS = 4096, MOST_SLOTS = 8 };

typedef struct {
    const char *source;
    const char *shared; /* slots that all rows share, one digit an input of the program's context */
    size_t rows;
} Subject;

static const Subject subjects[] = {
    {"\\x:2. \\y:2. if x then (if y then false else true) else y", "", MOST_ROWS},
    {"\\n:N. iter {false | y -> if y then false else true} (n)", "", MOST_ROWS},
    {"f : !(2 -o 2), x : 2 |- f (f x)", "", 300},
    {"f : !(R[33] -o R[33]), x : R[33] |- f (f x)", "0", 1000},
    {"f : !(R[33] -o R[33]), x : R[33] |- f (f x)", "", 40},
    {"f : !(R[100] -o R[7]), x : R[100] |- f x", "0", 300},
    {"b : R[40], f : !(R[40] -o R[40]) |- \\n:N. iter {b | y -> f y} (n)", "1", 500},
    {"b : R[5], f : !(R[5] -o R[5]) |- \\n:N. iter {b | y -> f y} (n)", "1", 500},
};

typedef struct {
    Cx cx;
    Graph *graph;
    bool f64;
    size_t element;
    bool batched[MOST_SLOTS];
    void *data[MOST_SLOTS];
    Plan *plan;
} Case;

static void compile(Case *c, const Subject *s, Derive derive) {
    Graph *volatile g = NULL;
    cx_init(&c->cx);
    CX_TRY(&c->cx) {
        Signature sig;
        Program *p = program_new(&c->cx, (Nat){10, NAT_EXACT});
        syntax_text(&c->cx, p, s->source, strlen(s->source));
        g = compile_lower(&c->cx, p, check_program(&c->cx, p), UINT32_MAX, &sig);
        if (derive != DERIVE_NONE) {
            Graph *plain = g;
            g = derive == DERIVE_VJP ? derive_graph_vjp(&c->cx, plain) : derive_graph_jvp(&c->cx, plain);
            graph_free(plain);
        }
        c->graph = optimise_graph(&c->cx, g);
    }
    graph_free(g);
    if (c->cx.diag.code) fail_msg("%s: %s", s->source, c->cx.diag.message);
}

static void make_inputs(Case *c, const Subject *s, Rng *r) {
    const Graph *g = c->graph;
    for (uint32_t i = 0; i < g->nslots; i++) {
        SlotRole role = g->slots[i].role;
        char digit = (char)('0' + g->slots[i].index);
        c->batched[i] = !((role == SLOT_INPUT || role == SLOT_TANGENT_INPUT) && strchr(s->shared, digit));
        size_t n = g->slots[i].size * (c->batched[i] ? s->rows : 1);
        c->data[i] = malloc(n * c->element);
        for (size_t e = 0; e < n; e++) {
            double v = rng_real(r) / 4;
            if (c->f64) ((double *)c->data[i])[e] = v;
            else ((float *)c->data[i])[e] = (float)v;
        }
    }
}

/* Rows first .. first+rows of the batch; out[o]: their results, NULL for one that is no row's own. */
static void run(const Case *c, size_t first, size_t rows, size_t tile, unsigned threads, void **out) {
    const Graph *g = c->graph;
    ExecInput inputs[MOST_SLOTS] = {0};
    ExecOutput outputs[2 + MOST_SLOTS] = {0};
    Workspace w = {.threads = threads};
    Err err = {0};
    for (uint32_t i = 0; i < g->nslots; i++)
        inputs[i] = (ExecInput){.data = (char *)c->data[i] + (c->batched[i] ? first * g->slots[i].size * c->element : 0),
                                .dtype = c->f64 ? DT_F64 : DT_F32,
                                .batched = c->batched[i],
                                .cols = g->slots[i].size};
    for (uint32_t o = 0; o < g->noutputs; o++) {
        out[o] = NULL;
        if (!c->plan->outputs[o].batched) continue;
        out[o] = malloc(rows * g->nodes[g->outputs[o].node].size * c->element);
        outputs[o] = (ExecOutput){out[o], true};
    }
    if (!exec_run(c->plan, inputs, outputs, rows, tile, &w, &err)) fail_msg("%s", err.message);
    workspace_release(&w);
}

static void free_all(const Case *c, void **out) {
    for (uint32_t o = 0; o < c->graph->noutputs; o++) free(out[o]);
}

static void compare(const Case *c, const Subject *s, void **all, size_t first, size_t rows, size_t tile, unsigned threads) {
    void *some[2 + MOST_SLOTS];
    run(c, first, rows, tile, threads, some);
    for (uint32_t o = 0; o < c->graph->noutputs; o++) {
        size_t bytes = c->graph->nodes[c->graph->outputs[o].node].size * c->element;
        if (some[o] && memcmp(some[o], (char *)all[o] + first * bytes, rows * bytes) != 0)
            fail_msg("%s, f%d, output %u: rows %zu to %zu in tiles of %zu on %u threads have other bits", s->source, c->f64 ? 64 : 32, o,
                     first, first + rows, tile, threads);
    }
    free_all(c, some);
}

static void check_case(const Subject *s, Derive derive, bool f64, Isa below, Rng *r) {
    Case c = {.f64 = f64, .element = f64 ? sizeof(double) : sizeof(float)};
    bool wanted[2 + MOST_SLOTS];
    void *all[2 + MOST_SLOTS];
    Err err = {0};
    memset(wanted, true, sizeof wanted);
    compile(&c, s, derive);
    make_inputs(&c, s, r);
    c.plan = plan_new(&(PlanSpec){.graph = c.graph, .f64 = f64, .batched = c.batched, .wanted = wanted, .isa_below = below}, &err);
    if (!c.plan) fail_msg("%s: %s", s->source, err.message);
    run(&c, 0, s->rows, 0, 2, all);
    for (int i = 0; i < 3; i++) {
        size_t most = i ? s->rows : 40, rows = 1 + rng_below(r, (uint32_t)most), first = rng_below(r, (uint32_t)(s->rows - rows + 1));
        compare(&c, s, all, first, rows, 0, 1);
        compare(&c, s, all, first, rows, 1 + rng_below(r, 200), 2);
        compare(&c, s, all, first, 1, 0, 1);
        compare(&c, s, all, first + rows - 1, 1, 0, 2);
    }
    free_all(&c, all);
    for (uint32_t i = 0; i < c.graph->nslots; i++) free(c.data[i]);
    plan_free(c.plan);
    graph_free(c.graph);
    cx_release(&c.cx);
}

static void check_all(Derive derive) {
    Rng r = rng_new("rows");
    for (size_t k = 0; k < sizeof subjects / sizeof *subjects; k++)
        for (int isa = 0; isa < ISA_COUNT; isa++)
            for (int f64 = 0; f64 < 2; f64++) check_case(&subjects[k], derive, f64, (Isa)isa, &r);
}

static void test_values(void **state) { (void)state, check_all(DERIVE_NONE); }
static void test_gradients(void **state) { (void)state, check_all(DERIVE_VJP); }
static void test_tangents(void **state) { (void)state, check_all(DERIVE_JVP); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_tangents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
