/* The passes on small graphs: what becomes of each form, that the value stays, and that nothing gets dearer; random trees of contractions;
 * random matrices. Random programs: test_properties. CAJAL_SEED repeats a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/matrix.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/optimise.h"
#include "schema/graph/ops.h"
#include "tests/support/graphs.h"
#include <math.h>
#include <string.h>

typedef Graph *(*Pass)(Cx *cx, const Graph *g);

/* ---- running a pass ---- */

static NaiveOutput *eval(const Graph *g, size_t rows, double *const *data) {
    NaiveInput *inputs = calloc(g->nslots + 1, sizeof *inputs);
    NaiveOutput *out = calloc(g->noutputs, sizeof *out);
    for (uint32_t i = 0; i < g->nslots; i++) inputs[i] = (NaiveInput){data[i], true};
    assert_true(naive_eval(g, rows, inputs, out));
    free(inputs);
    return out;
}

static void expect_same(const Graph *before, const Graph *after, Rng *r) {
    enum { ROWS = 2 };
    double **data = calloc(before->nslots + 1, sizeof *data);
    for (uint32_t i = 0; i < before->nslots; i++) {
        data[i] = calloc(before->slots[i].size * ROWS, sizeof **data);
        for (size_t j = 0; j < before->slots[i].size * ROWS; j++) data[i][j] = rng_real(r);
    }
    NaiveOutput *want = eval(before, ROWS, data), *got = eval(after, ROWS, data);
    for (uint32_t o = 0; o < before->noutputs; o++)
        for (size_t i = 0; i < want[o].size * ROWS; i++) {
            double a = want[o].data[want[o].batched ? i : i % want[o].size], b = got[o].data[got[o].batched ? i : i % got[o].size];
            if (!(fabs(a - b) <= 1e-10 * (1 + fabs(a)))) fail_msg("output %u differs: %g for %g", o, b, a);
        }
    naive_release(want, before->noutputs);
    naive_release(got, after->noutputs);
    for (uint32_t i = 0; i < before->nslots; i++) free(data[i]);
    free(want);
    free(got);
    free(data);
}

/* The pass over g, which is used up. */
static Graph *run(Pass pass, Graph *g) {
    static uint64_t seed = 1;
    char why[300];
    Rng r = {.seed = seed += 2};
    Cx cx;
    cx_init(&cx);
    Graph *volatile made = NULL;
    if (!graph_verify(g, why, sizeof why)) fail_msg("before: %s", why);
    CX_TRY(&cx) made = rewrite_give(&cx, pass(&cx, g));
    if (cx.diag.code) fail_msg("%s", cx.diag.message);
    if (!graph_verify(made, why, sizeof why)) fail_msg("after: %s", why);
    expect_same(g, made, &r);
    if (cost_total(graph_cost(made)) > cost_total(graph_cost(g))) fail_msg("dearer");
    cx_release(&cx);
    graph_free(g);
    return made;
}

/* The ops of a graph in order, leaves that inputs are, and reshapes, left out: "resize contract". */
static void expect_ops(Graph *g, const char *ops) {
    char text[400] = "";
    for (uint32_t i = 0; i < g->nnodes; i++) {
        if (g->nodes[i].op == OP_input || g->nodes[i].op == OP_reshape) continue;
        if (text[0]) strcat(text, " ");
        strcat(text, op_row(g->nodes[i].op)->name);
    }
    assert_string_equal(text, ops);
    graph_free(g);
}

static Graph *with_output(Graph *g, uint32_t node) {
    graph_output(g, OUT_VALUE, 0, node);
    return g;
}

static uint32_t in(Graph *g, uint32_t index, const uint32_t *dims, uint32_t rank) {
    uint32_t size = 1;
    for (uint32_t i = 0; i < rank; i++) size *= dims[i];
    uint32_t x = t_input(g, SLOT_INPUT, index, size);
    return rank == 1 ? x : t_node_(g, OP_reshape, &x, 1, dims, rank, NULL, 0, NULL, 0);
}

static uint32_t zero(Graph *g, const uint32_t *dims, uint32_t rank) { return t_node_(g, OP_zero, NULL, 0, dims, rank, NULL, 0, NULL, 0); }
static uint32_t onehot(Graph *g, uint32_t n, int64_t at) { return t_node(g, OP_onehot, INS(), DIMS(n), ATTRS(at)); }

