/* Worker processes: started again, unless they keep dying young of themselves; and what is still heard of one that has ended. */
#include "schema/graph/graph.h"
#include "schema/protocol/build.h"
#include "server/workers/pool.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SECOND ((int64_t)1000000000)

/* What a worker leaves behind of the kernel it is in. */
static void leave_op(Op op) {
    Area box;
    if (area_open(&box, WIRE_BOX_FD, WIRE_BOX_BYTES, true)) atomic_store(&((BlackBox *)box.data)->op, (uint32_t)op + 1);
}

/* The workers are this program itself. A build whose program is "die" is answered before the worker dies, in the kernel of `contract`. */
static int fake_worker(uint64_t build_of) {
    Buf body = {0};
    Frame frame;
    BuildMsg build;
    wire_put_hello(&body, &(HelloMsg){.version = WIRE_VERSION, .build = build_of, .pid = (uint32_t)getpid(), .threads = 1,
                                      .libraries = "none", .libraries_len = 4});
    wire_send(WIRE_FD, FRAME_hello, 1, &body, -1);
    buf_release(&body);
    while (wire_recv(WIRE_FD, &frame) == 1) {
        bool die = frame.type == FRAME_build && wire_get_build(&frame, &build) && memcmp(build.program, "die", 3) == 0;
        wire_send(WIRE_FD, FRAME_pong, frame.id, &body, -1);
        frame_release(&frame);
        if (!die) continue;
        leave_op(OP_contract);
        raise(SIGKILL);
    }
    return 0;
}

typedef struct {
    Loop *loop;
    Metrics metrics;
    Log log;
    Pool *pool;
    Timer limit;
    WorkerEnd kill;       /* what is done to a worker that is ready; ITSELF: nothing */
    int signal;           /* it is sent one that is ready; 0: nothing */
    int readies, until;   /* the loop stops after so many */
    int frames, ends;
    WorkerEnd last;
    char how[64];
    bool took;            /* whether the worker still took work when its last frame was heard */
} Bench;

static void too_long(void *arg) {
    (void)arg;
    fail_msg("it did not come to pass");
}

static void on_ready(void *arg, Worker *worker) {
    Bench *b = arg;
    if (++b->readies >= b->until) loop_stop(b->loop);
    else if (b->kill) pool_kill(worker, b->kill);
    else if (b->signal) assert_int_equal(kill(worker->pid, b->signal), 0);
}

static void on_frame(void *arg, Worker *worker, Frame *frame) {
    Bench *b = arg;
    assert_int_equal(frame->type, FRAME_pong);
    b->frames++;
    b->took = pool_takes(worker);
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Bench *b = arg;
    b->ends++;
    b->last = end;
    assert_false(pool_takes(worker));
    snprintf(b->how, sizeof b->how, "%s", how);
    if (!pool_hopeful(b->pool) || b->until == INT32_MAX) loop_stop(b->loop);
}

static Bench *bench_new(void) {
    Bench *b = calloc(1, sizeof *b);
    b->loop = loop_new();
    b->log = (Log){.level = LOG_LEVELS, .fd = 2};
    b->until = 1;
    metrics_init(&b->metrics);
    PoolSpec spec = {.loop = b->loop, .log = &b->log, .metrics = &b->metrics, .program = "/proc/self/exe", .workers = 1, .threads = 1,
                     .events = {.ready = on_ready, .frame = on_frame, .died = on_died}, .arg = b};
    b->pool = pool_new(&spec);
    assert_non_null(b->pool);
    return b;
}

static void run(Bench *b) {
    b->limit = (Timer){.fire = too_long};
    loop_timer(b->loop, &b->limit, loop_now() + 20 * SECOND);
    loop_run(b->loop);
    loop_untimer(b->loop, &b->limit);
}

static void bench_free(Bench *b) {
    pool_free(b->pool);
    metrics_release(&b->metrics);
    loop_free(b->loop);
    free(b);
}

/* Killed for a job's sake, a worker is replaced at once, however often. */
static void test_own_kills_are_no_young_deaths(void **state) {
    (void)state;
    Bench *b = bench_new();
    b->kill = END_STUCK;
    b->until = 8;
    int64_t began = loop_now();
    pool_start(b->pool);
    run(b);
    assert_int_equal(b->ends, 7);
    assert_int_equal(b->last, END_STUCK);
    assert_int_equal(b->metrics.worker_deaths, 0);
    assert_true(pool_hopeful(b->pool));
    assert_true(loop_now() - began < 3 * SECOND);
    bench_free(b);
}

