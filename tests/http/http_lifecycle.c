/* The daemon's life: what it remembers over restarts, damage in the database, ends with requests in flight, dying workers. */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include "tests/support/work.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOT "{'source': 'λkept:2. if kept then false else true'}"
#define ONE_WORKER (const char *[]){"--workers", "1", NULL}

static void about(Ask *a, int status, const char *hash, const char *rest) {
    char route[600];
    snprintf(route, sizeof route, "GET /programs/%s%s", hash, rest);
    ask(a, status, route, NULL);
}

static void evaluates(Ask *a, const char *hash) {
    char body[600];
    snprintf(body, sizeof body, "{'program': '%s', 'args': [[0.25, 0.75]]}", hash);
    ask(a, 200, "POST /eval", body);
    ask_part(a, "data", "[0.75, 0.25]");
}

static void answered(Ask *a, int fd, int status) {
    if (!raw_answer(fd, &a->response)) fail_msg("there was no answer");
    ask_read(a);
    close(fd);
    if (a->response.status != status) print_error("%s\n", buf_text(&a->response.body));
    assert_int_equal(status, a->response.status);
}

static void wait_for_metric(Ask *a, const char *name, double least) {
    for (int i = 0; ask_metric(a, name) < least; i++) {
        if (i >= 24000) fail_msg("%s never reached %g", name, least);
        usleep(5000);
    }
}

/* ---- restarts ---- */

static void test_remembers(void **state) {
    Ask *a = *state;
    char hash[80], again[80];
    ask_start(a, NULL);
    ask_compile(a, NOT, hash);
    ask_stop(a);
    ask_start(a, NULL);
    about(a, 200, hash, "");
    evaluates(a, hash);
    assert_true(ask_metric(a, "cajal_cache_misses_total") == 0);
    ask_compile(a, "{'source': 'λother:2. if other then ff else tt'}", again);
    assert_string_equal(hash, again);
    ask_header(a, "Cache-Status", "cajal; hit");
    assert_non_null(strstr(ask_text(a, "text"), "kept")); /* the first spelling's names */
    ask_stop(a);
}

/* What was answered as stored is there after the worst end, at once. */
static void test_killed(void **state) {
    Ask *a = *state;
    char hashes[5][80];
    ask_start(a, NULL);
    for (int i = 0; i < 5; i++) {
        char body[100];
        snprintf(body, sizeof body, "{'source': 'λx:2. if x then false else true', 'nat': {'dim': %d}}", 20 + i);
        ask_compile(a, body, hashes[i]);
        ask_header(a, "Cache-Status", "cajal; fwd=miss; stored");
    }
    assert_int_equal(128 + SIGKILL, daemon_stop(&a->daemon, SIGKILL));
    ask_start(a, NULL);
    for (int i = 0; i < 5; i++) {
        about(a, 200, hashes[i], "");
        evaluates(a, hashes[i]);
    }
    ask_stop(a);
}

/* ---- damage ---- */