#define STRUCTURE(g, y, ops) expect_ops(run(optimise_structure, with_output(g, y)), ops)

/* ---- constants ---- */

/* Ops that are not linear too. */
static void test_constants(void **state) {
    (void)state;
    static const double data[] = {1, -2, 3, -4, 5, -6, 7, -8}, kernel[] = {1, -1};
    for (int tied = 0; tied < 2; tied++) {
        Graph *g = graph_new();
        uint32_t x = graph_const(g, data, DIMS(1, 2, 4)), w = graph_const(g, kernel, DIMS(1, 1, 1, 2));
        x = t_node(g, OP_pad, INS(x), DIMS(1, 4, 4), ATTRS(1, 1, 0, 0, attr_bits(0.5)));
        x = t_node(g, OP_conv2d, INS(x, w), DIMS(1, 4, 3), ATTRS(1, 1, 0, 0));
        x = t_node(g, OP_map, INS(x), DIMS(1, 4, 3), ATTRS(FUNCTION_tanh, 0, 0));
        x = t_node(g, OP_max_pool2d, INS(x), DIMS(1, 3, 2), ATTRS(2, 2, 1, 1, 0, 0));
        x = t_node(g, OP_softmax, INS(t_node(g, OP_reshape, INS(x), DIMS(6), ATTRS())), DIMS(6), ATTRS(0, 1));
        /* What varies is no constant: then the softmax stays. */
        uint32_t y = t_node(g, OP_add, INS(x, t_input(g, SLOT_INPUT, 0, 6)), DIMS(6), ATTRS());
        y = t_node(g, OP_softmax, INS(tied ? y : x), DIMS(6), ATTRS(0, 0));
        expect_ops(run(optimise_collapse, with_output(g, y)), tied ? "const add softmax" : "const");
    }
}

/* ---- structure ---- */

static void test_slides(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = in(g, 0, DIMS(5)), y = t_node(g, OP_shift, INS(x), DIMS(6), ATTRS(0, SHIFT_EXACT));
    STRUCTURE(g, t_node(g, OP_shift, INS(y), DIMS(7), ATTRS(0, SHIFT_EXACT)), "resize");
    g = graph_new();
    x = in(g, 0, DIMS(5)), y = t_node(g, OP_shift, INS(x), DIMS(6), ATTRS(0, SHIFT_EXACT));
    STRUCTURE(g, t_node(g, OP_unshift, INS(y), DIMS(5), ATTRS(0, SHIFT_EXACT)), "");
    g = graph_new(); /* the first cuts off what the second would keep */
    x = in(g, 0, DIMS(5)), y = t_node(g, OP_shift, INS(x), DIMS(5), ATTRS(0, SHIFT_DROP));
    STRUCTURE(g, t_node(g, OP_unshift, INS(y), DIMS(5), ATTRS(0, SHIFT_DROP)), "shift unshift");
    g = graph_new();
    x = in(g, 0, DIMS(2, 3)), y = t_node(g, OP_resize, INS(x), DIMS(2, 2), ATTRS(1, 1));
    STRUCTURE(g, t_node(g, OP_resize, INS(y), DIMS(2, 4), ATTRS(1, -1)), "resize resize");
    g = graph_new();
    x = in(g, 0, DIMS(2, 3)), y = t_node(g, OP_resize, INS(x), DIMS(2, 5), ATTRS(1, 2));
    STRUCTURE(g, t_node(g, OP_resize, INS(y), DIMS(2, 2), ATTRS(1, 0)), "zero");
    g = graph_new();
    STRUCTURE(g, t_node(g, OP_resize, INS(onehot(g, 4, 1)), DIMS(7), ATTRS(0, 3)), "onehot");
    g = graph_new();
    x = in(g, 0, DIMS(4)), y = t_node(g, OP_shift, INS(x), DIMS(4), ATTRS(0, SHIFT_SATURATE));
    STRUCTURE(g, t_node(g, OP_shift, INS(y), DIMS(4), ATTRS(0, SHIFT_SATURATE)), "shift shift");
}

