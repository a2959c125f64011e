/* Many clients at once: their small requests travel and run together, and none of them can tell. */
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
#include <unistd.h>

enum { CLIENTS = 24, ROUNDS = 40, KINDS = 8, PROGRAMS = 3, REQUEST = 512 };

typedef struct {
    const char *route;
    char body[REQUEST];
    Buf expected; /* of the answer given when nobody else asked */
    int status;
} Question;

static double real(Rng *r) { return (double)rng_below(r, 2000001) / 7919.0 - 126; }

/* Programs: 0 is 2 ⊸ 2, 1 has an input function and two arguments, 2 is smooth in a vector. */
static void compile_all(Ask *a, char hash[PROGRAMS][80]) {
    ask_compile(a, "{'source': 'λx:2. if x then false else true'}", hash[0]);
    ask_compile(a, "{'source': 'f : !(2 -o 2) |- λx:2. λn:N. iter {x | y -> f y} (n)'}", hash[1]);
    ask_compile(a, "{'source': 'λx:!2. if x then (if x then false else true) else x'}", hash[2]);
}

static void invent(Question *q, Rng *r, char hash[PROGRAMS][80], int kind) {
    char *b = q->body;
    double u = real(r), v = real(r), w = real(r), z = real(r);
    q->route = kind == 5 || kind == 6 ? "/grad" : kind == 7 ? "/jvp" : "/eval";
    switch (kind) {
    case 0: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[[%.17g,%.17g]]}", hash[0], u, v); break;
    case 1: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[[[%.17g,%.17g],[%.17g,%.17g]]],\"dtype\":\"f64\"}", hash[0], u, v, w, z); break;
    case 2: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[%s],\"decode\":true}", hash[0], u > 0 ? "true" : "false"); break;
    case 3: /* batched arguments beside a shared function, the same for about half of them */
        snprintf(b, REQUEST, "{\"program\":\"%s\",\"inputs\":{\"f\":[[0,1],[%.17g,0]]},\"args\":[[[%.17g,1],[2,%.17g]],3]}", hash[1],
                 u > 0 ? 1.0 : u, v, w);
        break;
    case 4: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[[%.17g,%.17g,%.17g]]}", hash[0], u, v, w); break; /* refused */
    case 5: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[[%.17g,%.17g]]}", hash[2], u, v); break;
    case 6: /* the gradient of a shared value is a sum over the batch */
        snprintf(b, REQUEST, "{\"program\":\"%s\",\"inputs\":{\"f\":[[%.17g,1],[1,0]]},\"args\":[[[%.17g,1],[2,%.17g]],[%.17g,1,2]]}", hash[1], u, v,
                 w, z);
        break;
    default: snprintf(b, REQUEST, "{\"program\":\"%s\",\"args\":[[%.17g,%.17g]],\"tangents\":{\"args\":[[1,%.17g]]}}", hash[2], u, v, w);
    }
}

static void settle(Ask *a, Question *q) {
    int fd = raw_open(a->daemon.url);
    ClientResponse answer = {0};
    raw_request(fd, "POST", q->route, "X-Request-Id: same\r\n", q->body);
    assert_true(raw_answer(fd, &answer));
    close(fd);
    q->status = answer.status;
    q->expected = answer.body;
    buf_release(&answer.headers);
}

static void expect(const Question *q, const ClientResponse *answer) {
    if (answer->status == q->status && answer->body.len == q->expected.len &&
        memcmp(answer->body.data, q->expected.data, q->expected.len) == 0)
        return;
    fail_msg("%s %s\nanswered %d %.*s\ninstead of %d %.*s", q->route, q->body, answer->status, (int)answer->body.len,
             (const char *)answer->body.data, q->status, (int)q->expected.len, (const char *)q->expected.data);
}

static void ask_questions(Ask *a, Rng *r, Question questions[CLIENTS]) {
    char hash[PROGRAMS][80];
    compile_all(a, hash);
    for (int i = 0; i < CLIENTS; i++) {
        questions[i] = (Question){0};
        invent(&questions[i], r, hash, i % KINDS);
        settle(a, &questions[i]);
        assert_int_equal(i % KINDS == 4 ? 422 : 200, questions[i].status);
    }
}

/* Every round all ask at the same time, each something of its own; an answer is the same to the last bit as when asked alone. */
static void test_everybody_gets_his_own(void **state) {
    Ask *a = *state;
    Rng r = rng_new("everybody");
    Question questions[CLIENTS];
    int fds[CLIENTS];
    ask_questions(a, &r, questions);
    double runs = ask_metric(a, "cajal_batch_requests_count"), requests = ask_metric(a, "cajal_batch_requests_sum");
    for (int i = 0; i < CLIENTS; i++) fds[i] = raw_open(a->daemon.url);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            Question *q = &questions[(i + round) % CLIENTS];
            raw_request(fds[i], "POST", q->route, "X-Request-Id: same\r\n", q->body);
        }
        for (int i = 0; i < CLIENTS; i++) {
            ClientResponse answer = {0};
            assert_true(raw_answer(fds[i], &answer));
            expect(&questions[(i + round) % CLIENTS], &answer);
            client_response_release(&answer);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        close(fds[i]);
        buf_release(&questions[i].expected);
    }
    runs = ask_metric(a, "cajal_batch_requests_count") - runs;
    requests = ask_metric(a, "cajal_batch_requests_sum") - requests;
    assert_true(requests == ROUNDS * CLIENTS * (KINDS - 1) / KINDS);
    assert_true(runs < requests);
}

