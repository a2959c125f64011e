#include "compiler/passes/naive.h"
#include "schema/graph/ops.h"
#include "tests/support/graphs.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Evaluates a graph with one output, whose rows must be `expected`. Frees the graph. */
static void assert_value(Graph *g, size_t rows, const NaiveInput *inputs, const double *expected, size_t n) {
    NaiveOutput y;
    char why[300] = "";
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
    assert_int_equal(g->noutputs, 1);
    assert_true(naive_eval(g, rows, inputs, &y));
    assert_int_equal(y.size * (y.batched ? rows : 1), n);
    for (size_t i = 0; i < n; i++)
        if (fabs(y.data[i] - expected[i]) > 1e-12) fail_msg("element %zu is %g, not %g", i, y.data[i], expected[i]);
    naive_release(&y, 1);
    graph_free(g);
}
#define VALUE(g, inputs, ...) \
    assert_value((g), 1, (inputs), (double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double))

static Graph *unary(uint32_t size, const uint32_t *dims, uint32_t rank, Op op, const int64_t *attrs, uint32_t nattr, const uint32_t *out,
                    uint32_t nout) {
    Graph *g = graph_new();
    uint32_t x = t_node(g, OP_reshape, INS(t_input(g, SLOT_ARG, 0, size)), dims, rank, ATTRS());
    graph_output(g, OUT_VALUE, 0, t_node(g, op, INS(x), out, nout, attrs, nattr));
    return g;
}

static void test_structure(void **state) {
    (void)state;
    const NaiveInput six = {(double[]){1, 2, 3, 4, 5, 6}, false};
    VALUE(unary(6, DIMS(2, 3), OP_shift, ATTRS(1, SHIFT_EXACT), DIMS(2, 4)), &six, 0, 1, 2, 3, 0, 4, 5, 6);
    VALUE(unary(6, DIMS(2, 3), OP_shift, ATTRS(1, SHIFT_DROP), DIMS(2, 3)), &six, 0, 1, 2, 0, 4, 5);
    VALUE(unary(6, DIMS(2, 3), OP_shift, ATTRS(1, SHIFT_SATURATE), DIMS(2, 3)), &six, 0, 1, 5, 0, 4, 11);
    VALUE(unary(6, DIMS(2, 3), OP_shift, ATTRS(0, SHIFT_DROP), DIMS(2, 3)), &six, 0, 0, 0, 1, 2, 3);
    VALUE(unary(6, DIMS(1, 6), OP_shift, ATTRS(0, SHIFT_SATURATE), DIMS(1, 6)), &six, 1, 2, 3, 4, 5, 6);
    VALUE(unary(6, DIMS(2, 3), OP_unshift, ATTRS(1, SHIFT_EXACT), DIMS(2, 2)), &six, 2, 3, 5, 6);
    VALUE(unary(6, DIMS(2, 3), OP_unshift, ATTRS(1, SHIFT_DROP), DIMS(2, 3)), &six, 2, 3, 0, 5, 6, 0);
    VALUE(unary(6, DIMS(2, 3), OP_unshift, ATTRS(1, SHIFT_SATURATE), DIMS(2, 3)), &six, 2, 3, 3, 5, 6, 6);
    VALUE(unary(6, DIMS(2, 3), OP_resize, ATTRS(1, 0), DIMS(2, 2)), &six, 1, 2, 4, 5);
    VALUE(unary(6, DIMS(2, 3), OP_resize, ATTRS(1, 2), DIMS(2, 4)), &six, 0, 0, 1, 2, 0, 0, 4, 5);
    VALUE(unary(6, DIMS(2, 3), OP_resize, ATTRS(1, -1), DIMS(2, 4)), &six, 2, 3, 0, 0, 5, 6, 0, 0);
    VALUE(unary(6, DIMS(2, 3), OP_resize, ATTRS(0, 0), DIMS(3, 3)), &six, 1, 2, 3, 4, 5, 6, 0, 0, 0);
    VALUE(unary(6, DIMS(2, 3), OP_select, ATTRS(1, 2), DIMS(2)), &six, 3, 6);
    VALUE(unary(6, DIMS(6), OP_select, ATTRS(0, 4), DIMS()), &six, 5);
    VALUE(unary(6, DIMS(2, 3), OP_scatter, ATTRS(1, 1), DIMS(2, 2, 3)), &six, 0, 0, 0, 1, 2, 3, 0, 0, 0, 4, 5, 6);
    VALUE(unary(6, DIMS(2, 3), OP_permute, ATTRS(1, 0), DIMS(3, 2)), &six, 1, 4, 2, 5, 3, 6);
    VALUE(unary(6, DIMS(1, 2, 3), OP_permute, ATTRS(2, 0, 1), DIMS(3, 1, 2)), &six, 1, 4, 2, 5, 3, 6);
}

