/* What is kept of a run comes back; what is damaged does not. */
#include "server/runs/run_facts.h"
#include "tests/support/gen.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void put(Buf *out) {
    ColumnMsg columns[] = {{.name = (const unsigned char *)"x", .name_len = 1, .dtype = DT_U8, .rank = 2, .dims = {28, 27}, .offset = 100},
                           {.name = (const unsigned char *)"label", .name_len = 5, .dtype = DT_I64, .rank = 0, .offset = 99999999999}};
    RunVariable variables[] = {{"f", (const unsigned char *)"ab", 2}, {"x", (const unsigned char *)"", 0}};
    RunFacts facts = {.train = {.name = "toy", .sha256 = "00ff", .rows = 7, .bytes = 1000, .columns = columns, .ncolumns = 2}, .keep = 3,
                      .sources = {"r-one", "r-two"}, .nsources = 2, .variables = variables, .nvariables = 2};
    buf_init(out);
    run_facts_put(out, &facts);
}

static void test_comes_back(void **state) {
    Buf bytes;
    RunFacts f;
    (void)state;
    put(&bytes);
    assert_true(run_facts_get(&f, bytes.data, bytes.len));
    assert_string_equal(f.train.name, "toy");
    assert_string_equal(f.train.sha256, "00ff");
    assert_true(f.train.rows == 7 && f.train.bytes == 1000 && f.train.ncolumns == 2 && f.test.rows == 0);
    assert_true(f.train.columns[0].dims[0] == 28 && f.train.columns[0].dims[1] == 27 && f.train.columns[0].dtype == DT_U8);
    assert_memory_equal(f.train.columns[1].name, "label", 5);
    assert_true(f.train.columns[1].rank == 0 && f.train.columns[1].offset == 99999999999);
    assert_true(f.keep == 3 && f.nsources == 2 && f.nvariables == 2);
    assert_string_equal(f.sources[1], "r-two");
    assert_string_equal(f.variables[0].name, "f");
    assert_memory_equal(f.variables[0].type, "ab", 2);
    run_facts_release(&f);
    buf_release(&bytes);
}

/* Cut short it is refused; with a byte changed it is refused or read, and nothing is read beyond it. */
static void test_damaged(void **state) {
    Rng rng = rng_new("damaged");
    Buf bytes;
    RunFacts f;
    (void)state;
    put(&bytes);
    for (size_t len = 0; len < bytes.len; len++) assert_false(run_facts_get(&f, bytes.data, len));
    for (int round = 0; round < 2000; round++) {
        unsigned char *copy = malloc(bytes.len);
        assert_non_null(copy);
        memcpy(copy, bytes.data, bytes.len);
        copy[rng_below(&rng, (uint32_t)bytes.len)] = (unsigned char)rng_next(&rng);
        if (run_facts_get(&f, copy, bytes.len)) run_facts_release(&f);
        free(copy);
    }
    buf_release(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_comes_back), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
