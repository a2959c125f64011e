#include "schema/graph/graph.h"
#include "schema/limits.h"
#include "schema/graph/ops.h"
#include "tests/support/graphs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

static void assert_good(const Graph *g) {
    char why[300] = "";
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
}

static void assert_bad(Graph *g, const char *expected) {
    char why[300] = "";
    assert_false(graph_verify(g, why, sizeof why));
    if (!strstr(why, expected)) fail_msg("said \"%s\", not \"%s\"", why, expected);
    graph_free(g);
}

/* s ↦ M·(s + c), state and capture of size n */
static Graph *linear_step(uint32_t n) {
    Graph *g = graph_new();
    double m[64];
    for (uint32_t i = 0; i < n * n; i++) m[i] = i * 0.25 - 1;
    uint32_t s = t_input(g, SLOT_STATE, 0, n), c = t_input(g, SLOT_CAPTURE, 0, n);
    uint32_t sum = t_node(g, OP_add, INS(s, c), DIMS(n), ATTRS());
    graph_output(g, OUT_STATE, 0, t_matvec(g, graph_const(g, m, DIMS(n, n)), sum, n));
    return g;
}

/* (s̄) ↦ (Mᵀ·s̄, Mᵀ·s̄): the VJP of linear_step */
static Graph *linear_step_vjp(uint32_t n) {
    Graph *g = graph_new();
    double m[64];
    for (uint32_t i = 0; i < n * n; i++) m[i] = i * 0.25 - 1;
    uint32_t d = t_input(g, SLOT_COTANGENT, 0, n);
    uint32_t y = t_node(g, OP_contract, INS(graph_const(g, m, DIMS(n, n)), d), DIMS(n), ATTRS(2, 1, 1, 0, 1, 0, 1));
    graph_output(g, OUT_STATE, 0, y);
    graph_output(g, OUT_CAPTURE, 0, y);
    return g;
}

/* One of everything. */
static Graph *sample(void) {
    Graph *g = graph_new();
    uint32_t n = t_input(g, SLOT_INPUT, 0, 4), b = t_input(g, SLOT_ARG, 0, 3), y = t_input(g, SLOT_COTANGENT, 0, 3);
    uint32_t c = graph_const(g, (double[]){1.5, -2, 1e300}, DIMS(3));
    uint32_t it = t_sub_node(g, OP_iter, INS(n, b, c), DIMS(3), ATTRS(1, 1, 1, 1, 0, 0), SUBS(linear_step(3)));
    uint32_t tuple = t_sub_node(g, OP_iter_vjp, INS(n, b, c, y), DIMS(), ATTRS(1), SUBS(linear_step(3), linear_step_vjp(3)));
    uint32_t dn = t_node(g, OP_tuple_get, INS(tuple), DIMS(4), ATTRS(0));
    uint32_t up = t_node(g, OP_shift, INS(it), DIMS(4), ATTRS(0, SHIFT_EXACT));
    uint32_t down = t_node(g, OP_unshift, INS(up), DIMS(3), ATTRS(0, SHIFT_EXACT));
    uint32_t at = t_node(g, OP_scatter, INS(down), DIMS(2, 3), ATTRS(0, 1));
    uint32_t turned = t_node(g, OP_permute, INS(at), DIMS(3, 2), ATTRS(1, 0));
    uint32_t wide = t_node(g, OP_resize, INS(turned), DIMS(3, 5), ATTRS(1, 1));
    uint32_t flat = t_node(g, OP_reshape, INS(wide), DIMS(15), ATTRS());
    uint32_t one = t_node(g, OP_onehot, INS(), DIMS(2), ATTRS(1)), zero = t_node(g, OP_zero, INS(), DIMS(15), ATTRS());
    uint32_t either = t_node(g, OP_if, INS(one, flat, zero), DIMS(15), ATTRS());
    uint32_t net = t_node(g, OP_call, INS(either), DIMS(2), ATTRS(graph_slot(g, SLOT_NETWORK, 7, 0)));
    uint32_t eye = t_node(g, OP_eye, INS(), DIMS(4, 4), ATTRS());
    uint32_t row = t_node(g, OP_select, INS(eye), DIMS(4), ATTRS(0, 2));
    graph_output(g, OUT_VALUE, 0, net);
    graph_output(g, OUT_GRAD_INPUT, 0, t_node(g, OP_batch_sum, INS(dn, n), DIMS(4), ATTRS()));
    graph_output(g, OUT_GRAD_ARG, 0, row);
    return g;
}

