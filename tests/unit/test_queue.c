/* Whose turn it is: jobs as queue.h sees them, without workers. */
#include "server/workers/queue.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define LONG_COST 1e9

static Job *enter(Queue *q, uint64_t party, double cost, ErrCode want) {
    Job *job = calloc(1, sizeof *job);
    job->spec.party = party;
    job->cost = cost;
    assert_int_equal(queue_enter(q, job), want);
    if (!want) return job;
    free(job);
    return NULL;
}

static Job *go(Queue *q, bool short_only) {
    Job *job = queue_next(q, short_only);
    if (job) queue_take(q, job, true);
    return job;
}

static void over(Queue *q, Job *job) {
    queue_forget(q, job);
    job_free(job);
}

static void test_in_order_within_a_party(void **state) {
    (void)state;
    Queue q;
    Job *jobs[6];
    queue_init(&q, 100);
    for (int i = 0; i < 6; i++) jobs[i] = enter(&q, 1, i % 2 ? LONG_COST : 10, ERR_NONE);
    for (int i = 0; i < 6; i++) {
        assert_ptr_equal(go(&q, false), jobs[i]);
        over(&q, jobs[i]);
    }
    assert_null(queue_next(&q, false));
    assert_int_equal(q.parties.count, 0); /* nobody is remembered */
    queue_release(&q);
}

/* Of a party's many and another's few, the latter wait for one turn. */
static void test_many_do_not_delay_few(void **state) {
    (void)state;
    static const double costs[] = {10, 1e6, 5e7, LONG_COST, 1e13};
    for (size_t c = 0; c < sizeof costs / sizeof *costs; c++) {
        Queue q;
        int before = 0;
        queue_init(&q, 4000);
        for (int i = 0; i < 1000; i++) enter(&q, 1, costs[c], ERR_NONE);
        Job *few = enter(&q, 2, costs[c] < 1e12 ? costs[c] : 10, ERR_NONE), *job;
        while ((job = go(&q, false)) != few) {
            assert_non_null(job);
            over(&q, job);
            before++;
        }
        assert_in_range(before, 0, 20); /* a round's worth of small ones, or one */
        if (costs[c] >= LONG_COST) assert_in_range(before, 0, 1);
        over(&q, few);
        queue_release(&q);
    }
}

/* Two with endless supplies get the same amount of work, whatever their jobs cost. */
static void test_shares_are_of_work(void **state) {
    (void)state;
    Queue q;
    double work[2] = {0};
    static const double costs[2] = {1e6, 3e7};
    queue_init(&q, 100);
    for (uint64_t p = 0; p < 2; p++) enter(&q, p, costs[p], ERR_NONE), enter(&q, p, costs[p], ERR_NONE);
    for (int i = 0; i < 20000; i++) {
        Job *job = go(&q, false);
        const uint64_t p = job->spec.party;
        work[p] += costs[p];
        enter(&q, p, costs[p], ERR_NONE);
        over(&q, job);
    }
    assert_true(work[0] / work[1] > 0.8 && work[0] / work[1] < 1.25);
    queue_release(&q);
}

static void test_short_ones_overtake_where_long_ones_may_not_go(void **state) {
    (void)state;
    Queue q;
    queue_init(&q, 100);
    Job *slow = enter(&q, 1, LONG_COST, ERR_NONE), *quick = enter(&q, 1, 10, ERR_NONE);
    assert_int_equal(q.shorts, 1);
    assert_ptr_equal(go(&q, true), quick);
    assert_null(queue_next(&q, true));
    assert_ptr_equal(go(&q, false), slow);
    over(&q, slow);
    over(&q, quick);
    queue_release(&q);
}

/* One of a party's is taken for short; when it is over, the next. */
static void test_of_unknown_cost(void **state) {
    (void)state;
    Queue q;
    queue_init(&q, 100);
    Job *a = enter(&q, 1, -1, ERR_NONE), *b = enter(&q, 1, -1, ERR_NONE), *c = enter(&q, 2, -1, ERR_NONE);
    assert_int_equal(a->lane, LANE_SHORT);
    assert_int_equal(b->lane, LANE_LONG);
    assert_int_equal(c->lane, LANE_SHORT);
    assert_ptr_equal(go(&q, false), a);
    queue_demote(a);
    Job *d = enter(&q, 1, -1, ERR_NONE);
    assert_int_equal(d->lane, LANE_SHORT);
    queue_return(&q, a); /* as a long one, before those that came later */
    assert_int_equal(a->lane, LANE_LONG);
    over(&q, go(&q, true));
    over(&q, go(&q, true));
    assert_ptr_equal(go(&q, false), a);
    assert_ptr_equal(go(&q, false), b);
    over(&q, a);
    over(&q, b);
    assert_int_equal(q.parties.count, 0);
    queue_release(&q);
}

static void test_bounds(void **state) {
    (void)state;
    Queue q;
    queue_init(&q, 5);
    for (int i = 0; i < 3; i++) enter(&q, 1, 10, ERR_NONE);
    enter(&q, 1, 10, ERR_quota);
    for (int i = 0; i < 2; i++) enter(&q, 2, 10, ERR_NONE);
    enter(&q, 2, 10, ERR_queue_full);
    Job *job = go(&q, false);
    enter(&q, job->spec.party, 10, ERR_NONE); /* what is under way takes no place */
    over(&q, job);
    queue_release(&q);
}

static void test_cancelled_and_come_back(void **state) {
    (void)state;
    Queue q;
    queue_init(&q, 100);
    Job *a = enter(&q, 1, 10, ERR_NONE), *b = enter(&q, 1, 10, ERR_NONE), *c = enter(&q, 1, 10, ERR_NONE);
    queue_take(&q, b, false);
    over(&q, b);
    assert_ptr_equal(go(&q, false), a);
    queue_return(&q, a);
    assert_int_equal(q.count, 2);
    assert_ptr_equal(go(&q, false), a);
    assert_ptr_equal(go(&q, false), c);
    over(&q, a);
    over(&q, c);
    queue_release(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_within_a_party),
        cmocka_unit_test(test_many_do_not_delay_few),
        cmocka_unit_test(test_shares_are_of_work),
        cmocka_unit_test(test_short_ones_overtake_where_long_ones_may_not_go),
        cmocka_unit_test(test_of_unknown_cost),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_cancelled_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
