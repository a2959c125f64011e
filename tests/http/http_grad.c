/* POST /grad and POST /jvp against values computed by hand, and against each other: <w, J t> = <Jᵀ w, t>. */
#include "tests/support/ask.h"
#include "tests/support/rng.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAD "POST /grad"
#define JVP "POST /jvp"
/* out₀ = a₀·b₁ + a₁·b₀, out₁ = a₀·b₀ + a₁·b₁ */
#define XOR "'source': 'a : 2, b : 2 |- if a then (if b then false else true) else b'"
#define XOR_ARGS "'source': 'λa:2. λb:2. if a then (if b then false else true) else b'"

static void test_cotangents(void **state) {
    Ask *a = *state;
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}}");
    ask_keys(a, "", "output grads");
    ask_part(a, "output", "{'type': '2', 'shape': [2], 'data': [11, 13]}");
    ask_part(a, "grads", "{'inputs': {'a': {'shape': [2], 'data': [8, 8]}, 'b': {'shape': [2], 'data': [3, 3]}}, 'args': []}");
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'cotangent': [1, 0]}");
    ask_part(a, "grads.inputs", "{'a': {'shape': [2], 'data': [5, 3]}, 'b': {'shape': [2], 'data': [2, 1]}}");
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'cotangent': [0, -2]}");
    ask_part(a, "grads.inputs", "{'a': {'shape': [2], 'data': [-6, -10]}, 'b': {'shape': [2], 'data': [-2, -4]}}");
    ask(a, 200, GRAD, "{" XOR_ARGS ", 'args': [[1, 2], [3, 5]], 'cotangent': [1, 0]}");
    ask_part(a, "grads", "{'inputs': {}, 'args': [{'shape': [2], 'data': [5, 3]}, {'shape': [2], 'data': [2, 1]}]}");
}

static void test_wrt(void **state) {
    Ask *a = *state;
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': ['b']}");
    ask_part(a, "grads", "{'inputs': {'b': {'shape': [2], 'data': [3, 3]}}, 'args': []}");
    ask(a, 200, GRAD, "{" XOR_ARGS ", 'args': [[1, 2], [3, 5]], 'wrt': [1]}");
    ask_part(a, "grads", "{'inputs': {}, 'args': [null, {'shape': [2], 'data': [3, 3]}]}");
    ask(a, 200, GRAD, "{'source': 'f : !(2 -o 2) |- λx:2. f x', 'inputs': {'f': [[1, 2], [3, 4]]}, 'args': [[10, 1]], 'wrt': ['f', 0]}");
    ask_part(a, "output.data", "[12, 34]");
    ask_part(a, "grads", "{'inputs': {'f': {'shape': [2, 2], 'data': [[10, 1], [10, 1]]}}, 'args': [{'shape': [2], 'data': [4, 6]}]}");
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': []}");
    ask_part(a, "grads", "{'inputs': {}, 'args': []}");
    ask_refused(a, "unknown_input", GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': ['c']}");
    ask_refused(a, "bad_request", GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': 'a'}");
    ask_refused(a, "bad_request", GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': [true]}");
    ask_refused(a, "unknown_input", GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'wrt': [-1]}");
}

/* A batched value's gradient is batched, a shared one's is the sum over the batch. */
static void test_batches(void **state) {
    Ask *a = *state;
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [[1, 2], [10, 20]], 'b': [3, 5]}, 'cotangent': [[1, 0], [0, 1]]}");
    ask_part(a, "output", "{'type': '2', 'shape': [2, 2], 'data': [[11, 13], [110, 130]]}");
    ask_part(a, "grads.inputs.a", "{'shape': [2, 2], 'data': [[5, 3], [3, 5]]}");
    ask_part(a, "grads.inputs.b", "{'shape': [2], 'data': [12, 21]}");
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [[3, 5], [1, 1], [0, 1]]}}");
    ask_part(a, "grads.inputs.a", "{'shape': [2], 'data': [11, 11]}");
    ask_part(a, "grads.inputs.b", "{'shape': [3, 2], 'data': [[3, 3], [3, 3], [3, 3]]}");
    /* weights of a network, shared; rows of data, batched */
    ask(a, 200, GRAD, "{'source': 'w : !(R[2] -o R[1]), x : R[2] |- w x', 'inputs': {'w': [[1, 2]], 'x': [[1, 0], [0, 1], [5, 7]]}}");
    ask_part(a, "output.data", "[[1], [2], [19]]");
    ask_part(a, "grads.inputs.w", "{'shape': [1, 2], 'data': [[6, 8]]}");
    ask_part(a, "grads.inputs.x", "{'shape': [3, 2], 'data': [[1, 2], [1, 2], [1, 2]]}");
    /* an output that does not depend on the batch still has its rows */
    ask(a, 200, GRAD, "{'source': 'x : !2, y : 2 |- y', 'inputs': {'x': {'values': [true, false]}, 'y': [1, 2]}, 'cotangent': [[1, 2], [10, 20]]}");
    ask_part(a, "grads.inputs", "{'x': {'shape': [2, 2], 'data': [[0, 0], [0, 0]]}, 'y': {'shape': [2], 'data': [11, 22]}}");
}