static void test_consing(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_ARG, 0, 3), y = t_input(g, SLOT_ARG, 1, 3);
    uint32_t a = t_node(g, OP_add, INS(x, y), DIMS(3), ATTRS());
    assert_int_equal(t_node(g, OP_add, INS(x, y), DIMS(3), ATTRS()), a);
    assert_int_not_equal(t_node(g, OP_add, INS(y, x), DIMS(3), ATTRS()), a);
    assert_int_not_equal(t_node(g, OP_shift, INS(x), DIMS(3), ATTRS(0, SHIFT_DROP)), t_node(g, OP_shift, INS(x), DIMS(3), ATTRS(0, SHIFT_SATURATE)));
    assert_int_equal(graph_slot(g, SLOT_ARG, 1, 3), 1);
    uint32_t c = graph_const(g, (double[]){1, 2}, DIMS(2)), nodes = g->nnodes;
    assert_int_equal(graph_const(g, (double[]){1, 2}, DIMS(2)), c);
    assert_int_equal(g->nconsts, 2);
    assert_int_equal(g->nnodes, nodes);
    assert_int_not_equal(graph_const(g, (double[]){1, 2}, DIMS(1, 2)), c);
    assert_int_not_equal(graph_const(g, (double[]){0.0, 2}, DIMS(2)), graph_const(g, (double[]){-0.0, 2}, DIMS(2)));
    /* lists that point into the graph itself, across growth */
    for (uint32_t i = 0; i < 5000; i++) {
        uint32_t p = graph_add(g, &(NodeSpec){.op = OP_scatter, .ins = &c, .nin = 1, .dims = (uint32_t[]){i + 1, 2}, .rank = 2,
                                              .attrs = (int64_t[]){0, i}, .nattr = 2});
        uint32_t q = graph_add(g, &(NodeSpec){.op = OP_select, .ins = &p, .nin = 1, .dims = node_dims(g, &g->nodes[c]), .rank = 1,
                                              .attrs = node_attrs(g, &g->nodes[p]), .nattr = 2});
        assert_int_equal(g->nodes[q].size, 2);
        assert_int_equal(node_attrs(g, &g->nodes[q])[1], i);
    }
    assert_int_equal(graph_const(g, g->consts, DIMS(2)), c);
    assert_good(g);
    graph_free(g);
}

static void test_sample(void **state) {
    (void)state;
    Graph *g = sample();
    assert_good(g);
    assert_int_equal(g->depth, 1);
    const GraphStats s = graph_stats(g);
    assert_int_equal(s.recurrent, 2);
    assert_int_equal(s.weights, 3 + 9 + 9 + 9);
    assert_int_equal(s.neurons, g->nnodes + g->inside);
    /* iter: 4 states x (9 + 3); vjp: 4 x (9 + 9 + 2*3); if: 2*15 */
    assert_true(s.macs == 4 * (9 + 3) + 4 * (9 + 9 + 6) + 30);
    assert_true(s.bytes > 0);
    graph_free(g);
}

/* The same file; equal nodes are found in it; the original does not mind what is added. */
static void test_copy(void **state) {
    (void)state;
    Graph *g = sample(), *copy = graph_copy(g);
    Buf one, other;
    buf_init(&one);
    buf_init(&other);
    assert_true(graph_write(g, &one) && graph_write(copy, &other));
    assert_int_equal(one.len, other.len);
    assert_memory_equal(one.data, other.data, one.len);
    uint32_t n = copy->nnodes, first = t_input(copy, copy->slots[0].role, copy->slots[0].index, (uint32_t)copy->slots[0].size);
    assert_true(first < n);
    t_node(copy, OP_zero, INS(), DIMS(77), ATTRS());
    assert_int_equal(copy->nnodes, n + 1);
    assert_int_equal(g->nnodes, n);
    buf_release(&one);
    buf_release(&other);
    graph_free(copy);
    assert_good(g);
    graph_free(g);
}

