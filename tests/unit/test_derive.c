/* Derivatives of the ops that layers and losses are made of, against finite differences and each other; of networks, recurrent ones too, in every
 * way a plan can be made; and what derive_vjp can be asked for. */
#include "compiler/lower/compile.h"
#include "compiler/derive/derive.h"
#include "compiler/passes/optimise.h"
#include "compiler/passes/rewrite.h"
#include "tests/support/planned.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- ops ---- */

/* The op's value from slots, derived with respect to all. */
static Graph *derived(const LayerCase *op, Derive derive) {
    Graph *plain = graph_new(), *volatile made = NULL;
    Cx cx;
    graph_output(plain, OUT_VALUE, 0, planned_op(plain, op));
    cx_init(&cx);
    CX_TRY(&cx) made = derive == DERIVE_VJP ? derive_graph_vjp(&cx, plain) : derive_graph_jvp(&cx, plain);
    if (cx.diag.code) fail_msg("%s: %s", op_row(op->op)->name, cx.diag.message);
    cx_release(&cx);
    graph_free(plain);
    planned_verify(made);
    return made;
}

static double *reals(Rng *r, size_t n) {
    double *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = 2 * rng_real(r);
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
    NaiveInput in[PLANNED_SLOTS];
    NaiveOutput y;
    graph_output(g, OUT_VALUE, 0, planned_op(g, op));
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

static const double H = 1e-6;

/* Values at -H, 0 and H. Next to a kink the slope is the one on its own side. */
static bool is_slope(double got, double before, double here, double after, double tolerance) {
    const double slopes[] = {(after - before) / (2 * H), (after - here) / H, (here - before) / H};
    bool near = false;
    for (int k = 0; k < (fabs(slopes[1] - slopes[2]) > 1e-3 ? 3 : 1); k++) near |= planned_near(got, slopes[k], tolerance * (1 + fabs(slopes[k]) + fabs(here)));
    return near;
}

static void check_derivatives(Rng *r, const LayerCase *op, const char *what) {
    Graph *jvp = derived(op, DERIVE_JVP), *vjp = derived(op, DERIVE_VJP);
    uint32_t slots = vjp->nslots - 1;
    double *x[PLANNED_SLOTS] = {0}, *t[PLANNED_SLOTS] = {0}, *c = reals(r, vjp->slots[slots].size), back = 0;
    NaiveInput in[2 * PLANNED_SLOTS];
    NaiveOutput forward[2], grads[1 + PLANNED_SLOTS];
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
    NaiveOutput up = value_at(op, x, t, H, slots), down = value_at(op, x, t, -H, slots);
    for (size_t i = 0; i < up.size; i++)
        if (!is_slope(forward[1].data[i], down.data[i], forward[0].data[i], up.data[i], 1e-6))
            fail_msg("%s: tangent %zu is %.9g, the slope %.9g", what, i, forward[1].data[i], (up.data[i] - down.data[i]) / (2 * H));
    for (uint32_t s = 0; s < slots; s++) back += dot(grads[1 + s].data, t[s], vjp->slots[s].size);
    double along = dot(c, forward[1].data, up.size);
    if (!planned_near(back, along, 1e-9 * (1 + fabs(along)) * (double)up.size)) fail_msg("%s: <c, J t> is %.12g, <Jt c, t> %.12g", what, along, back);
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
    Rng r = rng_new("derivatives");
    Op ops[OP_COUNT];
    for (uint32_t k = layer_ops(&r, ops); k-- > 0;)
        for (int n = 0; n < 30 && op_row(ops[k])->linear[0]; n++) {
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
    Rng r = rng_new("second");
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int jvp = 0; jvp < 2; jvp++) {
            LayerCase op = layer_case(&r, ops[k]);
            Graph *volatile g = graph_new();
            Cx cx;
            graph_output(g, OUT_VALUE, 0, planned_op(g, &op));
            cx_init(&cx);
            CX_TRY(&cx) graph_free(jvp ? derive_graph_jvp(&cx, g) : derive_graph_vjp(&cx, g));
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
    uint32_t bias = t_node(g, OP_reshape, INS(t_node(g, OP_broadcast, INS(b), DIMS(3, 72), ATTRS(1))), DIMS(3, 8, 9), ATTRS());
    y = t_node(g, OP_map, INS(t_node(g, OP_add, INS(y, bias), DIMS(3, 8, 9), ATTRS())), DIMS(3, 8, 9), ATTRS(f, 0, attr_bits(f == FUNCTION_hardtanh)));
    y = t_node(g, OP_max_pool2d, INS(y), DIMS(3, 4, 4), ATTRS(2, 2, 2, 2, 0, 0));
    y = contract_last(g, v, t_node(g, OP_reshape, INS(y), DIMS(FEATURES), ATTRS()), CLASSES);
    y = t_node(g, OP_softmax, INS(y), DIMS(CLASSES), ATTRS(0, 1));
    uint32_t fit = t_node(g, OP_contract, INS(y, t), DIMS(), ATTRS(1, 1, 0, 0, 0));
    graph_output(g, OUT_LOSS, 0, t_node(g, OP_map, INS(fit), DIMS(), ATTRS(FUNCTION_scale, attr_bits(-1), 0)));
    graph_output(g, OUT_VALUE, 0, y);
    planned_verify(g);
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
    planned_verify(optimised);
    return optimised;
}

/* Σ over rows of the first output, with element i of slot s moved by h */
static double loss_at(const Graph *g, const Planned *c, uint32_t s, size_t i, double h) {
    NaiveInput in[PLANNED_SLOTS];
    NaiveOutput y[PLANNED_OUTPUTS];
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
static void check_slopes(const Graph *plain, const Planned *c, Rng *r, uint32_t s, uint32_t o, const char *what) {
    NaiveInput in[PLANNED_SLOTS];
    NaiveOutput y[PLANNED_OUTPUTS];
    for (uint32_t k = 0; k < c->g->nslots; k++) in[k] = (NaiveInput){c->data[k], c->batched[k]};
    assert_true(naive_eval(c->g, c->rows, in, y));
    for (int n = 0; n < 6; n++) {
        size_t i = rng_below(r, (uint32_t)c->g->slots[s].size);
        const double here = loss_at(plain, c, s, i, 0), after = loss_at(plain, c, s, i, H), before = loss_at(plain, c, s, i, -H);
        if (!is_slope(y[o].data[i], before, here, after, 1e-5))
            fail_msg("%s, slot %u[%zu]: %.9g, the slope %.9g", what, s, i, y[o].data[i], (after - before) / (2 * H));
    }
    naive_release(y, c->g->noutputs);
}

/* Numbers within ±scale: reals, or multiples of a step (not 0), whose products and sums f32 does not round: it then takes the side of a kink that f64 takes. */
typedef struct {
    Rng *r;
    double scale, step;
} Numbers;

static double one_number(void *arg) {
    const Numbers *n = arg;
    const double x = n->scale * rng_real(n->r);
    return n->step > 0 ? n->step * round(x / n->step) : x;
}
static void fill(Planned *c, Rng *r, double scale, double step) { planned_fill(c, one_number, &(Numbers){r, scale, step}); }

/* A training step: gradients of the weights alone, summed over the batch. */
static void test_training(void **state) {
    (void)state;
    static const Function functions[] = {FUNCTION_relu, FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_hardtanh, FUNCTION_square};
    static const bool weights[] = {false, false, true, true, true};
    Rng r = rng_new("training");
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
        const char *what = function_row(functions[k])->name;
        Graph *plain = network(functions[k]);
        Planned c = {.g = derive(plain, &(DeriveSpec){.slots = weights}), .rows = 7, .batched = {true, true}};
        assert_int_equal(c.g->nslots, 6);
        assert_int_equal(c.g->noutputs, 5);
        for (uint32_t w = 0; w < 3; w++) assert_true(c.g->outputs[2 + w].role == OUT_GRAD_WEIGHT && c.g->outputs[2 + w].index == w);
        fill(&c, &r, 1, 0);
        c.data[5][0] = c.data32[5][0] = 1;
        for (uint32_t w = 0; w < 3; w++) check_slopes(plain, &c, &r, 2 + w, 2 + w, what);
        fill(&c, &r, 1, 0.125);
        c.data[5][0] = c.data32[5][0] = 1;
        for (int n = 0; n < 12; n++) {
            PlannedWay way = planned_way(&r, c.rows);
            way.below = (Isa)(n % (ISA_COUNT + 1));
            planned_against_naive(&c, &way, what);
            planned_same_bits(&c, way, &r, what);
        }
        planned_release(&c);
        graph_free(plain);
    }
}

/* sᵢ₊₁ = f(w ∗ pool(sᵢ) + b): images [1,5,6], kernels w [1,1,3,3] and b shared or a row's own. */
static Graph *recurrent(Op pool, Function f) {
    Graph *g = graph_new(), *step = graph_new();
    uint32_t s = t_node(step, OP_reshape, INS(t_input(step, SLOT_STATE, 0, 30)), DIMS(1, 5, 6), ATTRS());
    uint32_t w = t_node(step, OP_reshape, INS(t_input(step, SLOT_CAPTURE, 0, 9)), DIMS(1, 1, 3, 3), ATTRS()), b = t_input(step, SLOT_CAPTURE, 1, 1);
    uint32_t y = t_node(step, pool, INS(s), DIMS(1, 5, 6), ATTRS(3, 3, 1, 1, 1, 1));
    y = t_node(step, OP_conv2d, INS(y, w), DIMS(1, 5, 6), ATTRS(1, 1, 1, 1));
    b = t_node(step, OP_reshape, INS(t_node(step, OP_broadcast, INS(b), DIMS(1, 30), ATTRS(1))), DIMS(1, 5, 6), ATTRS());
    y = t_node(step, OP_map, INS(t_node(step, OP_add, INS(y, b), DIMS(1, 5, 6), ATTRS())), DIMS(1, 5, 6), ATTRS(f, 0, 0));
    graph_output(step, OUT_STATE, 0, t_node(step, OP_reshape, INS(y), DIMS(30), ATTRS()));
    uint32_t count = t_input(g, SLOT_INPUT, 0, 4), base = t_input(g, SLOT_INPUT, 1, 30), kernel = t_input(g, SLOT_INPUT, 2, 9);
    uint32_t bias = t_input(g, SLOT_INPUT, 3, 1);
    base = t_node(g, OP_reshape, INS(base), DIMS(5, 6), ATTRS());
    uint32_t out = t_sub_node(g, OP_iter, INS(count, base, kernel, bias), DIMS(5, 6), ATTRS(1, 1, 2, 1, 0, 0), SUBS(step));
    out = t_node(g, OP_reshape, INS(out), DIMS(30), ATTRS());
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_sum, INS(out), DIMS(), ATTRS(0)));
    planned_verify(g);
    return g;
}

