/* What may be on the disk: quotas of data sets and of checkpoints, and the reserve. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

/* A data set of `rows` numbers, all `value`. */
static void put(Ask *a, int status, const char *name, uint32_t rows, float value) {
    Buf header, body;
    char route[64];
    buf_init(&header);
    buf_init(&body);
    buf_printf(&header, "{\"x\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[0,%u]}}", rows, 4 * rows);
    buf_u64(&body, header.len);
    buf_put(&body, header.data, header.len);
    for (uint32_t i = 0; i < rows; i++) buf_put(&body, &value, sizeof value);
    snprintf(route, sizeof route, "PUT /datasets/%s", name);
    ask_bytes(a, status, route, NULL, body.data, body.len);
    buf_release(&header);
    buf_release(&body);
}

static void refused_by(Ask *a, const char *flag) {
    ask_read(a);
    ask_part(a, "code", "'storage_full'");
    assert_non_null(strstr(ask_text(a, "detail"), flag));
}

/* Contents count, not names; what is deleted makes room, and a start counts anew. */
static void test_datasets(void **state) {
    static const char *const options[] = {"--max-datasets", "20000", NULL};
    Ask a = {0};
    (void)state;
    ask_start(&a, options);
    put(&a, 201, "one", 3000, 1);
    put(&a, 507, "two", 3000, 2);
    refused_by(&a, "--max-datasets");
    ask_refused(&a, "not_found", "GET /datasets/two", NULL);
    put(&a, 201, "same", 3000, 1);
    put(&a, 201, "small", 1000, 2);
    put(&a, 507, "six", 6000, 1);
    assert_int_equal(0, daemon_stop(&a.daemon, SIGTERM));
    ask_start(&a, options);
    assert_true(ask_metric(&a, "cajal_dataset_bytes") > 16000);
    put(&a, 507, "two", 3000, 2);
    ask(&a, 204, "DELETE /datasets/one", NULL);
    put(&a, 507, "two", 3000, 2); /* the content has another name */
    ask(&a, 204, "DELETE /datasets/same", NULL);
    put(&a, 201, "two", 3000, 2);
    put(&a, 507, "two", 6000, 2); /* nor does it replace one, for both are there at a moment */
    ask(&a, 200, "GET /datasets/two", NULL);
    ask_part(&a, "rows", "3000");
    ask_stop(&a);
    ask_release(&a);
}

/* A run whose checkpoints would be too much keeps fewer; when there is no room for another it fails, and goes on when there is. */
static void test_checkpoints(void **state) {
    static const char *const options[] = {"--max-checkpoints", "60k", NULL};
    Ask a = {0};
    char spec[1000], full[1200], first[TOY_ID], route[128];
    (void)state;
    ask_start(&a, options);
    toy_data(&a);
    toy_spec(spec, 400, 4);
    char *at = strstr(spec, "'checkpoint': {'every': 4}}");
    assert_non_null(at);
    snprintf(full, sizeof full, "%.*s'checkpoint': {'every': 4, 'keep': 1000}}", (int)(at - spec), spec);
    for (int i = 0;; i++) {
        assert_true(i < 100);
        ask(&a, 202, "POST /runs", full);
        char id[TOY_ID];
        snprintf(id, sizeof id, "%s", ask_text(&a, "id"));
        for (int tries = 0; tries < 24000; tries++) {
            ask(&a, 200, toy_route(route, "GET", id, ""), NULL);
            if (strcmp(ask_text(&a, "state"), "done") == 0 || strcmp(ask_text(&a, "state"), "failed") == 0) break;
            usleep(5000);
        }
        if (!i) snprintf(first, sizeof first, "%s", id);
        if (strcmp(ask_text(&a, "state"), "failed") == 0) {
            ask_part(&a, "code", "'storage_full'");
            assert_non_null(strstr(ask_text(&a, "reason"), "--max-checkpoints"));
            assert_true(i > 0);
            ask(&a, 204, toy_route(route, "DELETE", first, ""), NULL);
            ask(&a, 202, toy_route(route, "POST", id, "/resume"), NULL);
            toy_wait(&a, id, "done");
            break;
        }
        ask_part(&a, "state", "'done'");
        const int kept = cJSON_GetArraySize(ask_find(&a, "checkpoints"));
        assert_in_range(kept, 2, 60);
        ask_part(&a, "checkpoints.0", "0");
        assert_true(ask_metric(&a, "cajal_checkpoint_bytes") <= 60 * 1024);
    }
    ask_stop(&a);
    ask_release(&a);
}

/* A reserve larger than the disk: nothing may be added, all else goes on. */
static void test_reserve(void **state) {
    static const char *const options[] = {"--reserve", "1000000G", NULL};
    Ask a = {0};
    char id[TOY_ID], spec[1000], route[128];
    (void)state;
    ask_start(&a, NULL);
    ask(&a, 200, "GET /readyz", NULL);
    assert_null(ask_find(&a, "storage"));
    toy_data(&a);
    toy_run(&a, 10, 10, id);
    assert_int_equal(0, daemon_stop(&a.daemon, SIGTERM));
    ask_start(&a, options);
    ask(&a, 200, "GET /readyz", NULL);
    ask_part(&a, "storage", "'storage_full'");
    put(&a, 507, "one", 10, 1);
    toy_spec(spec, 10, 10);
    ask_refused(&a, "storage_full", "POST /runs", spec);
    ask(&a, 200, "POST /eval", "{'source': '\\\\x:2. if x then true else false', 'args': [true]}");
    ask(&a, 200, toy_route(route, "GET", id, "/weights"), NULL);
    ask(&a, 204, toy_route(route, "DELETE", id, ""), NULL);
    ask(&a, 204, "DELETE /datasets/toy", NULL);
    ask_stop(&a);
    ask_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_datasets), cmocka_unit_test(test_checkpoints), cmocka_unit_test(test_reserve)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