/* The graph of one op on one argument, as a matrix: its value on basis vectors. */
static double *matrix(Graph *g, uint32_t cols, uint32_t *rows) {
    double *basis = calloc((size_t)cols * cols, sizeof *basis);
    NaiveOutput y;
    for (uint32_t i = 0; i < cols; i++) basis[i * cols + i] = 1;
    assert_true(naive_eval(g, cols, &(NaiveInput){basis, true}, &y));
    *rows = (uint32_t)y.size;
    free(basis);
    graph_free(g);
    return y.data; /* row i: the image of basis vector i */
}

static void assert_transposes(Graph *f, uint32_t cols, Graph *t) {
    uint32_t rows, back;
    double *a = matrix(f, cols, &rows), *b = matrix(t, rows, &back);
    assert_int_equal(back, cols);
    for (uint32_t i = 0; i < cols; i++)
        for (uint32_t j = 0; j < rows; j++) assert_true(a[i * rows + j] == b[j * cols + i]);
    free(a);
    free(b);
}

static void test_transposes(void **state) {
    (void)state;
    for (ShiftMode mode = SHIFT_EXACT; mode <= SHIFT_SATURATE; mode++)
        for (uint32_t n = 1; n <= 4; n++) {
            const uint32_t m = n + (mode == SHIFT_EXACT);
            assert_transposes(unary(3 * n, DIMS(3, n), OP_shift, ATTRS(1, mode), DIMS(3, m)), 3 * n,
                              unary(3 * m, DIMS(3, m), OP_unshift, ATTRS(1, mode), DIMS(3, n)));
        }
    assert_transposes(unary(6, DIMS(2, 3), OP_select, ATTRS(1, 2), DIMS(2)), 6, unary(2, DIMS(2), OP_scatter, ATTRS(1, 2), DIMS(2, 3)));
    for (int64_t by = -2; by <= 4; by++)
        assert_transposes(unary(6, DIMS(2, 3), OP_resize, ATTRS(1, by), DIMS(2, 5)), 6, unary(10, DIMS(2, 5), OP_resize, ATTRS(1, -by), DIMS(2, 3)));
    assert_transposes(unary(6, DIMS(2, 3), OP_permute, ATTRS(1, 0), DIMS(3, 2)), 6, unary(6, DIMS(3, 2), OP_permute, ATTRS(1, 0), DIMS(2, 3)));
}

static void test_sources(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t eye = t_node(g, OP_eye, INS(), DIMS(2, 2), ATTRS()), hot = t_node(g, OP_onehot, INS(), DIMS(2), ATTRS(1));
    uint32_t zero = t_node(g, OP_zero, INS(), DIMS(2, 2), ATTRS());
    uint32_t sum = t_node(g, OP_add, INS(eye, graph_const(g, (double[]){1, 2, 3, 4}, DIMS(2, 2))), DIMS(2, 2), ATTRS());
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_if, INS(hot, zero, sum), DIMS(2, 2), ATTRS()));
    VALUE(g, NULL, 2, 2, 3, 5);
}