static void test_picks(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = in(g, 0, DIMS(3)), y = t_node(g, OP_scatter, INS(x), DIMS(3, 4), ATTRS(1, 2));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(3), ATTRS(1, 2)), "");
    g = graph_new();
    x = in(g, 0, DIMS(3)), y = t_node(g, OP_scatter, INS(x), DIMS(3, 4), ATTRS(1, 2));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(3), ATTRS(1, 1)), "zero");
    g = graph_new();
    x = in(g, 0, DIMS(3)), y = t_node(g, OP_scatter, INS(x), DIMS(3, 4), ATTRS(1, 2));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(4), ATTRS(0, 1)), "select scatter");
    g = graph_new();
    STRUCTURE(g, t_node(g, OP_select, INS(t_node(g, OP_eye, INS(), DIMS(3, 3), ATTRS())), DIMS(3), ATTRS(0, 1)), "onehot");
    g = graph_new();
    x = in(g, 0, DIMS(2, 3, 4)), y = t_node(g, OP_permute, INS(x), DIMS(4, 2, 3), ATTRS(2, 0, 1));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(2, 3), ATTRS(0, 3)), "select");
    g = graph_new();
    x = in(g, 0, DIMS(2, 5)), y = t_node(g, OP_resize, INS(x), DIMS(2, 7), ATTRS(1, 1));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(2), ATTRS(1, 4)), "select");
    g = graph_new();
    x = in(g, 0, DIMS(6)), y = in(g, 1, DIMS(7));
    y = t_node(g, OP_contract, INS(x, y), DIMS(6, 7), ATTRS(1, 1, 2, 0, 1, 0, 1));
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(7), ATTRS(0, 2)), "select contract");
    g = graph_new(); /* somebody else wants all of it */
    x = in(g, 0, DIMS(6)), y = in(g, 1, DIMS(7));
    y = t_node(g, OP_contract, INS(x, y), DIMS(6, 7), ATTRS(1, 1, 2, 0, 1, 0, 1));
    graph_output(g, OUT_TANGENT, 0, y);
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(7), ATTRS(0, 2)), "contract select");
    g = graph_new();
    x = in(g, 0, DIMS(2)), y = in(g, 1, DIMS(20));
    y = t_node(g, OP_if, INS(x, y, in(g, 2, DIMS(20))), DIMS(20), ATTRS());
    STRUCTURE(g, t_node(g, OP_select, INS(y), DIMS(), ATTRS(0, 2)), "select select if");
}

static void test_orders(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = in(g, 0, DIMS(2, 3, 4)), y = t_node(g, OP_permute, INS(x), DIMS(4, 2, 3), ATTRS(2, 0, 1));
    STRUCTURE(g, t_node(g, OP_permute, INS(y), DIMS(2, 3, 4), ATTRS(1, 2, 0)), "");
    g = graph_new(); /* an axis of one element moves nothing */
    x = in(g, 0, DIMS(2, 1, 4));
    STRUCTURE(g, t_node(g, OP_permute, INS(x), DIMS(1, 2, 4), ATTRS(1, 0, 2)), "");
    g = graph_new();
    x = in(g, 0, DIMS(2, 3)), y = in(g, 1, DIMS(3, 4));
    y = t_node(g, OP_contract, INS(x, y), DIMS(2, 4), ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2));
    STRUCTURE(g, t_node(g, OP_permute, INS(y), DIMS(4, 2), ATTRS(1, 0)), "contract");
    g = graph_new();
    x = t_node(g, OP_permute, INS(in(g, 0, DIMS(3, 2))), DIMS(2, 3), ATTRS(1, 0));
    STRUCTURE(g, t_node(g, OP_contract, INS(x, in(g, 1, DIMS(3))), DIMS(2), ATTRS(2, 1, 1, 0, 1, 1, 0)), "contract");
}

