/* Jobs and workers. The workers are this program itself, started again: what they do is written in the job (fake_worker). */
#include "schema/graph/graph.h"
#include "schema/protocol/build.h"
#include "server/workers/dispatch.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MS ((int64_t)1000000)

/* ---- the other side ---- */

static void answer_load(const Frame *frame, int *loads) {
    LoadMsg load;
    Buf body = {0};
    if (!wire_get_load(frame, &load)) _exit(9);
    ++*loads;
    bool refuse = load.graph_len == 3 && memcmp(load.graph, "bad", 3) == 0;
    wire_put_executed(&body, &(ExecutedMsg){.code = refuse ? ERR_too_large : 0, .message = (const unsigned char *)"no room",
                                  .message_len = refuse ? 7 : 0});
    wire_send(WIRE_FD, FRAME_executed, frame->id, &body, -1);
    buf_release(&body);
}

/* The "program" says what to do; the reply's neurons are how many graphs were loaded here. */
static void answer_build(const Frame *frame, int loads) {
    BuildMsg build;
    Buf body = {0};
    if (!wire_get_build(frame, &build)) _exit(9);
    const char *what = (const char *)build.program;
    if (strncmp(what, "die", 3) == 0) raise(SIGKILL);
    if (strncmp(what, "hang", 4) == 0) pause();
    if (strncmp(what, "nap", 3) == 0) usleep(50000);
    bool bye = strncmp(what, "bye", 3) == 0;
    wire_put_built(&body, &(BuiltMsg){.neurons = (uint64_t)loads, .compile_us = (uint64_t)getpid()});
    wire_send(WIRE_FD, FRAME_built, frame->id, &body, -1);
    buf_release(&body);
    if (bye) raise(SIGKILL);
}

/* The worker doubles each of an evaluation's floats, and says in exec_ns how many rows it had. 666 kills it, 777 hangs it, 888 and 999 take their
 * time, a negative one is refused. */
static void put_executed(Buf *out, const Frame *frame) {
    ExecMsg m;
    float values[64];
    if (!wire_get_exec(frame, &m) || m.rows > 64) _exit(9);
    ExecutedMsg executed = {.exec_ns = m.rows, .inline_results = (unsigned char *)values, .inline_len = m.rows * sizeof *values};
    memcpy(values, m.inline_area + m.tensors[0].offset, m.rows * sizeof *values);
    for (uint32_t i = 0; i < m.rows; i++) {
        if (values[i] == 666) raise(SIGKILL);
        if (values[i] == 777) pause();
        if (values[i] == 888) usleep(50000);
        if (values[i] == 999) usleep(2500000);
        if (values[i] < 0) executed = (ExecutedMsg){.code = ERR_bad_tensor, .message = (const unsigned char *)"negative", .message_len = 8};
        values[i] *= 2;
    }
    wire_put_executed(out, &executed);
    exec_msg_release(&m);
}

static void answer_execs(const Frame *frame) {
    Buf body = {0};
    Frame member;
    Reader in = reader_of(frame->body, frame->len);
    if (frame->type == FRAME_exec) put_executed(&body, frame);
    while (frame->type == FRAME_exec_batch && wire_next_member(frame, &in, &member)) {
        size_t begun = wire_begin_member(&body);
        put_executed(&body, &member);
        wire_end_member(&body, begun);
    }
    wire_send(WIRE_FD, frame->type == FRAME_exec ? FRAME_executed : FRAME_executed_batch, frame->id, &body, -1);
    buf_release(&body);
}

static int fake_worker(void) {
    int loads = 0;
    Buf body = {0};
    wire_put_hello(&body, &(HelloMsg){.version = WIRE_VERSION, .build = build_all, .pid = (uint32_t)getpid(), .threads = 1,
                                      .libraries = "none", .libraries_len = 4});
    wire_send(WIRE_FD, FRAME_hello, 1, &body, -1);
    buf_release(&body);
    Frame frame;
    while (wire_recv(WIRE_FD, &frame) == 1) {
        if (frame.type == FRAME_load) answer_load(&frame, &loads);
        if (frame.type == FRAME_build) answer_build(&frame, loads);
        if (frame.type == FRAME_exec || frame.type == FRAME_exec_batch) answer_execs(&frame);
        if (frame.type == FRAME_ping) wire_send(WIRE_FD, FRAME_pong, frame.id, &body, -1);
        frame_release(&frame);
    }
    return 0;
}

