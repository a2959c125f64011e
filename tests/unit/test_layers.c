/* The ops that layers and losses are made of: values worked out by hand, kernels against the naive evaluator (f32 and f64, every instruction
 * set, tiles, threads), a row's bits, derivatives against finite differences and each other, networks and recurrent ones,
 * and what the shape rules refuse. */
#include "compiler/compile.h"
#include "compiler/derive.h"
#include "compiler/naive.h"
#include "compiler/optimise.h"
#include "compiler/rewrite.h"
#include "tests/support/layers.h"
#include "worker/exec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { SLOTS = 8, OUTPUTS = 8 };

static void assert_good(const Graph *g) {
    char why[300] = "";
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
}

/* ---- by hand ---- */

static uint32_t leaf(Graph *g, const double *data, const uint32_t *dims, uint32_t rank) { return graph_const(g, data, dims, rank); }

static void assert_value(Graph *g, uint32_t node, const double *want, size_t n) {
    NaiveOutput y;
    graph_output(g, OUT_VALUE, 0, node);
    assert_good(g);
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
    function_is(FUNCTION_scale, 3, -1, WANT(-7, -2.5, -1, 0.5, 5, NAN));
}

static void slope_is(Function f, double p, double q, const double *want, size_t n) {
    Graph *g = graph_new();
    int64_t attrs[] = {f, real(p), real(q)};
    uint32_t x = leaf(g, DATA(-2, -0.5, 0, 0.5, 2), DIMS(5)), c = leaf(g, DATA(3, 3, 3, 3, 3), DIMS(5));
    uint32_t y = t_node(g, OP_map, INS(x), DIMS(5), attrs, 3);
    assert_value(g, t_node(g, OP_map_vjp, INS(x, y, c), DIMS(5), attrs, 3), want, n);
}

