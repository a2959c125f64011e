/* POST /eval: values in all their spellings, batches, partial application, dtypes, decoding, policies, the interpreter. */
#include "tests/support/ask.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVAL "POST /eval"
#define NOT "'source': 'λx:2. if x then false else true'"
#define XOR "'source': 'a : 2, b : 2 |- if a then (if b then false else true) else b'"

/* The whole answer of one evaluation. */
static void gives(Ask *a, const char *body, const char *answer) {
    ask(a, 200, EVAL, body);
    ask_part(a, "", answer);
}

static void test_booleans(void **state) {
    Ask *a = *state;
    gives(a, "{" NOT ", 'args': [true]}", "{'type': '2', 'shape': [2], 'data': [0, 1]}");
    gives(a, "{" NOT ", 'args': [false], 'decode': true}", "{'type': '2', 'shape': [2], 'data': [1, 0], 'values': true}");
    gives(a, "{" NOT ", 'args': [[0.25, 0.75]]}", "{'type': '2', 'shape': [2], 'data': [0.75, 0.25]}");
    gives(a, "{" NOT ", 'args': [[[1, 0], [0.5, -2]]]}", "{'type': '2', 'shape': [2, 2], 'data': [[0, 1], [-2, 0.5]]}");
    gives(a, "{" NOT ", 'args': [{'values': [true, false, true]}], 'decode': true}",
          "{'type': '2', 'shape': [3, 2], 'data': [[0, 1], [1, 0], [0, 1]], 'values': [false, true, false]}");
    gives(a, "{" NOT ", 'args': [[[1, 0]]]}", "{'type': '2', 'shape': [1, 2], 'data': [[0, 1]]}"); /* a batch of one */
    gives(a, "{'source': 'true'}", "{'type': '2', 'shape': [2], 'data': [1, 0]}");
}

static void test_naturals(void **state) {
    Ask *a = *state;
    gives(a, "{'source': 'λn:N[5]. succ n', 'args': [3], 'decode': true}",
          "{'type': 'N[6]', 'shape': [6], 'data': [0, 0, 0, 0, 1, 0], 'values': 4}");
    gives(a, "{'source': 'λn:N[3]. succ n', 'args': [{'values': [2, 0]}], 'decode': true}",
          "{'type': 'N[4]', 'shape': [2, 4], 'data': [[0, 0, 0, 1], [0, 1, 0, 0]], 'values': [3, 1]}");
    ask(a, 200, EVAL, "{'source': 'λn:N. iter {0 | y -> succ (succ y)} (n)', 'args': [9], 'decode': true}");
    ask_part(a, "values", "18");
    ask_part(a, "shape", "[19]");
    /* linear in its argument: weights of naturals in, weights of their doubles out */
    gives(a, "{'source': 'λn:N[3]. iter {0 | y -> succ (succ y)} (n)', 'args': [[0.5, 0.25, 0.125]]}",
          "{'type': 'N[5]', 'shape': [5], 'data': [0.5, 0, 0.25, 0, 0.125]}");
}

static void test_shorter_and_longer(void **state) {
    Ask *a = *state;
    gives(a, "{'source': 'n : N[4] |- succ n', 'inputs': {'n': [0, 1]}}", "{'type': 'N[5]', 'shape': [5], 'data': [0, 0, 1, 0, 0]}");
    gives(a, "{'source': 'n : N[4] |- succ n', 'inputs': {'n': [[0, 1], [2, 3]]}}",
          "{'type': 'N[5]', 'shape': [2, 5], 'data': [[0, 0, 1, 0, 0], [0, 2, 3, 0, 0]]}");
    ask_refused(a, "shape_mismatch", EVAL, "{'source': 'n : N[4] |- n', 'inputs': {'n': [0, 1, 0, 0, 0]}}");
    /* a matrix whose final codomain is N, by whole multiples of the remaining codomain: 3 × (2 ⊸ N[2]) has 4 rows, two a natural */
    gives(a, "{'source': 'f : 2 -o N[3] |- f true', 'inputs': {'f': [[1, 0], [5, 7]]}}", "{'type': 'N[3]', 'shape': [3], 'data': [1, 5, 0]}");
    gives(a, "{'source': 'f : R[3] -o (2 -o N[2]), x : R[3] |- f x true', 'inputs': {'f': [[1, 2, 3], [4, 5, 6]], 'x': [1, 10, 100]}}",
          "{'type': 'N[2]', 'shape': [2], 'data': [321, 0]}");
    ask_refused(a, "shape_mismatch", EVAL,
                "{'source': 'f : R[3] -o (2 -o N[2]), x : R[3] |- f x true', 'inputs': {'f': [[1, 2, 3]], 'x': [1, 10, 100]}}");
    ask_refused(a, "shape_mismatch", EVAL, "{'source': 'f : 2 -o N[3] |- f true', 'inputs': {'f': [[1, 0], [5, 7], [1, 1], [1, 1]]}}");
    /* nothing else may be shorter */
    ask_refused(a, "shape_mismatch", EVAL, "{'source': 'x : R[3] |- x', 'inputs': {'x': [1, 2]}}");
    ask_refused(a, "shape_mismatch", EVAL, "{'source': 'f : N[3] -o 2 |- f 1', 'inputs': {'f': [[1, 2], [3, 4]]}}");
}

