/* What no client should send, and what slow, greedy and vanishing clients do: every request gets its answer, and the service goes on. */
#include "schema/base/time.h"
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include "tests/support/rng.h"
#include "tests/support/work.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVAL_NOT "{\"source\": \"λx:2. if x then false else true\", \"args\": [true]}"

static void still_well(Ask *a) {
    ask(a, 200, "POST /eval", "{'source': 'λx:2. if x then false else true', 'args': [true]}");
    ask_part(a, "data", "[0, 1]");
}

static void put_many(Buf *out, const char *text, int n) {
    for (int i = 0; i < n; i++) buf_puts(out, text);
}

/* Waits until nothing but the asking request itself is in flight. */
static void wait_until_quiet(Ask *a) {
    for (int i = 0; ask_metric(a, "cajal_requests_inflight") > 1; i++) {
        assert_true(i < 60000);
        usleep(5000);
    }
}

static void test_no_json(void **state) {
    static const char *const bodies[] = {"", " ", "hello", "<xml/>", "{\"source\"", "\"source\"", "source=true", "\0\0\0", "{}\xef\xbb\xbf",
                                         "{}{}", "[1,]", "{\"source\": tru}", "{'source': 'true'}", "{\"source\": \"\x01\"}",
                                         "{\"a\":1,\"a\":2}", "-", "+1", "1.", ".5", "0x10"};
    static const char *const routes[] = {"POST /compile", "POST /eval", "POST /grad", "POST /jvp"};
    Ask *a = *state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (int r = 0; r < 4; r++) {
            ask_bytes(a, 400, routes[r], NULL, bodies[i], strlen(bodies[i]));
            ask_is_problem(a, strcmp(bodies[i], "\"source\"") == 0 ? "bad_request" : "bad_json");
        }
    still_well(a);
}

/* Valid requests with a few bytes changed: any answer but a 5xx. */
static void test_mutations(void **state) {
    static const char *const seeds[] = {
        EVAL_NOT,
        "{\"term\": {\"fun\": \"x\", \"type\": \"N[3]\", \"body\": {\"succ\": \"x\"}}, \"args\": [{\"values\": [1, 2]}], \"decode\": true}",
        "{\"source\": \"f : !(2 -o 2), n : N |- iter {true | y -> f y} (n)\", \"inputs\": {\"f\": [[0,1],[1,0]], \"n\": 3}}",
    };
    Ask *a = *state;
    Rng r = rng_new("mutations");
    for (int i = 0; i < 600; i++) {
        char body[300], route[16];
        const char *seed = seeds[i % 3];
        size_t len = strlen(seed);
        memcpy(body, seed, len);
        for (int k = 0; k < 1 + i % 3; k++) body[rng_below(&r, (uint32_t)len)] = k % 2 ? (char)rng_below(&r, 256) : seed[rng_below(&r, (uint32_t)len)];
        snprintf(route, sizeof route, "/%s", (const char *[]){"eval", "compile", "grad"}[i % 7 % 3]);
        assert_int_equal(CLIENT_OK, client_request(a->daemon.client, "POST", route, NULL, body, len, &a->response));
        if (a->response.status >= 500) fail_msg("%d for %s %.*s", a->response.status, route, (int)len, body);
    }
    still_well(a);
}

static void nested(Ask *a, const char *before, const char *open, const char *middle, const char *close, const char *after, int depth, int status) {
    Buf body;
    buf_init(&body);
    buf_puts(&body, before);
    put_many(&body, open, depth);
    buf_puts(&body, middle);
    put_many(&body, close, depth);
    buf_puts(&body, after);
    ask_bytes(a, status, "POST /compile", NULL, body.data, body.len);
    buf_release(&body);
}

static void test_deep_json(void **state) {
    Ask *a = *state;
    nested(a, "{\"term\":", "{\"succ\":", "0", "}", "}", 999, 200);
    nested(a, "{\"term\":", "{\"succ\":", "0", "}", "}", 1000, 422);
    ask_is_problem(a, "too_large");
    nested(a, "{\"term\":", "[", "0", "]", "}", 100000, 422);
    ask_is_problem(a, "too_large");
    nested(a, "", "[", "", "", "", 8000000, 422);
    ask_is_problem(a, "too_large");
    nested(a, "{\"term\":", "{\"succ\":", "", "", "", 500, 400);
    ask_is_problem(a, "bad_json");
    still_well(a);
}