static void test_discrete_and_short_values(void **state) {
    Ask *a = *state;
    ask(a, 200, GRAD, "{" XOR ", 'inputs': {'a': true, 'b': {'values': [true, false]}}, 'cotangent': [[1, 0], [1, 0]]}");
    ask_part(a, "grads.inputs.a", "{'shape': [2], 'data': [1, 1]}");
    ask_part(a, "grads.inputs.b", "{'shape': [2, 2], 'data': [[0, 1], [0, 1]]}");
    ask(a, 200, GRAD, "{'source': 'n : N[4] |- succ n', 'inputs': {'n': [0, 1]}, 'cotangent': [9, 1, 2, 3, 4]}");
    ask_part(a, "grads.inputs.n", "{'shape': [4], 'data': [1, 2, 3, 4]}");
    /* a cotangent of naturals may be shorter */
    ask(a, 200, GRAD, "{'source': 'n : N[4] |- succ n', 'inputs': {'n': 2}, 'cotangent': [9, 1, 2]}");
    ask_part(a, "grads.inputs.n", "{'shape': [4], 'data': [1, 2, 0, 0]}");
    ask_refused(a, "shape_mismatch", GRAD, "{'source': 'n : N[4] |- succ n', 'inputs': {'n': 2}, 'cotangent': [1, 2, 3, 4, 5, 6]}");
    ask_refused(a, "shape_mismatch", GRAD, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'cotangent': [1]}");
    ask_refused(a, "bad_tensor", GRAD, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'cotangent': []}");
    ask_refused(a, "shape_mismatch", GRAD,
                "{" XOR ", 'inputs': {'a': {'values': [true, false]}, 'b': true}, 'cotangent': [[1, 0], [1, 0], [1, 0]]}");
}

static void test_iterations(void **state) {
    Ask *a = *state;
    /* Σ nᵢ·fⁱx with f = 2: 1·3 + 10·6 + 100·12; d/df = 10·3 + 100·2·2·3 */
    static const char body[] = "{'source': 'f : !(R[1] -o R[1]), x : R[1], n : N[3] |- iter {x | y -> f y} (n)',"
                               " 'inputs': {'f': [[2]], 'x': [3], 'n': [1, 10, 100]}}";
    ask(a, 200, GRAD, body);
    ask_part(a, "output.data", "[1263]");
    ask_part(a, "grads.inputs.f", "{'shape': [1, 1], 'data': [[1230]]}");
    ask_part(a, "grads.inputs.x", "{'shape': [1], 'data': [421]}");
    ask_part(a, "grads.inputs.n", "{'shape': [3], 'data': [3, 6, 12]}");
    /* a smooth variable used twice: x² */
    ask(a, 200, GRAD, "{'source': 'b : !2 |- if b then (if b then true else false) else false', 'inputs': {'b': [3, 0]}, 'cotangent': [1, 0]}");
    ask_part(a, "grads.inputs.b.data", "[6, 0]");
    /* a partial application's output is a matrix, and so is its cotangent */
    ask(a, 200, GRAD, "{" XOR_ARGS ", 'args': [[1, 2]], 'cotangent': [[1, 10], [100, 1000]]}");
    ask_part(a, "output", "{'type': '2 -o 2', 'shape': [2, 2], 'data': [[2, 1], [1, 2]]}");
    ask_part(a, "grads.args", "[{'shape': [2], 'data': [110, 1001]}]");
    ask(a, 200, GRAD, "{'source': 'x : R[3] |- x', 'inputs': {'x': [1, 2, 3]}, 'dtype': 'f64', 'cotangent': [0.1, 0.2, 0.3]}");
    ask_part(a, "grads.inputs.x.data", "[0.1, 0.2, 0.3]");
}