/* At the kinks. */
static void test_slopes(void **state) {
    (void)state;
    slope_is(FUNCTION_relu, 0, 0, WANT(0, 0, 0, 3, 3));
    slope_is(FUNCTION_leaky_relu, 0.5, 0, WANT(1.5, 1.5, 1.5, 3, 3));
    slope_is(FUNCTION_hardtanh, -0.5, 0.5, WANT(0, 0, 3, 0, 0));
    slope_is(FUNCTION_abs, 0, 0, WANT(-3, -3, 0, 3, 3));
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
    assert_value(g, t_node(g, OP_spread, INS(a), DIMS(2, 2, 3), ATTRS(1)), WANT(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
    g = graph_new();
    a = leaf(g, image, DIMS(2, 3));
    assert_value(g, t_node(g, OP_total, INS(a), DIMS(2), ATTRS(1)), WANT(6, 15));
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

typedef struct {
    Graph *g;
    size_t rows;
    double *data[SLOTS];
    float *data32[SLOTS];
    bool batched[SLOTS];
} Case;

static void free_case(Case *c) {
    for (int s = 0; s < SLOTS; s++) {
        free(c->data[s]);
        free(c->data32[s]);
    }
    graph_free(c->g);
}

/* Slots become inputs of the op's dims; what a derivative reads of the op's value is computed from slot 0. */
static uint32_t put_op(Graph *g, const LayerCase *op) {
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

/* Quarters, so that windows have equal elements; now and then something else. */
static double sample(Rand *r, bool wild) {
    static const double others[] = {NAN, INFINITY, -INFINITY, -0.0, 1e-40, 90, -90};
    if (wild && !t_below(r, 40)) return others[t_below(r, 7)];
    return t_below(r, 2) ? ((double)t_below(r, 17) - 8) / 4 : 3 * t_real(r);
}

static void fill_case(Case *c, Rand *r, bool wild) {
    for (uint32_t s = 0; s < c->g->nslots; s++) {
        size_t n = c->g->slots[s].size * (c->batched[s] ? c->rows : 1);
        c->data[s] = malloc(n * sizeof(double));
        c->data32[s] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) c->data[s][i] = c->data32[s][i] = (float)sample(r, wild);
    }
}

typedef struct {
    bool f64, no_tape, segments;
    Isa below;
    size_t tile, first, rows; /* rows first .. first + rows of the case */
    unsigned threads;
} Way;

/* outs[o]: malloced, in the way's dtype */
static void run_plan(const Case *c, const Way *way, void **outs, bool *batched) {
    bool wanted[OUTPUTS];
    Fault fault = {0};
    Workspace w = {.threads = way->threads};
    ExecInput in[SLOTS] = {0};
    ExecOutput out[OUTPUTS] = {0};
    memset(wanted, true, sizeof wanted);
    size_t element = way->f64 ? sizeof(double) : sizeof(float);
    Plan *plan = plan_new(&(PlanSpec){.graph = c->g, .f64 = way->f64, .batched = c->batched, .wanted = wanted, .isa_below = way->below,
                                      .no_tape = way->no_tape, .keep_bytes = way->segments}, &fault);
    if (!plan) fail_msg("%s", fault.message);
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
    if (!exec_run(plan, in, out, way->rows, way->tile, &w, &fault)) fail_msg("%s", fault.message);
    workspace_release(&w);
    plan_free(plan);
}

static bool near(double got, double want, double tolerance) {
    return fabs(got - want) <= tolerance || got == want || (isnan(got) && isnan(want));
}

static double largest(const NaiveOutput *y, size_t rows) {
    double most = 0;
    for (size_t i = 0; i < y->size * (y->batched ? rows : 1); i++)
        if (isfinite(y->data[i]) && fabs(y->data[i]) > most) most = fabs(y->data[i]);
    return most;
}

static void against_naive(const Case *c, const Way *way, const char *what) {
    NaiveInput in[SLOTS];
    NaiveOutput want[OUTPUTS];
    void *got[OUTPUTS];
    bool batched[OUTPUTS];
    for (int s = 0; s < SLOTS; s++) in[s] = (NaiveInput){c->data[s], c->batched[s]};
    assert_true(naive_eval(c->g, c->rows, in, want));
    run_plan(c, way, got, batched);
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        assert_int_equal(batched[o], want[o].batched);
        double tolerance = (way->f64 ? 1e-13 : 1e-5) * (1 + largest(&want[o], c->rows));
        for (size_t i = 0; i < want[o].size * (batched[o] ? c->rows : 1); i++) {
            double v = way->f64 ? ((double *)got[o])[i] : (double)((float *)got[o])[i];
            if (!near(v, want[o].data[i], tolerance) && (way->f64 || fabs(want[o].data[i]) < 1e38))
                fail_msg("%s, f%d, below %d, tile %zu, output %u, element %zu: %.9g, should be %.9g", what, way->f64 ? 64 : 32, (int)way->below,
                         way->tile, o, i, v, want[o].data[i]);
        }
        free(got[o]);
    }
    naive_release(want, c->g->noutputs);
}

/* Some rows by themselves have the bits they have among all. */
static void same_bits(const Case *c, Way way, Rand *r, const char *what) {
    void *all[OUTPUTS], *some[OUTPUTS];
    bool batched[OUTPUTS];
    size_t element = way.f64 ? sizeof(double) : sizeof(float);
    way.rows = c->rows;
    run_plan(c, &way, all, batched);
    way.rows = 1 + t_below(r, (uint32_t)c->rows);
    way.first = t_below(r, (uint32_t)(c->rows - way.rows + 1));
    way.tile = t_below(r, 4);
    run_plan(c, &way, some, batched);
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        size_t bytes = c->g->nodes[c->g->outputs[o].node].size * element;
        if (batched[o] && memcmp(some[o], (char *)all[o] + way.first * bytes, way.rows * bytes) != 0)
            fail_msg("%s, f%d, below %d: rows %zu to %zu have other bits", what, way.f64 ? 64 : 32, (int)way.below, way.first, way.first + way.rows);
        free(some[o]);
        free(all[o]);
    }
}

static Way some_way(Rand *r, size_t rows) {
    return (Way){.f64 = t_below(r, 2), .no_tape = t_below(r, 2), .below = (Isa)t_below(r, ISA_COUNT + 1), .tile = t_below(r, 4), .rows = rows,
                 .segments = t_below(r, 2), .threads = t_below(r, 8) ? 1 : 2};
}

static void test_kernels(void **state) {
    (void)state;
    Rand r = t_rand("kernels");
    for (int k = 0; k < LAYER_OPS; k++)
        for (int n = 0; n < 150; n++) {
            LayerCase op = layer_case(&r, layer_ops[k]);
            Case c = {.g = graph_new(), .rows = 1 + t_below(&r, 6)};
            for (int s = 0; s < SLOTS; s++) c.batched[s] = t_below(&r, 3);
            graph_output(c.g, OUT_VALUE, 0, put_op(c.g, &op));
            assert_good(c.g);
            fill_case(&c, &r, op.op == OP_map || op.op == OP_max_pool2d || op.op == OP_max_pool2d_vjp || op.op == OP_pad);
            const char *what = op.nattr == 3 && op.op <= OP_map_vjp ? function_row((Function)op.attrs[0])->name : op_row(op.op)->name;
            Way way = some_way(&r, c.rows);
            against_naive(&c, &way, what);
            same_bits(&c, way, &r, what);
            free_case(&c);
        }
}

/* Relative errors, over the whole range: the kernels have their own exp and log. */
static void check_accuracy(Function f, double p, double q, double least, double most, bool f64, Isa below) {
    enum { POINTS = 4001 };
    Graph *g = graph_new();
    NaiveOutput want;
    Case c = {.g = g, .rows = 1};
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
    run_plan(&c, &(Way){.f64 = f64, .below = below, .rows = 1}, &got, &batched);
    for (int i = 0; i < POINTS; i++) {
        double v = f64 ? ((double *)got)[i] : (double)((float *)got)[i], exact = want.data[i];
        if (!near(v, exact, (f64 ? 1.5e-15 : 6e-7) * fabs(exact)))
            fail_msg("%s, f%d, below %d: at %.9g %.17g, should be %.17g", function_row(f)->name, f64 ? 64 : 32, (int)below, c.data[0][i], v, exact);
    }
    free(got);
    naive_release(&want, 1);
    free_case(&c);
}

static void test_accuracy(void **state) {
    (void)state;
    for (int k = 0; k < 2 * (ISA_COUNT + 1); k++) {
        const bool f64 = k % 2;
        const Isa below = (Isa)(k / 2);
        check_accuracy(FUNCTION_tanh, 0, 0, -25, 25, f64, below);
        check_accuracy(FUNCTION_sigmoid, 0, 0, f64 ? -700 : -86, 50, f64, below);
        check_accuracy(FUNCTION_softplus, 1, 20, f64 ? -700 : -86, 30, f64, below);
        check_accuracy(FUNCTION_log, 0, 0, 1e-30, 0.7, f64, below);
        check_accuracy(FUNCTION_log, 0, 0, 1.5, 1e30, f64, below);
    }
}

/* ---- derivatives ---- */

/* The op's value from slots, derived with respect to all. */
static Graph *derived(const LayerCase *op, Derive derive) {
    Graph *plain = graph_new(), *volatile made = NULL;
    Cx cx;
    graph_output(plain, OUT_VALUE, 0, put_op(plain, op));
    cx_init(&cx);
    CX_TRY(&cx) made = derive == DERIVE_VJP ? compile_vjp(&cx, plain) : compile_jvp(&cx, plain);
    if (cx.diag.code) fail_msg("%s: %s", op_row(op->op)->name, cx.diag.message);
    cx_release(&cx);
    graph_free(plain);
    assert_good(made);
    return made;
}

static double *reals(Rand *r, size_t n) {
    double *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = 2 * t_real(r);
    return x;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* value at x + h·t */
static NaiveOutput value_at(const LayerCase *op, double *const *x, double *const *t, double h, uint32_t slots) {
    Graph *g = graph_new();
    NaiveInput in[SLOTS];
    NaiveOutput y;
    graph_output(g, OUT_VALUE, 0, put_op(g, op));
    for (uint32_t s = 0; s < slots; s++) {
        double *moved = malloc(g->slots[s].size * sizeof *moved);
        for (size_t i = 0; i < g->slots[s].size; i++) moved[i] = x[s][i] + h * t[s][i];
        in[s] = (NaiveInput){moved, false};
    }
    assert_true(naive_eval(g, 1, in, &y));
    for (uint32_t s = 0; s < slots; s++) free((double *)in[s].data);
    graph_free(g);
    return y;
}

static void check_derivatives(Rand *r, const LayerCase *op, const char *what) {
    Graph *jvp = derived(op, DERIVE_JVP), *vjp = derived(op, DERIVE_VJP);
    uint32_t slots = vjp->nslots - 1;
    double *x[SLOTS] = {0}, *t[SLOTS] = {0}, *c = reals(r, vjp->slots[slots].size), back = 0;
    NaiveInput in[2 * SLOTS];
    NaiveOutput forward[2], grads[1 + SLOTS];
    for (uint32_t s = 0; s < slots; s++) {
        size_t n = vjp->slots[s].size;
        x[s] = reals(r, n);
        t[s] = reals(r, n);
        if (op->op == OP_map && op->attrs[0] == FUNCTION_log)
            for (size_t i = 0; i < n; i++) x[s][i] = 0.1 + fabs(x[s][i]);
        in[s] = (NaiveInput){x[s], false};
        in[slots + s] = (NaiveInput){t[s], false};
    }
    assert_true(naive_eval(jvp, 1, in, forward));
    in[slots] = (NaiveInput){c, false};
    assert_true(naive_eval(vjp, 1, in, grads));
    const double h = 1e-6;
    NaiveOutput up = value_at(op, x, t, h, slots), down = value_at(op, x, t, -h, slots);
    for (size_t i = 0; i < up.size; i++) {
        double slope = (up.data[i] - down.data[i]) / (2 * h), got = forward[1].data[i];
        if (!near(got, slope, 1e-6 * (1 + fabs(slope) + fabs(up.data[i])))) fail_msg("%s: tangent %zu is %.9g, the slope %.9g", what, i, got, slope);
    }
    for (uint32_t s = 0; s < slots; s++) back += dot(grads[1 + s].data, t[s], vjp->slots[s].size);
    double along = dot(c, forward[1].data, up.size);
    if (!near(back, along, 1e-9 * (1 + fabs(along)) * (double)up.size)) fail_msg("%s: <c, J t> is %.12g, <Jt c, t> %.12g", what, along, back);
    naive_release(&up, 1);
    naive_release(&down, 1);
    naive_release(forward, 2);
    naive_release(grads, 1 + slots);
    for (uint32_t s = 0; s < slots; s++) free(x[s]), free(t[s]);
    free(c);
    graph_free(jvp);
    graph_free(vjp);
}

static void test_derivatives(void **state) {
    (void)state;
    static const Op ops[] = {OP_map, OP_softmax, OP_spread, OP_total, OP_pad, OP_max_pool2d, OP_avg_pool2d, OP_avg_pool2d_vjp, OP_conv2d,
                             OP_conv2d_dx, OP_conv2d_dw};
    Rand r = t_rand("derivatives");
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int n = 0; n < 30; n++) {
            LayerCase op = layer_case(&r, ops[k]);
            check_derivatives(&r, &op, op_row(op.op)->name);
        }
    for (uint32_t f = 0; f < FUNCTION_COUNT; f++)
        for (int n = 0; n < 5; n++) {
            LayerCase op = {.op = OP_map, .nin = 1};
            layer_function(&r, &op, f);
            check_derivatives(&r, &op, function_row((Function)f)->name);
        }
}

static void test_second(void **state) {
    (void)state;
    static const Op ops[] = {OP_map_vjp, OP_softmax_vjp, OP_max_pool2d_vjp, OP_max_pool2d_jvp};
    Rand r = t_rand("second");
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int jvp = 0; jvp < 2; jvp++) {
            LayerCase op = layer_case(&r, ops[k]);
            Graph *g = graph_new();
            Cx cx;
            graph_output(g, OUT_VALUE, 0, put_op(g, &op));
            cx_init(&cx);
            CX_TRY(&cx) graph_free(jvp ? compile_jvp(&cx, g) : compile_vjp(&cx, g));
            assert_int_equal(cx.diag.code, ERR_internal);
            cx_release(&cx);
            graph_free(g);
        }
}