static void test_deep_text(void **state) {
    Ask *a = *state;
    nested(a, "{\"source\":\"", "(", "true", ")", "\"}", 100000, 200);
    nested(a, "{\"source\":\"", "(", "true", ")", "\"}", 100001, 422);
    ask_is_problem(a, "too_large");
    nested(a, "{\"source\":\"", "succ (", "0", ")", "\"}", 50000, 200);
    ask_part(a, "type", "'N[50001]'");
    nested(a, "{\"source\":\"", "if true then false else ", "true", "", "\"}", 99000, 200);
    nested(a, "{\"source\":\"", "(", "", "", "\"}", 1000000, 422);
    nested(a, "{\"source\":\"λx:", "(", "2", "-o 2)", ". x\"}", 5000, 422);
    nested(a, "{\"source\":\"f : !(2 -o 2) |- ", "f (", "true", ")", "\"}", 20000, 200);
    still_well(a);
}

static void test_nine_megabytes(void **state) {
    Ask *a = *state;
    size_t len = 9u << 20;
    char *body = malloc(len);
    assert_non_null(body);
    memset(body, ' ', len);
    static const char *const lines[] = {"Content-Type: application/json", "Transfer-Encoding: chunked", "Expect: 100-continue"};
    for (int i = 0; i < 3; i++) {
        ask_bytes(a, 413, "POST /compile", (const char *[]){lines[i], NULL}, body, len);
        ask_is_problem(a, "body_too_large");
    }
    free(body);
    still_well(a);
}

/* A client of a byte at a time does not hold others up. */
static void test_slow_client(void **state) {
    static const char request[] = "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Length: 62\r\n\r\n" EVAL_NOT;
    Ask *a = *state;
    ClientResponse answer = {0};
    assert_int_equal(62, sizeof EVAL_NOT - 1);
    int fd = raw_open(a->daemon.url);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        raw_send(fd, request + i, 1);
        if (i % 16 == 0) still_well(a);
    }
    assert_true(raw_answer(fd, &answer));
    assert_int_equal(200, answer.status);
    close(fd);
    client_response_release(&answer);
}

static void test_half_requests(void **state) {
    static const char request[] = "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Length: 62\r\n\r\n" EVAL_NOT;
    Ask *a = *state;
    for (size_t i = 0; i < sizeof request - 1; i += 2) {
        int fd = raw_open(a->daemon.url);
        raw_send(fd, request, i);
        close(fd);
    }
    /* promised, and not sent */
    for (int i = 0; i < 4; i++) {
        static const char big[] = "POST /eval?program=x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\n"
                                  "Content-Length: 1000000000\r\n\r\nx";
        int fd = raw_open(a->daemon.url);
        raw_send(fd, big, sizeof big - 1);
        close(fd);
    }
    wait_until_quiet(a);
    still_well(a);
}

/* Bytes and FIN come together: libmicrohttpd's epoll, edge-triggered, tells of the bytes only. */
static void test_sent_and_gone(void **state) {
    static const char request[] = "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Length: 62\r\n\r\n" EVAL_NOT;
    Ask *a = *state;
    ask_start(a, (const char *[]){"--max-inflight", "40", NULL});
    for (int i = 0; i < 100; i++) {
        int fd = raw_open(a->daemon.url);
        raw_send(fd, request, sizeof request - 2 - (size_t)i % 70);
        close(fd);
    }
    wait_until_quiet(a);
    still_well(a);
    ask_stop(a);
}

/* Who says that he will say no more is gone: he gets no answer, and holds nothing. */
static void test_half_closed(void **state) {
    Ask *a = *state;
    Buf body;
    buf_init(&body);
    ask_start(a, (const char *[]){"--workers", "1", NULL});
    work_compile(a, work_endless(0));
    work_put(&body, work_endless(0));
    double cancelled = ask_metric(a, "cajal_jobs_cancelled_total");
    int fd = raw_open(a->daemon.url);
    raw_request(fd, "POST", "/eval", "X-Deadline-Ms: 20000\r\n", buf_text(&body));
    ask_wait_busy(a, 1);
    shutdown(fd, SHUT_WR);
    assert_true(raw_ended(fd));
    close(fd);
    assert_true(ask_metric(a, "cajal_jobs_cancelled_total") == cancelled + 1);
    /* with the request itself */
    fd = raw_open(a->daemon.url);
    raw_request(fd, "POST", "/eval", "X-Deadline-Ms: 20000\r\n", buf_text(&body));
    shutdown(fd, SHUT_WR);
    assert_true(raw_ended(fd));
    close(fd);
    ask(a, 200, "GET /metrics", NULL);
    assert_null(strstr(buf_text(&a->response.body), "code=\"499\""));
    buf_release(&body);
    ask_stop(a);
}

