/* The worker over its protocol: a thread that serves one end of a socket pair, and the frames a daemon would send. */
#include "compiler/language/canon.h"
#include "compiler/language/check.h"
#include "compiler/language/syntax.h"
#include "schema/limits.h"
#include "tests/support/gen.h"
#include "worker/protocol/serve.h"
#include "schema/graph/graph.h"
#include "schema/protocol/build.h"
#include "schema/protocol/wire.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct {
    int sock, theirs;
    pthread_t thread;
    int code;
    Log log;
    uint64_t id;
    Frame reply;
} Peer;

static void *serve(void *arg) {
    Peer *p = arg;
    p->code = serve_run(p->theirs, 1, NULL, &p->log);
    close(p->theirs);
    return NULL;
}

static int setup(void **state) {
    Peer *p = calloc(1, sizeof *p);
    int pair[2];
    if (!p || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return -1;
    p->sock = pair[0];
    p->theirs = pair[1];
    p->reply.area = -1;
    p->log = (Log){LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC)};
    if (pthread_create(&p->thread, NULL, serve, p) || wire_recv(p->sock, &p->reply) != 1) return -1;
    *state = p;
    return 0;
}

/* Closes the socket; the worker's exit code. */
static int finish(Peer *p) {
    if (p->sock < 0) return p->code;
    close(p->sock);
    p->sock = -1;
    pthread_join(p->thread, NULL);
    return p->code;
}

static int teardown(void **state) {
    Peer *p = *state;
    finish(p);
    frame_release(&p->reply);
    close(p->log.fd);
    free(p);
    return 0;
}

/* Sends and waits for the reply, which stays until the next call. */
static void ask(Peer *p, FrameType type, Buf *body, int area, FrameType want) {
    frame_release(&p->reply);
    assert_int_equal(wire_send(p->sock, type, ++p->id, body, area), 0);
    buf_release(body);
    assert_int_equal(wire_recv(p->sock, &p->reply), 1);
    assert_int_equal(p->reply.type, want);
    assert_int_equal(p->reply.id, p->id);
}

static void test_hello(void **state) {
    Peer *p = *state;
    HelloMsg hello;
    assert_true(wire_get_hello(&p->reply, &hello));
    assert_int_equal(hello.version, WIRE_VERSION);
    assert_true(hello.build == build_all);
    assert_int_equal(hello.pid, getpid());
    assert_non_null(memmem(hello.libraries, hello.libraries_len, "OpenBLAS", 8));
    Buf none = {0};
    ask(p, FRAME_ping, &none, -1, FRAME_pong);
    assert_int_equal(finish(p), 0);
}

/* Canonical bytes; free(). */
static unsigned char *canonical(const char *source, size_t *len) {
    Cx cx;
    cx_init(&cx);
    unsigned char *bytes = NULL;
    CX_TRY(&cx) {
        Program *program = program_new(&cx, NAT_DEFAULT);
        syntax_text(&cx, program, source, strlen(source));
        check_program(&cx, program);
        const unsigned char *made = canon_write(&cx, program, len);
        bytes = memcpy(malloc(*len), made, *len);
    }
    if (cx.diag.code) fail_msg("%s: %s", source, cx.diag.message);
    cx_release(&cx);
    return bytes;
}

static BuiltMsg build(Peer *p, const char *source, uint32_t nargs, Derive derive) {
    Buf body = {0};
    BuildMsg m = {.nargs = nargs, .derive = (uint8_t)derive, .verify = true, .nat_limit = LIMIT_NAT_SIZE};
    unsigned char *bytes = canonical(source, &m.program_len);
    m.program = bytes;
    wire_put_build(&body, &m);
    free(bytes);
    ask(p, FRAME_build, &body, -1, FRAME_built);
    BuiltMsg built;
    assert_true(wire_get_built(&p->reply, &built));
    return built;
}

static ExecutedMsg send_load(Peer *p, uint64_t key, const void *graph, size_t len) {
    Buf body = {0};
    ExecutedMsg ran;
    wire_put_load(&body, &(LoadMsg){key, graph, len});
    ask(p, FRAME_load, &body, -1, FRAME_executed);
    assert_true(wire_get_executed(&p->reply, &ran));
    return ran;
}