static void test_choices(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t a = in(g, 0, DIMS(3)), b = in(g, 1, DIMS(3));
    STRUCTURE(g, t_node(g, OP_if, INS(onehot(g, 2, 1), a, b), DIMS(3), ATTRS()), "");
    g = graph_new();
    a = in(g, 0, DIMS(2));
    STRUCTURE(g, t_node(g, OP_if, INS(a, onehot(g, 2, 0), onehot(g, 2, 1)), DIMS(2), ATTRS()), "");
    g = graph_new();
    a = in(g, 0, DIMS(30));
    STRUCTURE(g, t_node(g, OP_if, INS(in(g, 1, DIMS(2)), a, zero(g, DIMS(30))), DIMS(30), ATTRS()), "select contract");
    g = graph_new(); /* (c₀ + c₁)·a, whatever the condition is */
    a = in(g, 0, DIMS(30));
    STRUCTURE(g, t_node(g, OP_if, INS(in(g, 1, DIMS(2)), a, a), DIMS(30), ATTRS()), "const contract contract");
    g = graph_new();
    a = in(g, 0, DIMS(3)), b = t_node(g, OP_scatter, INS(in(g, 1, DIMS(4))), DIMS(4, 2), ATTRS(1, 1));
    STRUCTURE(g, t_node(g, OP_if, INS(b, a, in(g, 2, DIMS(3))), DIMS(4, 3), ATTRS()), "contract");
    g = graph_new();
    a = in(g, 0, DIMS(8, 8)), b = in(g, 1, DIMS(8, 8));
    b = t_node(g, OP_if, INS(in(g, 2, DIMS(2)), a, b), DIMS(8, 8), ATTRS());
    STRUCTURE(g, t_matvec(g, b, in(g, 3, DIMS(8)), 8), "contract contract if");
}

static void test_sums(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t a = in(g, 0, DIMS(3)), b = in(g, 1, DIMS(3));
    STRUCTURE(g, t_node(g, OP_add, INS(a, zero(g, DIMS(3))), DIMS(3), ATTRS()), "");
    g = graph_new();
    a = t_matvec(g, in(g, 0, DIMS(3, 3)), in(g, 2, DIMS(3)), 3), b = t_matvec(g, in(g, 1, DIMS(3, 3)), in(g, 2, DIMS(3)), 3);
    STRUCTURE(g, t_node(g, OP_add, INS(a, b), DIMS(3), ATTRS()), "add contract");
    g = graph_new();
    a = t_node(g, OP_shift, INS(in(g, 0, DIMS(3))), DIMS(4), ATTRS(0, SHIFT_EXACT));
    b = t_node(g, OP_shift, INS(in(g, 1, DIMS(3))), DIMS(4), ATTRS(0, SHIFT_EXACT));
    STRUCTURE(g, t_node(g, OP_add, INS(a, b), DIMS(4), ATTRS()), "add shift");
    g = graph_new();
    a = t_node(g, OP_if, INS(in(g, 0, DIMS(2)), in(g, 1, DIMS(3)), in(g, 2, DIMS(3))), DIMS(3), ATTRS());
    b = t_node(g, OP_if, INS(in(g, 0, DIMS(2)), in(g, 3, DIMS(3)), in(g, 4, DIMS(3))), DIMS(3), ATTRS());
    STRUCTURE(g, t_node(g, OP_add, INS(a, b), DIMS(3), ATTRS()), "add add if");
}

static void test_factors(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t eye = t_node(g, OP_eye, INS(), DIMS(3, 3), ATTRS()), a = in(g, 0, DIMS(3, 2));
    STRUCTURE(g, t_node(g, OP_contract, INS(eye, a), DIMS(2, 3), ATTRS(2, 2, 2, 0, 1, 1, 2, 2, 0)), "permute");
    g = graph_new();
    a = in(g, 0, DIMS(3, 2));
    STRUCTURE(g, t_matvec(g, a, onehot(g, 2, 1), 3), "select");
    g = graph_new(); /* a label of the result only: placed there */
    a = in(g, 0, DIMS(3));
    STRUCTURE(g, t_node(g, OP_contract, INS(a, onehot(g, 2, 1)), DIMS(3, 2), ATTRS(1, 1, 2, 0, 1, 0, 1)), "scatter");
    g = graph_new();
    a = in(g, 0, DIMS(3, 2));
    STRUCTURE(g, t_matvec(g, a, zero(g, DIMS(2)), 3), "zero");
    g = graph_new();
    a = t_node(g, OP_scatter, INS(in(g, 0, DIMS(9))), DIMS(9, 9), ATTRS(1, 3));
    STRUCTURE(g, t_matvec(g, a, in(g, 1, DIMS(9)), 9), "select contract");
    g = graph_new();
    a = t_node(g, OP_scatter, INS(in(g, 0, DIMS(9))), DIMS(9, 9), ATTRS(0, 3));
    STRUCTURE(g, t_matvec(g, a, in(g, 1, DIMS(9)), 9), "contract scatter");
}

