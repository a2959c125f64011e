/* The data directory: what the database does not know is kept, a lost or damaged database is missed, another process's lock is outlasted. */
#include "tests/support/spoil.h"
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECOVER (const char *[]){"--recover", NULL}
#define ORPHAN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.safetensors"

static void path_of(const Ask *a, const char *name, char out[300]) { snprintf(out, 300, "%s/data/%s", a->daemon.dir, name); }

static bool is_there(const Ask *a, const char *name) {
    char path[300];
    path_of(a, name, path);
    return access(path, F_OK) == 0;
}

static bool run_has(const Ask *a, const char *id, const char *name) {
    char within[200];
    snprintf(within, sizeof within, "runs/%s/%s", id, name);
    return is_there(a, within);
}

static void touch(const Ask *a, const char *name) {
    char path[300];
    path_of(a, name, path);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void touch_run(const Ask *a, const char *id, const char *name) {
    char within[200];
    snprintf(within, sizeof within, "runs/%s/%s", id, name);
    touch(a, within);
}

static void is_lost(const Ask *a, const char *id, const char *name) {
    char within[200];
    snprintf(within, sizeof within, "lost+found/%s%s%s", id ? id : "", id ? "." : "", name);
    if (!is_there(a, within)) fail_msg("%s is not there", within);
}

static void lost_count(Ask *a, int n) {
    char json[16];
    snprintf(json, sizeof json, "%d", n);
    ask(a, 200, "GET /readyz?verbose", NULL);
    ask_part(a, "checks.lost_found", json);
    assert_true(ask_metric(a, "cajal_lost_found") == n);
}

/* ---- what a crash leaves ---- */

static void test_leftovers(void **state) {
    static const char *const kept[] = {"0.safetensors", "20.safetensors", "notes.txt"};
    Ask a = {0};
    char id[TOY_ID], path[300];
    (void)state;
    ask_start(&a, NULL);
    toy_data(&a);
    toy_run(&a, 20, 10, id);
    lost_count(&a, 0);
    ask_stop(&a);
    touch_run(&a, id, "7.safetensors");
    touch_run(&a, id, "tmp-8.safetensors");
    touch_run(&a, id, "9.safetensors.tmp");
    touch_run(&a, id, kept[2]);
    touch(&a, "datasets/" ORPHAN);
    touch(&a, "datasets/tmp-x");
    static const char *const folders[] = {"runs/r-unknown", "runs/r-empty"};
    for (int i = 0; i < 2; i++) {
        path_of(&a, folders[i], path);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    touch(&a, "runs/r-unknown/5.safetensors");
    ask_start(&a, NULL);
    lost_count(&a, 4);
    is_lost(&a, id, "7.safetensors");
    is_lost(&a, id, "9.safetensors.tmp");
    is_lost(&a, NULL, ORPHAN);
    is_lost(&a, NULL, "r-unknown/5.safetensors");
    assert_false(is_there(&a, "runs/r-unknown") || is_there(&a, "runs/r-empty") || is_there(&a, "datasets/tmp-x"));
    assert_false(run_has(&a, id, "tmp-8.safetensors") || run_has(&a, id, "7.safetensors"));
    for (int i = 0; i < 3; i++) assert_true(run_has(&a, id, kept[i]));
    assert_true(daemon_logged(&a.daemon, "from=runs/r-unknown to=lost+found/r-unknown"));
    ask_stop(&a);
    ask_release(&a);
}

/* ---- a database that is lost or damaged ---- */

static void begin_with_a_run(Ask *a, char id[TOY_ID]) {
    ask_start(a, NULL);
    toy_data(a);
    toy_run(a, 20, 10, id);
    ask_stop(a);
}

static void refuses(Ask *a, const char *says) {
    assert_int_equal(daemon_refuses(&a->daemon, NULL), 1);
    if (!daemon_logged(&a->daemon, says) || !daemon_logged(&a->daemon, "--recover")) daemon_give_up(&a->daemon, "does not say why");
}

static void is_whole(Ask *a, const char *id) {
    Buf weights;
    buf_init(&weights);
    toy_weights(a, id, &weights);
    buf_release(&weights);
    ask(a, 200, "GET /datasets/toy/rows?count=1", NULL);
}

static void test_a_lost_database(void **state) {
    Ask a = {0};
    char id[TOY_ID], from[300], aside[300];
    (void)state;
    begin_with_a_run(&a, id);
    path_of(&a, "cajal.db", from);
    path_of(&a, "aside.db", aside);
    assert_int_equal(rename(from, aside), 0);
    refuses(&a, "cajal.db is missing or empty");
    assert_true(run_has(&a, id, "20.safetensors"));
    assert_int_equal(rename(aside, from), 0);
    ask_start(&a, NULL);
    is_whole(&a, id);
    lost_count(&a, 0);
    ask_stop(&a);
    assert_int_equal(unlink(from), 0);
    ask_start(&a, RECOVER);
    lost_count(&a, 2);
    is_lost(&a, NULL, id);
    ask(&a, 404, "GET /datasets/toy", NULL);
    toy_data(&a);
    toy_run(&a, 20, 10, id);
    ask_stop(&a);
    ask_start(&a, (const char *[]){"--recover", "--workers", "1", NULL}); /* which is nothing more to do */
    is_whole(&a, id);
    lost_count(&a, 2);
    ask_stop(&a);
    ask_release(&a);
}

static void test_a_damaged_database(void **state) {
    Ask a = {0};
    char id[TOY_ID], data[300];
    (void)state;
    begin_with_a_run(&a, id);
    snprintf(data, sizeof data, "%s/data", a.daemon.dir);
    touch_run(&a, id, "7.safetensors");
    touch(&a, "datasets/" ORPHAN);
    spoil_tables(data);
    refuses(&a, "cajal.db is damaged");
    assert_true(run_has(&a, id, "20.safetensors") && run_has(&a, id, "7.safetensors") && is_there(&a, "datasets/" ORPHAN));
    ask_start(&a, RECOVER);
    ask(&a, 200, "GET /readyz?verbose", NULL);
    ask_body_has(&a, "repaired");
    lost_count(&a, 4); /* the database, two data sets, a run */
    is_lost(&a, NULL, "cajal.db");
    is_lost(&a, NULL, id);
    ask_stop(&a);
    ask_release(&a);
}

static void test_a_damaged_index(void **state) {
    Ask a = {0};
    char id[TOY_ID], data[300];
    (void)state;
    begin_with_a_run(&a, id);
    snprintf(data, sizeof data, "%s/data", a.daemon.dir);
    spoil_index(data, "datasets_by_content");
    spoil_index(data, "sqlite_autoindex_runs_1");
    ask_start(&a, NULL);
    assert_true(daemon_logged(&a.daemon, "database repaired"));
    lost_count(&a, 0);
    is_whole(&a, id);
    ask_stop(&a);
    ask_release(&a);
}

/* ---- another process's lock ---- */

static void run_to(Ask *a, const char *id, uint64_t step) {
    Buf weights;
    toy_wait(a, id, "done");
    assert_int_equal(ask_number(a, "step"), step);
    assert_int_equal(cJSON_GetArraySize(ask_find(a, "attempts")), 1);
    buf_init(&weights);
    toy_weights(a, id, &weights);
    buf_release(&weights);
}

/* What waits is told so, what can do without goes on, and what trains has lost nothing in the end. */
static void test_a_lock(void **state) {
    enum { STEPS = 3000 };
    static const unsigned char idx[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 8};
    Ask a = {0};
    char id[TOY_ID], spec[1000], data[300], route[128];
    (void)state;
    ask_start(&a, NULL);
    toy_data(&a);
    toy_post(&a, STEPS, 100, id);
    snprintf(data, sizeof data, "%s/data", a.daemon.dir);
    sqlite3 *other = hold_database(data);
    ask_bytes(&a, 503, "PUT /datasets/late?column=x", NULL, idx, sizeof idx);
    ask_is_problem(&a, "storage_busy");
    toy_spec(spec, 10, 10);
    ask_refused(&a, "storage_busy", "POST /runs", spec);
    ask_refused(&a, "storage_busy", "DELETE /datasets/toy", NULL);
    ask(&a, 200, "POST /compile", "{'source': 'x:2 |- if x then ff else tt'}");
    ask_header(&a, "Cache-Status", "cajal; fwd=miss");
    ask(&a, 200, "POST /eval", "{'source': 'x:2 |- if x then ff else tt', 'inputs': {'x': true}}");
    ask(&a, 200, "GET /datasets/toy/rows?count=1", NULL);
    ask(&a, 200, toy_route(route, "GET", id, ""), NULL);
    ask(&a, 200, toy_route(route, "GET", id, "/metrics"), NULL);
    sqlite3_close(other);
    run_to(&a, id, STEPS);
    ask_bytes(&a, 201, "PUT /datasets/late?column=x", NULL, idx, sizeof idx);
    toy_run(&a, 10, 10, id);
    ask_stop(&a);
    ask_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leftovers),     cmocka_unit_test(test_a_lost_database), cmocka_unit_test(test_a_damaged_database),
        cmocka_unit_test(test_a_damaged_index), cmocka_unit_test(test_a_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