static void test_tensors(void **state) {
    Ask *a = *state;
    gives(a, "{'source': 'x : R[2,3] |- x', 'inputs': {'x': [[1, 2, 3], [4, 5, 6]]}}",
          "{'type': 'R[2,3]', 'shape': [2, 3], 'data': [[1, 2, 3], [4, 5, 6]]}");
    gives(a, "{'source': 'x : R[1,2] |- x', 'inputs': {'x': [[[1, 2]], [[3, 4]], [[5, 6]]]}}",
          "{'type': 'R[1,2]', 'shape': [3, 1, 2], 'data': [[[1, 2]], [[3, 4]], [[5, 6]]]}");
    /* entry (o, i) of a matrix stands at o·dim(A)+i */
    gives(a, "{'source': 'f : R[3] -o R[2], x : R[3] |- f x', 'inputs': {'f': [[1, 2, 3], [4, 5, 6]], 'x': [1, 10, 100]}}",
          "{'type': 'R[2]', 'shape': [2], 'data': [321, 654]}");
    gives(a, "{'source': 'f : R[3] -o R[2], x : R[3] |- f x', 'inputs': {'f': [[[1, 2, 3], [4, 5, 6]], [[0, 0, 1], [1, 0, 0]]], 'x': [1, 10, 100]}}",
          "{'type': 'R[2]', 'shape': [2, 2], 'data': [[321, 654], [100, 1]]}");
    /* a function as an argument */
    gives(a, "{'source': 'λf:2 -o 2. f true', 'args': [[[1, 2], [3, 4]]]}", "{'type': '2', 'shape': [2], 'data': [1, 3]}");
}

static void test_partial_application(void **state) {
    static const char impl[] = "'source': 'λa:2. λb:2. if a then b else (if b then true else true)'";
    Ask *a = *state;
    char body[300];
    snprintf(body, sizeof body, "{%s, 'args': [true, false]}", impl);
    gives(a, body, "{'type': '2', 'shape': [2], 'data': [0, 1]}");
    snprintf(body, sizeof body, "{%s, 'args': [false]}", impl);
    gives(a, body, "{'type': '2 -o 2', 'shape': [2, 2], 'data': [[1, 1], [0, 0]]}");
    snprintf(body, sizeof body, "{%s, 'args': [{'values': [true, false]}]}", impl);
    gives(a, body, "{'type': '2 -o 2', 'shape': [2, 2, 2], 'data': [[[1, 0], [0, 1]], [[1, 1], [0, 0]]]}");
    /* a matrix of dim(2 -o 2) rows: entry ((o, b), a) */
    snprintf(body, sizeof body, "{%s}", impl);
    gives(a, body, "{'type': '2 -o 2 -o 2', 'shape': [4, 2], 'data': [[1, 1], [0, 1], [0, 0], [1, 0]]}");
    snprintf(body, sizeof body, "{%s, 'args': []}", impl);
    ask(a, 200, EVAL, body);
    ask_part(a, "shape", "[4, 2]");
    snprintf(body, sizeof body, "{%s, 'args': [true, true, true]}", impl);
    ask_refused(a, "too_many_args", EVAL, body);
}

