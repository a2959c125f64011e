/* What is asked of one run at the same moment: to be deleted, and to give its weights or a checkpoint to another. One of the two is refused as a
 * conflict, and a run that was accepted finishes. */
#include "tests/support/raw.h"
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 20, LONG = 1000000000, POLLS = 120000, POLL_US = 1000 };

static int setup(void **state) {
    if (ask_setup(state) != 0) return -1;
    toy_data(*state);
    return 0;
}

/* ---- the database, held by somebody else: what the daemon writes waits (for at most five seconds), what it reads does not ---- */

static sqlite3 *hold_writes(const Ask *a) {
    char path[200];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void let_write(sqlite3 *db) {
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* ---- requests ---- */

/* The toy's specification, its first weights those of `source`. */
static const char *from(char out[1200], uint64_t steps, const char *source) {
    char spec[1000];
    toy_spec(spec, steps, steps < 1000 ? 10 : 1000);
    static const char with[] = "'weights': {}";
    const char *at = strstr(spec, with);
    assert_non_null(at);
    snprintf(out, 1200, "%.*s'weights': {'run': '%s'}%s", (int)(at - spec), spec, source, at + strlen(with));
    return out;
}

/* Begun, its answer not waited for. body: as ask's. */
static int begin(const Ask *a, const char *method, const char *id, const char *rest, const char *body) {
    char path[100], json[1200];
    snprintf(path, sizeof path, "/runs%s%s%s", *id ? "/" : "", id, rest);
    snprintf(json, sizeof json, "%s", body);
    for (char *c = json; *c; c++)
        if (*c == '\'') *c = '"';
    const int fd = raw_open(a->daemon.url);
    raw_request(fd, method, path, *json ? "Content-Type: application/json\r\n" : "", json);
    return fd;
}

/* The status; the body where ask leaves it. */
static int answered(Ask *a, int fd) {
    client_response_release(&a->response);
    assert_true(raw_answer(fd, &a->response));
    ask_read(a);
    close(fd);
    return a->response.status;
}

static void wait_metric(Ask *a, const char *name, double value) {
    for (int i = 0; i < POLLS; i++, usleep(POLL_US))
        if (ask_metric(a, name) == value) return;
    fail_msg("%s is not %g", name, value);
}

/* The accepted run of the last answer. */
static void finishes(Ask *a) {
    char id[TOY_ID];
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "done");
}

/* ---- one after the other, the first held up while it writes ---- */

/* A new run has looked for what it takes, and waits to be written: what it takes stays. */
static void deleted_second(Ask *a, const char *source, int posting, double linked, sqlite3 *db) {
    char route[128];
    wait_metric(a, "cajal_queue_seconds_count", linked);
    ask_refused(a, "conflict", toy_route(route, "DELETE", source, ""), NULL);
    let_write(db);
    assert_int_equal(answered(a, posting), 202);
    finishes(a);
    ask(a, 204, toy_route(route, "DELETE", source, ""), NULL);
}

static void test_deleted_second(void **state) {
    Ask *a = *state;
    char source[TOY_ID], spec[1200];
    toy_run(a, STEPS, 10, source);
    double jobs = ask_metric(a, "cajal_queue_seconds_count");
    sqlite3 *db = hold_writes(a);
    deleted_second(a, source, begin(a, "POST", "", "", from(spec, STEPS, source)), jobs + 1, db);
    toy_run(a, STEPS, 10, source);
    jobs = ask_metric(a, "cajal_queue_seconds_count");
    db = hold_writes(a);
    deleted_second(a, source, begin(a, "POST", source, "/fork", "{'from_step': 10}"), jobs + 1, db);
}

/* A deletion is under way: nothing is taken from the run any more, and nothing that takes from it goes on. */
static void test_deleted_first(void **state) {
    Ask *a = *state;
    char source[TOY_ID], second[TOY_ID], spec[1200], route[128];
    toy_run(a, STEPS, 10, source);
    ask(a, 202, "POST /runs", from(spec, LONG, source));
    snprintf(second, sizeof second, "%s", ask_text(a, "id"));
    ask(a, 200, toy_route(route, "POST", second, "/cancel"), NULL);
    sqlite3 *db = hold_writes(a);
    const int deleting = begin(a, "DELETE", source, "", "");
    wait_metric(a, "cajal_requests_inflight", 2); /* it, and the one that asks */
    ask_refused(a, "conflict", "POST /runs", from(spec, STEPS, source));
    assert_string_equal(ask_text(a, "diagnostics.0.path"), "/bind/f/weights/run");
    ask_refused(a, "conflict", toy_route(route, "POST", source, "/fork"), "{'from_step': 10}");
    ask_refused(a, "conflict", toy_route(route, "POST", second, "/resume"), NULL);
    let_write(db);
    assert_int_equal(answered(a, deleting), 204);
    ask_refused(a, "bad_run", "POST /runs", from(spec, STEPS, source));
    ask_refused(a, "not_found", toy_route(route, "POST", source, "/fork"), "{'from_step': 10}");
}

/* A run is over, but the database does not say so yet: what is asked of it then waits for that, and is done. */
static void test_over_and_not_written(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    toy_post(a, LONG, LONG, id);
    for (int resume = 1; resume >= 0; resume--) {
        toy_wait(a, id, "running");
        const double cancelled = ask_metric(a, "cajal_runs_cancelled_total");
        sqlite3 *db = hold_writes(a);
        const int cancelling = begin(a, "POST", id, "/cancel", "");
        wait_metric(a, "cajal_runs_cancelled_total", cancelled + 1);
        const int second = resume ? begin(a, "POST", id, "/resume", "") : begin(a, "DELETE", id, "", "");
        wait_metric(a, "cajal_requests_inflight", 3); /* both, and the one that asks */
        let_write(db);
        const int was = answered(a, cancelling); /* with the record as it is by then */
        assert_true(was == 200 || (!resume && was == 404));
        assert_int_equal(answered(a, second), resume ? 202 : 204);
    }
    ask_refused(a, "not_found", toy_route(route, "GET", id, ""), NULL);
}

/* ---- at once, many times, in both orders ---- */

static void test_at_once(void **state) {
    enum { ROUNDS = 60 };
    Ask *a = *state;
    char source[TOY_ID], spec[1200], route[128];
    int accepted = 0, deletions = 0;
    toy_run(a, STEPS, 10, source);
    for (int i = 0; i < ROUNDS; i++) {
        const bool fork = i / 2 % 2, post_first = i % 2;
        int posting = -1, deleting = -1;
        for (int k = 0; k < 2; k++)
            if ((k == 0) != post_first) deleting = begin(a, "DELETE", source, "", "");
            else posting = fork ? begin(a, "POST", source, "/fork", "{'from_step': 10}") : begin(a, "POST", "", "", from(spec, STEPS, source));
        const int deleted = answered(a, deleting), posted = answered(a, posting);
        if (posted == 202) {
            finishes(a);
            accepted++;
            /* Refused; or it came after the run was over. */
            assert_true(deleted == 409 || deleted == 204);
        } else {
            /* At the same moment it is a conflict; when the deletion was over, there is no such run. */
            assert_int_equal(deleted, 204);
            assert_true(posted == 409 || posted == (fork ? 404 : 422));
        }
        if (deleted != 204) continue;
        deletions++;
        toy_run(a, STEPS, 10, source);
    }
    printf("%d runs accepted, %d deletions\n", accepted, deletions);
    ask(a, 204, toy_route(route, "DELETE", source, ""), NULL);
    assert_true(ask_metric(a, "cajal_runs_failed_total") == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deleted_second),
        cmocka_unit_test(test_deleted_first),
        cmocka_unit_test(test_over_and_not_written),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
