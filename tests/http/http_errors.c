/* Every code of schema/errors.def is reached once; a code without a way here does not compile. Codes that no request reaches on a sound
 * machine, or whose resource does not exist yet, are skipped with the reason. */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include "tests/support/spoil.h"
#include "tests/support/toy.h"
#include "tests/support/work.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COMPILE "POST /compile"
#define EVAL "POST /eval"
#define ONE_WORKER (const char *[]){"--workers", "1", NULL}

/* A daemon for all, and one for the test at hand. */
typedef struct {
    Ask shared, own;
} Pair;

static int setup(void **state) {
    Pair *p = *state = calloc(1, sizeof *p);
    if (!p) return -1;
    ask_start(&p->shared, NULL);
    toy_data(&p->shared);
    return 0;
}

static int release_own(void **state) {
    ask_release(&((Pair *)*state)->own);
    return 0;
}

static int teardown(void **state) {
    Pair *p = *state;
    ask_release(&p->shared);
    free(p);
    return 0;
}

/* Reads the answer of a raw connection as the Ask's last one. */
static void receive(Ask *a, int fd, int status) {
    if (!raw_answer(fd, &a->response)) fail_msg("there was no answer");
    ask_read(a);
    close(fd);
    if (a->response.status != status) print_error("%s\n", buf_text(&a->response.body));
    assert_int_equal(status, a->response.status);
}

/* The process of a worker in this state; polls for at most 20 s. `but`: another one than this. */
static pid_t find_worker(Ask *a, const char *state, pid_t but) {
    for (int i = 0; i < 24000; i++) {
        ask(a, 200, "GET /workers", NULL);
        for (const cJSON *w = ask_find(a, "workers")->child; w; w = w->next) {
            pid_t pid = (pid_t)cJSON_GetObjectItemCaseSensitive(w, "pid")->valuedouble;
            if (pid != but && strcmp(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(w, "state")), state) == 0) return pid;
        }
        usleep(5000);
    }
    fail_msg("no worker became %s", state);
    return 0;
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- what the request says ---- */

static void reach_bad_json(Pair *p) { ask_refused(&p->shared, "bad_json", COMPILE, "{'source': 'true'"); }
static void reach_bad_request(Pair *p) { ask_refused(&p->shared, "bad_request", COMPILE, "{'sauce': 'true'}"); }
static void reach_bad_tensor(Pair *p) { ask_refused(&p->shared, "bad_tensor", EVAL, "{'source': 'λx:2. x', 'args': [[[1, 0], [1]]]}"); }
static void reach_not_found(Pair *p) { ask_refused(&p->shared, "not_found", "GET /nowhere", NULL); }
static void reach_method_not_allowed(Pair *p) { ask_refused(&p->shared, "method_not_allowed", "DELETE /compile", NULL); }

static void refused_with_header(Ask *a, const char *code, int status, const char *header) {
    ask_bytes(a, status, COMPILE, (const char *[]){header, NULL}, "{\"source\": \"true\"}", 18);
    ask_is_problem(a, code);
}

static void reach_forbidden(Pair *p) { refused_with_header(&p->shared, "forbidden", 403, "Origin: http://evil.example"); }
static void reach_not_acceptable(Pair *p) { refused_with_header(&p->shared, "not_acceptable", 406, "Accept: text/html"); }
static void reach_unsupported_media_type(Pair *p) {
    refused_with_header(&p->shared, "unsupported_media_type", 415, "Content-Type: application/x-npy");
}

static void reach_unauthorized(Pair *p) {
    setenv("CAJAL_TOKEN", "open sesame", 1);
    ask_start(&p->own, NULL);
    unsetenv("CAJAL_TOKEN");
    ask(&p->own, 200, COMPILE, "{'source': 'true'}");
    client_free(p->own.daemon.client);
    p->own.daemon.client = client_new(p->own.daemon.url, "open barley");
    ask_refused(&p->own, "unauthorized", COMPILE, "{'source': 'true'}");
    ask_stop(&p->own);
}