/* ---- networks ---- */

static uint32_t contract_last(Graph *g, uint32_t w, uint32_t x, uint32_t n) {
    return t_node(g, OP_contract, INS(w, x), DIMS(n), ATTRS(2, 1, 1, 0, 1, 1, 0));
}

/* x [1,8,9], target [4]; conv 1 -> 3 (3×3, pad 1), bias, a function, max pool 2, linear 3·4·4 -> 4, log-softmax: −Σ target · log p */
enum { IMAGE = 8 * 9, KERNELS = 3 * 9, FEATURES = 3 * 4 * 4, CLASSES = 4 };

static Graph *network(Function f) {
    Graph *g = graph_new();
    uint32_t x = t_node(g, OP_reshape, INS(t_input(g, SLOT_COLUMN, 0, IMAGE)), DIMS(1, 8, 9), ATTRS()), t = t_input(g, SLOT_COLUMN, 1, CLASSES);
    uint32_t w = t_node(g, OP_reshape, INS(t_input(g, SLOT_WEIGHT, 0, KERNELS)), DIMS(3, 1, 3, 3), ATTRS()), b = t_input(g, SLOT_WEIGHT, 1, 3);
    uint32_t v = t_node(g, OP_reshape, INS(t_input(g, SLOT_WEIGHT, 2, CLASSES * FEATURES)), DIMS(CLASSES, FEATURES), ATTRS());
    uint32_t y = t_node(g, OP_conv2d, INS(x, w), DIMS(3, 8, 9), ATTRS(1, 1, 1, 1));
    uint32_t bias = t_node(g, OP_reshape, INS(t_node(g, OP_spread, INS(b), DIMS(3, 72), ATTRS(1))), DIMS(3, 8, 9), ATTRS());
    y = t_node(g, OP_map, INS(t_node(g, OP_add, INS(y, bias), DIMS(3, 8, 9), ATTRS())), DIMS(3, 8, 9), ATTRS(f, 0, real(f == FUNCTION_hardtanh)));
    y = t_node(g, OP_max_pool2d, INS(y), DIMS(3, 4, 4), ATTRS(2, 2, 2, 2, 0, 0));
    y = contract_last(g, v, t_node(g, OP_reshape, INS(y), DIMS(FEATURES), ATTRS()), CLASSES);
    y = t_node(g, OP_softmax, INS(y), DIMS(CLASSES), ATTRS(0, 1));
    uint32_t fit = t_node(g, OP_contract, INS(y, t), DIMS(), ATTRS(1, 1, 0, 0, 0));
    graph_output(g, OUT_LOSS, 0, t_node(g, OP_map, INS(fit), DIMS(), ATTRS(FUNCTION_scale, real(-1), 0)));
    graph_output(g, OUT_VALUE, 0, y);
    assert_good(g);
    return g;
}