static void test_batches(void **state) {
    Ask *a = *state;
    gives(a, "{" XOR ", 'inputs': {'a': true, 'b': {'values': [true, false]}}}", "{'type': '2', 'shape': [2, 2], 'data': [[0, 1], [1, 0]]}");
    gives(a, "{" XOR ", 'inputs': {'a': [[1, 0], [0, 1], [0.5, 0.5]], 'b': [0.25, 0.75]}}",
          "{'type': '2', 'shape': [3, 2], 'data': [[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]}");
    gives(a, "{" XOR ", 'inputs': {'a': [[1, 0], [0, 1]], 'b': {'values': [false, false]}}}",
          "{'type': '2', 'shape': [2, 2], 'data': [[1, 0], [0, 1]]}");
    ask_refused(a, "shape_mismatch", EVAL, "{" XOR ", 'inputs': {'a': [[1, 0], [0, 1]], 'b': {'values': [true, false, true]}}}");
    /* an input batched, an argument shared, and the other way round */
    gives(a, "{'source': 'b : 2 |- λx:2. if b then x else x', 'inputs': {'b': {'values': [true, false]}}, 'args': [[2, 3]]}",
          "{'type': '2', 'shape': [2, 2], 'data': [[2, 3], [2, 3]]}");
    gives(a, "{'source': 'b : 2 |- λx:2. if b then x else x', 'inputs': {'b': true}, 'args': [[[2, 3], [4, 5]]]}",
          "{'type': '2', 'shape': [2, 2], 'data': [[2, 3], [4, 5]]}");
    /* the answer has the batch axis even where the program does not look at what is batched */
    gives(a, "{'source': 'x : !2 |- true', 'inputs': {'x': {'values': [true, false]}}}", "{'type': '2', 'shape': [2, 2], 'data': [[1, 0], [1, 0]]}");
}

static void test_decode(void **state) {
    Ask *a = *state;
    ask(a, 200, EVAL, "{'source': 'b : 2 |- b', 'inputs': {'b': [[0.5, 0.5], [0, 0], [-3, -2], ['NaN', 1], [0, 1e-30]]}, 'decode': true}");
    ask_part(a, "values", "[true, null, false, null, false]");
    ask(a, 200, EVAL, "{'source': 'b : 2 |- b', 'inputs': {'b': [0, 0]}, 'decode': true}");
    ask_part(a, "values", "null");
    ask(a, 200, EVAL, "{'source': 'n : N[3] |- n', 'inputs': {'n': [[1, 3, 3], [1, 2, 3]]}, 'decode': true}");
    ask_part(a, "values", "[1, 2]");
    ask_refused(a, "bad_request", EVAL, "{'source': 'x : R[2] |- x', 'inputs': {'x': [1, 2]}, 'decode': true}");
    ask_refused(a, "bad_request", EVAL, "{" NOT ", 'decode': true}");
    ask(a, 200, EVAL, "{'source': 'true', 'decode': false}");
    assert_null(ask_find(a, "values"));
}

static void test_numbers(void **state) {
    Ask *a = *state;
    gives(a, "{'source': 'x : R[3] |- x', 'inputs': {'x': ['NaN', 'Infinity', '-Infinity']}}",
          "{'type': 'R[3]', 'shape': [3], 'data': ['NaN', 'Infinity', '-Infinity']}");
    ask(a, 200, EVAL, "{'source': 'x : R[4] |- x', 'inputs': {'x': [0.1, 0.3333333333333333, -0.0, 16777217]}}");
    ask_body_has(a, "[0.1,0.33333334,");
    ask_body_has(a, ",16777216]");
    ask(a, 200, EVAL, "{'source': 'x : R[4] |- x', 'inputs': {'x': [0.1, 0.3333333333333333, 1e300, 16777217]}, 'dtype': 'f64'}");
    ask_body_has(a, "[0.1,0.3333333333333333,");
    ask_body_has(a, ",16777217]");
    ask_part(a, "data.2", "1e300");
    ask(a, 200, EVAL, "{'source': 'x : R[1] |- x', 'inputs': {'x': [0.5]}, 'dtype': 'f32'}");
    ask_refused(a, "bad_request", EVAL, "{'source': 'true', 'dtype': 'f16'}");
    ask_refused(a, "bad_json", EVAL, "{'source': 'x : R[1] |- x', 'inputs': {'x': [1e999]}}");
}