/* A byte of a data set changes on the disk. */
static void reach_damaged(Pair *p) {
    char path[256];
    ask_start(&p->own, NULL);
    toy_data(&p->own);
    ask(&p->own, 200, "GET /datasets/toy", NULL);
    snprintf(path, sizeof path, "%s/data/datasets/%s.safetensors", p->own.daemon.dir, ask_text(&p->own, "sha256"));
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 1000, SEEK_SET);
    const int was = fgetc(f);
    fseek(f, 1000, SEEK_SET);
    fputc(was ^ 1, f);
    fclose(f);
    ask_refused(&p->own, "damaged", "GET /datasets/toy/rows", NULL);
    ask_stop(&p->own);
}

static void reach_body_too_large(Pair *p) {
    size_t len = LIMIT_JSON_BYTES + 1;
    char *body = malloc(len);
    assert_non_null(body);
    memset(body, ' ', len);
    ask_bytes(&p->shared, 413, COMPILE, NULL, body, len);
    ask_is_problem(&p->shared, "body_too_large");
    ask_body_has(&p->shared, "8388608"); /* names the limit */
    ask_bytes(&p->shared, 400, COMPILE, NULL, body, len - 1);
    ask_is_problem(&p->shared, "bad_json");
    free(body);
}

static void reach_quota(Pair *p) {
    static const char begun[] = "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{";
    ask_start(&p->own, (const char *[]){"--max-inflight", "1", NULL});
    int fd = raw_open(p->own.daemon.url);
    raw_send(fd, begun, sizeof begun - 1);
    for (int i = 0; i < 60000 && p->own.response.status != 429; i++) { /* until it is in */
        client_request(p->own.daemon.client, "GET", "/programs", NULL, NULL, 0, &p->own.response);
        usleep(2000);
    }
    ask_read(&p->own);
    ask_is_problem(&p->own, "quota");
    raw_send(fd, "\"source\": \"true\"}", 17);
    receive(&p->own, fd, 200);
    ask_stop(&p->own);
}

/* ---- what the program says ---- */

#define REFUSED(code, route, body) \
    static void reach_##code(Pair *p) { ask_refused(&p->shared, #code, route, body); }
REFUSED(parse_error, COMPILE, "{'source': 'if true then false'}")
REFUSED(unbound_variable, COMPILE, "{'source': 'x'}")
REFUSED(type_mismatch, COMPILE, "{'source': 'succ true'}")
REFUSED(not_a_function, COMPILE, "{'source': '0 1'}")
REFUSED(not_a_vector, COMPILE, "{'source': 'λf:(!2 -o 2). f true'}")
REFUSED(linear_unused, COMPILE, "{'source': 'λx:2. true'}")
REFUSED(linear_reused, COMPILE, "{'source': 'λx:2. if x then x else true'}")
REFUSED(linear_branches, COMPILE, "{'source': 'c : 2, x : 2 |- if c then x else true'}")
REFUSED(linear_in_step, COMPILE, "{'source': 'λx:2. iter {true | y -> if x then y else y} (2)'}")
REFUSED(linear_smooth, COMPILE, "{'source': 'λf:!(!2 -o 2). λx:2. f x'}")
REFUSED(nat_bound_exceeded, COMPILE, "{'source': '(λn:N[3]. n) 3'}")
REFUSED(shape_mismatch, EVAL, "{'source': 'λx:2. x', 'args': [[1, 2, 3]]}")
REFUSED(missing_input, EVAL, "{'source': 'b : 2 |- b'}")
REFUSED(unknown_input, EVAL, "{'source': 'b : 2 |- b', 'inputs': {'b': true, 'c': true}}")
REFUSED(too_many_args, EVAL, "{'source': 'true', 'args': [true]}")
REFUSED(not_tabulable, EVAL, "{'source': 'λx:!2. x'}")

/* By its estimated cost, before anything is done. */
static void reach_too_large(Pair *p) {
    ask_refused(&p->shared, "too_large", EVAL,
                "{'source': 'f : !(R[1] -o R[1]), x : R[1], k : !N[60000] |- iter {x | y -> iter {y | z -> iter {z | w -> f w} (k)} (k)} (k)',"
                " 'inputs': {'f': [[1]], 'x': [1], 'k': 3}}");
}

/* ---- runs ---- */