/* Builds and loads under key 1; the graph for its slots is the caller's. */
static Graph *load(Peer *p, const char *source, uint32_t nargs, Derive derive) {
    BuiltMsg built = build(p, source, nargs, derive);
    if (built.code) fail_msg("%s: %.*s", source, (int)built.message_len, built.message);
    char why[200];
    Graph *g = graph_read(built.graph, built.graph_len, why, sizeof why);
    assert_non_null(g);
    unsigned char *copy = memcpy(malloc(built.graph_len), built.graph, built.graph_len);
    assert_int_equal(send_load(p, 1, copy, built.graph_len).code, ERR_NONE);
    free(copy);
    return g;
}

static uint32_t slot(const Graph *g, SlotRole role, uint32_t index) {
    for (uint32_t s = 0; s < g->nslots; s++)
        if (g->slots[s].role == role && g->slots[s].index == index) return s;
    fail_msg("there is no such slot");
    return 0;
}

static uint32_t output(const Graph *g, OutRole role, uint32_t index) {
    for (uint32_t o = 0; o < g->noutputs; o++)
        if (g->outputs[o].role == role && g->outputs[o].index == index) return o;
    fail_msg("there is no such output");
    return 0;
}

static ExecutedMsg run(Peer *p, const ExecMsg *m, int area) {
    Buf body = {0};
    ExecutedMsg ran;
    wire_put_exec(&body, m);
    ask(p, FRAME_exec, &body, area, FRAME_executed);
    assert_true(wire_get_executed(&p->reply, &ran));
    return ran;
}

#define NOT "\\x:2. if x then false else true"