static void test_policies(void **state) {
    Ask *a = *state;
    gives(a, "{'source': 'n : N |- succ n', 'nat': {'dim': 3, 'overflow': 'drop'}, 'inputs': {'n': 2}, 'decode': true}",
          "{'type': 'N[3]', 'shape': [3], 'data': [0, 0, 0], 'values': null}");
    gives(a, "{'source': 'n : N |- succ n', 'nat': {'dim': 3, 'overflow': 'saturate'}, 'inputs': {'n': 2}, 'decode': true}",
          "{'type': 'N[3]', 'shape': [3], 'data': [0, 0, 1], 'values': 2}");
    gives(a, "{'source': 'n : N |- succ n', 'nat': {'dim': 3}, 'inputs': {'n': 2}, 'decode': true}",
          "{'type': 'N[4]', 'shape': [4], 'data': [0, 0, 0, 1], 'values': 3}");
    /* a natural that does not fit is refused under every policy */
    for (int i = 0; i < 3; i++) {
        char body[200];
        snprintf(body, sizeof body, "{'source': 'n : N |- n', 'nat': {'dim': 3, 'overflow': '%s'}, 'inputs': {'n': %s}}",
                 (const char *[]){"exact", "drop", "saturate"}[i], i ? "3" : "{'values': [0, 3]}");
        ask_refused(a, "nat_bound_exceeded", EVAL, body);
    }
}

static void test_interpreter(void **state) {
    Ask *a = *state;
    gives(a, "{" NOT ", 'args': [true], 'engine': 'interpreter'}", "{'type': '2', 'shape': [2], 'data': [0, 1]}");
    gives(a, "{'source': 'λn:N[5]. succ n', 'args': [{'values': [4, 0]}], 'engine': 'interpreter', 'decode': true}",
          "{'type': 'N[6]', 'shape': [2, 6], 'data': [[0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]], 'values': [5, 1]}");
    gives(a, "{" XOR ", 'inputs': {'a': true, 'b': {'values': [true, false]}}, 'engine': 'interpreter'}",
          "{'type': '2', 'shape': [2, 2], 'data': [[0, 1], [1, 0]]}");
    gives(a, "{" NOT ", 'engine': 'neurons', 'args': [true]}", "{'type': '2', 'shape': [2], 'data': [0, 1]}");
    ask_refused(a, "bad_request", EVAL, "{" NOT ", 'args': [[0.5, 0.5]], 'engine': 'interpreter'}");
    ask_refused(a, "bad_request", EVAL, "{" NOT ", 'args': [true], 'engine': 'brain'}");
    /* both engines give a table of a function that is left over */
    gives(a, "{" NOT ", 'engine': 'interpreter'}", "{'type': '2 -o 2', 'shape': [2, 2], 'data': [[0, 1], [1, 0]]}");
}

static void test_by_hash(void **state) {
    Ask *a = *state;
    char hash[80], body[300];
    ask_compile(a, "{" XOR "}", hash);
    snprintf(body, sizeof body, "{'program': '%s', 'inputs': {'a': true, 'b': true}, 'decode': true}", hash);
    ask(a, 200, EVAL, body);
    ask_part(a, "values", "false");
    /* inline programs are stored on the way */
    ask(a, 200, EVAL, "{'source': 'λunheard:2. if unheard then true else true', 'args': [true]}");
    ask(a, 200, "POST /compile", "{'source': 'λunheard:2. if unheard then true else true'}");
    ask_part(a, "cached", "true");
    snprintf(body, sizeof body, "{'program': '%s', 'source': 'true'}", hash);
    ask_refused(a, "bad_request", EVAL, body);
    snprintf(body, sizeof body, "{'program': '%s', 'nat': {'dim': 3}}", hash);
    ask_refused(a, "bad_request", EVAL, body);
    ask_refused(a, "not_found", EVAL, "{'program': 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}");
    ask_refused(a, "not_found", EVAL, "{'program': 'nobody'}");
}