/* ---- this side ---- */

typedef struct {
    Loop *loop;
    Metrics metrics;
    Log log;
    Dispatch *dispatch;
    int open; /* jobs not done */
    Timer limit;
} Bench;

typedef struct {
    Bench *bench;
    bool done;
    ErrCode code;
    char message[400];
    uint64_t loads, pid;
    FrameType type;
} Ticket;

static void too_long(void *arg) {
    (void)arg;
    fail_msg("the jobs did not end");
}

static Bench *bench_new(int workers, size_t max_queue) {
    Bench *b = calloc(1, sizeof *b);
    b->loop = loop_new();
    b->log = (Log){.level = LOG_LEVELS, .fd = 2};
    metrics_init(&b->metrics);
    PoolSpec spec = {.loop = b->loop, .log = &b->log, .metrics = &b->metrics, .program = "/proc/self/exe", .workers = workers,
                     .threads = 1};
    b->dispatch = dispatch_new(&spec, max_queue);
    assert_non_null(b->dispatch);
    dispatch_start(b->dispatch);
    return b;
}

static void bench_free(Bench *b) {
    dispatch_free(b->dispatch);
    metrics_release(&b->metrics);
    loop_free(b->loop);
    free(b);
}

static int stop_when_done(void *arg) {
    Bench *b = arg;
    dispatch_flush(b->dispatch);
    if (!b->open) loop_stop(b->loop);
    return -1;
}

static void bench_run(Bench *b) {
    b->limit = (Timer){.fire = too_long};
    loop_timer(b->loop, &b->limit, loop_now() + 20000 * MS);
    loop_on_idle(b->loop, stop_when_done, b);
    loop_run(b->loop);
    loop_untimer(b->loop, &b->limit);
}

static void on_done(void *arg, const JobResult *result) {
    Ticket *t = arg;
    BuiltMsg built;
    t->done = true;
    t->code = result->err ? result->err->code : ERR_NONE;
    snprintf(t->message, sizeof t->message, "%s", result->err ? result->err->message : "");
    if (!result->err) t->type = result->frame->type;
    if (!result->err && t->type == FRAME_built) {
        assert_true(wire_get_built(result->frame, &built));
        t->loads = built.neurons;
        t->pid = built.compile_us;
    }
    t->bench->open--;
}

typedef struct {
    const char *what, *culprit, *graph;
    uint64_t key;
    int64_t patience;
} Order;

static Job *submit(Bench *b, Ticket *t, Order o, ErrCode *why) {
    Err err = {0};
    *t = (Ticket){.bench = b};
    JobSpec spec = {.type = FRAME_build, .reply = FRAME_built, .area = -1, .culprit = o.culprit, .key = o.key, .graph = o.graph,
                    .graph_len = o.graph ? strlen(o.graph) : 0,
                    .patience = o.patience ? o.patience : 10000 * MS, .done = on_done, .arg = t};
    wire_put_build(&spec.body, &(BuildMsg){.program = (const unsigned char *)o.what, .program_len = strlen(o.what) + 1});
    Job *job = dispatch_submit(b->dispatch, &spec, &err);
    *why = err.code;
    b->open += job != NULL;
    return job;
}

static void test_jobs_are_answered(void **state) {
    (void)state;
    Bench *b = bench_new(2, 100);
    Ticket tickets[20], ping = {.bench = b};
    ErrCode why;
    Err err = {0};
    for (int i = 0; i < 20; i++) assert_non_null(submit(b, &tickets[i], (Order){.what = "echo"}, &why));
    JobSpec spec = {.type = FRAME_ping, .reply = FRAME_pong, .area = -1, .patience = 1000 * MS, .done = on_done, .arg = &ping};
    assert_non_null(dispatch_submit(b->dispatch, &spec, &err));
    b->open++;
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
    for (int i = 0; i < 3; i++) assert_non_null(submit(b, &tickets[i], (Order){.what = "echo"}, &why));
    assert_null(submit(b, &tickets[3], (Order){.what = "echo"}, &why));
    assert_int_equal(why, ERR_queue_full);
    bench_run(b);
    bench_free(b);
}

static void test_a_cancelled_job_is_not_answered(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket first, second, third;
    ErrCode why;
    submit(b, &first, (Order){.what = "nap"}, &why);
    Job *job = submit(b, &second, (Order){.what = "die"}, &why);
    submit(b, &third, (Order){.what = "echo"}, &why);
    dispatch_cancel(b->dispatch, job, 0);
    b->open--;
    bench_run(b);
    assert_false(second.done);
    assert_int_equal(third.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_deaths, 0);
    bench_free(b);
}