/* The same, while some hang up at once and some have no time. */
static void test_others_come_and_go(void **state) {
    Ask *a = *state;
    Rng r = rng_new("others");
    Question questions[CLIENTS];
    int fds[CLIENTS], in_time = 0;
    ask_questions(a, &r, questions);
    for (int i = 0; i < CLIENTS; i++) fds[i] = raw_open(a->daemon.url);
    for (int round = 0; round < ROUNDS; round++) {
        bool leaves[CLIENTS], hurries[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            leaves[i] = rng_below(&r, 4) == 0;
            hurries[i] = rng_below(&r, 4) == 0;
            raw_request(fds[i], "POST", questions[i].route, hurries[i] ? "X-Request-Id: same\r\nX-Deadline-Ms: 1\r\n" : "X-Request-Id: same\r\n",
                        questions[i].body);
            if (!leaves[i]) continue;
            close(fds[i]);
            fds[i] = raw_open(a->daemon.url);
        }
        for (int i = 0; i < CLIENTS; i++) {
            ClientResponse answer = {0};
            if (leaves[i]) continue;
            assert_true(raw_answer(fds[i], &answer));
            in_time += hurries[i] && answer.status != 504;
            if (!hurries[i] || answer.status != 504) expect(&questions[i], &answer);
            client_response_release(&answer);
        }
    }
    print_message("%d answers within a millisecond\n", in_time);
    for (int i = 0; i < CLIENTS; i++) {
        close(fds[i]);
        buf_release(&questions[i].expected);
    }
    assert_true(ask_metric(a, "cajal_worker_deaths_total") == 0);
    assert_true(ask_metric(a, "cajal_worker_kills_total") == 0);
}

static void wait_for_queue(Ask *a, double jobs) {
    for (int i = 0; ask_metric(a, "cajal_queue_depth") != jobs; i++) {
        assert_true(i < 60000);
        usleep(2000);
    }
}

/* Small requests that wait for the only worker leave together when it is done, but for those whose client has gone or whose time is up. */
static void test_who_waits_leaves_together(void **state) {
    Ask *a = *state;
    Question q = {.route = "/eval"};
    int waiting[6];
    char hash[80];
    ask_start(a, (const char *[]){"--workers", "1", NULL});
    ask_compile(a, "{'source': 'λx:2. if x then false else true'}", hash);
    snprintf(q.body, REQUEST, "{\"program\":\"%s\",\"args\":[[0.25,0.75]]}", hash);
    settle(a, &q);
    work_compile(a, work_known(100));
    double runs = ask_metric(a, "cajal_runs_total");
    pid_t held = work_hold(a);
    int busy = work_send(a, work_known(100), "");
    ask_wait_busy(a, 1);
    waiting[1] = raw_open(a->daemon.url);
    raw_request(waiting[1], "POST", "/eval", "", q.body);
    wait_for_queue(a, 1);
    close(waiting[1]);
    wait_for_queue(a, 0);
    for (int i = 0; i < 6; i++) {
        if (i == 1) continue;
        waiting[i] = raw_open(a->daemon.url);
        raw_request(waiting[i], "POST", "/eval", i == 0 ? "X-Deadline-Ms: 50\r\n" : "X-Request-Id: same\r\n", q.body);
    }
    for (int i = 0; i < 6; i++) {
        ClientResponse answer = {0};
        if (i == 1) continue;
        assert_true(raw_answer(waiting[i], &answer));
        if (i == 0) {
            assert_int_equal(504, answer.status);
            wait_for_queue(a, 4);
            work_go_on(held);
        } else {
            expect(&q, &answer);
        }
        client_response_release(&answer);
        close(waiting[i]);
    }
    ClientResponse answer = {0};
    assert_true(raw_answer(busy, &answer));
    assert_int_equal(200, answer.status);
    client_response_release(&answer);
    close(busy);
    assert_true(ask_metric(a, "cajal_runs_total") == runs + 2);
    assert_true(ask_metric(a, "cajal_jobs_cancelled_total") == 2);
    buf_release(&q.expected);
    ask_stop(a);
}

static double part_of(const Ask *a, const char *name) {
    size_t len;
    const char *value = client_header(&a->response, "Server-Timing", &len);
    const char *at = value ? memmem(value, len, name, strlen(name)) : NULL;
    if (!at) return -1;
    char *end;
    double ms = strtod(at + strlen(name), &end);
    assert_true(end > at + strlen(name) + 4); /* milliseconds to the microsecond */
    return ms;
}

static void test_server_timing(void **state) {
    Ask *a = *state;
    ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [true]}");
    double queue = part_of(a, "queue;dur="), exec = part_of(a, "exec;dur="), total = part_of(a, "total;dur=");
    assert_true(queue >= 0 && exec >= 0 && total > 0);
    assert_true(queue + exec <= total);
    ask(a, 200, "GET /livez", NULL);
    assert_true(part_of(a, "exec;dur=") < 0 && part_of(a, "total;dur=") >= 0);
}

static void test_metrics_of_jobs(void **state) {
    Ask *a = *state;
    double queued = ask_metric(a, "cajal_queue_seconds_count"), ran = ask_metric(a, "cajal_exec_seconds_count");
    ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [false]}");
    assert_true(ask_metric(a, "cajal_queue_seconds_count") > queued);
    assert_true(ask_metric(a, "cajal_exec_seconds_count") == ran + 1);
    assert_true(ask_metric(a, "cajal_queue_seconds_bucket{le=\"+Inf\"}") == ask_metric(a, "cajal_queue_seconds_count"));
    assert_true(ask_metric(a, "cajal_worker_state") == ask_metric(a, "cajal_workers")); /* each is in one state */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_gets_his_own), cmocka_unit_test(test_others_come_and_go), cmocka_unit_test(test_server_timing),
        cmocka_unit_test(test_metrics_of_jobs),        cmocka_unit_test(ask_ends_well),
        cmocka_unit_test_setup_teardown(test_who_waits_leaves_together, ask_setup_empty, ask_teardown),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