static void test_tangents(void **state) {
    Ask *a = *state;
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'tangents': {'inputs': {'a': [1, 0], 'b': [0, 1]}}}");
    ask_keys(a, "", "output tangent");
    ask_part(a, "output", "{'type': '2', 'shape': [2], 'data': [11, 13]}");
    ask_part(a, "tangent", "{'shape': [2], 'data': [6, 5]}");
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'tangents': {'inputs': {'a': [1, 0]}}}");
    ask_part(a, "tangent.data", "[5, 3]");
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}, 'tangents': {}}");
    ask_part(a, "tangent.data", "[0, 0]");
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': [1, 2], 'b': [3, 5]}}");
    ask_part(a, "tangent.data", "[0, 0]");
    ask(a, 200, JVP, "{" XOR_ARGS ", 'args': [[1, 2], [3, 5]], 'tangents': {'args': [null, [1, 1]]}}");
    ask_part(a, "tangent.data", "[3, 3]");
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': [[1, 2], [1, 0]], 'b': [3, 5]}, 'tangents': {'inputs': {'a': [[1, 0], [0, 1]], 'b': [1, 1]}}}");
    ask_part(a, "tangent", "{'shape': [2, 2], 'data': [[8, 6], [4, 6]]}");
    /* of a discrete value: a tangent at its basis vector */
    ask(a, 200, JVP, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'tangents': {'inputs': {'a': [0, 1]}}}");
    ask_part(a, "tangent.data", "[1, 0]");
    ask_refused(a, "unknown_input", JVP, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'tangents': {'inputs': {'c': [1, 0]}}}");
    ask_refused(a, "shape_mismatch", JVP, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'tangents': {'inputs': {'a': [1, 0, 0]}}}");
    ask_refused(a, "bad_request", JVP, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'tangents': {'outputs': {}}}");
    ask_refused(a, "bad_request", JVP, "{" XOR ", 'inputs': {'a': true, 'b': true}, 'cotangent': [1, 0]}");
}

static void test_as_eval(void **state) {
    static const char *const routes[] = {GRAD, JVP};
    Ask *a = *state;
    for (int i = 0; i < 2; i++) {
        ask_refused(a, "missing_input", routes[i], "{" XOR ", 'inputs': {'a': true}}");
        ask_refused(a, "unknown_input", routes[i], "{" XOR ", 'inputs': {'a': true, 'b': true, 'c': true}}");
        ask_refused(a, "too_many_args", routes[i], "{" XOR ", 'inputs': {'a': true, 'b': true}, 'args': [true]}");
        ask_refused(a, "linear_unused", routes[i], "{'source': 'λx:2. true', 'args': [true]}");
        ask_refused(a, "not_tabulable", routes[i], "{'source': 'λx:!2. x'}");
        ask_refused(a, "nat_bound_exceeded", routes[i], "{'source': 'λn:N[2]. n', 'args': [2]}");
        ask_refused(a, "bad_request", routes[i], "{" XOR ", 'inputs': {'a': true, 'b': true}, 'decode': true, 'tangent': []}");
        ask_refused(a, "not_found", routes[i], "{'program': 'sha256:00'}");
    }
}

/* ---- VJP = JVPᵀ on random points ---- */

static cJSON *random_tensor(Rng *r, const size_t *shape, size_t rank) {
    if (rank == 0) return cJSON_CreateNumber(rng_real(r));
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < *shape; i++) cJSON_AddItemToArray(list, random_tensor(r, shape + 1, rank - 1));
    return list;
}

static double dot(const cJSON *x, const cJSON *y) {
    assert_non_null(y);
    if (cJSON_IsNumber(x)) return x->valuedouble * y->valuedouble;
    double sum = 0;
    assert_int_equal(cJSON_GetArraySize(x), cJSON_GetArraySize(y));
    for (const cJSON *p = x->child, *q = y->child; p; p = p->next, q = q->next) sum += dot(p, q);
    return sum;
}