static void test_a_killer_is_retried_once_then_set_aside(void **state) {
    (void)state;
    Bench *b = bench_new(2, 10);
    Ticket killer, other, again;
    ErrCode why;
    submit(b, &killer, (Order){.what = "die", .culprit = "killer"}, &why);
    submit(b, &other, (Order){.what = "nap", .culprit = "other"}, &why);
    bench_run(b);
    assert_int_equal(killer.code, ERR_worker_crash);
    assert_non_null(strstr(killer.message, "SIGKILL"));
    assert_int_equal(other.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_deaths, 2);
    assert_int_equal(b->metrics.jobs_retried, 1);
    assert_null(submit(b, &again, (Order){.what = "die", .culprit = "killer"}, &why));
    assert_int_equal(why, ERR_quarantined);
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
    submit(f->bench, &f->last, (Order){.what = "bye"}, &why);
    dispatch_flush(f->bench->dispatch);
    submit(f->bench, &f->late, (Order){.what = "echo", .culprit = "late"}, &why);
    f->bench->open--;
    usleep(300000); /* by the time that anybody looks, the answer is there and the worker is not */
}

/* A job that was to follow in a worker that has died meanwhile is nobody's murderer. */
static void test_who_comes_late_is_not_to_blame(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Farewell f = {.bench = b, .timer = {.fire = bid_farewell, .arg = &f}};
    b->open++; /* until then */
    loop_timer(b->loop, &f.timer, loop_now() + 500 * MS);
    bench_run(b);
    assert_int_equal(f.last.code, ERR_NONE);
    assert_int_equal(f.late.code, ERR_NONE);
    assert_int_equal(b->metrics.jobs_retried, 0);
    assert_int_equal(b->metrics.worker_kills, 0);
    assert_int_equal(b->metrics.worker_deaths, 1);
    bench_free(b);
}

static void test_a_stuck_worker_is_ended(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket stuck, next;
    ErrCode why;
    submit(b, &stuck, (Order){.what = "hang", .culprit = "slow", .patience = 50 * MS}, &why);
    submit(b, &next, (Order){.what = "echo"}, &why);
    bench_run(b);
    assert_int_equal(stuck.code, ERR_deadline);
    assert_int_equal(next.code, ERR_NONE);
    assert_int_equal(b->metrics.worker_kills, 1);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    Job *job;
    Timer timer;
} Hurry;

static void hurry_up(void *arg) {
    Hurry *h = arg;
    dispatch_cancel(h->bench->dispatch, h->job, 10 * MS);
}

static void test_cancelling_shortens_a_running_jobs_life(void **state) {
    (void)state;
    Bench *b = bench_new(1, 10);
    Ticket first, hung, next;
    ErrCode why;
    submit(b, &first, (Order){.what = "echo"}, &why);
    Job *job = submit(b, &hung, (Order){.what = "hang", .patience = 60000 * MS}, &why);
    submit(b, &next, (Order){.what = "echo"}, &why);
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
    for (int i = 0; i < 3; i++) submit(b, &tickets[i], (Order){.what = "echo", .key = 7, .graph = "graph"}, &why);
    submit(b, &bad, (Order){.what = "echo", .key = 8, .graph = "bad"}, &why);
    bench_run(b);
    for (int i = 0; i < 3; i++) assert_int_equal(tickets[i].loads, 1);
    assert_int_equal(bad.code, ERR_too_large);
    assert_string_equal(bad.message, "no room");
    bench_free(b);
}

/* ---- evaluations that travel together ---- */

typedef struct {
    Ticket ticket;
    float value, answer;
    uint64_t rows; /* of the evaluation it was merged into */
    TensorMsg tensor;
    ResultMsg result;
    size_t row_bytes;
    ExecRequest exec;
    Job *job;
} Small;

static void on_executed(void *arg, const JobResult *result) {
    Small *s = arg;
    s->ticket.done = true;
    s->ticket.code = result->err ? result->err->code : ERR_NONE;
    snprintf(s->ticket.message, sizeof s->ticket.message, "%s", result->err ? result->err->message : "");
    s->ticket.bench->open--;
    if (result->err) return;
    s->ticket.code = (ErrCode)result->executed->code;
    s->rows = result->executed->exec_ns;
    if (s->ticket.code) return;
    assert_int_equal(sizeof s->answer, result->executed->inline_len);
    memcpy(&s->answer, result->executed->inline_results, sizeof s->answer);
}