static Graph *derive(const Graph *plain, const DeriveSpec *spec) {
    Graph *volatile made = NULL, *volatile optimised = NULL;
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        made = rewrite_give(&cx, derive_vjp(&cx, plain, spec));
        optimised = optimise_graph(&cx, made);
    }
    if (cx.diag.code) fail_msg("%s", cx.diag.message);
    cx_release(&cx);
    graph_free(made);
    assert_good(optimised);
    return optimised;
}

/* Σ over rows of the first output, with element i of slot s moved by h */
static double loss_at(const Graph *g, const Case *c, uint32_t s, size_t i, double h) {
    NaiveInput in[SLOTS];
    NaiveOutput y[OUTPUTS];
    double sum = 0, was = c->data[s][i];
    for (uint32_t k = 0; k < g->nslots; k++) in[k] = (NaiveInput){c->data[k], c->batched[k]};
    c->data[s][i] = was + h;
    assert_true(naive_eval(g, c->rows, in, y));
    c->data[s][i] = was;
    for (size_t k = 0; k < y[0].size * (y[0].batched ? c->rows : 1); k++) sum += y[0].data[k];
    naive_release(y, g->noutputs);
    return sum;
}

/* Output o, the gradient in slot s, against slopes at a few of its elements. */
static void check_slopes(const Graph *plain, const Case *c, Rand *r, uint32_t s, uint32_t o, const char *what) {
    NaiveInput in[SLOTS];
    NaiveOutput y[OUTPUTS];
    for (uint32_t k = 0; k < c->g->nslots; k++) in[k] = (NaiveInput){c->data[k], c->batched[k]};
    assert_true(naive_eval(c->g, c->rows, in, y));
    for (int n = 0; n < 6; n++) {
        size_t i = t_below(r, (uint32_t)c->g->slots[s].size);
        const double h = 1e-6, slope = (loss_at(plain, c, s, i, h) - loss_at(plain, c, s, i, -h)) / (2 * h);
        if (!near(y[o].data[i], slope, 1e-5 * (1 + fabs(slope)))) fail_msg("%s, slot %u[%zu]: %.9g, the slope %.9g", what, s, i, y[o].data[i], slope);
    }
    naive_release(y, c->g->noutputs);
}

