/* Who pays for a worker's death: the job that brought it about, when that is proved, and nobody else. */
#include "server/workers/blame.h"
#include "tests/support/jobs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define SECOND (1000 * MS)

/* ---- the rules, with a clock of one's own ---- */

/* The service as the rules see it: three workers' last deaths. */
typedef struct {
    LastDeath deaths[3];
} World;

static Death death_at(World *w, WorkerEnd end, int64_t when, int worker, uint64_t job) {
    w->deaths[worker] = (LastDeath){when, job};
    return (Death){.end = end, .worker = worker, .when = when, .members = 1, .job = job, .deaths = w->deaths, .workers = 3};
}

static Verdict kill_at(World *w, Job *job, int64_t when, int worker) {
    Quarantine q = {0};
    const Death death = death_at(w, END_KILLED, when, worker, job->arrival);
    blame_spoil(job, &death); /* dispatch does not look whose it is */
    const Verdict verdict = blame_judge(job, &death, &q);
    assert_null(q.first); /* whatever kills from outside proves nothing against a program */
    return verdict;
}

static void other_dies(World *w, Job *job, int64_t when, int worker) {
    const Death death = death_at(w, END_KILLED, when, worker, 99);
    blame_spoil(job, &death);
}

static void test_three_lonely_kills(void **state) {
    (void)state;
    World w = {0};
    Job job = {.arrival = 7};
    assert_int_equal(kill_at(&w, &job, 10 * SECOND, 0), VERDICT_RETRY);
    assert_int_equal(kill_at(&w, &job, 10 * SECOND + 50 * MS, 1), VERDICT_RETRY); /* its own former worker is no other */
    assert_int_equal(kill_at(&w, &job, 10 * SECOND + 100 * MS, 2), VERDICT_HOLD);
    assert_true(blame_is_proved(&job));
    /* another worker dies within the second that is waited for */
    other_dies(&w, &job, 11 * SECOND + 99 * MS, 1);
    assert_false(blame_is_proved(&job));
}

static void test_kills_of_others_excuse(void **state) {
    (void)state;
    World w = {0};
    Job job = {.arrival = 7};
    for (int i = 0; i < 10; i++) {
        other_dies(&w, &job, (10 + i) * SECOND - MS, 1);
        assert_int_equal(kill_at(&w, &job, (10 + i) * SECOND, 0), VERDICT_RETRY);
    }
    /* by itself from then on, however fast */
    for (int i = 0; i < 3; i++) assert_int_equal(kill_at(&w, &job, 30 * SECOND + i * MS, i), i < 2 ? VERDICT_RETRY : VERDICT_HOLD);
    /* too late to be of the same hand */
    job = (Job){.arrival = 8};
    kill_at(&w, &job, 40 * SECOND, 0);
    kill_at(&w, &job, 42 * SECOND, 0);
    other_dies(&w, &job, 43 * SECOND, 1);
    assert_int_equal(kill_at(&w, &job, 45 * SECOND, 0), VERDICT_HOLD);
    /* not running */
    job = (Job){.arrival = 9};
    Quarantine q = {0};
    kill_at(&w, &job, 51 * SECOND, 0);
    kill_at(&w, &job, 53 * SECOND, 0);
    const Death told = death_at(&w, END_SIGNALLED, 55 * SECOND, 0, 9);
    assert_int_equal(blame_judge(&job, &told, &q), VERDICT_RETRY);
    assert_int_equal(kill_at(&w, &job, 57 * SECOND, 0), VERDICT_RETRY);
}