static void test_young_deaths_end_hope(void **state) {
    (void)state;
    Bench *b = bench_new();
    b->kill = END_NONSENSE;
    b->until = 100;
    pool_start(b->pool);
    run(b);
    assert_false(pool_hopeful(b->pool));
    assert_true(b->ends < 10);
    bench_free(b);
}

/* Whatever kills workers from outside, and however often: they are started again, and requests may wait for it. */
static void test_kills_from_outside_leave_hope(void **state) {
    (void)state;
    static const struct {
        int signal;
        WorkerEnd end;
    } outside[] = {{SIGKILL, END_KILLED}, {SIGTERM, END_SIGNALLED}, {SIGHUP, END_SIGNALLED}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        Bench *b = bench_new();
        b->signal = outside[i].signal;
        b->until = 6;
        pool_start(b->pool);
        run(b);
        assert_int_equal(b->ends, 5);
        assert_int_equal(b->last, outside[i].end);
        assert_int_equal(pool_worker(b->pool, 0)->young_deaths, 0);
        assert_true(pool_hopeful(b->pool));
        bench_free(b);
    }
}

/* A fault is the process's own doing, wherever the signal comes from. */
static void test_faults_end_hope(void **state) {
    (void)state;
    Bench *b = bench_new();
    b->signal = SIGSEGV;
    b->until = 100;
    pool_start(b->pool);
    run(b);
    assert_int_equal(b->last, END_ITSELF);
    assert_false(pool_hopeful(b->pool));
    bench_free(b);
}

/* After an upgrade in place: the greeting is as ever, but of a build that is not the daemon's. */
static void test_another_build(void **state) {
    (void)state;
    Bench *b = bench_new();
    int said[2];
    char log[4096] = "";
    assert_int_equal(pipe(said), 0);
    b->log = (Log){.level = LOG_ERROR, .fd = said[1]};
    setenv("ANOTHER_BUILD", "", 1);
    pool_start(b->pool);
    run(b);
    unsetenv("ANOTHER_BUILD");
    assert_int_equal(b->readies, 0);
    assert_int_equal(b->last, END_FOREIGN);
    assert_string_equal(b->how, "it is of another build than the daemon");
    assert_false(pool_hopeful(b->pool)); /* requests are told so, and do not wait */
    bench_free(b);
    assert_true(read(said[0], log, sizeof log - 1) > 0);
    assert_non_null(strstr(log, "worker of another build"));
    close(said[0]);
    close(said[1]);
}

static void test_own_process_groups(void **state) {
    (void)state;
    Bench *b = bench_new();
    pool_start(b->pool);
    run(b);
    pid_t pid = pool_worker(b->pool, 0)->pid;
    assert_int_equal(getpgid(pid), pid);
    bench_free(b);
}


typedef struct {
    Bench *bench;
    Timer timer;
} Order;

static void order_death(void *arg) {
    Order *o = arg;
    Buf body = {0};
    if (!pool_takes(pool_worker(o->bench->pool, 0))) {
        loop_timer(o->bench->loop, &o->timer, loop_now() + SECOND / 1000);
        return;
    }
    wire_put_build(&body, &(BuildMsg){.program = (const unsigned char *)"die", .program_len = 3});
    assert_true(pool_send(pool_worker(o->bench->pool, 0), FRAME_build, 1, &body, -1));
    buf_release(&body);
    /* By the time that anybody looks, the answer is there and the worker is not. */
    waitid(P_PID, (id_t)pool_worker(o->bench->pool, 0)->pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
    loop_unwatch(o->bench->loop, &pool_worker(o->bench->pool, 0)->on_sock);
}

/* A dead worker's last words count, and it gets no more work for them. */
static void test_last_words(void **state) {
    (void)state;
    Bench *b = bench_new();
    Order order = {.bench = b, .timer = {.fire = order_death, .arg = &order}};
    b->until = INT32_MAX;
    b->took = true;
    loop_timer(b->loop, &order.timer, loop_now());
    pool_start(b->pool);
    run(b);
    assert_int_equal(b->frames, 1);
    assert_false(b->took);
    assert_int_equal(b->ends, 1);
    assert_int_equal(b->last, END_KILLED);
    assert_string_equal(b->how, "signal SIGKILL in contract");
    assert_int_equal(b->metrics.worker_deaths, 1);
    bench_free(b);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--threads") == 0) return fake_worker(getenv("ANOTHER_BUILD") ? build_all + 1 : build_all);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_kills_are_no_young_deaths),
        cmocka_unit_test(test_young_deaths_end_hope),
        cmocka_unit_test(test_kills_from_outside_leave_hope),
        cmocka_unit_test(test_faults_end_hope),
        cmocka_unit_test(test_another_build),
        cmocka_unit_test(test_own_process_groups),
        cmocka_unit_test(test_last_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