static void exec_patiently(Bench *b, Small *s, float value, uint64_t key, int64_t patience) {
    Err err = {0};
    char culprit[32];
    snprintf(culprit, sizeof culprit, "program %g", value);
    *s = (Small){.ticket = {.bench = b}, .value = value, .row_bytes = sizeof value};
    s->tensor = (TensorMsg){.dtype = DT_F32, .batched = true, .cols = 1};
    s->result = (ResultMsg){.batched = true, .offset = sizeof value};
    s->exec = (ExecRequest){.small = true, .cost = 1, .row_bytes = &s->row_bytes,
                   .msg = {.key = key, .dtype = DT_F32, .rows = 1, .area_size = 8, .results_at = 4, .ntensors = 1, .nresults = 1,
                           .tensors = &s->tensor, .results = &s->result, .inline_area = (const unsigned char *)&s->value, .inline_len = 4}};
    JobSpec spec = {.type = FRAME_exec, .exec = &s->exec, .area = -1, .culprit = culprit, .key = key, .graph = "graph", .graph_len = 5,
                    .small = true, .patience = patience, .done = on_executed, .arg = s};
    s->job = dispatch_submit(b->dispatch, &spec, &err);
    assert_non_null(s->job);
    b->open++;
}

static void exec(Bench *b, Small *s, float value, uint64_t key) { exec_patiently(b, s, value, key, 300 * MS); }

static void assert_answered(const Small *s) {
    assert_true(s->ticket.done);
    assert_int_equal(ERR_NONE, s->ticket.code);
    assert_true(s->answer == 2 * s->value);
}