static void test_if_outer(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t c = graph_const(g, (double[]){1, 2, 3, 4, 5, 6}, DIMS(3, 2)), a = t_input(g, SLOT_ARG, 0, 2), b = t_input(g, SLOT_ARG, 1, 2);
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_if, INS(c, a, b), DIMS(3, 2), ATTRS()));
    VALUE(g, ((NaiveInput[]){{(double[]){1, 10}, false}, {(double[]){100, 1000}, false}}), 201, 2010, 403, 4030, 605, 6050);
}

/* Σ_b A[i,b]·B[b,j]·(batch label b kept or not), outer product, and a scalar */
static void test_contract(void **state) {
    (void)state;
    const double a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, 1, 0, 3};
    Graph *g = graph_new();
    uint32_t x = graph_const(g, a, DIMS(2, 3)), y = graph_const(g, b, DIMS(3, 2));
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_contract, INS(x, y), DIMS(2, 2), ATTRS(2, 2, 2, 0, 1, 1, 2, 0, 2)));
    VALUE(g, NULL, 5, 11, 14, 23);
    g = graph_new();
    x = graph_const(g, a, DIMS(2, 3));
    y = graph_const(g, b, DIMS(3, 2));
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_contract, INS(x, y), DIMS(3, 2), ATTRS(2, 2, 2, 200, 7, 7, 200, 7, 200)));
    VALUE(g, NULL, 1, 0, 4, 5, 0, 18);
    g = graph_new();
    x = graph_const(g, a, DIMS(2));
    y = graph_const(g, b + 3, DIMS(3));
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_contract, INS(x, y), DIMS(3, 2), ATTRS(1, 1, 2, 0, 1, 1, 0)));
    VALUE(g, NULL, 1, 2, 0, 0, 3, 6);
    g = graph_new();
    x = graph_const(g, a, DIMS(3));
    y = graph_const(g, b, DIMS(3));
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_contract, INS(x, y), DIMS(), ATTRS(1, 1, 0, 0, 0)));
    VALUE(g, NULL, 7);
}

/* A batch_sum, of y batched and shared. */
static void test_batch(void **state) {
    (void)state;
    const double three[] = {1, 10, 2, 20, 3, 30};
    const NaiveInput both[] = {{three, true}, {(double[]){5, 6}, false}};
    for (int y = 0; y < 2; y++) {
        Graph *g = graph_new();
        uint32_t a = t_input(g, SLOT_ARG, 0, 2), b = t_input(g, SLOT_ARG, 1, 2), sum = t_node(g, OP_add, INS(a, b), DIMS(2), ATTRS());
        graph_output(g, OUT_GRAD_ARG, 0, t_node(g, OP_batch_sum, INS(sum, y ? b : a), DIMS(2), ATTRS()));
        if (y) assert_value(g, 3, both, (double[]){21, 78}, 2);
        else assert_value(g, 3, both, (double[]){6, 16, 7, 26, 8, 36}, 6);
    }
    Graph *g = graph_new();
    uint32_t a = t_input(g, SLOT_ARG, 0, 2), b = t_input(g, SLOT_ARG, 1, 2);
    graph_output(g, OUT_GRAD_ARG, 0, t_node(g, OP_batch_sum, INS(b, a), DIMS(2), ATTRS()));
    assert_value(g, 3, both, (double[]){5, 6, 5, 6, 5, 6}, 6);
}

static void test_call_fails(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_ARG, 0, 2);
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_call, INS(x), DIMS(2), ATTRS(graph_slot(g, SLOT_NETWORK, 0, 0))));
    NaiveOutput y;
    assert_false(naive_eval(g, 1, (NaiveInput[]){{(double[]){1, 2}, false}, {NULL, false}}, &y));
    graph_free(g);
}

