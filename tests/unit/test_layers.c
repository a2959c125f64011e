/* The ops that layers and losses are made of: values worked out by hand, kernels against the naive evaluator (f32 and f64, every instruction
 * set, tiles, threads), a row's bits, accuracy, and what the shape rules refuse. Their derivatives: test_derive.c. */
#include "tests/support/planned.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- by hand ---- */

static uint32_t leaf(Graph *g, const double *data, const uint32_t *dims, uint32_t rank) { return graph_const(g, data, dims, rank); }

static void assert_value(Graph *g, uint32_t node, const double *want, size_t n) {
    NaiveOutput y;
    graph_output(g, OUT_VALUE, 0, node);
    planned_verify(g);
    assert_true(naive_eval(g, 1, NULL, &y));
    assert_int_equal(y.size, n);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(y.data[i] - want[i]) <= 1e-9) && !(isnan(y.data[i]) && isnan(want[i])))
            fail_msg("%s, element %zu is %g, not %g", op_row(g->nodes[node].op)->name, i, y.data[i], want[i]);
    naive_release(&y, 1);
    graph_free(g);
}
#define WANT(...) (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double)
#define DATA(...) (const double[]){__VA_ARGS__}

static int64_t real(double v) { return attr_bits(v); }

static void function_is(Function f, double p, double q, const double *want, size_t n) {
    Graph *g = graph_new();
    uint32_t x = leaf(g, DATA(-2, -0.5, 0, 0.5, 2, NAN), DIMS(6));
    assert_value(g, t_node(g, OP_map, INS(x), DIMS(6), ATTRS(f, real(p), real(q))), want, n);
}

/* What PyTorch 2 gives. */
static void test_functions(void **state) {
    (void)state;
    function_is(FUNCTION_relu, 0, 0, WANT(0, 0, 0, 0.5, 2, NAN));
    function_is(FUNCTION_leaky_relu, 0.1, 0, WANT(-0.2, -0.05, 0, 0.5, 2, NAN));
    function_is(FUNCTION_tanh, 0, 0, WANT(-0.9640275800758169, -0.46211715726000973, 0, 0.46211715726000973, 0.9640275800758169, NAN));
    function_is(FUNCTION_sigmoid, 0, 0, WANT(0.11920292202211755, 0.3775406687981454, 0.5, 0.6224593312018546, 0.8807970779778823, NAN));
    function_is(FUNCTION_softplus, 2, 3, WANT(0.009074964023405462, 0.15663084360104424, 0.34657359027997264, 0.6566308436010442, 2, NAN));
    function_is(FUNCTION_hardtanh, -0.5, 1, WANT(-0.5, -0.5, 0, 0.5, 1, NAN));
    function_is(FUNCTION_abs, 0, 0, WANT(2, 0.5, 0, 0.5, 2, NAN));
    function_is(FUNCTION_square, 0, 0, WANT(4, 0.25, 0, 0.25, 4, NAN));
    function_is(FUNCTION_log, 0, 0, WANT(NAN, NAN, -100, -0.6931471805599453, 0.6931471805599453, NAN));
    function_is(FUNCTION_erf, 0, 0, WANT(-0.9953222650189527, -0.5204998778130465, 0, 0.5204998778130465, 0.9953222650189527, NAN));
    function_is(FUNCTION_gelu, 0, 0, WANT(-0.04550026389635841, -0.15426876936299344, 0, 0.34573123063700656, 1.9544997361036416, NAN));
    function_is(FUNCTION_scale, 3, -1, WANT(-7, -2.5, -1, 0.5, 5, NAN));
}

static void slope_is(Function f, double p, double q, const double *want, size_t n) {
    Graph *g = graph_new();
    int64_t attrs[] = {f, real(p), real(q)};
    uint32_t x = leaf(g, DATA(-2, -0.5, 0, 0.5, 2), DIMS(5)), c = leaf(g, DATA(3, 3, 3, 3, 3), DIMS(5));
    uint32_t y = t_node(g, OP_map, INS(x), DIMS(5), attrs, 3);
    assert_value(g, t_node(g, OP_map_vjp, INS(x, y, c), DIMS(5), attrs, 3), want, n);
}