/* The deadline counts from the headers: a body that does not come is no excuse. */
static void test_slow_body_meets_its_deadline(void **state) {
    static const char begun[] = "POST /eval HTTP/1.1\r\nHost: localhost\r\nX-Deadline-Ms: 300\r\nContent-Length: 62\r\n\r\n{";
    Ask *a = *state;
    int fd = raw_open(a->daemon.url);
    raw_send(fd, begun, sizeof begun - 1);
    assert_true(raw_answer(fd, &a->response));
    ask_read(a);
    assert_string_equal("deadline", ask_text(a, "code"));
    assert_int_equal(504, a->response.status);
    assert_true(raw_ended(fd));
    close(fd);
    wait_until_quiet(a);
}

/* A refusal waits for the body that comes with the request, so that a client which sends first and listens then gets to see it. */
static void test_refused_with_a_long_body(void **state) {
    enum { LENGTH = 1 << 20, PIECES = 16 };
    static const struct {
        const char *path;
        int status;
    } refused[] = {{"/programs", 405}, {"/nowhere", 404}, {"/eval?colour=red", 400}};
    static char piece[LENGTH / PIECES];
    Ask *a = *state;
    char head[200];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int fd = raw_open(a->daemon.url);
        int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", refused[i].path, LENGTH);
        raw_send(fd, head, (size_t)n);
        for (int k = 0; k < PIECES; k++) {
            usleep(5000);
            raw_send(fd, piece, sizeof piece);
        }
        assert_true(raw_answer(fd, &a->response));
        assert_int_equal(refused[i].status, a->response.status);
        assert_true(raw_ended(fd));
        close(fd);
    }
    wait_until_quiet(a);
}

static void test_slow_bodies_do_not_hold_up_the_end(void **state) {
    static const char begun[] = "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Length: 62\r\n\r\n{";
    Ask *a = *state;
    int fds[3];
    ask_start(a, (const char *[]){"--drain", "86400000", NULL}); /* as long as a request in flight is waited for */
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_open(a->daemon.url);
        raw_send(fds[i], begun, sizeof begun - 1);
    }
    while (ask_metric(a, "cajal_requests_inflight") < 4) usleep(1000);
    ask_stop(a);
    for (int i = 0; i < 3; i++) {
        assert_true(raw_answer(fds[i], &a->response));
        ask_read(a);
        assert_string_equal("draining", ask_text(a, "code"));
        close(fds[i]);
    }
}

/* Jobs that take somewhat longer than their short deadlines are cancelled; their worker lives on, for others. */
static void test_short_deadlines_cost_no_workers(void **state) {
    Ask *a = *state;
    Buf body;
    buf_init(&body);
    ask_start(a, (const char *[]){"--workers", "1", NULL});
    work_compile(a, work_known(100));
    work_put(&body, work_known(100));
    int stalled = 0; /* times that this process itself kept the worker for longer than a job is left alone that nobody waits for (2 s) */
    for (int i = 0; i < 12; i++) {
        const int64_t begun = time_monotonic_ns();
        pid_t held = work_hold(a);
        ask_bytes(a, 504, "POST /eval", (const char *[]){"X-Deadline-Ms: 20", NULL}, body.data, body.len);
        work_go_on(held);
        stalled += time_monotonic_ns() - begun > 1500000000;
        if (i % 4 == 0) still_well(a);
    }
    assert_true(ask_metric(a, "cajal_worker_kills_total") <= stalled);
    buf_release(&body);
    ask_stop(a);
}

/* A client that goes away takes its own job along, and nobody else's. */
static void test_vanishing_clients(void **state) {
    enum { GONE = 6 };
    Ask *a = *state;
    Buf body;
    buf_init(&body);
    ask_start(a, (const char *[]){"--workers", "1", NULL});
    work_compile(a, work_endless(0));
    work_compile(a, work_known(100));
    work_put(&body, work_endless(0));
    int gone[GONE], patient;
    for (int i = 0; i < GONE; i++) {
        gone[i] = raw_open(a->daemon.url);
        raw_request(gone[i], "POST", "/eval", "X-Deadline-Ms: 1000\r\n", buf_text(&body));
    }
    patient = work_send(a, work_known(100), "");
    for (int i = 0; ask_metric(a, "cajal_queue_depth") < GONE; i++) {
        assert_true(i < 60000);
        usleep(2000);
    }
    for (int i = 0; i < GONE; i++) close(gone[i]);
    assert_true(raw_answer(patient, &a->response));
    assert_int_equal(200, a->response.status);
    ask_read(a);
    work_check(a, work_known(100));
    close(patient);
    assert_true(ask_metric(a, "cajal_jobs_cancelled_total") >= GONE);
    wait_until_quiet(a);
    buf_release(&body);
    ask_stop(a);
}