/* One node over inputs a [2,3], b [3], whose attributes or dims are wrong. */
#define BAD(expected, op, ...) \
    do { \
        Graph *g = graph_new(); \
        uint32_t b = t_input(g, SLOT_ARG, 0, 3), a = t_node(g, OP_scatter, INS(b), DIMS(2, 3), ATTRS(0, 1)); \
        (void)a; \
        t_node(g, op, __VA_ARGS__); \
        assert_bad(g, expected); \
    } while (0)

static void test_shape_rules(void **state) {
    (void)state;
    BAD("slot", OP_input, INS(), DIMS(3), ATTRS(9));
    BAD("shape rule", OP_input, INS(), DIMS(4), ATTRS(0));
    BAD("building failed", OP_const, INS(), DIMS(1), ATTRS(0, 1));
    BAD("index", OP_onehot, INS(), DIMS(3), ATTRS(3));
    BAD("index", OP_onehot, INS(), DIMS(3), ATTRS(-1));
    BAD("square", OP_eye, INS(), DIMS(3, 4), ATTRS());
    BAD("axis", OP_shift, INS(a), DIMS(2, 4), ATTRS(2, SHIFT_EXACT));
    BAD("mode", OP_shift, INS(a), DIMS(2, 4), ATTRS(1, 3));
    BAD("shape rule", OP_shift, INS(a), DIMS(2, 3), ATTRS(1, SHIFT_EXACT));
    BAD("shape rule", OP_unshift, INS(a), DIMS(2, 3), ATTRS(1, SHIFT_EXACT));
    BAD("axis", OP_resize, INS(a), DIMS(2), ATTRS(0, 0));
    BAD("attributes", OP_resize, INS(a), DIMS(2, 3), ATTRS(0));
    BAD("nothing stays", OP_resize, INS(a), DIMS(2, 4), ATTRS(1, 4));
    BAD("nothing stays", OP_resize, INS(a), DIMS(2, 4), ATTRS(1, -3));
    BAD("shape rule", OP_resize, INS(a), DIMS(5, 4), ATTRS(0, 0));
    BAD("index", OP_select, INS(a), DIMS(3), ATTRS(0, 2));
    BAD("shape rule", OP_select, INS(a), DIMS(2), ATTRS(0, 1));
    BAD("index", OP_scatter, INS(b), DIMS(3, 2), ATTRS(1, 2));
    BAD("axis", OP_scatter, INS(b), DIMS(3, 2), ATTRS(2, 1));
    BAD("permutation", OP_permute, INS(a), DIMS(3, 2), ATTRS(1, 1));
    BAD("elements", OP_reshape, INS(a), DIMS(5), ATTRS());
    BAD("differ", OP_add, INS(a, b), DIMS(3), ATTRS());
    BAD("last axis", OP_if, INS(a, b, b), DIMS(2, 3), ATTRS());
    BAD("extents", OP_contract, INS(a, b), DIMS(3), ATTRS(2, 1, 1, 0, 1, 0, 1));
    BAD("one operand", OP_contract, INS(a, b), DIMS(3), ATTRS(2, 1, 1, 0, 1, 1, 1));
    BAD("twice", OP_contract, INS(a, b), DIMS(2, 2), ATTRS(2, 1, 2, 0, 1, 1, 0, 0));
    BAD("label", OP_contract, INS(a, b), DIMS(2), ATTRS(2, 1, 1, 0, 256, 256, 0));
    BAD("attributes", OP_contract, INS(a, b), DIMS(2), ATTRS(2, 1, 5, 0, 1, 1, 0));
    BAD("tuple", OP_tuple_get, INS(a), DIMS(3), ATTRS(0));
    BAD("network", OP_call, INS(a), DIMS(3), ATTRS(0));
    BAD("inputs", OP_add, INS(a), DIMS(2, 3), ATTRS());
    BAD("sub-graphs", OP_iter, INS(b, b), DIMS(3), ATTRS(1, 1, 0, 1, 0, 0));
}