static void reach_bad_run(Pair *p) {
    ask_refused(&p->shared, "bad_run", "POST /runs", "{'nets': 1}");
    ask_refused(&p->shared, "bad_run", "POST /runs",
                "{'program': {'source': 'x : R[4] |- x'}, 'bind': {'x': {'column': 'x'}}, 'data': {'train': 'nobody'}, 'loss': {'mse': {'target': 'y'}},"
                " 'optimizer': {'sgd': {'lr': 0.1}}, 'batch_size': 1, 'steps': 1}");
    ask_part(&p->shared, "diagnostics.0.path", "'/data/train'");
}

/* No answer's, but a failed run's. */
static void reach_nonfinite(Pair *p) {
    Ask *a = &p->shared;
    char id[TOY_ID], route[128];
    ask(a, 202, "POST /runs",
        "{'program': {'source': 'f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}},"
        " 'data': {'train': 'toy'}, 'loss': {'mse': {'target': 'y'}}, 'optimizer': {'sgd': {'lr': 1e30}}, 'batch_size': 16, 'steps': 100}");
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "failed");
    assert_string_equal(ask_text(a, "code"), "nonfinite");
    assert_non_null(strstr(ask_text(a, "reason"), "is not finite at step"));
    const char *lines[] = {"Accept: application/x-ndjson", NULL};
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), lines, NULL, 0);
    ask_body_has(a, "\"state\":\"failed\"");
    ask_body_has(a, "\"code\":\"nonfinite\"");
}

/* A run that runs is not deleted, and one that is over not cancelled. */
static void reach_conflict(Pair *p) {
    Ask *a = &p->shared;
    char id[TOY_ID], route[128];
    toy_post(a, 1000000000, 1000000000, id);
    ask_refused(a, "conflict", toy_route(route, "DELETE", id, ""), NULL);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    ask_refused(a, "conflict", toy_route(route, "POST", id, "/cancel"), NULL);
}

/* ---- what becomes of it ---- */

static void reach_deadline(Pair *p) {
    Ask *a = &p->own;
    Buf body;
    ask_start(a, ONE_WORKER);
    buf_init(&body);
    work_put(&body, work_endless(0));
    pid_t before = find_worker(a, "idle", 0);
    int64_t start = now_ms();
    ask_bytes(a, 504, EVAL, (const char *[]){"X-Deadline-Ms: 300", NULL}, body.data, body.len);
    int64_t took = now_ms() - start;
    ask_is_problem(a, "deadline");
    assert_true(took >= 300); /* at the deadline, and not before */
    buf_release(&body);
    find_worker(a, "idle", before); /* nobody waits for it any more, and it cost the worker its life */
    ask(a, 200, EVAL, "{'source': 'λx:2. x', 'args': [true]}");
    ask_stop(a);
}

static void reach_queue_full(Pair *p) {
    Ask *a = &p->own;
    int endless[2];
    ask_start(a, (const char *[]){"--workers", "1", "--max-queue", "1", NULL});
    ask(a, 200, COMPILE, "{'source': 'b : 2 |- b'}");
    for (int i = 0; i < 2; i++) work_compile(a, work_endless(i));
    endless[0] = work_send(a, work_endless(0), "");
    find_worker(a, "busy", 0);
    endless[1] = work_send(a, work_endless(1), "");
    while (ask_metric(a, "cajal_queue_depth") < 1) usleep(2000);
    ask_refused(a, "queue_full", EVAL, "{'source': 'b : !2 |- if b then b else b', 'inputs': {'b': true}}");
    ask(a, 200, COMPILE, "{'source': 'b : 2 |- b'}"); /* what is known needs no worker */
    for (int i = 0; i < 2; i++) close(endless[i]);
    ask_stop(a);
}

static void reach_draining(Pair *p) {
    Ask *a = &p->own;
    ask_start(a, ONE_WORKER);
    work_compile(a, work_known(100));
    pid_t held = work_hold(a);
    int kept = raw_open(a->daemon.url), begun = work_send(a, work_known(100), "");
    raw_request(kept, "GET", "/livez", "", NULL);
    assert_true(raw_answer(kept, &a->response));
    find_worker(a, "busy", 0);
    assert_int_equal(0, kill(a->daemon.pid, SIGTERM));
    while (!daemon_logged(&a->daemon, "shutting down")) usleep(2000);
    raw_request(kept, "POST", "/compile", "", "{\"source\": \"true\"}");
    receive(a, kept, 503);
    ask_is_problem(a, "draining");
    work_go_on(held);
    receive(a, begun, 200); /* what was in flight is finished */
    work_check(a, work_known(100));
    ask_stop(a);
}