static void test_parallel(void **state) {
    enum { CONNECTIONS = 200 };
    Ask *a = *state;
    int fds[CONNECTIONS];
    char body[120], want[40];
    ClientResponse answer = {0};
    for (int i = 0; i < CONNECTIONS; i++) fds[i] = raw_open(a->daemon.url);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CONNECTIONS; i++) {
            snprintf(body, sizeof body, "{\"source\": \"λx:R[2]. x\", \"args\": [[%d, %d]]}", i, -i);
            raw_request(fds[i], "POST", "/eval", "", body);
        }
        for (int i = 0; i < CONNECTIONS; i++) {
            assert_true(raw_answer(fds[i], &answer));
            assert_int_equal(200, answer.status);
            snprintf(want, sizeof want, i ? "[%d,%d]" : "[%d,", i, -i);
            if (!strstr(buf_text(&answer.body), want)) fail_msg("connection %d got %s", i, buf_text(&answer.body));
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) close(fds[i]);
    client_response_release(&answer);
    wait_until_quiet(a);
}

/* More connections than are admitted: those beyond wait or are closed; the others are served. */
static void test_too_many_connections(void **state) {
    Ask *a = *state;
    int fds[40];
    ask_start(a, (const char *[]){"--max-connections", "16", NULL});
    still_well(a);
    for (int i = 0; i < 40; i++) fds[i] = raw_open(a->daemon.url);
    still_well(a); /* the client's own connection was first */
    for (int i = 0; i < 40; i++) close(fds[i]);
    client_free(a->daemon.client);
    a->daemon.client = client_new(a->daemon.url, NULL);
    for (int i = 0; client_json(a->daemon.client, "GET", "/livez", NULL, &a->response) != CLIENT_OK || a->response.status != 200; i++) {
        assert_true(i < 60000);
        usleep(5000);
    }
    still_well(a);
    ask_stop(a);
}

static void test_pipelined(void **state) {
    enum { REQUESTS = 30 };
    Ask *a = *state;
    Buf all;
    ClientResponse answer = {0};
    char body[120], want[40];
    buf_init(&all);
    for (int i = 0; i < REQUESTS; i++) {
        int n = snprintf(body, sizeof body, "{\"source\": \"λx:R[1]. x\", \"args\": [[%d]]}", i);
        buf_printf(&all, "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", n, body);
    }
    int fd = raw_open(a->daemon.url);
    raw_send(fd, all.data, all.len);
    for (int i = 0; i < REQUESTS; i++) { /* in their order */
        assert_true(raw_answer(fd, &answer));
        assert_int_equal(200, answer.status);
        snprintf(want, sizeof want, "\"data\":[%d]", i);
        if (!strstr(buf_text(&answer.body), want)) fail_msg("answer %d is %s", i, buf_text(&answer.body));
    }
    close(fd);
    buf_release(&all);
    client_response_release(&answer);
}

static void test_broken_http(void **state) {
    static const char *const requests[] = {
        "GARBAGE\r\n\r\n", "GET\r\n\r\n", "\r\n\r\n\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nbroken header\r\n\r\n",
        "GET /livez\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /compile HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    Ask *a = *state;
    ClientResponse answer = {0};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd = raw_open(a->daemon.url);
        raw_send(fd, requests[i], strlen(requests[i]));
        shutdown(fd, SHUT_WR);
        if (raw_answer(fd, &answer)) assert_in_range(answer.status, 400, 505); /* or it just closes */
        close(fd);
    }
    /* headers without end */
    int fd = raw_open(a->daemon.url);
    Buf head;
    buf_init(&head);
    buf_puts(&head, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    put_many(&head, "0123456789", 7000);
    buf_puts(&head, "\r\n\r\n");
    raw_send(fd, head.data, head.len);
    if (raw_answer(fd, &answer)) assert_in_range(answer.status, 400, 499);
    close(fd);
    buf_release(&head);
    client_response_release(&answer);
    wait_until_quiet(a);
    still_well(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_json),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_deep_text),
        cmocka_unit_test(test_nine_megabytes),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_half_requests),
        cmocka_unit_test_setup_teardown(test_sent_and_gone, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_half_closed, ask_setup_empty, ask_teardown),
        cmocka_unit_test(test_slow_body_meets_its_deadline),
        cmocka_unit_test(test_refused_with_a_long_body),
        cmocka_unit_test_setup_teardown(test_slow_bodies_do_not_hold_up_the_end, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_short_deadlines_cost_no_workers, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_vanishing_clients, ask_setup_empty, ask_teardown),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test_setup_teardown(test_too_many_connections, ask_setup_empty, ask_teardown),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_broken_http),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