static Graph *step_of(uint32_t n, Op op, ShiftMode mode) {
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_STATE, 0, n);
    graph_output(g, OUT_STATE, 0, op == OP_input ? x : t_node(g, op, INS(x), DIMS(n), ATTRS(0, mode)));
    return g;
}

static uint32_t iterate(Graph *g, uint32_t count, uint32_t base, uint32_t n, Graph *step) {
    return t_sub_node(g, OP_iter, INS(count, base), DIMS(n), ATTRS(1, 1, 0, 1, 0, 0), SUBS(step));
}

static void test_counts(void **state) {
    (void)state;
    Graph *g = graph_new(); /* a padded count reads no more states */
    uint32_t n = t_node(g, OP_resize, INS(in(g, 0, DIMS(4))), DIMS(9), ATTRS(0, 0));
    STRUCTURE(g, iterate(g, n, in(g, 1, DIMS(3)), 3, step_of(3, OP_shift, SHIFT_SATURATE)), "iter");
    g = graph_new();
    STRUCTURE(g, iterate(g, zero(g, DIMS(4)), in(g, 1, DIMS(3)), 3, step_of(3, OP_shift, SHIFT_DROP)), "zero");
    g = graph_new(); /* equal iterations are one */
    uint32_t a = iterate(g, in(g, 0, DIMS(4)), in(g, 1, DIMS(3)), 3, step_of(3, OP_shift, SHIFT_DROP));
    assert_int_equal(a, iterate(g, in(g, 0, DIMS(4)), in(g, 1, DIMS(3)), 3, step_of(3, OP_shift, SHIFT_DROP)));
    assert_int_not_equal(a, iterate(g, in(g, 0, DIMS(4)), in(g, 1, DIMS(3)), 3, step_of(3, OP_unshift, SHIFT_DROP)));
    graph_free(g);
}

/* ---- recur ---- */

static void test_recur(void **state) {
    (void)state;
    Graph *g = graph_new(); /* (Σ nᵢ)·base */
    uint32_t y = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(9)), 9, step_of(9, OP_input, SHIFT_DROP));
    expect_ops(run(optimise_recur, with_output(g, y)), "const contract contract");
    g = graph_new(); /* a table of powers */
    y = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(2)), 2, step_of(2, OP_shift, SHIFT_SATURATE));
    expect_ops(run(optimise_recur, with_output(g, y)), "const contract contract");
    g = graph_new(); /* shifting is cheaper than its powers */
    y = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_shift, SHIFT_DROP));
    expect_ops(run(optimise_recur, with_output(g, y)), "iter");
    g = graph_new(); /* the states of a constant base are a table, here a shift */
    y = iterate(g, in(g, 0, DIMS(9)), onehot(g, 11, 2), 11, step_of(11, OP_shift, SHIFT_DROP));
    expect_ops(run(optimise_recur, with_output(g, y)), "resize");
    g = graph_new();
    y = t_sub_node(g, OP_iter, INS(in(g, 0, DIMS(3, 9)), in(g, 1, DIMS(2))), DIMS(3, 2), ATTRS(1, 1, 0, 1, 0, 0),
                   SUBS(step_of(2, OP_shift, SHIFT_SATURATE)));
    expect_ops(run(optimise_recur, with_output(g, y)), "const contract contract");
    g = graph_new();
    y = t_sub_node(g, OP_iter, INS(in(g, 0, DIMS(3, 9)), in(g, 1, DIMS(9))), DIMS(3, 9), ATTRS(1, 1, 0, 1, 0, 0),
                   SUBS(step_of(9, OP_input, SHIFT_DROP)));
    expect_ops(run(optimise_recur, with_output(g, y)), "const contract contract");
    g = graph_new(); /* read out twice: the sum of both */
    y = t_sub_node(g, OP_iter, INS(in(g, 0, DIMS(9)), onehot(g, 11, 2)), DIMS(11), ATTRS(1, 1, 0, 2, 0, 0, 0, 0),
                   SUBS(step_of(11, OP_shift, SHIFT_DROP)));
    expect_ops(run(optimise_recur, with_output(g, y)), "onehot iter");
}