static void sql(const Ask *a, const char *statement) {
    char path[120], *why = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(SQLITE_OK, sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL));
    if (sqlite3_exec(db, statement, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s: %s", statement, why);
    if (sqlite3_changes(db) == 0) fail_msg("%s changed nothing", statement);
    sqlite3_close(db);
}

/* Whatever is damaged, the program is compiled again from what is sound, and no wrong answer is ever given. */
static void test_damage(void **state) {
    static const char *const damages[] = {
        "UPDATE graphs SET blob = substr(blob, 1, length(blob) - 5) || x'5a' || substr(blob, length(blob) - 3)",
        "UPDATE graphs SET blob = zeroblob(length(blob))",
        "UPDATE graphs SET blob = x''",
        "UPDATE graphs SET blob = substr(blob, 1, length(blob) / 2)",
        "UPDATE graphs SET checksum = zeroblob(16)",
        "UPDATE graphs SET version = '0.0.0'",
        "DELETE FROM graphs",
        "UPDATE programs SET record = replace(record, '\"2\"', '\"N\"')",
        "UPDATE programs SET record = 'mist'",
        "UPDATE programs SET text = 'mist'",
        "UPDATE programs SET checksum = x''",
        "UPDATE programs SET version = '0.0.0'",
    };
    Ask *a = *state;
    char hash[80];
    ask_start(a, ONE_WORKER);
    ask_compile(a, NOT, hash);
    evaluates(a, hash);
    ask_stop(a);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        sql(a, damages[i]);
        ask_start(a, ONE_WORKER);
        evaluates(a, hash);
        if (ask_metric(a, "cajal_builds_total") < 1) fail_msg("not compiled again after %s", damages[i]);
        about(a, 200, hash, "");
        ask_part(a, "type", "'2 -o 2'");
        ask_part(a, "output", "{'type': '2', 'shape': [2]}");
        about(a, 200, hash, "/matrix");
        ask_part(a, "data", "[[0, 1], [1, 0]]");
        ask_stop(a);
    }
    /* repaired */
    ask_start(a, ONE_WORKER);
    evaluates(a, hash);
    assert_true(ask_metric(a, "cajal_builds_total") == 0);
    ask_stop(a);
}

/* A record is served only as it was written, and made again when it was not. */
static void test_damaged_record_first(void **state) {
    Ask *a = *state;
    char hash[80];
    ask_start(a, ONE_WORKER);
    ask_compile(a, NOT, hash);
    ask_stop(a);
    sql(a, "UPDATE programs SET record = replace(record, '\"shape\":[2]', '\"shape\":[3]')");
    ask_start(a, ONE_WORKER);
    about(a, 200, hash, "");
    ask_part(a, "output.shape", "[2]");
    ask(a, 200, "GET /programs", NULL);
    ask_part(a, "programs.0.output.shape", "[2]");
    ask_stop(a);
}

/* The canonical form is the program itself: without it there is nothing to answer, until somebody brings it again. */
static void test_damaged_program(void **state) {
    Ask *a = *state;
    char hash[80], again[80];
    ask_start(a, ONE_WORKER);
    ask_compile(a, NOT, hash);
    ask_stop(a);
    sql(a, "UPDATE programs SET canonical = zeroblob(length(canonical))");
    ask_start(a, ONE_WORKER);
    about(a, 404, hash, "");
    ask_is_problem(a, "not_found");
    ask_compile(a, NOT, again);
    assert_string_equal(hash, again);
    evaluates(a, hash);
    ask_stop(a);
}

/* ---- shutdown ---- */

static void test_finishes_what_is_in_flight(void **state) {
    Ask *a = *state;
    ask_start(a, ONE_WORKER);
    work_compile(a, work_known(100));
    pid_t held = work_hold(a);
    int running = work_send(a, work_known(100), "");
    ask_wait_busy(a, 1);
    int waiting = work_send(a, work_known(99), "");
    wait_for_metric(a, "cajal_queue_depth", 1);
    assert_int_equal(0, kill(a->daemon.pid, SIGTERM));
    while (!daemon_logged(&a->daemon, "shutting down")) usleep(2000);
    work_go_on(held);
    answered(a, running, 200);
    work_check(a, work_known(100));
    answered(a, waiting, 200);
    work_check(a, work_known(99));
    ask_stop(a);
}

static void test_does_not_wait_for_ever(void **state) {
    Ask *a = *state;
    ask_start(a, (const char *[]){"--workers", "1", "--drain", "100", NULL});
    work_compile(a, work_endless(0));
    int fd = work_send(a, work_endless(0), "");
    ask_wait_busy(a, 1);
    assert_int_equal(0, kill(a->daemon.pid, SIGTERM));
    answered(a, fd, 503);
    ask_is_problem(a, "draining");
    ask_stop(a);
}

/* ---- workers ---- */