/* Two components: (a, b) ↦ (b, M·a); read out by two counts. */
static void test_iter_components(void **state) {
    (void)state;
    Graph *step = graph_new(), *g = graph_new();
    uint32_t a = t_input(step, SLOT_STATE, 0, 2), b = t_input(step, SLOT_STATE, 1, 2);
    graph_output(step, OUT_STATE, 0, b);
    graph_output(step, OUT_STATE, 1, t_matvec(step, graph_const(step, (double[]){1, 1, 0, 2}, DIMS(2, 2)), a, 2));
    uint32_t m = t_input(g, SLOT_INPUT, 0, 3), n = t_input(g, SLOT_INPUT, 1, 3), s = t_input(g, SLOT_ARG, 0, 2), t = t_input(g, SLOT_ARG, 1, 2);
    graph_output(g, OUT_VALUE, 0, t_sub_node(g, OP_iter, INS(m, n, s, t), DIMS(2), ATTRS(2, 2, 0, 2, 0, 0, 1, 1), SUBS(step)));
    /* states: (1,2),(3,4); (3,4),(3,4); (3,4),(7,8) — M·(1,2) = (3,4), M·(3,4) = (7,8) */
    VALUE(g, ((NaiveInput[]){{(double[]){1, 10, 100}, false}, {(double[]){0, 0, 1000}, false}, {(double[]){1, 2}, false}, {(double[]){3, 4}, false}}),
          1 + 30 + 300 + 7000, 2 + 40 + 400 + 8000);
}

/* s ↦ (c·s) ∘ s, elementwise; c a scalar capture [1], s [2]: not linear in s */
static Graph *square_step(void) {
    Graph *g = graph_new();
    uint32_t s = t_input(g, SLOT_STATE, 0, 2), c = t_input(g, SLOT_CAPTURE, 0, 1);
    uint32_t cs = t_node(g, OP_contract, INS(c, s), DIMS(1, 2), ATTRS(1, 1, 2, 0, 1, 0, 1));
    uint32_t flat = t_node(g, OP_reshape, INS(cs), DIMS(2), ATTRS());
    graph_output(g, OUT_STATE, 0, t_node(g, OP_contract, INS(flat, s), DIMS(2), ATTRS(1, 1, 1, 0, 0, 0)));
    return g;
}

/* s̄ = 2c·s∘ȳ;  c̄ = Σ s∘s∘ȳ */
static Graph *square_vjp(void) {
    Graph *g = graph_new();
    uint32_t s = t_input(g, SLOT_STATE, 0, 2), c = t_input(g, SLOT_CAPTURE, 0, 1), d = t_input(g, SLOT_COTANGENT, 0, 2);
    uint32_t two = t_node(g, OP_reshape, INS(t_node(g, OP_add, INS(c, c), DIMS(1), ATTRS())), DIMS(), ATTRS());
    uint32_t sd = t_node(g, OP_contract, INS(s, d), DIMS(2), ATTRS(1, 1, 1, 0, 0, 0));
    graph_output(g, OUT_STATE, 0, t_node(g, OP_contract, INS(two, sd), DIMS(2), ATTRS(0, 1, 1, 0, 0)));
    graph_output(g, OUT_CAPTURE, 0, t_node(g, OP_contract, INS(s, sd), DIMS(), ATTRS(1, 1, 0, 0, 0)));
    return g;
}

enum { O = 2, D = 2 };

