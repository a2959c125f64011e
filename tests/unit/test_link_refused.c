/* Linking refused: every way in which program, data and specification do not fit, with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/trial.h"
#include "compiler/training/spec_read.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char right[] =
    "{'program': {'source': 'if odd then f (g n) else a', 'context': {'a': '!R[3]', 'n': '!N[4]', 'odd': '2', 'f': '!(R[3] -o R[3])', 'g': '!(!N[4] -o R[3])'}},"
    " 'nets': {'one': {'layers': [{'linear': {'out': 3}}]}, 'two': {'layers': ['flatten', {'linear': {'out': 4}}]}},"
    " 'bind': {'a': {'column': 'three'}, 'n': {'net': 'two', 'of': ['image']}, 'odd': {'column': 'odd'}, 'f': {'weights': {}}, 'g': {'net': 'one'}},"
    " 'data': {'train': 'a', 'test': 'b', 'columns': {'image': {'scale': 0.5}}}, 'loss': {'l1': {'target': 'other'}}, 'optimizer': 'sgd',"
    " 'batch_size': 3, 'steps': 10, 'evaluate': {'every': 5, 'metrics': ['loss']}}";

typedef struct {
    const char *from, *to;
    ErrCode code;
    const char *pointer, *says;
} Refused;

static const Refused refused[] = {
    {"'batch_size': 3", "'batch_size': 1001", ERR_bad_run, "/batch_size", "1000 rows"},
    {"'steps': 10", "'epochs': 3301836720", ERR_NONE, NULL, NULL}, /* of 333 steps */
    {"'steps': 10", "'epochs': 3301836721", ERR_bad_run, "/epochs", "an epoch has 333"},
    {"'a': {'column': 'three'}, ", "", ERR_missing_input, "/bind", "\"a\""},
    {"'a': {'column': 'three'}", "'a': {'column': 'three'}, 'b/c': {'constant': 1}", ERR_unknown_input, "/bind/b~1c", "b/c"},
    {"f (g n) else a", "f (g n) else b", ERR_unbound_variable, "", "b"},
    {"if odd then f (g n) else a", "\\\\z:2. if z then (if odd then f (g n) else a) else (if odd then a else a)", ERR_bad_run,
     "/program", "is a function"},
    {"'column': 'three'", "'column': 'four'", ERR_bad_run, "/bind/a", "no column \"four\""},
    {"'column': 'three'", "'column': 'image'", ERR_shape_mismatch, "/bind/a", "[6,6]"},
    {"'column': 'odd'", "'column': 'number'", ERR_shape_mismatch, "/bind/odd", "numbers of shape []"},
    {"'of': ['image']", "'of': ['picture']", ERR_bad_run, "/bind/n/of/0", "picture"},
    {"'of': ['image']", "'of': 'picture'", ERR_bad_run, "/bind/n/of", "picture"},
    {"'of': ['image']", "'of': ['digit']", ERR_bad_run, "/bind/n/of/0", "one integer a row"},
    {"if odd then f (g n) else a", "if odd then a else a", ERR_bad_run, "/bind", "does not depend on any weight"},
    {"'of': ['image']", "'of': ['f']", ERR_NONE, NULL, NULL},
    {"'of': ['image']", "'of': ['odd']", ERR_NONE, NULL, NULL},
    {"{'linear': {'out': 4}}", "{'linear': {'out': 5}}", ERR_shape_mismatch, "/bind/n", "gives [5]"},
    {"'g': {'net': 'one'}", "'g': {'net': 'two'}, 'f2': {'net': 'one', 'of': ['image']}", ERR_unknown_input, "/bind/f2", "f2"},
    {"'f': {'weights': {}}", "'f': {'net': 'one'}", ERR_type_mismatch, "/bind/f", "promises to be linear"},
    {"'a': {'column': 'three'}", "'a': {'net': 'one'}", ERR_type_mismatch, "/bind/a", "no function"},
    {"'g': {'net': 'one'}", "'g': {'net': 'one', 'of': ['three']}", ERR_type_mismatch, "/bind/g", "smooth function"},
    {"'a': {'column': 'three'}", "'a': {'net': 'one', 'of': ['three']}", ERR_shape_mismatch, "/bind/g", "takes [3] as input 0 at /bind/a"},
    {"{'layers': [{'linear': {'out': 3}}]}", "{'inputs': ['u', 'v'], 'let': [['w', {'layers': ['relu'], 'of': 'u'}]], 'out': 'w'}",
     ERR_type_mismatch, "/bind/g",
     "with 1 argument"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'conv2d': {'out': 4, 'kernel': 3}}]", ERR_shape_mismatch, "/nets/two/layers/0", "[C,H,W]"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'reshape': [1, 6, 6]}, {'conv2d': {'out': 4, 'kernel': 7}}]", ERR_shape_mismatch,
     "/nets/two/layers/1", "does not fit"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'reshape': [1, 6, 6]}, {'conv2d': {'out': 4, 'kernel': 3, 'pad': 200000000}}]", ERR_shape_mismatch,
     "/nets/two/layers/1", "smaller pad"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'max_pool2d': {'kernel': 7}}]", ERR_shape_mismatch, "/nets/two/layers/0", "does not fit"},
    {"['flatten', {'linear': {'out': 4}}]", "['flatten', {'pad2d': {'pad': 1}}]", ERR_shape_mismatch, "/nets/two/layers/1", "two axes"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'reshape': [7, 5]}]", ERR_shape_mismatch, "/nets/two/layers/0", "36 elements are not 35"},
    {"['flatten', {'linear': {'out': 4}}]", "['flatten', {'linear': {'out': 200000000}}]", ERR_too_large, "/nets/two/layers/1", "elements"},
    {"'odd': {'column': 'odd'}", "'odd': {'constant': 1}", ERR_bad_run, "/bind/odd/constant", "type 2"},
    {"'a': {'column': 'three'}", "'a': {'constant': [1, 2]}", ERR_shape_mismatch, "/bind/a/constant", "[3]"},
    {"'a': {'column': 'three'}", "'a': {'constant': [1, 2, 'NaN']}", ERR_bad_run, "/bind/a/constant", "finite"},
    {"'columns': {'image'", "'columns': {'picture'", ERR_bad_run, "/data/columns/picture", "no column"},
    {"'columns': {'image'", "'columns': {'odd'", ERR_bad_run, "/data/columns/odd", "no scale"},
    {"'target': 'other'", "'target': 'another'", ERR_bad_run, "/loss/l1/target", "another"},
    {"'target': 'other'", "'target': 'image'", ERR_shape_mismatch, "/loss/l1/target", "the program's output"},
    {"'target': 'other'", "'target': 'digit'", ERR_bad_run, "/loss/l1/target", "one number a row"},
    {"{'l1': {'target': 'other'}}", "{'cross_entropy': {'target': 'odd'}}", ERR_bad_run, "/loss/cross_entropy/target", "in one way"},
    {"'metrics': ['loss']", "'metrics': ['accuracy']", ERR_bad_run, "/evaluate/metrics", "accuracy"},
    {"'f': {'weights': {}}", "'f': {'weights': {}, 'train': false}", ERR_NONE, NULL, NULL},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const Refused *r = &refused[i];
        const char *at = strstr(right, r->from);
        char spec[4096];
        Trial m;
        Err err = {0};
        if (!at) fail_msg("no %s", r->from);
        snprintf(spec, sizeof spec, "%.*s%s%s", (int)(at - right), right, r->to, at + strlen(r->from));
        char *text = trial_quoted(spec);
        const bool reads = spec_read(&m.spec, text, strlen(text), &err);
        spec_release(&m.spec);
        if (!reads) fail_msg("%s: %s: %s", r->to, err.pointer, err.message);
        const bool ok = trial_link(&m, text, &trial_data, &trial_data);
        if (m.cx.diag.code != r->code || (r->pointer && strcmp(m.pointer, r->pointer)) || (r->says && !strstr(m.cx.diag.message, r->says)))
            fail_msg("%s: %s at %s: %s", r->to, err_name(m.cx.diag.code), m.pointer, ok ? "accepted" : m.cx.diag.message);
        free(text);
        trial_release(&m);
    }
}