static void fill_reals(Case *c, Rand *r, double scale) {
    for (uint32_t s = 0; s < c->g->nslots; s++) {
        size_t n = c->g->slots[s].size * (c->batched[s] ? c->rows : 1);
        c->data[s] = malloc(n * sizeof(double));
        c->data32[s] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) c->data[s][i] = c->data32[s][i] = (float)(scale * t_real(r));
    }
}

/* A training step: gradients of the weights alone, summed over the batch. */
static void test_training(void **state) {
    (void)state;
    static const Function functions[] = {FUNCTION_relu, FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_hardtanh, FUNCTION_square};
    static const bool weights[] = {false, false, true, true, true};
    Rand r = t_rand("training");
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
        const char *what = function_row(functions[k])->name;
        Graph *plain = network(functions[k]);
        Case c = {.g = derive(plain, &(DeriveSpec){.slots = weights}), .rows = 7, .batched = {true, true}};
        assert_int_equal(c.g->nslots, 6);
        assert_int_equal(c.g->noutputs, 5);
        for (uint32_t w = 0; w < 3; w++) assert_true(c.g->outputs[2 + w].role == OUT_GRAD_WEIGHT && c.g->outputs[2 + w].index == w);
        fill_reals(&c, &r, 1);
        c.data[5][0] = c.data32[5][0] = 1;
        for (uint32_t w = 0; w < 3; w++) check_slopes(plain, &c, &r, 2 + w, 2 + w, what);
        for (int n = 0; n < 12; n++) {
            Way way = some_way(&r, c.rows);
            way.below = (Isa)(n % (ISA_COUNT + 1));
            against_naive(&c, &way, what);
            same_bits(&c, way, &r, what);
        }
        free_case(&c);
        graph_free(plain);
    }
}