/* Iterations over n [4], b [3], c [3] */
static Graph *with_iter(Graph *step, uint32_t dims, const int64_t attrs[6]) {
    Graph *g = graph_new();
    uint32_t n = t_input(g, SLOT_INPUT, 0, 4), b = t_input(g, SLOT_ARG, 0, 3), c = t_input(g, SLOT_ARG, 1, 3);
    t_sub_node(g, OP_iter, INS(n, b, c), DIMS(dims), attrs, 6, SUBS(step));
    return g;
}

static void test_iter_rules(void **state) {
    (void)state;
    const int64_t attrs[] = {1, 1, 1, 1, 0, 0}, no_comp[] = {1, 1, 1, 1, 0, 1}, two_comps[] = {1, 2, 0, 1, 0, 0};
    Graph *good = with_iter(linear_step(3), 3, attrs);
    assert_good(good);
    graph_free(good);
    assert_bad(with_iter(linear_step(4), 3, attrs), "slot of the step");
    assert_bad(with_iter(linear_step(3), 4, attrs), "shape rule");
    assert_bad(with_iter(linear_step(3), 3, no_comp), "read-out");
    assert_bad(with_iter(linear_step(3), 3, two_comps), "slot of the step"); /* the capture is a component now */
    assert_bad(with_iter(linear_step_vjp(3), 3, attrs), "slot of the step");
    Graph *silent = linear_step(3);
    silent->noutputs = 0;
    assert_bad(with_iter(silent, 3, attrs), "outputs");
    Graph *broken = linear_step(3);
    broken->dims[0] = 2;
    assert_bad(with_iter(broken, 3, attrs), "node 3 (iter): node 0 (input)");
}

static void test_limits(void **state) {
    (void)state;
    Graph *g = graph_new();
    t_node(g, OP_zero, INS(), DIMS(1 << 14, 1 << 14, 2), ATTRS());
    assert_true(g->failed);
    graph_free(g);
    g = graph_new();
    t_node(g, OP_add, INS(0, 0), DIMS(3), ATTRS());
    assert_true(g->failed);
    graph_free(g);
    g = graph_new();
    graph_slot(g, SLOT_ARG, 0, LIMIT_SPACE + 1);
    assert_true(g->failed);
    graph_free(g);
    g = graph_new();
    for (uint32_t i = 0; i <= LIMIT_GRAPH_NODES; i++) t_node(g, OP_zero, INS(), DIMS(i + 1), ATTRS());
    assert_true(g->failed);
    assert_int_equal(g->nnodes, LIMIT_GRAPH_NODES);
    assert_bad(g, "building failed");
    g = NULL;
    for (int depth = 0; depth <= LIMIT_GRAPH_DEPTH + 1; depth++) { /* a step in a step in … */
        Graph *outer = graph_new();
        uint32_t s = t_input(outer, SLOT_STATE, 0, 2), y = s;
        if (g) y = t_sub_node(outer, OP_iter, INS(s, s), DIMS(2), ATTRS(1, 1, 0, 1, 0, 0), SUBS(g));
        graph_output(outer, OUT_STATE, 0, y);
        if (depth <= LIMIT_GRAPH_DEPTH) assert_good(outer);
        g = outer;
    }
    assert_true(g->failed);
    graph_free(g);
}

static void test_verify_slots_outputs(void **state) {
    (void)state;
    Graph *g = graph_new();
    t_input(g, SLOT_ARG, 0, 3);
    t_input(g, SLOT_ARG, 0, 4);
    assert_bad(g, "slot stands twice");
    g = graph_new();
    t_input(g, SLOT_ARG, 0, 3);
    graph_output(g, OUT_VALUE, 0, 1);
    assert_bad(g, "no node");
    g = graph_new();
    graph_output(g, OUT_VALUE, 0, t_input(g, SLOT_ARG, 0, 3));
    graph_output(g, OUT_VALUE, 0, 0);
    assert_bad(g, "output stands twice");
    g = graph_new();
    t_input(g, SLOT_ARG, 0, 3);
    g->nodes[0].op = OP_COUNT;
    assert_bad(g, "no such op");
    g = sample();
    g->ins[0] = 0; /* iter's count is its own input's node */
    g->ins[1] = 30;
    assert_bad(g, "come before");
}