static void test_test_data(void **state) {
    (void)state;
    static const LinkColumn less[] = {COLUMN("image", DT_U8, 6, 6), COLUMN("three", DT_F32, 4), NUMBER("odd", DT_I64),
                                      COLUMN("other", DT_F32, 3)};
    static const LinkColumn floats[] = {COLUMN("image", DT_F32, 6, 6), COLUMN("three", DT_F32, 3), NUMBER("odd", DT_F32),
                                        COLUMN("other", DT_F32, 3)};
    const struct { LinkData data; ErrCode code; const char *pointer; } cases[] = {
        {{less, 3, 10}, ERR_bad_run, "/data/test"}, {{less, 4, 10}, ERR_shape_mismatch, "/data/test"}, {{floats, 4, 10},
                                                                                          ERR_bad_run, "/data/test"},
        {{trial_data.columns, trial_data.ncolumns, 0}, ERR_bad_run, "/data/test"},
        {{trial_data.columns, trial_data.ncolumns, LIMIT_RUN_ROWS + 1}, ERR_too_large, "/data/test"}};
    char *text = trial_quoted(right);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Trial m;
        assert_false(trial_link(&m, text, &trial_data, &cases[i].data));
        if (m.cx.diag.code != cases[i].code || strcmp(m.pointer, cases[i].pointer)) fail_msg("%zu: %s: %s", i, m.pointer,
                                                                                          m.cx.diag.message);
        trial_release(&m);
    }
    free(text);
}

/* A single number is its row's largest and smallest. */
static void test_psnr_of_one_number(void **state) {
    (void)state;
    char *text = trial_quoted("{'program': {'source': 'a', 'context': {'a': 'R[1]'}}, 'nets': {'n': {'layers': ['flatten', {'linear': {'out': 1}}]}},"
                              " 'bind': {'a': {'net': 'n', 'of': ['image']}}, 'data': {'train': 'a'}, 'loss': {'mse': {'target': 'number'}},"
                              " 'optimizer': 'sgd', 'batch_size': 3, 'steps': 10, 'evaluate': {'every': 5, 'metrics': ['psnr']}}");
    Trial m;
    assert_false(trial_link(&m, text, &trial_data, NULL));
    assert_int_equal(m.cx.diag.code, ERR_bad_run);
    assert_string_equal(m.pointer, "/evaluate/metrics");
    trial_release(&m);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_test_data), cmocka_unit_test(test_psnr_of_one_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