static void test_parcels_become_smaller(void **state) {
    (void)state;
    Quarantine q = {0};
    Job job = {.spec.culprit = "program"};
    static const unsigned want[][2] = {{200, 50}, {50, 12}, {12, 3}, {3, 1}, {2, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        for (int end = 0; end < 2; end++) {
            const Death death = {.end = end ? END_KILLED : END_ITSELF, .members = want[i][0]};
            assert_int_equal(blame_judge(&job, &death, &q), VERDICT_RETRY);
            assert_int_equal(job.company, want[i][1]);
        }
    assert_null(q.first);
    assert_int_equal(job.deaths, 0);
}

static void test_what_is_charged(void **state) {
    (void)state;
    static const struct {
        WorkerEnd end;
        bool charged;
    } ends[] = {{END_ITSELF, true}, {END_NONSENSE, true}, {END_LEFTOVER, true}, {END_LIMIT, true}, {END_KILLED, false}, {END_SIGNALLED, false}, {END_STUCK, false},
                {END_MOVED, false}, {END_ABANDONED, false}, {END_MEMORY, false}, {END_UNSENT, false}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        Quarantine q = {0};
        Job job = {.spec.culprit = "program"};
        blame_judge(&job, &(Death){.end = ends[i].end, .when = SECOND, .members = 1}, &q);
        assert_int_equal(quarantine_state(&q, "program", SECOND), ends[i].charged ? CULPRIT_SUSPECT : CULPRIT_UNKNOWN);
        quarantine_release(&q);
    }
}

/* ---- with processes ---- */

static void check_own_doing(const char *what, const char *how) {
    Bench *b = bench_new(3, 10);
    Ticket killer, other, again;
    ErrCode why;
    bench_submit(b, &killer, (Order){.what = what, .culprit = "killer"}, &why);
    bench_submit(b, &other, (Order){.what = "nap", .culprit = "other"}, &why);
    bench_run(b);
    assert_int_equal(killer.code, ERR_worker_crash);
    assert_non_null(strstr(killer.message, how));
    assert_int_equal(other.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_deaths, 2);
    assert_null(bench_submit(b, &again, (Order){.what = what, .culprit = "killer"}, &why));
    assert_int_equal(why, ERR_quarantined);
    bench_free(b);
}

static void test_own_doing_is_proved_twice(void **state) {
    (void)state;
    check_own_doing("crash", "SIGABRT");
    check_own_doing("exit", "exit code 1");
}

/* It may be the kernel, for want of memory: the job is answered, its program is not set aside. */
static void test_killed_three_times_alone(void **state) {
    (void)state;
    Bench *b = bench_new(2, 10);
    Ticket killer, again;
    ErrCode why;
    bench_submit(b, &killer, (Order){.what = "die", .culprit = "killer"}, &why);
    bench_run(b);
    assert_int_equal(killer.code, ERR_worker_crash);
    assert_non_null(strstr(killer.message, "SIGKILL"));
    assert_int_equal(b->metrics.worker_deaths, 3);
    bench_submit(b, &again, (Order){.what = "echo", .culprit = "killer"}, &why);
    bench_run(b);
    assert_int_equal(again.code, ERR_NONE);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    uint64_t deaths;
} Deaths;

static bool so_many_died(void *arg) {
    const Deaths *d = arg;
    return d->bench->metrics.worker_deaths >= d->deaths;
}

/* Killed again and again, all at about the same time or asked to end: the jobs are nobody's murderers, and are tried as long as somebody waits. */
static void test_outside_kills_prove_nothing(void **state) {
    (void)state;
    static const char *const whats[] = {"die", "leave"};
    for (int k = 0; k < 2; k++) {
        Bench *b = bench_new(3, 10);
        Ticket t[3];
        Job *job[3];
        ErrCode why;
        for (int i = 0; i < 3; i++) job[i] = bench_submit(b, &t[i], (Order){.what = whats[k], .culprit = i ? "one" : "other"}, &why);
        Deaths deaths = {b, 24};
        bench_until(b, so_many_died, &deaths);
        for (int i = 0; i < 3; i++) {
            assert_false(t[i].done);
            dispatch_cancel(b->dispatch, job[i]);
        }
        b->open = 0;
        Ticket after;
        bench_submit(b, &after, (Order){.what = "echo", .culprit = "one"}, &why);
        bench_run(b);
        assert_int_equal(after.code, ERR_NONE);
        bench_free(b);
    }
}

static void test_a_killer_does_not_take_others_along(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        Bench *b = bench_new(2, 100);
        Small s[40], again;
        for (int i = 0; i < 40; i++) bench_exec(b, &s[i], i == 4 ? (k ? 667 : 666) : (float)i, 1);
        bench_run(b);
        for (int i = 0; i < 40; i++)
            if (i != 4) bench_answered(&s[i]);
        assert_int_equal(ERR_worker_crash, s[4].ticket.code);
        assert_in_range(b->metrics.worker_deaths, 3, k ? 40 : 6); /* with all, in parcels, alone; kills within a second of those with others do not count */
        if (!k) assert_null(bench_exec_as(b, &again, 666, 1, 1, 0));
        if (!k) assert_int_equal(ERR_quarantined, again.ticket.code);
        bench_free(b);
    }
}

/* Its like, which came before it was proved, are not tried one by one. */
static void test_killers_that_wait_are_set_aside(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[6];
    int crashed = 0, set_aside = 0;
    for (int i = 0; i < 6; i++) bench_exec(b, &s[i], 666, 1);
    bench_run(b);
    for (int i = 0; i < 6; i++) {
        crashed += s[i].ticket.code == ERR_worker_crash;
        set_aside += s[i].ticket.code == ERR_quarantined;
    }
    assert_int_equal(1, crashed);
    assert_int_equal(5, set_aside);
    assert_int_equal(3, b->metrics.worker_deaths);
    bench_free(b);
}

/* The server's limit on execution, which is the job's own doing. */
static void test_a_job_that_runs_too_long(void **state) {
    (void)state;
    Bench *b = bench_start((Bench){.max_exec = 50 * MS}, 1, 10);
    Ticket slow, next;
    ErrCode why;
    for (int i = 0; i < 2; i++) {
        bench_submit(b, &slow, (Order){.what = "hang", .culprit = "slow"}, &why);
        bench_submit(b, &next, (Order){.what = "echo"}, &why);
        bench_run(b);
        assert_int_equal(slow.code, ERR_too_large);
        assert_non_null(strstr(slow.message, "50 ms"));
        assert_int_equal(next.code, ERR_NONE);
        assert_int_equal(b->metrics.worker_kills, i + 1);
    }
    assert_null(bench_submit(b, &slow, (Order){.what = "hang", .culprit = "slow"}, &why));
    assert_int_equal(why, ERR_quarantined);
    bench_free(b);
}

static void test_one_that_hangs_does_not_take_others_along(void **state) {
    (void)state;
    Bench *b = bench_start((Bench){.max_exec = 300 * MS}, 1, 100);
    Small s[5];
    for (int i = 0; i < 5; i++) bench_exec(b, &s[i], i == 2 ? 777 : (float)i, 1);
    bench_run(b);
    for (int i = 0; i < 5; i++)
        if (i != 2) bench_answered(&s[i]);
    assert_int_equal(ERR_too_large, s[2].ticket.code);
    bench_free(b);
}

int main(int argc, char **argv) {
    if (jobs_is_worker(argc, argv)) return jobs_worker();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_lonely_kills),
        cmocka_unit_test(test_kills_of_others_excuse),
        cmocka_unit_test(test_parcels_become_smaller),
        cmocka_unit_test(test_what_is_charged),
        cmocka_unit_test(test_own_doing_is_proved_twice),
        cmocka_unit_test(test_killed_three_times_alone),
        cmocka_unit_test(test_outside_kills_prove_nothing),
        cmocka_unit_test(test_a_killer_does_not_take_others_along),
        cmocka_unit_test(test_killers_that_wait_are_set_aside),
        cmocka_unit_test(test_a_job_that_runs_too_long),
        cmocka_unit_test(test_one_that_hangs_does_not_take_others_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