/* The power of diag(1, 2) has an entry beyond all numbers, which the state never meets. */
static void test_powers_out_of_range(void **state) {
    enum { COUNT = 4000 };
    (void)state;
    Graph *g = graph_new(), *step = graph_new();
    uint32_t s = t_input(step, SLOT_STATE, 0, 2), doubled = graph_const(step, (double[]){1, 0, 0, 2}, DIMS(2, 2));
    graph_output(step, OUT_STATE, 0, t_matvec(step, doubled, s, 2));
    uint32_t y = iterate(g, onehot(g, COUNT, COUNT - 1), onehot(g, 2, 0), 2, step);
    expect_ops(run(optimise_recur, with_output(g, y)), "onehot");
}

/* ---- share ---- */

static uint32_t count_op(const Graph *g, Op op) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->nnodes; i++) n += g->nodes[i].op == op;
    return n;
}

/* The gradient of g, which is used up, has so many iterations beside its iter_vjps before sharing and after it. */
static void expect_iters(Graph *g, uint32_t y, uint32_t before, uint32_t after) {
    Cx cx;
    cx_init(&cx);
    Graph *volatile vjp = NULL;
    with_output(g, y);
    CX_TRY(&cx) vjp = derive_graph_vjp(&cx, g);
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
    graph_free(g);
    assert_int_equal(count_op(vjp, OP_iter), before);
    Graph *made = run(optimise_share, vjp);
    assert_int_equal(count_op(made, OP_iter), after);
    graph_free(run(optimise_graph, made));
}

static void test_share(void **state) {
    (void)state;
    Graph *g = graph_new(); /* the cotangent comes from outside */
    uint32_t a = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_shift, SHIFT_DROP));
    expect_iters(g, t_node(g, OP_shift, INS(a), DIMS(21), ATTRS(0, SHIFT_EXACT)), 1, 0);
    g = graph_new(); /* of a square it is the value's */
    a = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_shift, SHIFT_DROP));
    expect_iters(g, t_node(g, OP_contract, INS(a, a), DIMS(20), ATTRS(1, 1, 1, 0, 0, 0)), 1, 1);
    g = graph_new(); /* of a product each is the other's: one of them can wait */
    a = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_shift, SHIFT_DROP));
    uint32_t b = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_unshift, SHIFT_DROP));
    expect_iters(g, t_node(g, OP_contract, INS(a, b), DIMS(20), ATTRS(1, 1, 1, 0, 0, 0)), 2, 1);
    g = graph_new(); /* a base that is an iteration: what starts from it needs it before */
    a = iterate(g, in(g, 0, DIMS(9)), in(g, 1, DIMS(20)), 20, step_of(20, OP_shift, SHIFT_DROP));
    expect_iters(g, iterate(g, in(g, 2, DIMS(9)), a, 20, step_of(20, OP_unshift, SHIFT_DROP)), 2, 1);
}

/* ---- contraction ---- */

