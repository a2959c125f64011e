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
#include <unistd.h>
#include <cmocka.h>

bool jobs_is_worker(int argc, char **argv) { return argc > 1 && strcmp(argv[1], "--threads") == 0; }

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
    if (strncmp(what, "crash", 5) == 0) raise(SIGABRT);
    if (strncmp(what, "leave", 5) == 0) raise(SIGTERM);
    if (strncmp(what, "exit", 4) == 0) _exit(1);
    if (strncmp(what, "hang", 4) == 0) pause();
    if (strncmp(what, "nap", 3) == 0) usleep(50000);
    bool bye = strncmp(what, "bye", 3) == 0;
    wire_put_built(&body, &(BuiltMsg){.neurons = (uint64_t)loads, .compile_us = (uint64_t)getpid()});
    wire_send(WIRE_FD, FRAME_built, frame->id, &body, -1);
    buf_release(&body);
    if (bye) raise(SIGKILL);
}

/* Says in exec_ns how many rows it had. */
static void put_executed(Buf *out, const Frame *frame) {
    ExecMsg m;
    float values[64];
    if (!wire_get_exec(frame, &m) || m.rows > 64) _exit(9);
    ExecutedMsg executed = {.exec_ns = m.rows, .inline_results = (unsigned char *)values, .inline_len = m.rows * sizeof *values};
    memcpy(values, m.inline_area + m.tensors[0].offset, m.rows * sizeof *values);
    for (uint32_t i = 0; i < m.rows; i++) {
        if (values[i] == 666) raise(SIGABRT);
        if (values[i] == 667) raise(SIGKILL);
        if (values[i] == 777) pause();
        if (values[i] == 888) raise(SIGSTOP);
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

int jobs_worker(void) {
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

static void too_long(void *arg) {
    (void)arg;
    fail_msg("the jobs did not end");
}

Bench *bench_start(Bench settings, int workers, size_t max_queue) {
    Bench *b = calloc(1, sizeof *b);
    *b = settings;
    b->loop = loop_new();
    b->log = (Log){.level = LOG_LEVELS, .fd = 2};
    metrics_init(&b->metrics);
    PoolSpec spec = {.loop = b->loop, .log = &b->log, .metrics = &b->metrics, .program = b->program ? b->program : "/proc/self/exe", .workers = workers,
                     .threads = 1};
    b->dispatch = dispatch_new(&spec, max_queue, b->max_exec ? b->max_exec : 3600000 * MS);
    assert_non_null(b->dispatch);
    dispatch_start(b->dispatch);
    return b;
}

Bench *bench_new(int workers, size_t max_queue) { return bench_start((Bench){0}, workers, max_queue); }

void bench_free(Bench *b) {
    dispatch_free(b->dispatch);
    metrics_release(&b->metrics);
    loop_free(b->loop);
    free(b);
}

typedef struct {
    Bench *bench;
    bool (*holds)(void *arg);
    void *arg;
} Wait;

static int stop_when(void *arg) {
    Wait *w = arg;
    dispatch_flush(w->bench->dispatch);
    if (w->holds(w->arg)) loop_stop(w->bench->loop);
    return 1; /* the condition may come to hold unheard */
}

void bench_until(Bench *b, bool (*holds)(void *arg), void *arg) {
    Wait w = {b, holds, arg};
    b->limit = (Timer){.fire = too_long};
    loop_timer(b->loop, &b->limit, loop_now() + 60000 * MS);
    loop_on_idle(b->loop, stop_when, &w);
    loop_run(b->loop);
    loop_untimer(b->loop, &b->limit);
}

static int stop_when_done(void *arg) {
    Bench *b = arg;
    dispatch_flush(b->dispatch);
    if (!b->open) loop_stop(b->loop);
    return -1;
}

void bench_run(Bench *b) {
    b->limit = (Timer){.fire = too_long};
    loop_timer(b->loop, &b->limit, loop_now() + 60000 * MS);
    loop_on_idle(b->loop, stop_when_done, b);
    loop_run(b->loop);
    loop_untimer(b->loop, &b->limit);
}

static void on_done(void *arg, const JobResult *result) {
    Ticket *t = arg;
    BuiltMsg built;
    t->done = true;
    t->order = t->bench->finished++;
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

Job *bench_submit(Bench *b, Ticket *t, Order o, ErrCode *why) {
    Err err = {0};
    *t = (Ticket){.bench = b};
    JobSpec spec = {.type = FRAME_build, .reply = FRAME_built, .area = -1, .culprit = o.culprit, .key = o.key, .graph = o.graph,
                    .graph_len = o.graph ? strlen(o.graph) : 0,
                    .party = o.party, .done = on_done, .arg = t};
    wire_put_build(&spec.body, &(BuildMsg){.program = (const unsigned char *)o.what, .program_len = strlen(o.what) + 1});
    Job *job = dispatch_submit(b->dispatch, &spec, &err);
    *why = err.code;
    b->open += job != NULL;
    return job;
}

Job *bench_ping(Bench *b, Ticket *t) {
    Err err = {0};
    *t = (Ticket){.bench = b};
    Job *job = dispatch_submit(b->dispatch, &(JobSpec){.type = FRAME_ping, .reply = FRAME_pong, .area = -1, .small = true, .done = on_done, .arg = t}, &err);
    b->open += job != NULL;
    return job;
}

/* ---- evaluations ---- */

static void on_executed(void *arg, const JobResult *result) {
    Small *s = arg;
    s->ticket.done = true;
    s->ticket.order = s->ticket.bench->finished++;
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

Job *bench_exec_as(Bench *b, Small *s, float value, uint64_t key, double cost, uint64_t party) {
    Err err = {0};
    char culprit[32];
    snprintf(culprit, sizeof culprit, "program %g", value);
    *s = (Small){.ticket = {.bench = b}, .value = value, .row_bytes = sizeof value};
    s->tensor = (TensorMsg){.dtype = DT_F32, .batched = true, .cols = 1};
    s->result = (ResultMsg){.batched = true, .offset = sizeof value};
    s->exec = (ExecRequest){.small = cost <= 1, .cost = cost, .row_bytes = &s->row_bytes,
                   .msg = {.key = key, .dtype = DT_F32, .rows = 1, .area_size = 8, .results_at = 4, .ntensors = 1, .nresults = 1,
                           .tensors = &s->tensor, .results = &s->result, .inline_area = (const unsigned char *)&s->value, .inline_len = 4}};
    JobSpec spec = {.type = FRAME_exec, .exec = &s->exec, .area = -1, .culprit = culprit, .key = key, .graph = "graph", .graph_len = 5,
                    .small = cost <= 1, .party = party, .done = on_executed, .arg = s};
    s->job = dispatch_submit(b->dispatch, &spec, &err);
    s->ticket.code = err.code;
    b->open += s->job != NULL;
    return s->job;
}

void bench_exec(Bench *b, Small *s, float value, uint64_t key) { assert_non_null(bench_exec_as(b, s, value, key, 1, 0)); }

void bench_answered(const Small *s) {
    assert_true(s->ticket.done);
    assert_int_equal(ERR_NONE, s->ticket.code);
    assert_true(s->answer == 2 * s->value);
}

char process_state(pid_t pid) {
    char path[40], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1) state = 0;
    if (f) fclose(f);
    return state;
}

pid_t bench_worker(const Bench *b) {
    Buf json;
    size_t ready, busy;
    buf_init(&json);
    dispatch_json(&json, b->dispatch);
    dispatch_count(b->dispatch, &ready, &busy);
    const char *at = strstr(buf_text(&json), "\"pid\":");
    const pid_t pid = ready && at ? (pid_t)strtol(at + 6, NULL, 10) : 0;
    buf_release(&json);
    return pid;
}
