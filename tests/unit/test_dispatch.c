/* Jobs and workers: what is answered, what travels together, what is cancelled. */
#include "tests/support/jobs.h"
#include "schema/graph/graph.h"
#include "schema/protocol/build.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void test_jobs_are_answered(void **state) {
    (void)state;
    Bench *b = bench_new(2, 100);
    Ticket tickets[20], ping;
    ErrCode why;
    for (int i = 0; i < 20; i++) assert_non_null(bench_submit(b, &tickets[i], (Order){.what = "echo"}, &why));
    assert_non_null(bench_ping(b, &ping));
    bench_run(b);
    for (int i = 0; i < 20; i++) assert_true(tickets[i].done && tickets[i].code == ERR_NONE);
    assert_int_equal(ping.type, FRAME_pong);
    bench_free(b);
}

static void test_a_full_queue_refuses(void **state) {
    (void)state;
    Bench *b = bench_new(1, 3);
    Ticket tickets[4];
    ErrCode why;
    for (int i = 0; i < 3; i++) assert_non_null(bench_submit(b, &tickets[i], (Order){.what = "echo", .party = (uint64_t)i}, &why));
    assert_null(bench_submit(b, &tickets[3], (Order){.what = "echo", .party = 3}, &why));
    assert_int_equal(why, ERR_queue_full);
    bench_run(b);
    bench_free(b);
}

static void test_a_cancelled_job_is_not_answered(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket first, second, third;
    ErrCode why;
    bench_submit(b, &first, (Order){.what = "nap"}, &why);
    Job *job = bench_submit(b, &second, (Order){.what = "die"}, &why);
    bench_submit(b, &third, (Order){.what = "echo"}, &why);
    dispatch_cancel(b->dispatch, job);
    b->open--;
    bench_run(b);
    assert_false(second.done);
    assert_int_equal(third.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_deaths, 0);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    Ticket last, late;
    Timer timer;
} Farewell;

static void bid_farewell(void *arg) {
    Farewell *f = arg;
    ErrCode why;
    const pid_t worker = bench_worker(f->bench);
    if (!worker) {
        loop_timer(f->bench->loop, &f->timer, loop_now() + MS);
        return;
    }
    bench_submit(f->bench, &f->last, (Order){.what = "bye"}, &why);
    dispatch_flush(f->bench->dispatch);
    bench_submit(f->bench, &f->late, (Order){.what = "echo", .culprit = "late"}, &why);
    f->bench->open--;
    waitid(P_PID, (id_t)worker, &(siginfo_t){0}, WEXITED | WNOWAIT); /* by the time that anybody looks, the answer is there and the worker is not */
}

/* A job that was to follow in a worker that has died meanwhile is nobody's murderer. */
static void test_who_comes_late_is_not_to_blame(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Farewell f = {.bench = b, .timer = {.fire = bid_farewell, .arg = &f}};
    b->open++; /* until then */
    loop_timer(b->loop, &f.timer, loop_now());
    bench_run(b);
    assert_int_equal(f.last.code, ERR_NONE);
    assert_int_equal(f.late.code, ERR_NONE);
    assert_int_equal(b->metrics.jobs_retried, 0);
    assert_int_equal(b->metrics.worker_kills, 0);
    assert_int_equal(b->metrics.worker_deaths, 1);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    Job *job;
    Timer timer;
} Hurry;

static void hurry_up(void *arg) {
    Hurry *h = arg;
    dispatch_cancel(h->bench->dispatch, h->job);
}

static void test_cancelling_shortens_a_running_jobs_life(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket first, hung, next;
    ErrCode why;
    bench_submit(b, &first, (Order){.what = "echo"}, &why);
    Job *job = bench_submit(b, &hung, (Order){.what = "hang"}, &why);
    bench_submit(b, &next, (Order){.what = "echo"}, &why);
    b->open--;
    Hurry hurry = {.bench = b, .job = job, .timer = {.fire = hurry_up, .arg = &hurry}};
    loop_timer(b->loop, &hurry.timer, loop_now() + 300 * MS);
    bench_run(b);
    assert_false(hung.done);
    assert_int_equal(next.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_kills, 1);
    bench_free(b);
}

static void test_a_graph_is_loaded_once(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket tickets[3], bad;
    ErrCode why;
    for (int i = 0; i < 3; i++) bench_submit(b, &tickets[i], (Order){.what = "echo", .key = 7, .graph = "graph"}, &why);
    bench_submit(b, &bad, (Order){.what = "echo", .key = 8, .graph = "bad"}, &why);
    bench_run(b);
    for (int i = 0; i < 3; i++) assert_int_equal(tickets[i].loads, 1);
    assert_int_equal(bad.code, ERR_too_large);
    assert_string_equal(bad.message, "no room");
    bench_free(b);
}

/* ---- evaluations that travel together ---- */

static void test_evaluations_of_a_graph_are_merged(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[20];
    for (int i = 0; i < 20; i++) bench_exec(b, &s[i], (float)i, i % 4 ? 1 : 2);
    bench_run(b);
    for (int i = 0; i < 20; i++) {
        bench_answered(&s[i]);
        /* of the second graph, which the worker had not when the first batch left, nothing travelled with the first */
        assert_int_equal(i % 4 ? 15 : 5, s[i].rows);
    }
    assert_int_equal(2, b->metrics.runs);
    bench_free(b);
}