static void test_chain(void **state) {
    (void)state;
    Graph *g = graph_new(); /* (A·B)·x: two products of a matrix and a vector */
    uint32_t a = in(g, 0, DIMS(8, 8)), b = in(g, 1, DIMS(8, 8)), x = in(g, 2, DIMS(8));
    uint32_t ab = t_node(g, OP_contract, INS(a, b), DIMS(8, 8), ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2));
    Graph *made = run(optimise_contraction, with_output(g, t_matvec(g, ab, x, 8)));
    assert_true(graph_cost(made).macs == 2 * 64);
    graph_free(made);
    g = graph_new(); /* the same through a table of two arguments, [6·5, 4] applied to 4, then 5 elements */
    a = in(g, 0, DIMS(30, 4)), x = in(g, 1, DIMS(4)), b = in(g, 2, DIMS(5));
    ab = t_node(g, OP_contract, INS(a, x), DIMS(30), ATTRS(2, 1, 1, 0, 1, 1, 0));
    ab = t_node(g, OP_reshape, INS(ab), DIMS(6, 5), ATTRS());
    made = run(optimise_contraction, with_output(g, t_node(g, OP_contract, INS(ab, b), DIMS(6), ATTRS(2, 1, 1, 0, 1, 1, 0))));
    assert_true(graph_cost(made).macs == 4 * 5 + 6 * 4 * 5); /* the arguments first */
    graph_free(made);
    g = graph_new(); /* A·B is wanted as well: nothing is gained */
    a = in(g, 0, DIMS(8, 8)), b = in(g, 1, DIMS(8, 8)), x = in(g, 2, DIMS(8));
    ab = t_node(g, OP_contract, INS(a, b), DIMS(8, 8), ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2));
    graph_output(g, OUT_TANGENT, 0, ab);
    made = run(optimise_contraction, with_output(g, t_matvec(g, ab, x, 8)));
    assert_true(graph_cost(made).macs == 512 + 64);
    graph_free(made);
    g = graph_new(); /* ((A·x)·y)·z, A [6,7,3,2]: x·z first would take less, but then 7 and 2 are summed and A is to be moved */
    a = in(g, 0, DIMS(6, 7, 3, 2)), x = in(g, 1, DIMS(2)), b = in(g, 2, DIMS(3));
    ab = t_node(g, OP_contract, INS(a, x), DIMS(6, 7, 3), ATTRS(4, 1, 3, 0, 1, 2, 3, 3, 0, 1, 2));
    ab = t_node(g, OP_contract, INS(ab, b), DIMS(6, 7), ATTRS(3, 1, 2, 0, 1, 2, 2, 0, 1));
    made = run(optimise_contraction, with_output(g, t_matvec(g, ab, in(g, 3, DIMS(7)), 6)));
    assert_true(graph_cost(made).macs == 2 * 3 + 2 * 3 * 7 + 6 * 7 * 3 * 2);
    graph_free(made);
}

/* A random tree: each contraction takes its last axis' product apart by a reshape now and then. */
static uint32_t random_tree(Graph *g, Rng *r, const uint32_t *dims, uint32_t rank, uint32_t depth) {
    if (!depth || rank > 5 || rng_below(r, 6) == 0) return in(g, g->nslots, dims, rank);
    if (rank >= 2 && rng_below(r, 4) == 0) { /* two axes are one below a reshape */
        uint32_t joined[6];
        memcpy(joined, dims, rank * sizeof *dims);
        joined[rank - 2] *= joined[rank - 1];
        uint32_t x = random_tree(g, r, joined, rank - 1, depth - 1);
        return t_node_(g, OP_reshape, &x, 1, dims, rank, NULL, 0, NULL, 0);
    }
    uint32_t ad[8], bd[8], na = 0, nb = 0, extra = rng_below(r, 3), ins[2];
    int64_t al[8], bl[8], attrs[40];
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t where = rng_below(r, 5);
        if (where != 1) ad[na] = dims[i], al[na++] = i;
        if (where >= 1 && where != 2 && where != 3) bd[nb] = dims[i], bl[nb++] = i;
    }
    for (uint32_t i = 0; i < extra; i++) {
        ad[na] = bd[nb] = 1 + rng_below(r, 4);
        al[na++] = bl[nb++] = rank + i;
    }
    ins[0] = random_tree(g, r, ad, na, depth - 1);
    ins[1] = random_tree(g, r, bd, nb, depth - 1);
    attrs[0] = na, attrs[1] = nb, attrs[2] = rank;
    memcpy(attrs + 3, al, na * sizeof *al);
    memcpy(attrs + 3 + na, bl, nb * sizeof *bl);
    for (uint32_t i = 0; i < rank; i++) attrs[3 + na + nb + i] = i;
    return t_node_(g, OP_contract, ins, 2, dims, rank, attrs, 3 + na + nb + rank, NULL, 0);
}