/* Kinked steps have whole numbers, and f32 no rounding. */
static void check_recurrent(Rng *r, Op pool, Function f, bool kinked) {
    const char *what = function_row(f)->name;
    Graph *plain = recurrent(pool, f);
    for (int n = 0; n < 24; n++) {
        Planned c = {.g = derive(plain, &(DeriveSpec){0}), .rows = 1 + rng_below(r, 6), .batched = {true, n % 2, n / 2 % 2, n / 4 % 2}};
        fill(&c, r, 0.8, 0);
        c.data[4][0] = c.data32[4][0] = 1;
        for (uint32_t s = 0; s < 4; s++) check_slopes(plain, &c, r, s, 1 + s, what);
        if (kinked) fill(&c, r, 2, 1);
        c.data[4][0] = c.data32[4][0] = 1;
        PlannedWay way = planned_way(r, c.rows);
        way.near32 = kinked ? 0 : 5e-4; /* rounding grows with every iteration */
        planned_against_naive(&c, &way, what);
        planned_release(&c);
    }
    Cx cx;
    cx_init(&cx);
    Graph *volatile jvp = NULL;
    CX_TRY(&cx) jvp = derive_graph_jvp(&cx, plain);
    assert_int_equal(cx.diag.code, 0);
    cx_release(&cx);
    Planned c = {.g = jvp, .rows = 3, .batched = {true, true, false, true, true, true, false, false}};
    fill(&c, r, kinked ? 2 : 0.8, kinked);
    for (int n = 0; n < 8; n++) {
        PlannedWay way = planned_way(r, c.rows);
        way.near32 = kinked ? 0 : 5e-4;
        planned_against_naive(&c, &way, what);
    }
    planned_release(&c);
    graph_free(plain);
}

static void test_recurrent(void **state) {
    (void)state;
    Rng r = rng_new("recurrent");
    check_recurrent(&r, OP_avg_pool2d, FUNCTION_tanh, false);
    check_recurrent(&r, OP_max_pool2d, FUNCTION_relu, true);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derivatives), cmocka_unit_test(test_second),      cmocka_unit_test(test_training),
        cmocka_unit_test(test_recurrent),   cmocka_unit_test(test_derive_spec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