/* At the kinks, and of formulas that are not f again. */
static void test_slopes(void **state) {
    (void)state;
    slope_is(FUNCTION_relu, 0, 0, WANT(0, 0, 0, 3, 3));
    slope_is(FUNCTION_leaky_relu, 0.5, 0, WANT(1.5, 1.5, 1.5, 3, 3));
    slope_is(FUNCTION_hardtanh, -0.5, 0.5, WANT(0, 0, 3, 0, 0));
    slope_is(FUNCTION_abs, 0, 0, WANT(-3, -3, 0, 3, 3));
    slope_is(FUNCTION_erf, 0, 0, WANT(0.06200095606227616, 2.6363477368063344, 3.385137501286538, 2.6363477368063344, 0.06200095606227616));
    slope_is(FUNCTION_gelu, 0, 0, WANT(-0.25569540323459069, 0.39751462603151147, 1.5, 2.6024853739684885, 3.2556954032345907));
    slope_is(FUNCTION_log, 0, 0, WANT(3e12, 3e12, 3e12, 6, 1.5));
}

static void test_windows(void **state) {
    (void)state;
    const double x[] = {1, 5, 5, 2, NAN, 0, -1, -2, NAN, 3, 3, 3}, image[] = {1, 2, 3, 4, 5, 6};
    Graph *g = graph_new();
    uint32_t a = leaf(g, x, DIMS(3, 4));
    assert_value(g, t_node(g, OP_max_pool2d, INS(a), DIMS(3, 1), ATTRS(1, 4, 1, 4, 0, 0)), WANT(5, NAN, NAN));
    g = graph_new();
    a = leaf(g, x, DIMS(3, 4));
    uint32_t c = leaf(g, DATA(1, 10, 100), DIMS(3, 1));
    assert_value(g, t_node(g, OP_max_pool2d_vjp, INS(a, c), DIMS(3, 4), ATTRS(1, 4, 1, 4, 0, 0)), WANT(0, 1, 0, 0, 10, 0, 0, 0, 100, 0, 0, 0));
    g = graph_new();
    a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_max_pool2d, INS(a), DIMS(3, 2), ATTRS(2, 3, 1, 2, 1, 1)), WANT(2, 3, 5, 6, 5, 6));
}

static void test_images(void **state) {
    (void)state;
    const double image[] = {1, 2, 3, 4, 5, 6};
    Graph *g = graph_new();
    uint32_t a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_avg_pool2d, INS(a), DIMS(1, 2), ATTRS(2, 2, 2, 2, 0, 1)), WANT(1.25, 4));
    g = graph_new();
    a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_pad, INS(a), DIMS(2, 3), ATTRS(1, -1, -1, 1, real(7))), WANT(7, 7, 7, 2, 3, 7));
    g = graph_new();
    a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_broadcast, INS(a), DIMS(2, 2, 3), ATTRS(1)), WANT(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
    g = graph_new();
    a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_sum, INS(a), DIMS(2), ATTRS(1)), WANT(6, 15));
    g = graph_new();
    a = leaf(g, image, DIMS(1, 2, 3));
    uint32_t w = leaf(g, DATA(1, 10, 100, 1000), DIMS(1, 1, 2, 2));
    assert_value(g, t_node(g, OP_conv2d, INS(a, w), DIMS(1, 1, 2), ATTRS(1, 1, 0, 0)), WANT(5421, 6532));
    g = graph_new();
    a = leaf(g, image, DIMS(1, 2, 3));
    w = leaf(g, DATA(1, 10, 100, 1000), DIMS(2, 1, 1, 2));
    assert_value(g, t_node(g, OP_conv2d, INS(a, w), DIMS(2, 2, 2), ATTRS(1, 2, 0, 1)), WANT(10, 32, 40, 65, 1000, 3200, 4000, 6500));
}

/* ---- kernels ---- */

/* Quarters, so that windows have equal elements; now and then, when wild, something else. */
typedef struct {
    Rng *r;
    bool wild;
} Sample;

static double sample(void *arg) {
    static const double others[] = {NAN, INFINITY, -INFINITY, -0.0, 1e-40, 90, -90};
    const Sample *s = arg;
    if (s->wild && !rng_below(s->r, 40)) return others[rng_below(s->r, 7)];
    return rng_below(s->r, 2) ? ((double)rng_below(s->r, 17) - 8) / 4 : 3 * rng_real(s->r);
}