/* counts [O,k], base [2], capture [1]; value [O,2] and, with a cotangent, the three gradients */
static Graph *iteration(uint32_t k, bool gradient) {
    Graph *g = graph_new();
    uint32_t n = t_node(g, OP_reshape, INS(t_input(g, SLOT_INPUT, 0, O * k)), DIMS(O, k), ATTRS());
    uint32_t b = t_input(g, SLOT_ARG, 0, D), c = t_input(g, SLOT_ARG, 1, 1);
    if (!gradient) {
        graph_output(g, OUT_VALUE, 0, t_sub_node(g, OP_iter, INS(n, b, c), DIMS(O, D), ATTRS(1, 1, 1, 1, 0, 0), SUBS(square_step())));
        return g;
    }
    uint32_t y = t_node(g, OP_reshape, INS(t_input(g, SLOT_COTANGENT, 0, O * D)), DIMS(O, D), ATTRS());
    uint32_t tuple = t_sub_node(g, OP_iter_vjp, INS(n, b, c, y), DIMS(), ATTRS(1), SUBS(square_step(), square_vjp()));
    const uint32_t of[] = {n, b, c};
    for (uint32_t i = 0; i < 3; i++) {
        const GNode *like = &g->nodes[of[i]];
        uint32_t part = graph_add(g, &(NodeSpec){.op = OP_tuple_get, .ins = &tuple, .nin = 1, .dims = node_dims(g, like), .rank = like->rank,
                                                 .attrs = (int64_t[]){i}, .nattr = 1});
        like = &g->nodes[of[i]];
        graph_output(g, OUT_GRAD_ARG, i, graph_add(g, &(NodeSpec){.op = OP_batch_sum, .ins = (uint32_t[]){part, of[i]}, .nin = 2,
                                                                  .dims = node_dims(g, like), .rank = like->rank}));
    }
    return g;
}

/* <cotangent, value> of all rows */
static double loss(const Graph *g, size_t rows, const NaiveInput in[4]) {
    NaiveOutput y;
    double sum = 0;
    assert_true(naive_eval(g, rows, in, &y));
    assert_true(y.batched);
    for (size_t i = 0; i < rows * y.size; i++) sum += in[3].data[i] * y.data[i];
    naive_release(&y, 1);
    return sum;
}

/* Against central differences, counts batched, base and capture shared. */
static void check_gradient(Rng *r, uint32_t k) {
    enum { ROWS = 3 };
    const uint32_t sizes[4] = {ROWS * O * k, D, 1, ROWS * O * D};
    double *data[4];
    NaiveInput in[4];
    NaiveOutput grads[3];
    char why[300] = "";
    for (int i = 0; i < 4; i++) {
        data[i] = calloc(sizes[i], sizeof(double));
        for (uint32_t j = 0; j < sizes[i]; j++) data[i][j] = rng_real(r);
        in[i] = (NaiveInput){data[i], i == 0 || i == 3};
    }
    Graph *f = iteration(k, false), *g = iteration(k, true);
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
    assert_true(naive_eval(g, ROWS, in, grads));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(grads[i].batched, i == 0);
        for (uint32_t j = 0; j < sizes[i]; j++) {
            const double x = data[i][j], h = 1e-5;
            data[i][j] = x + h;
            const double up = loss(f, ROWS, in);
            data[i][j] = x - h;
            const double slope = (up - loss(f, ROWS, in)) / (2 * h);
            data[i][j] = x;
            if (fabs(slope - grads[i].data[j]) > 1e-7 * (1 + fabs(slope)))
                fail_msg("k %u, gradient %d[%u] is %.12g, the slope %.12g", k, i, j, grads[i].data[j], slope);
        }
    }
    naive_release(grads, 3);
    graph_free(f);
    graph_free(g);
    for (int i = 0; i < 4; i++) free(data[i]);
}

static void test_iter_gradient(void **state) {
    (void)state;
    Rng r = rng_new("iter_gradient");
    for (uint32_t k = 1; k <= 5; k++) check_gradient(&r, k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure), cmocka_unit_test(test_transposes), cmocka_unit_test(test_sources), cmocka_unit_test(test_if_outer),
        cmocka_unit_test(test_contract), cmocka_unit_test(test_batch), cmocka_unit_test(test_call_fails),
        cmocka_unit_test(test_iter_components), cmocka_unit_test(test_iter_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