static void test_evaluations_of_a_graph_are_merged(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[20];
    for (int i = 0; i < 20; i++) exec(b, &s[i], (float)i, i % 4 ? 1 : 2);
    bench_run(b);
    for (int i = 0; i < 20; i++) {
        assert_answered(&s[i]);
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
    for (int i = 0; i < 2; i++) exec(b, &warm[i], 1, (uint64_t)i + 1);
    bench_run(b);
    uint64_t sent = b->metrics.runs;
    for (int i = 0; i < 20; i++) exec(b, &s[i], (float)i, (uint64_t)i % 2 + 1);
    bench_run(b);
    for (int i = 0; i < 20; i++) {
        assert_answered(&s[i]);
        assert_int_equal(10, s[i].rows);
    }
    assert_int_equal(sent + 2, b->metrics.runs);
    bench_free(b);
}

static void test_an_error_is_ones_own(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[9];
    for (int i = 0; i < 9; i++) exec(b, &s[i], i == 4 ? -1 : (float)i, 1);
    bench_run(b);
    for (int i = 0; i < 9; i++) {
        if (i != 4) assert_answered(&s[i]);
    }
    assert_int_equal(ERR_bad_tensor, s[4].ticket.code);
    bench_free(b);
}

static void test_a_killer_does_not_take_others_along(void **state) {
    (void)state;
    Bench *b = bench_new(2, 100);
    Small s[9];
    Err err = {0};
    for (int i = 0; i < 9; i++) exec(b, &s[i], i == 4 ? 666 : (float)i, 1);
    bench_run(b);
    for (int i = 0; i < 9; i++)
        if (i != 4) assert_answered(&s[i]);
    assert_int_equal(ERR_worker_crash, s[4].ticket.code);
    assert_int_equal(2, b->metrics.worker_deaths);
    JobSpec spec = {.type = FRAME_exec, .exec = &s[4].exec, .area = -1, .culprit = "program 666", .done = on_executed, .arg = &s[4]};
    assert_null(dispatch_submit(b->dispatch, &spec, &err));
    assert_int_equal(ERR_quarantined, err.code);
    bench_free(b);
}

static void test_killers_that_wait_are_set_aside(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[6];
    for (int i = 0; i < 6; i++) exec(b, &s[i], 666, 1);
    bench_run(b);
    for (int i = 0; i < 6; i++) assert_int_equal(ERR_worker_crash, s[i].ticket.code);
    assert_int_equal(2, b->metrics.worker_deaths);
    bench_free(b);
}

static void test_one_that_hangs_does_not_take_others_along(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small s[5];
    for (int i = 0; i < 5; i++) exec(b, &s[i], i == 2 ? 777 : (float)i, 1);
    bench_run(b);
    for (int i = 0; i < 5; i++)
        if (i != 2) assert_answered(&s[i]);
    assert_int_equal(ERR_deadline, s[2].ticket.code);
    bench_free(b);
}

typedef struct {
    Bench *bench;
    Small *small;
    Timer timer;
} Leaving;

/* What is lent ends with the cancelling. */
static void leave(void *arg) {
    Leaving *l = arg;
    dispatch_cancel(l->bench->dispatch, l->small->job, 0);
    memset(&l->small->exec, 0xff, sizeof l->small->exec);
    l->bench->open--;
}

static void test_who_leaves_does_not_take_others_along(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small first, s[6];
    Leaving leaving = {.bench = b, .small = &s[3], .timer = {.fire = leave, .arg = &leaving}};
    exec(b, &first, 1, 1);
    bench_run(b);
    for (int i = 0; i < 6; i++) exec(b, &s[i], i == 5 ? 888 : (float)i, 1);
    leave(&(Leaving){.bench = b, .small = &s[1]});
    loop_timer(b->loop, &leaving.timer, loop_now() + 20 * MS); /* in the midst of it */
    bench_run(b);
    for (int i = 0; i < 6; i++) {
        if (i == 1 || i == 3) assert_false(s[i].ticket.done);
        else assert_answered(&s[i]);
    }
    assert_int_equal(5, s[0].rows);
    bench_free(b);
}

/* One leaves an evaluation that, merged with others, takes longer than one alone would be given: the others still get their results. */
static void test_who_leaves_does_not_hurry_others(void **state) {
    (void)state;
    Bench *b = bench_new(1, 100);
    Small first, s[2];
    Leaving leaving = {.bench = b, .small = &s[1], .timer = {.fire = leave, .arg = &leaving}};
    exec(b, &first, 1, 1);
    bench_run(b);
    for (int i = 0; i < 2; i++) exec_patiently(b, &s[i], i ? 1 : 999, 1, 10000 * MS);
    loop_timer(b->loop, &leaving.timer, loop_now() + 20 * MS);
    bench_run(b);
    assert_false(s[1].ticket.done);
    assert_answered(&s[0]);
    assert_int_equal(2, s[0].rows);
    assert_int_equal(0, b->metrics.worker_kills);
    bench_free(b);
}

static void test_without_workers_jobs_fail(void **state) {
    (void)state;
    Bench *b = calloc(1, sizeof *b);
    b->loop = loop_new();
    b->log = (Log){.level = LOG_LEVELS, .fd = 2};
    PoolSpec spec = {.loop = b->loop, .log = &b->log, .metrics = &b->metrics, .program = "/bin/false", .workers = 1, .threads = 1};
    b->dispatch = dispatch_new(&spec, 10);
    dispatch_start(b->dispatch);
    Ticket t;
    ErrCode why;
    submit(b, &t, (Order){.what = "echo"}, &why);
    bench_run(b);
    assert_int_equal(t.code, ERR_no_worker);
    assert_null(submit(b, &t, (Order){.what = "echo"}, &why));
    assert_int_equal(why, ERR_no_worker);
    bench_free(b);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--threads") == 0) return fake_worker();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_are_answered),
        cmocka_unit_test(test_a_full_queue_refuses),
        cmocka_unit_test(test_a_cancelled_job_is_not_answered),
        cmocka_unit_test(test_a_killer_is_retried_once_then_set_aside),
        cmocka_unit_test(test_who_comes_late_is_not_to_blame),
        cmocka_unit_test(test_a_stuck_worker_is_ended),
        cmocka_unit_test(test_cancelling_shortens_a_running_jobs_life),
        cmocka_unit_test(test_a_graph_is_loaded_once),
        cmocka_unit_test(test_evaluations_of_a_graph_are_merged),
        cmocka_unit_test(test_graphs_share_a_frame),
        cmocka_unit_test(test_an_error_is_ones_own),
        cmocka_unit_test(test_a_killer_does_not_take_others_along),
        cmocka_unit_test(test_killers_that_wait_are_set_aside),
        cmocka_unit_test(test_one_that_hangs_does_not_take_others_along),
        cmocka_unit_test(test_who_leaves_does_not_take_others_along),
        cmocka_unit_test(test_who_leaves_does_not_hurry_others),
        cmocka_unit_test(test_without_workers_jobs_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