static void test_job_survives_its_worker(void **state) {
    Ask *a = *state;
    ask_start(a, ONE_WORKER);
    work_compile(a, work_known(100));
    pid_t first = work_hold(a);
    int fd = work_send(a, work_known(100), "");
    ask_wait_busy(a, 1);
    assert_int_equal(0, kill(first, SIGKILL));
    answered(a, fd, 200);
    work_check(a, work_known(100));
    assert_true(ask_metric(a, "cajal_jobs_retried_total") == 1);
    assert_int_not_equal(first, ask_worker(a, 0));
    ask_stop(a);
}

/* Small jobs wait behind each other in a worker; when it dies none of them is lost. */
static void test_nobody_pays_for_another(void **state) {
    enum { REQUESTS = 20 };
    Ask *a = *state;
    int fds[REQUESTS];
    ask_start(a, ONE_WORKER);
    ask(a, 200, "POST /eval", "{'source': 'λx:R[1]. x', 'args': [[1]]}");
    pid_t pid = ask_worker(a, 0);
    assert_int_equal(0, kill(pid, SIGSTOP));
    for (int i = 0; i < REQUESTS; i++) {
        char body[100];
        snprintf(body, sizeof body, "{\"source\": \"λx:R[1]. x\", \"args\": [[%d]]}", i);
        fds[i] = raw_open(a->daemon.url);
        raw_request(fds[i], "POST", "/eval", "", body);
    }
    wait_for_metric(a, "cajal_requests_inflight", REQUESTS);
    assert_int_equal(0, kill(pid, SIGKILL));
    for (int i = 0; i < REQUESTS; i++) {
        char want[32];
        snprintf(want, sizeof want, "[%d]", i);
        answered(a, fds[i], 200);
        ask_part(a, "data", want);
    }
    ask_stop(a);
}

static void test_idle_worker_dies(void **state) {
    Ask *a = *state;
    char hash[80];
    ask_start(a, ONE_WORKER);
    ask_compile(a, NOT, hash);
    for (int i = 0; i < 2; i++) {
        pid_t pid = ask_worker(a, 0);
        assert_int_equal(0, kill(pid, SIGKILL));
        evaluates(a, hash); /* waits for the next one, which learns the graph anew */
        assert_int_not_equal(pid, ask_worker(a, 0));
    }
    ask_stop(a);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Queueing counts; the answer comes at the deadline, the late one's job is thrown away, and others are served. */
static void test_deadlines_in_the_queue(void **state) {
    Ask *a = *state;
    ask_start(a, ONE_WORKER);
    work_compile(a, work_endless(0));
    ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [true]}");
    int running = work_send(a, work_endless(0), "");
    ask_wait_busy(a, 1);
    int64_t start = now_ms();
    int queued = work_send(a, work_endless(0), "X-Deadline-Ms: 200\r\n");
    answered(a, queued, 504);
    ask_is_problem(a, "deadline");
    assert_true(now_ms() - start >= 200);
    struct pollfd other = {.fd = running, .events = POLLIN};
    assert_int_equal(poll(&other, 1, 0), 0); /* which goes on meanwhile */
    close(running);
    running = work_send(a, work_endless(0), "X-Deadline-Ms: 300\r\n");
    answered(a, running, 504);
    ask_is_problem(a, "deadline");
    /* the stuck worker is replaced, and what waited for it is answered */
    ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [true]}");
    ask_stop(a);
}

int main(void) {
#define ALONE(test) cmocka_unit_test_setup_teardown(test, ask_setup_empty, ask_teardown)
    const struct CMUnitTest tests[] = {
        ALONE(test_remembers),
        ALONE(test_killed),
        ALONE(test_damage),
        ALONE(test_damaged_record_first),
        ALONE(test_damaged_program),
        ALONE(test_finishes_what_is_in_flight),
        ALONE(test_does_not_wait_for_ever),
        ALONE(test_job_survives_its_worker),
        ALONE(test_nobody_pays_for_another),
        ALONE(test_idle_worker_dies),
        ALONE(test_deadlines_in_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