static void test_trees(void **state) {
    (void)state;
    Rng r = rng_new("trees");
    int cheaper = 0;
    for (int i = 0; i < 400; i++) {
        uint32_t dims[3], rank = rng_below(&r, 4);
        for (uint32_t k = 0; k < rank; k++) dims[k] = 1 + rng_below(&r, 4);
        Graph *g = graph_new();
        with_output(g, random_tree(g, &r, dims, rank, 4));
        double before = graph_cost(g).macs;
        Graph *made = run(optimise_contraction, g);
        cheaper += graph_cost(made).macs < before;
        graph_free(run(optimise_graph, made));
    }
    assert_true(cheaper > 20);
}

/* ---- matrices ---- */

/* A matrix of each kind, now and then with zeros around. */
static void fill(Rng *r, double *cells, size_t n, size_t m, int kind) {
    int64_t by = (int64_t)rng_below(r, (uint32_t)(n + m - 1)) - (int64_t)(n - 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < m; j++) {
            bool diagonal = (int64_t)j - (int64_t)i == by;
            if (kind == 1) cells[i * m + j] = i == j;
            if (kind == 2) cells[i * m + j] = diagonal;
            if (kind == 3) cells[i * m + j] = i == j ? rng_real(r) : 0;
            if (kind == 4) cells[i * m + j] = rng_real(r);
            if (kind == 5) cells[i * m + j] = i > n / 2 && j > m / 3 && j < m - 1 ? rng_real(r) : 0;
        }
}

/* Slot 0 [outer, n] through the matrix. */
static Graph *applied(const Matrix *x, size_t outer) {
    const Graph empty = {0};
    char why[300];
    Cx cx;
    cx_init(&cx);
    Graph *volatile made = NULL;
    CX_TRY(&cx) {
        Rewrite *rw = rewrite_new(&cx, &empty);
        Dims out = {.rank = 2, .at = {(uint32_t)outer, (uint32_t)x->m}};
        uint32_t v = in(rw->to, 0, DIMS((uint32_t)outer, (uint32_t)x->n));
        graph_output(rw->to, OUT_VALUE, 0, matrix_apply(rw, v, outer, x, &out));
        made = rewrite_give(&cx, rw->to);
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
    if (!graph_verify(made, why, sizeof why)) fail_msg("%s", why);
    return made;
}

static void test_matrices(void **state) {
    (void)state;
    Rng r = rng_new("matrices");
    size_t found[MATRIX_DENSE + 1] = {0}, cut = 0;
    for (int i = 0; i < 600; i++) {
        size_t n = 1 + rng_below(&r, 9), m = rng_below(&r, 2) ? n : 1 + rng_below(&r, 9), outer = 1 + rng_below(&r, 3);
        double *cells = calloc(n * m, sizeof *cells);
        fill(&r, cells, n, m, i % 6);
        Matrix x = matrix_of(cells, n, m, outer);
        found[x.kind]++;
        cut += x.kind == MATRIX_DENSE && (x.rows < n || x.columns < m);
        Graph *plain = graph_new();
        uint32_t in_dims[] = {(uint32_t)outer, (uint32_t)n}, out_dims[] = {(uint32_t)outer, (uint32_t)m}, square[] = {(uint32_t)n, (uint32_t)m};
        uint32_t v = in(plain, 0, in_dims, 2), w = graph_const(plain, cells, square, 2);
        with_output(plain, t_node(plain, OP_contract, INS(v, w), out_dims, 2, ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2)));
        Graph *made = applied(&x, outer);
        expect_same(plain, made, &r);
        assert_true(cost_total(graph_cost(made)) <= cost_total(graph_cost(plain)));
        assert_true(cost_total(graph_cost(made)) == matrix_cost(&x, outer));
        graph_free(made);
        graph_free(plain);
        free(cells);
    }
    for (int kind = 0; kind <= MATRIX_DENSE; kind++) assert_true(found[kind] > 0);
    assert_true(cut > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constants), cmocka_unit_test(test_slides), cmocka_unit_test(test_picks), cmocka_unit_test(test_orders),
        cmocka_unit_test(test_choices), cmocka_unit_test(test_sums), cmocka_unit_test(test_factors),
        cmocka_unit_test(test_counts), cmocka_unit_test(test_recur), cmocka_unit_test(test_powers_out_of_range), cmocka_unit_test(test_share),
        cmocka_unit_test(test_chain), cmocka_unit_test(test_trees), cmocka_unit_test(test_matrices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