static void test_kernels(void **state) {
    (void)state;
    Rng r = rng_new("kernels");
    Op ops[OP_COUNT];
    for (uint32_t k = layer_ops(&r, ops); k-- > 0;)
        for (int n = 0; n < 150; n++) {
            LayerCase op = layer_case(&r, ops[k]);
            Planned c = {.g = graph_new(), .rows = 1 + rng_below(&r, 6)};
            for (int s = 0; s < PLANNED_SLOTS; s++) c.batched[s] = rng_below(&r, 3);
            graph_output(c.g, OUT_VALUE, 0, planned_op(c.g, &op));
            planned_verify(c.g);
            Sample numbers = {&r, op.op == OP_map || op.op == OP_max_pool2d || op.op == OP_max_pool2d_vjp || op.op == OP_pad};
            planned_fill(&c, sample, &numbers);
            const char *what = op_row(op.op)->attrs->kind == ATTR_function ? function_row((Function)op.attrs[0])->name : op_row(op.op)->name;
            PlannedWay way = planned_way(&r, c.rows);
            planned_against_naive(&c, &way, what);
            planned_same_bits(&c, way, &r, what);
            planned_release(&c);
        }
}

/* Relative errors, over the whole range: the kernels have their own exp and log. */
static void check_accuracy(Function f, double p, double q, double least, double most, bool f64, Isa below) {
    enum { POINTS = 4001 };
    Graph *g = graph_new();
    NaiveOutput want;
    Planned c = {.g = g, .rows = 1};
    void *got;
    bool batched;
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_map, INS(t_input(g, SLOT_ARG, 0, POINTS)), DIMS(POINTS), ATTRS(f, real(p), real(q))));
    c.data[0] = malloc(POINTS * sizeof(double));
    c.data32[0] = malloc(POINTS * sizeof(float));
    for (int i = 0; i < POINTS; i++) { /* dense around 0 */
        double at = (double)i / (POINTS - 1), x = least + (most - least) * at;
        if (i % 2) x *= pow(10, -8 * at);
        c.data[0][i] = c.data32[0][i] = (float)x;
    }
    assert_true(naive_eval(g, 1, &(NaiveInput){c.data[0], false}, &want));
    planned_run(&c, &(PlannedWay){.f64 = f64, .below = below, .rows = 1}, &got, &batched);
    for (int i = 0; i < POINTS; i++) {
        double v = f64 ? ((double *)got)[i] : (double)((float *)got)[i], exact = want.data[i];
        if (!planned_near(v, exact, (f64 ? 1.5e-15 : 6e-7) * fabs(exact)))
            fail_msg("%s, f%d, below %d: at %.9g %.17g, should be %.17g", function_row(f)->name, f64 ? 64 : 32, (int)below, c.data[0][i], v, exact);
    }
    free(got);
    naive_release(&want, 1);
    planned_release(&c);
}

static void test_accuracy(void **state) {
    (void)state;
    for (int k = 0; k < 2 * (ISA_COUNT + 1); k++) {
        const bool f64 = k % 2;
        const Isa below = (Isa)(k / 2);
        check_accuracy(FUNCTION_tanh, 0, 0, -25, 25, f64, below);
        check_accuracy(FUNCTION_sigmoid, 0, 0, f64 ? -700 : -86, 50, f64, below);
        check_accuracy(FUNCTION_softplus, 1, 20, f64 ? -700 : -86, 30, f64, below);
        check_accuracy(FUNCTION_erf, 0, 0, -30, 0, f64, below);
        check_accuracy(FUNCTION_erf, 0, 0, 1.3, 0.7, f64, below);
        check_accuracy(FUNCTION_erf, 0, 0, 1, 7, f64, below);
        check_accuracy(FUNCTION_gelu, 0, 0, 0, 30, f64, below);
        check_accuracy(FUNCTION_log, 0, 0, 1e-30, 0.7, f64, below);
        check_accuracy(FUNCTION_log, 0, 0, 1.5, 1e30, f64, below);
    }
}

