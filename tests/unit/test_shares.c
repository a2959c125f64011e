/* What is shared out of the workers: one is kept for short jobs, parties have their turns, and what nobody waits for ends. */
#include "tests/support/jobs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { HANGS = 777 };
#define LONG_COST 1e10

static bool all_done(void *arg) {
    const Bench *b = arg;
    return b->open == 0;
}

/* Lets go of jobs that hang. */
static void cancel(Bench *b, Job *job) {
    dispatch_cancel(b->dispatch, job);
    b->open--;
}

/* However many long jobs wait, of however many parties: short ones, of the same parties too, are answered. */
static void test_one_worker_is_kept_for_short_jobs(void **state) {
    (void)state;
    for (int workers = 2; workers < 4; workers++) {
        Bench *b = bench_new(workers, 100);
        Small slow[6], quick[20];
        Ticket ping;
        for (int i = 0; i < 6; i++) assert_non_null(bench_exec_as(b, &slow[i], HANGS, 1, LONG_COST, (uint64_t)i % 3));
        b->open = 0;
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 20; i++) assert_non_null(bench_exec_as(b, &quick[i], (float)i, 1, i % 2 ? 1 : 1e7, (uint64_t)i % 4));
            assert_non_null(bench_ping(b, &ping));
            bench_until(b, all_done, b);
            for (int i = 0; i < 20; i++) bench_answered(&quick[i]);
        }
        for (int i = 0; i < 6; i++) assert_false(slow[i].ticket.done);
        size_t ready, busy;
        dispatch_count(b->dispatch, &ready, &busy);
        assert_int_equal(busy, workers - 1); /* but the others are used for long ones */
        assert_int_equal(b->metrics.worker_kills, 0);
        bench_free(b);
    }
}

static bool one_killed(void *arg) {
    const Bench *b = arg;
    return b->metrics.worker_kills >= 1;
}

/* What nobody waits for ends, others are served, and nobody is blamed. */
static void test_what_nobody_waits_for_ends(void **state) {
    (void)state;
    Bench *b = bench_new(2, 100);
    Small gone[2], wanted;
    for (int i = 0; i < 2; i++) bench_exec_as(b, &gone[i], HANGS, 1, LONG_COST, 1);
    bench_exec_as(b, &wanted, 5, 1, LONG_COST, 2);
    dispatch_flush(b->dispatch);
    Small warm; /* by the time that it is answered, a worker has begun to hang */
    bench_exec(b, &warm, 1, 1);
    b->open = 1;
    bench_until(b, all_done, b);
    b->open = 3;
    for (int i = 0; i < 2; i++) cancel(b, gone[i].job);
    bench_run(b);
    bench_answered(&wanted);
    assert_int_equal(b->metrics.worker_kills, 1);
    bench_exec_as(b, &wanted, HANGS + 1, 1, LONG_COST, 2); /* of another culprit, but the same program as far as workers see */
    bench_run(b);
    bench_answered(&wanted);
    bench_free(b);
}

/* Jobs of unknown cost that take long have to give way to short ones. */
static void test_taken_for_short(void **state) {
    (void)state;
    Bench *b = bench_new(2, 100);
    Ticket slow[2], quick;
    Job *job[2];
    ErrCode why;
    for (uint64_t i = 0; i < 2; i++) job[i] = bench_submit(b, &slow[i], (Order){.what = "hang", .culprit = "slow", .party = i}, &why);
    b->open = 0;
    bench_submit(b, &quick, (Order){.what = "echo", .party = 3}, &why);
    bench_until(b, all_done, b);
    assert_int_equal(quick.code, ERR_NONE);
    assert_true(one_killed(b));
    assert_int_equal(b->metrics.worker_kills, 1);
    /* the other goes on, and this one waits for its turn among the long ones */
    for (int i = 0; i < 2; i++) {
        assert_false(slow[i].done);
        b->open++;
        cancel(b, job[i]);
    }
    assert_non_null(bench_submit(b, &quick, (Order){.what = "echo", .culprit = "slow", .party = 3}, &why));
    bench_run(b);
    bench_free(b);
}

/* One party's many do not delay another's one by more than their turn. */
static void test_parties_have_their_turns(void **state) {
    (void)state;
    Bench *b = bench_new(1, 200);
    Small many[60], one;
    for (int i = 0; i < 60; i++) bench_exec_as(b, &many[i], (float)i, 1, 5e7, 1);
    bench_exec_as(b, &one, 5, 1, 5e7, 2);
    bench_run(b);
    bench_answered(&one);
    assert_in_range(one.ticket.order, 0, 3);
    for (int i = 0; i < 60; i++) bench_answered(&many[i]);
    bench_free(b);
}

static void test_a_party_has_half_of_the_queue(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Small s[5], more, other;
    for (int i = 0; i < 5; i++) assert_non_null(bench_exec_as(b, &s[i], 1, 1, 1, 1));
    assert_null(bench_exec_as(b, &more, 1, 1, 1, 1));
    assert_int_equal(more.ticket.code, ERR_quota);
    assert_non_null(bench_exec_as(b, &other, 1, 1, 1, 2));
    bench_run(b);
    bench_answered(&other);
    bench_free(b);
}

int main(int argc, char **argv) {
    if (jobs_is_worker(argc, argv)) return jobs_worker();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_worker_is_kept_for_short_jobs),
        cmocka_unit_test(test_what_nobody_waits_for_ends),
        cmocka_unit_test(test_taken_for_short),
        cmocka_unit_test(test_parties_have_their_turns),
        cmocka_unit_test(test_a_party_has_half_of_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