static void test_refused(void **state) {
    static const struct {
        const char *code, *body;
    } cases[] = {
        {"bad_request", "{'args': [true]}"},
        {"bad_request", "{" NOT ", 'arg': [true]}"},
        {"bad_request", "{" NOT ", 'args': true}"},
        {"bad_request", "{" NOT ", 'args': [null]}"},
        {"bad_request", "{" NOT ", 'args': [{'values': [true], 'more': 1}]}"},
        {"bad_request", "{" NOT ", 'args': [{}]}"},
        {"bad_request", "{" NOT ", 'cotangent': [1, 1]}"},
        {"bad_request", "{" XOR ", 'inputs': []}"},
        {"bad_tensor", "{" NOT ", 'args': [[]]}"},
        {"bad_tensor", "{" NOT ", 'args': [[[], []]]}"},
        {"bad_tensor", "{" NOT ", 'args': [{'values': []}]}"},
        {"bad_tensor", "{" NOT ", 'args': [[[1, 0], [1]]]}"},
        {"bad_tensor", "{" NOT ", 'args': [[1, [0]]]}"},
        {"bad_tensor", "{" NOT ", 'args': [[1, 'nan']]}"},
        {"bad_tensor", "{" NOT ", 'args': [[1, null]]}"},
        {"shape_mismatch", "{" NOT ", 'args': [[1, 2, 3]]}"},
        {"shape_mismatch", "{" NOT ", 'args': [[[[1, 0]]]]}"},
        {"shape_mismatch", "{" NOT ", 'args': [1]}"},
        {"shape_mismatch", "{'source': 'λn:N. n', 'args': [true]}"},
        {"shape_mismatch", "{'source': 'λn:N. n', 'args': [{'values': [true]}]}"},
        {"shape_mismatch", "{'source': 'x : R[2] |- x', 'inputs': {'x': true}}"},
        {"missing_input", "{" XOR ", 'inputs': {'a': true}}"},
        {"missing_input", "{" XOR "}"},
        {"unknown_input", "{" XOR ", 'inputs': {'a': true, 'b': true, 'c': true}}"},
        {"too_many_args", "{" XOR ", 'inputs': {'a': true, 'b': true}, 'args': [true]}"},
        {"too_many_args", "{" NOT ", 'args': [true, true]}"},
        {"not_tabulable", "{'source': 'λx:!2. if x then x else x'}"},
        {"not_tabulable", "{'source': 'f : !(!2 -o 2) |- f true', 'inputs': {'f': [[1, 0], [0, 1]]}}"},
        {"linear_unused", "{'source': 'λx:2. true', 'args': [true]}"},
    };
    Ask *a = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask_refused(a, cases[i].code, EVAL, cases[i].body);
    }
    /* a smooth parameter takes an argument like any other */
    gives(a, "{'source': 'λx:!2. if x then x else x', 'args': [[3, 4]]}", "{'type': '2', 'shape': [2], 'data': [21, 28]}");
}

/* xorshift64 (Marsaglia 2003) */
static double draw(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) / 9007199254740992.0 * 2 - 1;
}

static void put_row(Buf *out, uint64_t *seed, int n) {
    for (int i = 0; i < n; i++) buf_printf(out, "%c%.9g", i ? ',' : '[', draw(seed));
    buf_putc(out, ']');
}

/* A row's bits do not depend on which batch it came in. */
static void test_rows_do_not_see_each_other(void **state) {
    enum { DIM = 33, ROWS = 41 };
    Ask *a = *state;
    uint64_t matrix = 11;
    Buf head, all, one;
    buf_init(&head), buf_init(&all), buf_init(&one);
    buf_puts(&head, "{\"source\": \"f : !(R[33] -o R[33]), x : R[33] |- f (f x)\", \"inputs\": {\"f\": [");
    for (int i = 0; i < DIM; i++) put_row(&head, &matrix, DIM), buf_putc(&head, i + 1 < DIM ? ',' : ']');
    buf_puts(&head, ", \"x\": ");
    uint64_t seed = 5;
    buf_puts(&all, buf_text(&head));
    for (int r = 0; r < ROWS; r++) buf_putc(&all, r ? ',' : '['), put_row(&all, &seed, DIM);
    buf_puts(&all, "]}}");
    ask(a, 200, EVAL, buf_text(&all));
    cJSON *batch = cJSON_Duplicate(ask_find(a, "data"), true);
    assert_int_equal(ROWS, cJSON_GetArraySize(batch));
    seed = 5;
    for (int r = 0; r < ROWS; r++) {
        buf_clear(&one);
        buf_puts(&one, buf_text(&head));
        buf_putc(&one, '['), put_row(&one, &seed, DIM);
        buf_puts(&one, "]}}");
        ask(a, 200, EVAL, buf_text(&one));
        char *want = cJSON_PrintUnformatted(cJSON_GetArrayItem(batch, r));
        ask_part(a, "data.0", want);
        cJSON_free(want);
    }
    cJSON_Delete(batch);
    buf_release(&head), buf_release(&all), buf_release(&one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_naturals),
        cmocka_unit_test(test_shorter_and_longer),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_partial_application),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_interpreter),
        cmocka_unit_test(test_by_hash),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rows_do_not_see_each_other),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