/* ---- what is refused, and what is said ---- */

/* One node over inputs a [2,3,4], b [3], w [2,2,3,1]. */
static void refused(const char *expected, Op op, const uint32_t *ins, uint32_t nin, const uint32_t *dims, uint32_t rank, const int64_t *attrs,
                    uint32_t nattr) {
    Graph *g = graph_new();
    char why[300] = "";
    t_node(g, OP_reshape, INS(t_input(g, SLOT_ARG, 0, 24)), DIMS(2, 3, 4), ATTRS()); /* 1 */
    t_input(g, SLOT_ARG, 1, 3);                                                      /* 2 */
    t_node(g, OP_reshape, INS(t_input(g, SLOT_ARG, 2, 12)), DIMS(2, 2, 3, 1), ATTRS()); /* 4 */
    t_node(g, op, ins, nin, dims, rank, attrs, nattr);
    assert_false(graph_verify(g, why, sizeof why));
    if (!strstr(why, expected)) fail_msg("said \"%s\", not \"%s\"", why, expected);
    graph_free(g);
}

static void test_refused(void **state) {
    (void)state;
    const int64_t inf = real(INFINITY);
    refused("no such function", OP_map, INS(2), DIMS(3), ATTRS(FUNCTION_COUNT, 0, 0));
    refused("no such function", OP_map, INS(2), DIMS(3), ATTRS(-1, 0, 0));
    refused("number of attributes", OP_map, INS(2), DIMS(3), ATTRS(0, 0));
    refused("not finite", OP_map, INS(2), DIMS(3), ATTRS(FUNCTION_scale, inf, 0));
    refused("does not have", OP_map, INS(2), DIMS(3), ATTRS(FUNCTION_relu, 1, 0));
    refused("beta 0", OP_map, INS(2), DIMS(3), ATTRS(FUNCTION_softplus, 0, real(20)));
    refused("dims are not", OP_map, INS(2), DIMS(4), ATTRS(FUNCTION_relu, 0, 0));
    refused("differ in dims", OP_map_vjp, INS(2, 2, 1), DIMS(3), ATTRS(FUNCTION_relu, 0, 0));
    refused("axis out of range", OP_softmax, INS(2), DIMS(3), ATTRS(1, 0));
    refused("neither 0 nor 1", OP_softmax, INS(2), DIMS(3), ATTRS(0, 2));
    refused("number of attributes", OP_softmax_vjp, INS(2, 2), DIMS(3), ATTRS(0, 0));
    refused("axis out of range", OP_broadcast, INS(2), DIMS(3, 5), ATTRS(2));
    refused("axis out of range", OP_broadcast, INS(2), DIMS(3), ATTRS(0));
    refused("dims are not", OP_broadcast, INS(2), DIMS(3, 5), ATTRS(0));
    refused("axis out of range", OP_sum, INS(2), DIMS(), ATTRS(1));
    refused("fewer than two axes", OP_pad, INS(2), DIMS(3), ATTRS(0, 0, 0, 0, 0));
    refused("too large or empty", OP_pad, INS(1), DIMS(2, 1, 4), ATTRS(-2, -1, 0, 0, 0));
    refused("out of range", OP_pad, INS(1), DIMS(2, 3, 4), ATTRS(INT64_MIN, 3, 0, 0, 0));
    refused("not finite", OP_pad, INS(1), DIMS(2, 3, 4), ATTRS(0, 0, 0, 0, inf));
    refused("half a window", OP_max_pool2d, INS(1), DIMS(2, 3, 4), ATTRS(1, 1, 1, 1, 1, 0));
    refused("no window fits", OP_avg_pool2d, INS(1), DIMS(2, 1, 1), ATTRS(4, 4, 1, 1, 0, 0));
    refused("no window fits", OP_avg_pool2d, INS(1), DIMS(2, 1, 1), ATTRS(1, 1, 0, 1, 0, 0));
    refused("dims are not the result's", OP_max_pool2d_vjp, INS(1, 1), DIMS(2, 3, 4), ATTRS(2, 2, 1, 1, 0, 0));
    refused("dims are not the result's", OP_avg_pool2d_vjp, INS(1), DIMS(2, 3, 4), ATTRS(2, 2, 1, 1, 0, 0));
    refused("image and kernels", OP_conv2d, INS(1, 1), DIMS(2, 1, 4), ATTRS(1, 1, 0, 0));
    refused("number of attributes", OP_conv2d, INS(1, 4), DIMS(2, 1, 4), ATTRS(1, 1, 0));
    refused("padding out of range", OP_conv2d, INS(1, 4), DIMS(2, 1, 4), ATTRS(1, 1, -1, 0));
    refused("dims are not", OP_conv2d, INS(1, 4), DIMS(2, 1, 3), ATTRS(1, 1, 0, 0));
    refused("dims are not the result's", OP_conv2d_dx, INS(1, 4), DIMS(2, 3, 4), ATTRS(1, 1, 0, 0));
    refused("dims are not the result's", OP_conv2d_dw, INS(1, 1), DIMS(2, 2, 3, 1), ATTRS(1, 1, 0, 0));
}