/* sᵢ₊₁ = tanh(w ∗ pool(sᵢ) + b): images [1,5,6], kernels w [1,1,3,3] and b shared or a row's own. */
static Graph *recurrent(void) {
    Graph *g = graph_new(), *step = graph_new();
    uint32_t s = t_node(step, OP_reshape, INS(t_input(step, SLOT_STATE, 0, 30)), DIMS(1, 5, 6), ATTRS());
    uint32_t w = t_node(step, OP_reshape, INS(t_input(step, SLOT_CAPTURE, 0, 9)), DIMS(1, 1, 3, 3), ATTRS()), b = t_input(step, SLOT_CAPTURE, 1, 1);
    uint32_t y = t_node(step, OP_max_pool2d, INS(s), DIMS(1, 5, 6), ATTRS(3, 3, 1, 1, 1, 1));
    y = t_node(step, OP_conv2d, INS(y, w), DIMS(1, 5, 6), ATTRS(1, 1, 1, 1));
    b = t_node(step, OP_reshape, INS(t_node(step, OP_spread, INS(b), DIMS(1, 30), ATTRS(1))), DIMS(1, 5, 6), ATTRS());
    y = t_node(step, OP_map, INS(t_node(step, OP_add, INS(y, b), DIMS(1, 5, 6), ATTRS())), DIMS(1, 5, 6), ATTRS(FUNCTION_tanh, 0, 0));
    graph_output(step, OUT_STATE, 0, t_node(step, OP_reshape, INS(y), DIMS(30), ATTRS()));
    uint32_t count = t_input(g, SLOT_INPUT, 0, 4), base = t_input(g, SLOT_INPUT, 1, 30), kernel = t_input(g, SLOT_INPUT, 2, 9);
    uint32_t bias = t_input(g, SLOT_INPUT, 3, 1);
    uint32_t out = t_sub_node(g, OP_iter, INS(count, base, kernel, bias), DIMS(30), ATTRS(1, 1, 2, 1, 0, 0), SUBS(step));
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_total, INS(out), DIMS(), ATTRS(0)));
    assert_good(g);
    return g;
}

