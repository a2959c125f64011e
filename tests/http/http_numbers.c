/* Numbers that have no place where they are to go: beyond f32, or integers that a double would round; and training that skips what is not finite. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int setup(void **state) {
    if (ask_setup(state) != 0) return -1;
    toy_data(*state);
    return 0;
}

static void refused(Ask *a, const char *code, const char *path, const char *says, const char *route, const char *body) {
    ask_refused(a, code, route, body);
    ask_body_has(a, says);
    if (path) assert_string_equal(ask_text(a, "diagnostics.0.path"), path);
}

/* The toy's specification with one text replaced by another. */
static const char *changed(char out[2000], const char *from, const char *to) {
    char spec[1000];
    toy_spec(spec, 20, 10);
    const char *at = strstr(spec, from);
    if (!at) fail_msg("the test's own specification has no %s", from);
    snprintf(out, 2000, "%.*s%s%s", (int)(at - spec), spec, to, at + strlen(from));
    return out;
}

/* ---- beyond f32 ---- */

static void test_json(void **state) {
    Ask *a = *state;
    static const char plain[] = "{'source': 'f : !(R[2] -o R[2]), x : R[2] |- f x', 'inputs': {'f': [[1, 0], [0, 1]], 'x': [0, %s]}%s}";
    static const struct {
        const char *number, *more, *is; /* is: in the answer; NULL: refused */
    } cases[] = {
        {"3.5e38", "", NULL}, {"-1e300", "", NULL}, {"3.4028235677973366e38", "", NULL}, /* half a place above the largest */
        {"3.4028235677973362e38", "", "[0,3.4028235e38]"}, {"3.5e38", ", 'dtype': 'f64'", "[0,3.5e38]"}, {"'Infinity'", "", "\"Infinity\"]"},
        {"'NaN'", "", "\"NaN\"]"}, {"1e-300", "", "[0,0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[400];
        snprintf(body, sizeof body, plain, cases[i].number, cases[i].more);
        if (cases[i].is) {
            ask(a, 200, "POST /eval", body);
            ask_body_has(a, cases[i].is);
        } else {
            refused(a, "bad_tensor", "/inputs/x", "(element 1), and f32 ends at 3.40282347e+38; ask for dtype f64.", "POST /eval", body);
        }
    }
    refused(a, "bad_tensor", "/args/0", "args.0 has 1e+39 (element 3, row 1), and f32 ends", "POST /eval",
            "{'source': '\\\\x:!R[2,2]. x', 'args': [[[[1, 2], [3, 4]], [[1, 2], [3, 1e39]]]]}");
    refused(a, "bad_tensor", "/cotangent", "cotangent has 1e+39 (element 0)", "POST /grad",
            "{'source': '\\\\x:R[2]. x', 'args': [[1, 2]], 'cotangent': [1e39, 0]}");
    refused(a, "bad_tensor", "/tangents/args/0", "has 1e+39 (element 0)", "POST /jvp",
            "{'source': '\\\\x:R[2]. x', 'args': [[1, 2]], 'tangents': {'args': [[1e39, 0]]}}");
}

/* 24 bytes of data in three forms that hold doubles: as they are needed, in the other byte order, in Fortran order. */
static void test_binary(void **state) {
    Ask *a = *state;
    char hash[80], route[200];
    const char *const npy[] = {"Content-Type: application/x-npy", NULL}, *const safetensors[] = {"Content-Type: application/vnd.safetensors", NULL};
    ask_compile(a, "{'source': '\\\\x:!R[2,2]. x'}", hash);
    static const struct {
        const char *descr, *fortran;
        size_t at; /* where the large one lies, and what it is called */
        const char *says;
    } forms[] = {{"<f8", "False", 1, "element 1"}, {">f8", "False", 1, "element 1"}, {"<f8", "True", 1, "element 2"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        Buf body;
        char head[200];
        buf_init(&body);
        snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': %s, 'shape': (2, 2), }", forms[i].descr, forms[i].fortran);
        buf_put(&body, "\x93NUMPY\1\0\x76\0", 10);
        buf_printf(&body, "%-117s\n", head);
        for (size_t k = 0; k < 4; k++) {
            const double v = k == forms[i].at ? 1e300 : 1;
            uint64_t bits;
            memcpy(&bits, &v, sizeof bits);
            buf_u64(&body, *forms[i].descr == '>' ? __builtin_bswap64(bits) : bits);
        }
        snprintf(route, sizeof route, "POST /eval?program=%s", hash);
        ask_bytes(a, 400, route, npy, body.data, body.len);
        ask_is_problem(a, "bad_tensor");
        ask_body_has(a, "args.0 has 1e+300");
        ask_body_has(a, forms[i].says);
        snprintf(route, sizeof route, "POST /eval?program=%s&dtype=f64", hash);
        ask_bytes(a, 200, route, npy, body.data, body.len);
        ask_body_has(a, "1e300");
        buf_release(&body);
    }
    enum { ROWS = 3000 }; /* larger than what the loop reads itself */
    Buf body, header;
    buf_init(&body);
    buf_init(&header);
    buf_printf(&header, "{\"args.0\":{\"dtype\":\"F64\",\"shape\":[%d,2,2],\"data_offsets\":[0,%d]}}", ROWS, ROWS * 32);
    buf_u64(&body, header.len);
    buf_put(&body, header.data, header.len);
    for (int k = 0; k < ROWS * 4; k++) {
        const double v = k == ROWS * 4 - 2 ? -3.5e38 : 0;
        buf_put(&body, &v, sizeof v);
    }
    snprintf(route, sizeof route, "POST /eval?program=%s", hash);
    ask_bytes(a, 400, route, safetensors, body.data, body.len);
    ask_is_problem(a, "bad_tensor");
    ask_body_has(a, "args.0 has -3.5e+38 (element 2, row 2999)");
    buf_release(&body);
    buf_release(&header);
}

/* x zeros, four a row, but for what stands in row 5; y zeros. */
static void put_data(Ask *a, const char *route, double odd) {
    enum { ROWS = 64, BYTES = ROWS * 4 * 8 };
    Buf header, body;
    buf_init(&header);
    buf_init(&body);
    buf_printf(&header, "{\"x\":{\"dtype\":\"F64\",\"shape\":[%d,4],\"data_offsets\":[0,%d]},\"y\":{\"dtype\":\"F64\",\"shape\":[%d,4],\"data_offsets\":[%d,%d]}}", ROWS, BYTES,
               ROWS, BYTES, 2 * BYTES);
    buf_u64(&body, header.len);
    buf_put(&body, header.data, header.len);
    for (int i = 0; i < 2 * ROWS * 4; i++) {
        const double v = i == 5 * 4 + 1 ? odd : isnan(odd) && i < ROWS * 4 ? odd : 0;
        buf_put(&body, &v, sizeof v);
    }
    ask_bytes(a, 201, route, NULL, body.data, body.len);
    buf_release(&header);
    buf_release(&body);
}

static void test_data(void **state) {
    Ask *a = *state;
    char spec[2000], id[TOY_ID];
    put_data(a, "PUT /datasets/large", 1e300);
    put_data(a, "PUT /datasets/infinite", INFINITY);
    put_data(a, "PUT /datasets/small", 1e3);
    refused(a, "bad_run", "/data/train", "has 1e+300 in row 5, 1e+300 once scaled, and f32 ends at 3.40282347e+38", "POST /runs", changed(spec, "'train': 'toy'", "'train': 'large'"));
    refused(a, "bad_run", "/data/test", "has 1e+300 in row 5", "POST /runs", changed(spec, "'train': 'toy'", "'train': 'toy', 'test': 'large'"));
    refused(a, "bad_run", "/data/train", "has 1000 in row 5, 1e+39 once scaled", "POST /runs",
            changed(spec, "'train': 'toy'", "'train': 'small', 'columns': {'x': {'scale': 1e36}}"));
    refused(a, "bad_run", "/data/train", "has 1e+300 in row 5, inf once scaled, and f64 ends", "POST /runs",
            changed(spec, "'train': 'toy'}", "'train': 'large', 'columns': {'x': {'scale': 1e36}}}, 'dtype': 'f64'"));
    static const char *const taken[] = {"'train': 'large'}, 'dtype': 'f64'", "'train': 'large', 'columns': {'x': {'scale': 1e-30}}}, 'dtype': 'f64'",
                                        "'train': 'small', 'columns': {'x': {'scale': 1e30}}}"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) ask(a, 202, "POST /runs", changed(spec, "'train': 'toy'}", taken[i]));
    /* what is infinite is so by the data set's will, and training names it */
    ask(a, 202, "POST /runs", changed(spec, "'train': 'toy'", "'train': 'infinite'"));
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "failed");
    assert_non_null(strstr(ask_text(a, "reason"), "The column \"x\" in this batch is not finite at step"));
}

static void test_specifications(void **state) {
    Ask *a = *state;
    static const char relu[] = "'optimizer': {'adam': {'lr': 0.01}}, 'nets': {'n': {'layers': [{'linear': {'out': 4}}, {'leaky_relu': {'slope': 1e39}}]}}";
    static const struct {
        const char *from, *to, *path;
    } cases[] = {
        {"'lr': 0.01", "'lr': 1e39", "/optimizer/adam/lr"},
        {"'lr': 0.01", "'weight_decay': 1e39", "/optimizer/adam/weight_decay"},
        {"'lr': 0.01", "'eps': 1e39", "/optimizer/adam/eps"},
        {"{'adam': {'lr': 0.01}}", "{'sgd': {'lr': 1, 'momentum': 3.5e38}}", "/optimizer/sgd/momentum"},
        {"{'adam': {'lr': 0.01}}", "{'sgd': {'lr': 1, 'momentum': 1, 'dampening': -1e39}}", "/optimizer/sgd/dampening"},
        {"'weights': {}", "'weights': {'init': 'normal', 'std': 1e39}", "/bind/f/weights/std"},
        {"'train': 'toy'", "'train': 'toy', 'columns': {'x': {'shift': -1e39}}", "/data/columns/x/shift"},
        {"{'column': 'x'}", "{'constant': [0, 1e39, 0, 0]}", "/bind/x/constant"},
        {"'optimizer': {'adam': {'lr': 0.01}}", relu, "/nets/n/layers/1/leaky_relu/slope"},
    };
    char spec[2000];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(a, "bad_run", cases[i].path, "f32 ends at 3.40282347e+38", "POST /runs", changed(spec, cases[i].from, cases[i].to));
    ask(a, 202, "POST /runs", changed(spec, "'lr': 0.01}}", "'lr': 1e39}}, 'dtype': 'f64'"));
}

/* ---- integers ---- */

static void test_integers(void **state) {
    Ask *a = *state;
    char spec[2000], id[TOY_ID], route[128];
    static const char *const fields[] = {"seed", "batch_size", "steps"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char from[40], to[60], path[40];
        snprintf(from, sizeof from, "'%s': %s", fields[i], i == 0 ? "7" : i == 1 ? "16" : "20");
        snprintf(to, sizeof to, "'%s': 9007199254740993", fields[i]);
        snprintf(path, sizeof path, "/%s", fields[i]);
        refused(a, "bad_run", path, "must be an integer from 0 to 2^53", "POST /runs", changed(spec, from, to));
    }
    refused(a, "bad_run", "/batch_size", "must be an integer from 0 to 2^53", "POST /runs", changed(spec, "'batch_size': 16", "'batch_size': 15.99999999999999999999"));
    ask(a, 202, "POST /runs", changed(spec, "'seed': 7", "'seed': 9007199254740992"));
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "done");
    toy_route(route, "POST", id, "/fork");
    refused(a, "bad_run", "/seed", "must be an integer from 0 to 2^53", route, "{'seed': 9007199254740993}");
    refused(a, "bad_request", "/from_step", "one of the run's checkpoints", route, "{'from_step': 19.99999999999999999999}");
    refused(a, "bad_request", "/nat/dim", "must be an integer", "POST /compile", "{'source': '1', 'nat': {'dim': 9.99999999999999999999}}");
    refused(a, "parse_error", NULL, "A numeral is a whole number", "POST /compile", "{'term': 0.99999999999999999999}");
    refused(a, "nat_bound_exceeded", NULL, "larger than 2^53", "POST /compile", "{'term': {'succ': 9007199254740993}}");
    refused(a, "unknown_input", "/wrt", "There is no argument 0.99999999999999999999.", "POST /grad",
            "{'source': '\\\\x:!R[2]. \\\\y:!R[2]. if true then x else y', 'args': [[1, 2], [1, 2]], 'wrt': [0.99999999999999999999]}");
    refused(a, "unknown_input", "/wrt", "There is no argument 9007199254740993.", "POST /grad", "{'source': '\\\\x:R[2]. x', 'args': [[1, 2]], 'wrt': [9007199254740993]}");
}

/* ---- what is skipped ---- */

static void test_nothing_trained(void **state) {
    Ask *a = *state;
    char spec[2000], id[TOY_ID], route[128];
    const char *const lines[] = {"Accept: application/x-ndjson", NULL};
    put_data(a, "PUT /datasets/nan", NAN);
    ask(a, 202, "POST /runs", changed(spec, "'train': 'toy'}", "'train': 'nan'}, 'on_nonfinite': 'skip'"));
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "failed");
    assert_string_equal(ask_text(a, "code"), "nonfinite");
    assert_non_null(strstr(ask_text(a, "reason"), "at step 20, the last, and all before it were skipped: nothing was trained."));
    ask_part(a, "latest", "{'train.skipped': 19}");
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), lines, NULL, 0);
    ask_body_has(a, "\"train.skipped\":19");
    ask_body_has(a, "no update.");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),     cmocka_unit_test(test_binary),          cmocka_unit_test(test_data), cmocka_unit_test(test_specifications),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_nothing_trained), cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
