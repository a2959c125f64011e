/* RFC 7396: its own cases, and arrays of numbers to the letter. */
#include "schema/formats/merge_patch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void check(const char *target, const char *patch, const char *skip, const char *wanted) {
    Json t = {0}, p = {0};
    Err err = {0};
    Buf out;
    assert_true(json_parse(&t, target, strlen(target), &err));
    assert_true(json_parse(&p, patch, strlen(patch), &err));
    buf_init(&out);
    merge_patch(&out, &t, &p, skip);
    assert_string_equal(buf_text(&out), wanted);
    buf_release(&out);
    json_release(&t);
    json_release(&p);
}

/* Appendix A. */
static void test_rfc(void **state) {
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(cases[i][0], cases[i][1], NULL, cases[i][2]);
}

static void test_numbers(void **state) {
    (void)state;
    check("{\"bind\":{\"m\":{\"constant\":[[1.50, 2e0],[\"NaN\",-0.1]]}},\"seed\":9007199254740991}", "{\"x\":[ 1, 2]}", NULL,
          "{\"bind\":{\"m\":{\"constant\":[[1.50, 2e0],[\"NaN\",-0.1]]}},\"seed\":9007199254740991,\"x\":[ 1, 2]}");
    check("{\"seed\":1}", "{\"seed\":9007199254740993}", NULL, "{\"seed\":9007199254740993}"); /* refused later, not rounded now */
}

static void test_skip(void **state) {
    (void)state;
    check("{\"a\":1}", "{\"from_step\":5,\"b\":{\"from_step\":6}}", "from_step", "{\"a\":1,\"b\":{\"from_step\":6}}");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rfc), cmocka_unit_test(test_numbers), cmocka_unit_test(test_skip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
