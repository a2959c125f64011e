/* Bytes that were changed behind the service's back: whatever they are of, no answer is made of them, and no run trains on them. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 1000000000 };
static const char *const csv[] = {"Accept: text/csv", NULL}, *const ndjson[] = {"Accept: application/x-ndjson", NULL};

static int setup(void **state) {
    Ask *a = *state = calloc(1, sizeof *a);
    if (!a) return -1;
    ask_start(a, NULL);
    toy_data(a);
    return 0;
}

/* Changes one bit of the last byte: done twice, all is as it was. */
static void flip(const char *path) {
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -1, SEEK_END);
    const int last = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(last ^ 1, f);
    assert_int_equal(fclose(f), 0);
}

static void flip_data(Ask *a) {
    char path[256];
    ask(a, 200, "GET /datasets/toy", NULL);
    snprintf(path, sizeof path, "%s/data/datasets/%s.safetensors", a->daemon.dir, ask_text(a, "sha256"));
    flip(path);
}

static void meddle(const Ask *a, const char *format, const char *id) {
    char path[200], sql[300];
    sqlite3 *db;
    snprintf(sql, sizeof sql, format, id);
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

/* A run that would train on other data than those whose hash it records is not queued; and if it is by then, it fails. */
static void test_no_run_trains_on_damaged_data(void **state) {
    Ask *a = *state;
    char spec[1000], first[TOY_ID], second[TOY_ID], route[128];
    toy_spec(spec, 20, 10);
    flip_data(a);
    ask_refused(a, "damaged", "POST /runs", spec);
    assert_string_equal(ask_text(a, "diagnostics.0.path"), "/data/train");
    flip_data(a);
    toy_post(a, LONG, LONG, first);
    toy_wait(a, first, "running");
    toy_post(a, 20, 10, second); /* waits behind it */
    flip_data(a);
    ask(a, 200, toy_route(route, "POST", first, "/cancel"), NULL);
    toy_wait(a, second, "failed");
    ask_part(a, "code", "'damaged'");
    ask_part(a, "checkpoints", "[]");
    ask(a, 200, "GET /datasets/toy", NULL);
    ask_part(a, "damaged", "true");
    flip_data(a);
    ask(a, 202, toy_route(route, "POST", second, "/resume"), NULL);
    toy_wait(a, second, "done");
    ask(a, 200, "GET /datasets/toy", NULL);
    assert_null(strstr(buf_text(&a->response.body), "damaged"));
}

/* A fork that has lost the checkpoint which it began with does not begin with other weights. */
static void test_a_fork_does_not_begin_anew(void **state) {
    Ask *a = *state;
    char parent[TOY_ID], first[TOY_ID], fork[TOY_ID], route[128], path[256];
    toy_run(a, 20, 10, parent);
    toy_post(a, LONG, LONG, first);
    toy_wait(a, first, "running");
    ask(a, 202, toy_route(route, "POST", parent, "/fork"), "{'from_step': 10}");
    snprintf(fork, sizeof fork, "%s", ask_text(a, "id"));
    snprintf(path, sizeof path, "%s/data/runs/%s/10.safetensors", a->daemon.dir, fork);
    flip(path);
    ask(a, 200, toy_route(route, "POST", first, "/cancel"), NULL);
    toy_wait(a, fork, "failed");
    ask_part(a, "code", "'damaged'");
    ask_part(a, "damaged_checkpoints", "[10]");
    flip(path);
    ask(a, 202, toy_route(route, "POST", fork, "/resume"), NULL);
    toy_wait(a, fork, "done");
    ask_part(a, "attempts.0.from_step", "10");
}

/* Rows of the database. */
static void test_damaged_records(void **state) {
    Ask *a = *state;
    char id[TOY_ID], other[TOY_ID], route[128];
    toy_run(a, 20, 10, other);
    toy_run(a, 20, 10, id);
    meddle(a, "UPDATE run_points SET points = zeroblob(length(points)) WHERE key = 'train.loss' AND run = (SELECT seq FROM runs WHERE id = '%s')", id);
    ask(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.loss"), NULL);
    ask_part(a, "damaged", "true");
    ask_body_has(a, "{\"train.loss\":{");
    ask_body_has(a, "\"steps\":[],\"values\":[]");
    ask_bytes(a, 500, toy_route(route, "GET", id, "/metrics?keys=train.loss"), csv, NULL, 0);
    ask_is_problem(a, "damaged");
    ask(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.mae"), NULL);
    ask_keys(a, "", "id metrics");
    meddle(a, "UPDATE run_events SET lines = replace(lines, '10', '11') WHERE kind = 'checkpoint' AND run = (SELECT seq FROM runs WHERE id = '%s')", id);
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), ndjson, NULL, 0);
    assert_non_null(strstr(buf_text(&a->response.body), "\"damaged\":true"));
    assert_null(strstr(buf_text(&a->response.body), "\"step\":11"));
    assert_non_null(strstr(buf_text(&a->response.body), "\"event\":\"end\""));
    meddle(a, "UPDATE runs SET latest = '{}' WHERE id = '%s'", id);
    ask_refused(a, "damaged", toy_route(route, "GET", id, ""), NULL);
    ask_refused(a, "damaged", toy_route(route, "POST", id, "/resume"), NULL);
    ask(a, 200, "GET /runs", NULL);
    assert_null(strstr(buf_text(&a->response.body), id));
    assert_non_null(strstr(buf_text(&a->response.body), other));
    assert_true(ask_metric(a, "cajal_damaged_rows_total") > 0);
    /* What is damaged can be deleted. */
    ask(a, 204, toy_route(route, "DELETE", id, ""), NULL);
    ask_refused(a, "not_found", toy_route(route, "GET", id, ""), NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_run_trains_on_damaged_data),
        cmocka_unit_test(test_a_fork_does_not_begin_anew),
        cmocka_unit_test(test_damaged_records),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