static void test_file(void **state) {
    (void)state;
    Graph *g = sample();
    Buf first, again;
    char why[300] = "";
    buf_init(&first);
    buf_init(&again);
    assert_true(graph_write(g, &first));
    Graph *h = graph_read(first.data, first.len, why, sizeof why);
    if (!h) fail_msg("%s", why);
    assert_true(graph_write(h, &again));
    assert_int_equal(first.len, again.len);
    assert_memory_equal(first.data, again.data, first.len);
    graph_free(h);
    for (size_t len = 0; len < first.len; len++) assert_null(graph_read(first.data, len, why, sizeof why));
    for (size_t i = 0; i < first.len; i++) {
        first.data[i] ^= 0x10;
        assert_null(graph_read(first.data, first.len, why, sizeof why));
        first.data[i] ^= 0x10;
    }
    graph_free(g);
    buf_release(&first);
    buf_release(&again);
}

/* Damage below a right checksum: what gets through is a verified graph, and is written back as it was read. */
static void test_file_fuzz(void **state) {
    (void)state;
    Rng r = rng_new("file_fuzz");
    Graph *g = sample();
    Buf file, again;
    char why[300];
    int accepted = 0;
    buf_init(&file);
    buf_init(&again);
    assert_true(graph_write(g, &file));
    graph_free(g);
    unsigned char *bytes = malloc(file.len);
    for (int round = 0; round < 30000; round++) {
        size_t len = file.len;
        memcpy(bytes, file.data, len);
        if (rng_below(&r, 8) == 0) len = 31 + rng_below(&r, (uint32_t)len - 31);
        for (uint32_t n = 1 + rng_below(&r, 3); n--;) {
            const uint32_t at = 14 + rng_below(&r, (uint32_t)len - 30); /* behind the head, before the checksum */
            bytes[at] = (unsigned char)(rng_below(&r, 3) ? rng_below(&r, 20) : rng_next(&r));
        }
        crypto_generichash(bytes + len - 16, 16, bytes, len - 16, NULL, 0);
        Graph *h = graph_read(bytes, len, why, sizeof why);
        if (!h) continue;
        accepted++;
        buf_clear(&again);
        assert_true(graph_write(h, &again));
        assert_int_equal(again.len, len);
        assert_memory_equal(again.data, bytes, len);
        graph_free(h);
    }
    assert_true(accepted > 0);
    free(bytes);
    buf_release(&file);
    buf_release(&again);
}

static void test_print(void **state) {
    (void)state;
    Graph *g = sample();
    Buf out;
    buf_init(&out);
    graph_json(&out, g);
    const char *text = buf_text(&out);
    assert_non_null(strstr(text, "{\"nodes\":[{\"id\":0,\"op\":\"input\",\"space\":[4],\"in\":[],\"slot\":0,\"role\":\"input\",\"index\":0}"));
    assert_non_null(strstr(text, "\"values\":[1.5,-2,1e+300]"));
    assert_non_null(strstr(text, "\"step\":{\"nodes\":"));
    assert_non_null(strstr(text, "\"vjp\":{\"nodes\":"));
    assert_non_null(strstr(text, "\"axis\":0,\"mode\":\"exact\""));
    assert_non_null(strstr(text, "\"labels\":{\"a\":[0,1],\"b\":[1],\"out\":[0]}"));
    buf_clear(&out);
    graph_dot(&out, g);
    text = buf_text(&out);
    assert_non_null(strstr(text, "subgraph cluster_n4s0_ {"));
    assert_non_null(strstr(text, "R[2,3]"));
    buf_release(&out);
    graph_free(g);
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(op_row(OP_if)->name, "if");
    assert_int_equal(op_row(OP_iter)->inputs, -1);
    assert_string_equal(op_row(OP_contract)->linear, "12");
    assert_true(op_table_hash() == op_table_hash() && op_table_hash() != 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consing), cmocka_unit_test(test_sample), cmocka_unit_test(test_copy), cmocka_unit_test(test_shape_rules), cmocka_unit_test(test_iter_rules),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_verify_slots_outputs), cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_fuzz), cmocka_unit_test(test_print), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