static void reach_no_worker(Pair *p) {
    ask_start(&p->own, (const char *[]){"--worker", "/bin/false", "--workers", "1", NULL});
    ask_refused(&p->own, "no_worker", COMPILE, "{'source': 'true'}");
    ask_refused(&p->own, "no_worker", "GET /readyz", NULL);
    ask(&p->own, 200, "GET /livez", NULL);
    ask_stop(&p->own);
}

/* The workers that run the request end as by a fault of their own, the first and the one it is tried on again. */
static void crash_twice(Ask *a) {
    work_compile(a, work_endless(0));
    int fd = work_send(a, work_endless(0), "");
    pid_t first = find_worker(a, "busy", 0);
    assert_int_equal(0, kill(first, SIGABRT));
    pid_t second = find_worker(a, "busy", first);
    assert_int_equal(0, kill(second, SIGABRT));
    receive(a, fd, 500);
    ask_is_problem(a, "worker_crash");
    assert_non_null(strstr(ask_text(a, "detail"), "SIGABRT"));
}

static void reach_worker_crash(Pair *p) {
    ask_start(&p->own, (const char *[]){"--workers", "2", NULL});
    crash_twice(&p->own);
    ask(&p->own, 200, EVAL, "{'source': 'λx:2. x', 'args': [true]}"); /* others go on */
    ask_stop(&p->own);
}

static void reach_quarantined(Pair *p) {
    Ask *a = &p->own;
    Buf body;
    ask_start(a, (const char *[]){"--workers", "2", NULL});
    crash_twice(a);
    buf_init(&body);
    work_put(&body, work_endless(0));
    for (int i = 0; i < 2; i++) ask_refused(a, "quarantined", EVAL, buf_text(&body));
    buf_clear(&body);
    work_put(&body, work_known(100)); /* another program */
    ask(a, 200, EVAL, buf_text(&body));
    work_check(a, work_known(100));
    buf_release(&body);
    ask_stop(a);
}

static void reach_storage_busy(Pair *p) {
    char data[200];
    ask_start(&p->own, NULL);
    snprintf(data, sizeof data, "%s/data", p->own.daemon.dir);
    sqlite3 *other = hold_database(data);
    ask_refused(&p->own, "storage_busy", "DELETE /datasets/none", NULL);
    sqlite3_close(other);
    ask_refused(&p->own, "not_found", "DELETE /datasets/none", NULL);
    ask_stop(&p->own);
}

/* On a disk too small for the database and this. */
static void reach_storage_full(Pair *p) {
    enum { LEN = 6 << 20 };
    Ask *a = &p->own;
    if (!daemon_small_disk(&a->daemon, "4m")) {
        print_message("storage_full: no file system can be mounted here (%s)\n", strerror(errno));
        skip();
    }
    unsigned char *body = calloc(1, 8 + LEN);
    assert_non_null(body);
    memcpy(body, (const unsigned char[]){0, 0, 8, 1, 0, LEN >> 16, 0, 0}, 8); /* IDX: so many bytes */
    ask_start(a, NULL);
    ask_bytes(a, 507, "PUT /datasets/big?column=x", NULL, body, 8 + LEN);
    ask_is_problem(a, "storage_full");
    free(body);
    ask_stop(a);
}

/* ---- out of reach ---- */

#define SKIPPED(code, why) \
    static void reach_##code(Pair *p) { \
        (void)p; \
        print_message(#code ": %s\n", why); \
        skip(); \
    }
SKIPPED(compiler_mismatch, "takes a bug of the compiler")
SKIPPED(internal, "takes a bug, or exhausted memory")

#define ERROR(code, status, retryable, title) \
    static void test_##code(void **state) { reach_##code(*state); }
#include "schema/errors.def"
#undef ERROR

static void test_ends_well(void **state) { ask_stop(&((Pair *)*state)->shared); }

int main(void) {
    const struct CMUnitTest tests[] = {
#define ERROR(code, status, retryable, title) cmocka_unit_test_setup_teardown(test_##code, NULL, release_own),
#include "schema/errors.def"
#undef ERROR
        cmocka_unit_test(test_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
