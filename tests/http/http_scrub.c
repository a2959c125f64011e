/* The scrub finds what is damaged before anybody asks for it, goes on where it was, and sees when all is well again. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const fast[] = {"--scrub", "1G", NULL}, *const off[] = {"--scrub", "0", NULL}, *const slow[] = {"--scrub", "1k", NULL};

static void sql(const Ask *a, const char *text) {
    char path[200];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* One number, or a text, of the database. */
static void look(const Ask *a, const char *query, char out[100]) {
    char path[200];
    sqlite3 *db;
    sqlite3_stmt *s;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &s, NULL), SQLITE_OK);
    const bool row = sqlite3_step(s) == SQLITE_ROW;
    const char *text = row ? (const char *)sqlite3_column_text(s, 0) : NULL;
    snprintf(out, 100, "%s", text ? text : "none");
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* Polls, for at most a minute. */
static void wait_for(const Ask *a, const char *query, const char *value) {
    char now[100];
    for (int i = 0; i < 6000; i++) {
        look(a, query, now);
        if (strcmp(now, value) == 0) return;
        usleep(10000);
    }
    fail_msg("%s: %s instead of %s", query, now, value);
}

static void start_scrub(Ask *a) {
    assert_int_equal(daemon_stop(&a->daemon, SIGTERM), 0);
    sql(a, "DELETE FROM scrub");
    ask_start(a, fast);
    wait_for(a, "SELECT place FROM scrub", "");
}

static void flip(const char *path) {
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -1, SEEK_END);
    const int last = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(last ^ 1, f);
    assert_int_equal(fclose(f), 0);
}

static void test_damage_is_found(void **state) {
    Ask *a = *state;
    char id[TOY_ID], data[256], checkpoint[256], route[128];
    ask_start(a, off);
    toy_data(a);
    toy_run(a, 20, 10, id);
    ask(a, 200, "GET /datasets/toy", NULL);
    snprintf(data, sizeof data, "%s/data/datasets/%s.safetensors", a->daemon.dir, ask_text(a, "sha256"));
    snprintf(checkpoint, sizeof checkpoint, "%s/data/runs/%s/10.safetensors", a->daemon.dir, id);
    flip(data);
    flip(checkpoint);
    sql(a, "UPDATE run_events SET lines = replace(lines, '10', '11') WHERE kind = 'checkpoint'");
    sql(a, "DELETE FROM contents"); /* as an earlier version left it */
    assert_true(ask_metric(a, "cajal_scrubbed_bytes_total") == 0);
    start_scrub(a);
    assert_true(ask_metric(a, "cajal_damaged_files") == 2);
    assert_true(ask_metric(a, "cajal_damaged_rows_total") > 0);
    ask(a, 200, "GET /datasets/toy", NULL);
    ask_part(a, "damaged", "true");
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    ask_part(a, "damaged_checkpoints", "[10]");
    ask(a, 200, "GET /readyz?verbose", NULL);
    ask_part(a, "checks.damaged_files", "2");
    assert_true(daemon_logged(&a->daemon, "damaged row"));
    /* All is well again, and a content of an earlier version has its sums. */
    flip(data);
    flip(checkpoint);
    start_scrub(a);
    assert_true(ask_metric(a, "cajal_damaged_files") == 0);
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    assert_null(ask_find(a, "damaged_checkpoints"));
    wait_for(a, "SELECT count(*) FROM contents WHERE length(sums) > 0", "1");
    /* What is gone is found, too. */
    assert_int_equal(unlink(checkpoint), 0);
    start_scrub(a);
    assert_true(ask_metric(a, "cajal_damaged_files") == 1);
}

/* A pass goes on where it was when the service ended. */
static void test_it_goes_on(void **state) {
    Ask *a = *state;
    char before[100], after[100];
    assert_int_equal(daemon_stop(&a->daemon, SIGTERM), 0);
    sql(a, "UPDATE scrub SET place = '6 0 0 ', started = 9000000000000000");
    look(a, "SELECT started FROM scrub", before);
    ask_start(a, slow);
    ask(a, 200, "GET /livez", NULL);
    assert_int_equal(daemon_stop(&a->daemon, SIGTERM), 0);
    look(a, "SELECT started FROM scrub", after);
    assert_string_equal(before, after);
    sql(a, "UPDATE scrub SET started = strftime('%s', 'now') * 1000000");
    look(a, "SELECT started FROM scrub", before);
    ask_start(a, fast);
    wait_for(a, "SELECT place FROM scrub", "");
    look(a, "SELECT started FROM scrub", after);
    assert_string_equal(before, after);
    /* And the next one comes a day later. */
    assert_int_equal(daemon_stop(&a->daemon, SIGTERM), 0);
    sql(a, "UPDATE scrub SET started = 1000000");
    ask_start(a, fast);
    wait_for(a, "SELECT started > 1000000 AND place = '' FROM scrub", "1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage_is_found),
        cmocka_unit_test(test_it_goes_on),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup_empty, ask_teardown);
}