static void test_build(void **state) {
    BuiltMsg built = build(*state, NOT, WIRE_ALL_ARGS, DERIVE_NONE);
    assert_int_equal(built.code, ERR_NONE);
    assert_int_equal(built.cases, 2);
    assert_true(built.exhaustive);
    assert_int_equal(built.nargs, 1);
    assert_int_equal(built.ninputs, 0);
    assert_true(built.neurons > 0);
    Cx cx;
    cx_init(&cx);
    const char *texts[3] = {"2 -o 2", "2", "2"};
    CX_TRY(&cx) {
        Reader in = reader_of(built.types, built.types_len);
        for (int i = 0; i < 3; i++) assert_string_equal(type_text(&cx, canon_get_type(&cx, &in)), texts[i]);
        assert_true(reader_done(&in));
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
    built = build(*state, "f : !(!R[2] -o R[2]), x : R[2] |- x", WIRE_ALL_ARGS, DERIVE_NONE);
    assert_int_equal(built.cases, 0);
    assert_false(built.exhaustive);
    built = build(*state, "\\f:N -o N. f 20", WIRE_ALL_ARGS, DERIVE_NONE);
    assert_int_equal(built.code, ERR_nat_bound_exceeded);
    assert_true(built.at_kind != AT_NOTHING && built.message_len > 0);
}

static void test_build_damaged(void **state) {
    Peer *p = *state;
    Buf body = {0};
    BuiltMsg built;
    wire_put_build(&body, &(BuildMsg){.program = (const unsigned char *)"CJLPxx", .program_len = 6, .nargs = WIRE_ALL_ARGS});
    ask(p, FRAME_build, &body, -1, FRAME_built);
    assert_true(wire_get_built(&p->reply, &built));
    assert_int_equal(built.code, ERR_internal);
}

static void test_run_inline(void **state) {
    Peer *p = *state;
    Graph *g = load(p, NOT, WIRE_ALL_ARGS, DERIVE_NONE);
    int64_t args[] = {1, 0, 1};
    TensorMsg tensor = {.slot = slot(g, SLOT_ARG, 0), .dtype = DT_I64, .batched = true, .discrete = 2};
    ResultMsg result = {.output = output(g, OUT_VALUE, 0), .batched = true, .offset = sizeof args};
    ExecMsg m = {.key = 1,
                .dtype = DT_F32,
                .rows = 3,
                .area_size = sizeof args + 6 * sizeof(float),
                .results_at = sizeof args,
                .ntensors = 1,
                .nresults = 1,
                .tensors = &tensor,
                .results = &result,
                .inline_area = (unsigned char *)args,
                .inline_len = sizeof args};
    ExecutedMsg ran = run(p, &m, -1);
    assert_int_equal(ran.code, ERR_NONE);
    assert_int_equal(ran.inline_len, 6 * sizeof(float));
    assert_memory_equal(ran.inline_results, ((float[]){0, 1, 1, 0, 0, 1}), 6 * sizeof(float));
    args[1] = 7;
    assert_int_equal(run(p, &m, -1).code, ERR_bad_tensor);
    args[1] = 1;
    result.batched = false;
    assert_int_equal(run(p, &m, -1).code, ERR_bad_request);
    result.batched = true;
    m.area_size -= 4;
    assert_int_equal(run(p, &m, -1).code, ERR_bad_request);
    m.area_size += 4;
    tensor.slot = 9;
    assert_int_equal(run(p, &m, -1).code, ERR_bad_request);
    m.ntensors = 0;
    assert_int_equal(run(p, &m, -1).code, ERR_missing_input);
    m.key = 2;
    assert_int_equal(run(p, &m, -1).code, ERR_internal);
    graph_free(g);
}

/* More results than fit a frame come back in an area; a caller's area is filled in place. */
static void test_run_area(void **state) {
    Peer *p = *state;
    enum { ROWS = 5000 };
    Graph *g = load(p, NOT, WIRE_ALL_ARGS, DERIVE_NONE);
    double arg[2] = {0.25, 0.75};
    TensorMsg tensor = {.slot = slot(g, SLOT_ARG, 0), .dtype = DT_F64, .cols = 2};
    ResultMsg result = {.batched = true, .offset = sizeof arg};
    ExecMsg m = {.key = 1,
                .dtype = DT_F64,
                .rows = ROWS,
                .area_size = sizeof arg + ROWS * sizeof arg,
                .results_at = sizeof arg,
                .ntensors = 1,
                .nresults = 1,
                .tensors = &tensor,
                .results = &result,
                .inline_area = (unsigned char *)arg,
                .inline_len = sizeof arg};
    ExecutedMsg ran = run(p, &m, -1);
    assert_int_equal(ran.code, ERR_NONE);
    assert_int_equal(ran.inline_len, 0);
    Area area;
    assert_true(area_open(&area, p->reply.area, m.area_size, true));
    p->reply.area = -1;
    const double *out = area.data;
    assert_true(out[2] == 0.75 && out[3] == 0.25 && out[2 * ROWS] == 0.75);
    area_release(&area);
    assert_true(area_create(&area, m.area_size));
    memcpy(area.data, arg, sizeof arg);
    m.inline_area = NULL;
    m.inline_len = 0;
    ran = run(p, &m, area.fd);
    assert_int_equal(ran.code, ERR_NONE);
    out = area.data;
    assert_true(out[2] == 0.75 && out[3] == 0.25 && out[2 * ROWS + 1] == 0.25);
    area_release(&area);
    graph_free(g);
}

/* The gradient of if in a shared condition is the sum over the batch. */
static void test_gradient(void **state) {
    Peer *p = *state;
    Graph *g = load(p, "c : 2 |- \\x:!2. if c then x else true", WIRE_ALL_ARGS, DERIVE_VJP);
    double in[] = {0.5, 0.5, /* x, two rows */ 1, 2, 3, 4, /* cotangent */ 1, 1};
    TensorMsg tensors[] = {{slot(g, SLOT_INPUT, 0), DT_F64, false, 0, 2, 0},
                           {slot(g, SLOT_ARG, 0), DT_F64, true, 0, 2, 16},
                           {slot(g, SLOT_COTANGENT, 0), DT_F64, false, 0, 2, 48}};
    ResultMsg results[] = {
        {output(g, OUT_VALUE, 0), true, 64}, {output(g, OUT_GRAD_INPUT, 0), false, 96}, {output(g, OUT_GRAD_ARG, 0), true, 112}};
    ExecMsg m = {.key = 1,
                .dtype = DT_F64,
                .rows = 2,
                .area_size = 144,
                .results_at = 64,
                .ntensors = 3,
                .nresults = 3,
                .tensors = tensors,
                .results = results,
                .inline_area = (unsigned char *)in,
                .inline_len = sizeof in};
    ExecutedMsg ran = run(p, &m, -1);
    assert_int_equal(ran.code, ERR_NONE);
    assert_int_equal(ran.inline_len, 80);
    /* value: c₀x + c₁(1,0); grad c: Σ rows (x₀ + x₁, 1); grad x: c₀ */
    assert_memory_equal(ran.inline_results, ((double[]){1, 1, 2, 2, 10, 2, 0.5, 0.5, 0.5, 0.5}), 80);
    graph_free(g);
}

static void test_interpreter(void **state) {
    Peer *p = *state;
    int64_t in[] = {2, 0, 3};
    TensorMsg tensors[] = {{0, DT_I64, false, 1, 0, 0}, {1, DT_I64, true, 1, 0, 8}};
    ResultMsg result = {0, true, 24};
    ExecMsg m = {.dtype = DT_F32,
                .rows = 2,
                .results_at = 24,
                .area_size = 24 + 2 * 13 * sizeof(float),
                .ntensors = 2,
                .nresults = 1,
                .tensors = tensors,
                .results = &result,
                .inline_area = (unsigned char *)in,
                .inline_len = sizeof in,
                .nargs = WIRE_ALL_ARGS,
                .nat_limit = LIMIT_NAT_SIZE};
    unsigned char *bytes = canonical("n : N[4] |- \\m:N. iter {m | y -> succ y} (n)", &m.program_len);
    m.program = bytes;
    ExecutedMsg ran = run(p, &m, -1);
    if (ran.code) fail_msg("%.*s", (int)ran.message_len, ran.message);
    const float *out = (const float *)(const void *)ran.inline_results;
    float row[26] = {0};
    row[2] = row[13 + 5] = 1;
    assert_int_equal(ran.inline_len, sizeof row);
    assert_memory_equal(out, row, sizeof row);
    in[0] = 4;
    assert_int_equal(run(p, &m, -1).code, ERR_nat_bound_exceeded);
    m.ntensors = 1;
    assert_int_equal(run(p, &m, -1).code, ERR_missing_input);
    free(bytes);
}

static void test_load_damaged(void **state) {
    Peer *p = *state;
    BuiltMsg built = build(p, NOT, WIRE_ALL_ARGS, DERIVE_NONE);
    size_t len = built.graph_len;
    unsigned char *graph = memcpy(malloc(len), built.graph, len);
    assert_int_equal(send_load(p, 0, graph, len).code, ERR_bad_request);
    graph[len / 2] ^= 1;
    assert_int_equal(send_load(p, 1, graph, len).code, ERR_internal);
    free(graph);
}

static void test_malformed(void **state) {
    Peer *p = *state;
    Buf body = {0};
    buf_puts(&body, "no run");
    assert_int_equal(wire_send(p->sock, FRAME_exec, 1, &body, -1), 0);
    buf_release(&body);
    frame_release(&p->reply);
    assert_int_equal(wire_recv(p->sock, &p->reply), 0);
    assert_int_equal(finish(p), 1);
}

/* Random programs: whatever compiles agrees with the interpreter. */
static void test_verify_random(void **state) {
    Peer *p = *state;
    Rng rng = rng_new("worker");
    unsigned verified = 0;
    for (int i = 0; i < 150; i++) {
        Cx cx;
        cx_init(&cx);
        Buf body = {0};
        GenOptions options = {.seed = rng_next(&rng),
                              .size = 5 + rng_below(&rng, 30),
                              .nat = {.dim = 3, .overflow = (NatPolicy)(i % 3)},
                              .discrete = true};
        CX_TRY(&cx) {
            Program *program = gen_program(&cx, &options);
            BuildMsg m = {.nargs = WIRE_ALL_ARGS, .verify = true, .nat_limit = 64};
            check_program(&cx, program);
            m.program = canon_write(&cx, program, &m.program_len);
            wire_put_build(&body, &m);
        }
        assert_int_equal(cx.diag.code, ERR_NONE);
        ask(p, FRAME_build, &body, -1, FRAME_built);
        BuiltMsg built;
        assert_true(wire_get_built(&p->reply, &built));
        if (built.code == ERR_compiler_mismatch || built.code == ERR_internal)
            fail_msg("program seed %llu: %.*s", (unsigned long long)options.seed, (int)built.message_len, built.message);
        verified += built.cases > 0;
        cx_release(&cx);
    }
    assert_true(verified > 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_hello),    TEST(test_build),       TEST(test_build_damaged), TEST(test_run_inline), TEST(test_run_area),
        TEST(test_gradient), TEST(test_interpreter), TEST(test_load_damaged),  TEST(test_malformed),  TEST(test_verify_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