static void test_said(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = t_node(g, OP_reshape, INS(t_input(g, SLOT_COLUMN, 0, 24)), DIMS(2, 3, 4), ATTRS());
    uint32_t w = t_node(g, OP_reshape, INS(t_input(g, SLOT_WEIGHT, 0, 36)), DIMS(3, 2, 2, 3), ATTRS());
    uint32_t y = t_node(g, OP_conv2d, INS(x, w), DIMS(3, 2, 4), ATTRS(1, 1, 0, 1));
    const double conv = 24.0 * 12;
    assert_true(graph_stats(g).macs == conv);
    uint32_t dw = t_node(g, OP_conv2d_dw, INS(y, x), DIMS(3, 2, 2, 3), ATTRS(1, 1, 0, 1));
    assert_true(graph_stats(g).macs == 2 * conv);
    t_node(g, OP_conv2d_dx, INS(y, dw), DIMS(2, 3, 4), ATTRS(1, 1, 0, 1));
    assert_true(graph_stats(g).macs == 3 * conv);
    uint32_t pool = t_node(g, OP_avg_pool2d, INS(y), DIMS(3, 1, 2), ATTRS(2, 2, 2, 2, 0, 0));
    assert_true(graph_stats(g).macs == 3 * conv + 24);
    uint32_t f = t_node(g, OP_map, INS(pool), DIMS(3, 1, 2), ATTRS(FUNCTION_leaky_relu, real(0.25), 0));
    uint32_t p = t_node(g, OP_pad, INS(f), DIMS(3, 2, 1), ATTRS(1, 0, 0, -1, real(-1)));
    graph_output(g, OUT_LOSS, 0, t_node(g, OP_softmax, INS(p), DIMS(3, 2, 1), ATTRS(1, 1)));
    Buf out;
    buf_init(&out);
    graph_json(&out, g);
    buf_putc(&out, 0);
    static const char *const said[] = {
        "\"op\":\"conv2d\",\"space\":[3,2,4],\"in\":[1,3],\"sh\":1,\"sw\":1,\"ph\":0,\"pw\":1}", "\"role\":\"column\"", "\"role\":\"weight\"",
        "\"kh\":2,\"kw\":2,\"sh\":2,\"sw\":2,\"ph\":0,\"pw\":0}", "\"function\":\"leaky_relu\",\"slope\":0.25}",
        "\"top\":1,\"bottom\":0,\"left\":0,\"right\":-1,\"value\":-1}", "\"axis\":1,\"log\":1}", "\"role\":\"loss\""};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr((char *)out.data, said[i])) fail_msg("%s is not in %s", said[i], (char *)out.data);
    buf_release(&out);
    buf_init(&out);
    char why[200];
    assert_true(graph_write(g, &out));
    Graph *back = graph_read(out.data, out.len, why, sizeof why);
    if (!back) fail_msg("%s", why);
    assert_int_equal(back->nnodes, g->nnodes);
    graph_free(back);
    buf_release(&out);
    graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_slopes),   cmocka_unit_test(test_windows), cmocka_unit_test(test_images),
        cmocka_unit_test(test_kernels),   cmocka_unit_test(test_accuracy), cmocka_unit_test(test_refused), cmocka_unit_test(test_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