static void test_graphs_share_a_frame(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small warm[2], s[20];
    for (int i = 0; i < 2; i++) bench_exec(b, &warm[i], 1, (uint64_t)i + 1);
    bench_run(b);
    uint64_t sent = b->metrics.runs;
    for (int i = 0; i < 20; i++) bench_exec(b, &s[i], (float)i, (uint64_t)i % 2 + 1);
    bench_run(b);
    for (int i = 0; i < 20; i++) {
        bench_answered(&s[i]);
        assert_int_equal(10, s[i].rows);
    }
    assert_int_equal(sent + 2, b->metrics.runs);
    bench_free(b);
}

static void test_an_error_is_ones_own(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[9];
    for (int i = 0; i < 9; i++) bench_exec(b, &s[i], i == 4 ? -1 : (float)i, 1);
    bench_run(b);
    for (int i = 0; i < 9; i++) {
        if (i != 4) bench_answered(&s[i]);
    }
    assert_int_equal(ERR_bad_tensor, s[4].ticket.code);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    Small *small;
    Timer timer;
    int64_t stay; /* so long after the leaving the worker goes on */
} Leaving;

/* What is lent ends with the cancelling. */
static void leave(void *arg) {
    Leaving *l = arg;
    dispatch_cancel(l->bench->dispatch, l->small->job);
    memset(&l->small->exec, 0xff, sizeof l->small->exec);
    l->bench->open--;
}

static void go_on(void *arg) {
    Leaving *l = arg;
    kill(bench_worker(l->bench), SIGCONT);
}

/* In the midst of it: once the worker has stopped itself. */
static void leave_in_between(void *arg) {
    Leaving *l = arg;
    const bool stopped = process_state(bench_worker(l->bench)) == 'T';
    if (stopped) leave(l);
    if (stopped) l->timer.fire = go_on;
    loop_timer(l->bench->loop, &l->timer, loop_now() + (stopped ? l->stay : MS));
}

static void test_who_leaves_does_not_take_others_along(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small first, s[6];
    Leaving leaving = {.bench = b, .small = &s[3], .timer = {.fire = leave_in_between, .arg = &leaving}};
    bench_exec(b, &first, 1, 1);
    bench_run(b);
    for (int i = 0; i < 6; i++) bench_exec(b, &s[i], i == 5 ? 888 : (float)i, 1);
    leave(&(Leaving){.bench = b, .small = &s[1]});
    loop_timer(b->loop, &leaving.timer, loop_now());
    bench_run(b);
    for (int i = 0; i < 6; i++) {
        if (i == 1 || i == 3) assert_false(s[i].ticket.done);
        else bench_answered(&s[i]);
    }
    assert_int_equal(5, s[0].rows);
    bench_free(b);
}

/* One leaves an evaluation that, merged with others, takes longer than one alone would be given: the others still get their results. */
static void test_who_leaves_does_not_hurry_others(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small first, s[2];
    Leaving leaving = {.bench = b, .small = &s[1], .timer = {.fire = leave_in_between, .arg = &leaving}, .stay = 2500 * MS};
    bench_exec(b, &first, 1, 1);
    bench_run(b);
    for (int i = 0; i < 2; i++) bench_exec(b, &s[i], i ? 1 : 888, 1);
    loop_timer(b->loop, &leaving.timer, loop_now());
    bench_run(b);
    assert_false(s[1].ticket.done);
    bench_answered(&s[0]);
    assert_int_equal(2, s[0].rows);
    assert_int_equal(0, b->metrics.worker_kills);
    bench_free(b);
}

static void test_without_workers_jobs_fail(void **state) {
    (void)state;
    Bench *b = bench_start((Bench){.program = "/bin/false"}, 1, 10);
    Ticket t;
    ErrCode why;
    bench_submit(b, &t, (Order){.what = "echo"}, &why);
    bench_run(b);
    assert_int_equal(t.code, ERR_no_worker);
    assert_null(bench_submit(b, &t, (Order){.what = "echo"}, &why));
    assert_int_equal(why, ERR_no_worker);
    bench_free(b);
}

int main(int argc, char **argv) {
    if (jobs_is_worker(argc, argv)) return jobs_worker();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_are_answered),
        cmocka_unit_test(test_a_full_queue_refuses),
        cmocka_unit_test(test_a_cancelled_job_is_not_answered),
        cmocka_unit_test(test_who_comes_late_is_not_to_blame),
        cmocka_unit_test(test_cancelling_shortens_a_running_jobs_life),
        cmocka_unit_test(test_a_graph_is_loaded_once),
        cmocka_unit_test(test_evaluations_of_a_graph_are_merged),
        cmocka_unit_test(test_graphs_share_a_frame),
        cmocka_unit_test(test_an_error_is_ones_own),
        cmocka_unit_test(test_who_leaves_does_not_take_others_along),
        cmocka_unit_test(test_who_leaves_does_not_hurry_others),
        cmocka_unit_test(test_without_workers_jobs_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