typedef struct {
    const char *source;
    struct {
        const char *name;
        size_t rank, shape[3];
    } inputs[4];
    size_t rank, shape[3]; /* of the output */
} Point;

static const Point points[] = {
    {"a : 2, b : !2 |- if a then (if b then b else true) else b", {{"a", 1, {2}}, {"b", 1, {2}}}, 1, {2}},
    {"f : !(R[3] -o R[3]), x : R[3], n : N[5] |- iter {x | y -> f (f y)} (n)", {{"f", 2, {3, 3}}, {"x", 1, {3}}, {"n", 1, {5}}}, 1, {3}},
    {"f : !(R[3] -o R[3]), x : R[3] |- f (f x)", {{"f", 2, {3, 3}}, {"x", 2, {4, 3}}}, 2, {4, 3}}, /* x batched, f shared */
    {"m : !N[4], n : N[4] |- iter {n | y -> iter {y | z -> succ z} (m)} (2)", {{"m", 1, {4}}, {"n", 1, {4}}}, 1, {10}},
    {"c : !2, g : !(2 -o 2) |- λx:2. g (if c then g x else x)", {{"c", 1, {2}}, {"g", 2, {2, 2}}}, 2, {2, 2}},
    {"c : 2, h : !(2 -o 2), k : !(2 -o 2) |- iter {h | y -> λx:2. if x then y (k true) else k false} (if c then 3 else 1)",
     {{"c", 1, {2}}, {"h", 2, {2, 2}}, {"k", 2, {2, 2}}}, 2, {2, 2}},
};

static char *request_of(const Point *p, const cJSON *inputs, const char *key, const cJSON *item) {
    cJSON *body = cJSON_CreateObject();
    cJSON_AddStringToObject(body, "source", p->source);
    cJSON_AddStringToObject(body, "dtype", "f64");
    cJSON_AddItemToObject(body, "inputs", cJSON_Duplicate(inputs, true));
    cJSON *extra = cJSON_Duplicate(item, true);
    if (strcmp(key, "tangents") == 0) {
        cJSON *wrap = cJSON_AddObjectToObject(body, key);
        cJSON_AddItemToObject(wrap, "inputs", extra);
    } else cJSON_AddItemToObject(body, key, extra);
    char *text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    return text;
}

static void check_point(Ask *a, const Point *p, Rng *r) {
    cJSON *inputs = cJSON_CreateObject(), *tangents = cJSON_CreateObject(), *cotangent = random_tensor(r, p->shape, p->rank);
    for (size_t i = 0; i < 4 && p->inputs[i].name; i++) {
        cJSON_AddItemToObject(inputs, p->inputs[i].name, random_tensor(r, p->inputs[i].shape, p->inputs[i].rank));
        cJSON_AddItemToObject(tangents, p->inputs[i].name, random_tensor(r, p->inputs[i].shape, p->inputs[i].rank));
    }
    char *jvp = request_of(p, inputs, "tangents", tangents), *vjp = request_of(p, inputs, "cotangent", cotangent);
    ask(a, 200, JVP, jvp);
    double forward = dot(cotangent, ask_find(a, "tangent.data")), backward = 0;
    ask(a, 200, GRAD, vjp);
    for (size_t i = 0; i < 4 && p->inputs[i].name; i++) {
        char path[64];
        snprintf(path, sizeof path, "grads.inputs.%s.data", p->inputs[i].name);
        backward += dot(cJSON_GetObjectItem(tangents, p->inputs[i].name), ask_find(a, path));
    }
    if (!(fabs(forward - backward) <= 1e-9 * fmax(1, fabs(forward))))
        fail_msg("%s: <w, J t> = %.17g, <Jᵀ w, t> = %.17g", p->source, forward, backward);
    assert_true(forward != 0);
    cJSON_free(jvp);
    cJSON_free(vjp);
    cJSON_Delete(inputs);
    cJSON_Delete(tangents);
    cJSON_Delete(cotangent);
}

static void test_transposes(void **state) {
    Rng r = rng_new("transposes");
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < sizeof points / sizeof *points; i++) check_point(*state, &points[i], &r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cotangents),
        cmocka_unit_test(test_wrt),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_discrete_and_short_values),
        cmocka_unit_test(test_iterations),
        cmocka_unit_test(test_tangents),
        cmocka_unit_test(test_as_eval),
        cmocka_unit_test(test_transposes),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