static void test_recurrent(void **state) {
    (void)state;
    Rand r = t_rand("recurrent");
    Graph *plain = recurrent();
    for (int n = 0; n < 24; n++) {
        Case c = {.g = derive(plain, &(DeriveSpec){0}), .rows = 1 + t_below(&r, 6), .batched = {true, n % 2, n / 2 % 2, n / 4 % 2}};
        fill_reals(&c, &r, 0.8);
        c.data[4][0] = c.data32[4][0] = 1;
        for (uint32_t s = 0; s < 4; s++) check_slopes(plain, &c, &r, s, 1 + s, "recurrent");
        Way way = some_way(&r, c.rows);
        against_naive(&c, &way, "recurrent");
        free_case(&c);
    }
    Cx cx;
    cx_init(&cx);
    Graph *volatile jvp = NULL;
    CX_TRY(&cx) jvp = compile_jvp(&cx, plain);
    assert_int_equal(cx.diag.code, 0);
    cx_release(&cx);
    Case c = {.g = jvp, .rows = 3, .batched = {true, true, false, true, true, true, false, false}};
    fill_reals(&c, &r, 0.8);
    for (int n = 0; n < 8; n++) {
        Way way = some_way(&r, c.rows);
        against_naive(&c, &way, "recurrent, tangent");
    }
    free_case(&c);
    graph_free(plain);
}

/* Rows, not summed; other roles; one slot. */
static void test_derive_spec(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_COLUMN, 0, 3), w = t_input(g, SLOT_WEIGHT, 0, 3), y = t_node(g, OP_add, INS(x, w), DIMS(3), ATTRS());
    graph_output(g, OUT_VALUE, 0, x);
    graph_output(g, OUT_BOUND, 0, t_node(g, OP_map, INS(y), DIMS(3), ATTRS(FUNCTION_square, 0, 0)));
    Graph *d = derive(g, &(DeriveSpec){.output = 1, .slots = (bool[]){false, true}, .roles = (OutRole[]){OUT_GRAD_ARG, OUT_GRAD_INPUT}, .rows = true});
    assert_int_equal(d->noutputs, 3);
    assert_true(d->outputs[0].role == OUT_VALUE && d->outputs[1].role == OUT_BOUND && d->outputs[2].role == OUT_GRAD_INPUT);
    assert_true(d->nslots == 3 && d->slots[2].role == SLOT_COTANGENT && d->slots[2].size == 3);
    NaiveOutput out[3];
    NaiveInput in[] = {{(double[]){1, 2, 3, 4, 5, 6}, true}, {(double[]){1, 1, 1}, false}, {(double[]){1, 1, 1}, false}};
    assert_true(naive_eval(d, 2, in, out));
    assert_true(out[2].batched);
    for (int i = 0; i < 6; i++) assert_true(out[2].data[i] == 2 * (i + 2));
    naive_release(out, 3);
    graph_free(d);
    graph_free(g);
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
    refused("axis out of range", OP_spread, INS(2), DIMS(3, 5), ATTRS(2));
    refused("axis out of range", OP_spread, INS(2), DIMS(3), ATTRS(0));
    refused("dims are not", OP_spread, INS(2), DIMS(3, 5), ATTRS(0));
    refused("axis out of range", OP_total, INS(2), DIMS(), ATTRS(1));
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
        cmocka_unit_test(test_functions), cmocka_unit_test(test_slopes),      cmocka_unit_test(test_windows), cmocka_unit_test(test_images),
        cmocka_unit_test(test_kernels),   cmocka_unit_test(test_accuracy),    cmocka_unit_test(test_derivatives), cmocka_unit_test(test_second),  cmocka_unit_test(test_training),
        cmocka_unit_test(test_recurrent), cmocka_unit_test(test_derive_spec), cmocka_unit_test(test_refused), cmocka_unit_test(test_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
