/* What is not taken takes nothing (language.md §5): a branch, or a state beyond a count, that overflows is not in the answer when its coefficient is 0,
 * nor in any derivative. With f = 1e200, f (f x) is infinite. */
#include "tests/support/ask.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define F64 "'dtype': 'f64'"
#define EVAL "POST /eval"
#define GRAD "POST /grad"
#define JVP "POST /jvp"

#define POWER "'source': 'f : !(R[1] -o R[1]), x : R[1], n : N[4] |- iter {x | y -> f y} (n)'"

static void test_counts(void **state) {
    Ask *a = *state;
    ask(a, 200, EVAL, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [1], 'n': 1}}");
    ask_part(a, "data", "[1e200]");
    /* one row's long count is nothing to the others */
    ask(a, 200, EVAL, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': {'values': [0, 3, 1]}}}");
    ask_part(a, "data", "[[3], ['Infinity'], [3e200]]");
    ask(a, 200, EVAL, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': [[0.5, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]]}}");
    ask_part(a, "data", "[[1.5], [6e200], ['Infinity']]");
    ask(a, 200, EVAL, "{" POWER ", 'inputs': {'f': [[1e30]], 'x': [1], 'n': {'values': [1, 0]}}}"); /* infinite in single precision */
    ask_part(a, "data", "[[1e30], [1]]");
}

static void test_gradients_of_counts(void **state) {
    Ask *a = *state;
    ask(a, 200, GRAD, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': {'values': [0, 1]}}}");
    ask_part(a, "output.data", "[[3], [3e200]]");
    ask_part(a, "grads.inputs.f.data", "[[3]]");
    ask_part(a, "grads.inputs.x.data", "[1e200]");
    ask_part(a, "grads.inputs.n.data", "[[3, 3e200, 0, 0], [3, 3e200, 0, 0]]"); /* states that are not finite have no say */
    ask(a, 200, GRAD, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': {'values': [0, 1]}}, 'wrt': ['f', 'x']}");
    ask_part(a, "grads.inputs", "{'f': {'shape': [1, 1], 'data': [[3]]}, 'x': {'shape': [1], 'data': [1e200]}}");
    /* the rows' own gradients: the long row's is infinite, the other's is not */
    ask(a, 200, GRAD, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [[3], [5]], 'n': {'values': [3, 1]}}, 'wrt': ['x']}");
    ask_part(a, "grads.inputs.x.data", "[['Infinity'], [1e200]]");
    ask(a, 200, GRAD, "{" POWER ", 'inputs': {'f': [[1e30]], 'x': [1], 'n': 1}}");
    ask_part(a, "grads.inputs.n.data", "[1, 1e30, 0, 0]");
    ask_part(a, "grads.inputs.f.data", "[[1]]");
}

static void test_tangents_of_counts(void **state) {
    Ask *a = *state;
    ask(a, 200, JVP, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': {'values': [0, 1]}}, 'tangents': {'inputs': {'f': [[2]]}}}");
    ask_part(a, "tangent.data", "[[0], [6]]");
    ask(a, 200, JVP, "{" POWER ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'n': 1}, 'tangents': {'inputs': {'n': [0, 1, 1, 1]}}}");
    ask_part(a, "tangent.data", "[3e200]");
}

#define BRANCH "'source': 'f : !(R[1] -o R[1]), c : 2, x : !R[1] |- if c then x else f (f x)'"

static void test_branches(void **state) {
    Ask *a = *state;
    ask(a, 200, EVAL, "{" BRANCH ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': {'values': [true, false]}}}");
    ask_part(a, "data", "[[3], ['Infinity']]");
    ask(a, 200, EVAL, "{" BRANCH ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': [2, 0]}}");
    ask_part(a, "data", "[6]");
    ask(a, 200, GRAD, "{" BRANCH ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': [2, 0]}}");
    ask_part(a, "output.data", "[6]");
    ask_part(a, "grads.inputs.x.data", "[2]");
    ask_part(a, "grads.inputs.f.data", "[[0]]");
    ask_part(a, "grads.inputs.c.data", "[3, 0]");
    ask(a, 200, JVP, "{" BRANCH ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': true}, 'tangents': {'inputs': {'f': [[1]], 'x': [5], 'c': [1, 1]}}}");
    ask_part(a, "tangent.data", "[8]");
    /* inside a branch that is not taken nothing is, whatever is taken there */
    ask(a, 200, GRAD,
        "{'source': 'f : !(R[1] -o R[1]), c : 2, d : !2, x : !R[1] |- if c then x else (if d then f (f x) else iter {x | y -> f y} (5))', " F64
        ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': true, 'd': {'values': [true, false]}}}");
    ask_part(a, "output.data", "[[3], [3]]");
    ask_part(a, "grads.inputs.x.data", "[2]");
    ask_part(a, "grads.inputs.f.data", "[[0]]");
    ask_part(a, "grads.inputs.d.data", "[[0, 0], [0, 0]]");
}

/* Rows that were finite have the bits that they have alone. */
static void test_bits(void **state) {
    Ask *a = *state;
    double alone[2], beside[2];
    ask(a, 200, EVAL, "{" POWER ", 'inputs': {'f': [[0.3]], 'x': [0.1], 'n': 3}}");
    alone[0] = ask_number(a, "data.0");
    ask(a, 200, EVAL, "{" POWER ", 'inputs': {'f': [[[0.3]], [[1e30]], [[0.7]]], 'x': [[0.1], [1], [0.9]], 'n': 3}}");
    beside[0] = ask_number(a, "data.0.0");
    beside[1] = ask_number(a, "data.2.0");
    ask_part(a, "data.1", "['Infinity']");
    ask(a, 200, EVAL, "{" POWER ", 'inputs': {'f': [[0.7]], 'x': [0.9], 'n': 3}}");
    alone[1] = ask_number(a, "data.0");
    assert_memory_equal(alone, beside, sizeof alone);
}

/* What is taken is infinite, or NaN, in earnest. */
static void test_taken(void **state) {
    Ask *a = *state;
    ask(a, 200, EVAL, "{" POWER ", " F64 ", 'inputs': {'f': [[-1e200]], 'x': [1], 'n': {'values': [2, 3]}}}");
    ask_part(a, "data", "[['Infinity'], ['-Infinity']]");
    ask(a, 200, EVAL, "{" POWER ", " F64 ", 'inputs': {'f': [[-1e200]], 'x': [1], 'n': [0, 0, 1, 1]}}");
    ask_part(a, "data", "['NaN']");
    ask(a, 200, GRAD, "{" BRANCH ", " F64 ", 'inputs': {'f': [[1e200]], 'x': [3], 'c': false}, 'wrt': ['x']}");
    ask_part(a, "grads.inputs.x.data", "['Infinity']");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts), cmocka_unit_test(test_gradients_of_counts), cmocka_unit_test(test_tangents_of_counts),
        cmocka_unit_test(test_branches), cmocka_unit_test(test_bits), cmocka_unit_test(test_taken), cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
