#include "schema/limits.h"
#include "schema/protocol/wire.h"
#include "tests/support/graphs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static int open_fds(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

typedef struct {
    int a, b, fds;
} Pair;

/* Every test ends with as many descriptors as it began with. */
static int setup(void **state) {
    Pair *p = calloc(1, sizeof *p);
    int sock[2];
    p->fds = open_fds();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sock)) return -1;
    p->a = sock[0];
    p->b = sock[1];
    *state = p;
    return 0;
}

static int teardown(void **state) {
    Pair *p = *state;
    close(p->a);
    close(p->b);
    const int leaked = open_fds() - p->fds;
    free(p);
    if (leaked) print_error("%d descriptors leaked\n", leaked);
    return leaked;
}

static void test_small(void **state) {
    Pair *p = *state;
    Frame f;
    Buf body;
    buf_init(&body);
    buf_puts(&body, "hello");
    assert_int_equal(wire_recv(p->b, &f), -EAGAIN);
    assert_int_equal(wire_send(p->a, FRAME_ping, UINT64_C(1) << 60, NULL, -1), 0);
    assert_int_equal(wire_send(p->a, FRAME_pong, 2, &body, -1), 0);
    assert_int_equal(wire_recv(p->b, &f), 1);
    assert_true(f.type == FRAME_ping && f.id == UINT64_C(1) << 60 && f.len == 0 && f.area == -1);
    frame_release(&f);
    assert_int_equal(wire_recv(p->b, &f), 1);
    assert_true(f.type == FRAME_pong && f.id == 2 && f.len == 5);
    assert_memory_equal(f.body, "hello", 5);
    frame_release(&f);
    buf_release(&body);
    shutdown(p->a, SHUT_WR);
    assert_int_equal(wire_recv(p->b, &f), 0);
}

static void test_large_and_area(void **state) {
    Pair *p = *state;
    const size_t sizes[] = {WIRE_PACKET - 24, WIRE_PACKET - 23, WIRE_PACKET, 3000000};
    for (int i = 0; i < 4; i++) {
        Frame f;
        Buf body;
        Area area, other;
        buf_init(&body);
        for (size_t j = 0; j < sizes[i]; j++) buf_u8(&body, (uint8_t)(j * 31 + j / 256));
        assert_true(area_create(&area, 100000));
        memset(area.data, 7, area.size);
        assert_int_equal(wire_send(p->a, FRAME_exec, 9, &body, area.fd), 0);
        assert_int_equal(wire_recv(p->b, &f), 1);
        assert_int_equal(f.len, sizes[i]);
        assert_memory_equal(f.body, body.data, body.len);
        assert_true(fcntl(f.area, F_GETFD) & FD_CLOEXEC);
        assert_false(area_open(&other, f.area, area.size + 1, true));
        assert_true(area_open(&other, f.area, area.size, true));
        f.area = -1;
        ((char *)other.data)[5] = 8; /* the worker's results are seen by the daemon */
        assert_int_equal(((char *)area.data)[5], 8);
        assert_int_equal(((char *)other.data)[99999], 7);
        assert_int_equal(ftruncate(area.fd, 10), -1);
        frame_release(&f);
        area_release(&other);
        area_release(&area);
        buf_release(&body);
    }
}

static void test_full(void **state) {
    Pair *p = *state;
    int sent = 0, got = 0, result;
    Frame f;
    while (sent < 100000 && !(result = wire_send(p->a, FRAME_ping, (uint64_t)sent, NULL, -1))) sent++;
    assert_int_equal(result, -EAGAIN);
    while (wire_recv(p->b, &f) == 1) {
        assert_int_equal(f.id, got++);
        frame_release(&f);
    }
    assert_int_equal(got, sent);
    close(p->b);
    assert_int_equal(wire_send(p->a, FRAME_ping, 0, NULL, -1), -EPIPE);
    p->b = dup(p->a);
}

/* Sends raw bytes with descriptors, past wire_send. */
static void send_raw(int sock, const void *bytes, size_t len, const int *fds, size_t nfds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)bytes, len};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    if (nfds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof *fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof *fds);
        memcpy(CMSG_DATA(c), fds, nfds * sizeof *fds);
    }
    assert_int_equal(sendmsg(sock, &msg, 0), (ssize_t)len);
}

static size_t raw_header(unsigned char out[24], uint16_t version, uint16_t type, uint32_t len, uint32_t flags) {
    Buf b;
    buf_init(&b);
    buf_puts(&b, "CAJW");
    buf_u16(&b, version);
    buf_u16(&b, type);
    buf_u64(&b, 1);
    buf_u32(&b, len);
    buf_u32(&b, flags);
    memcpy(out, b.data, 24);
    buf_release(&b);
    return 24;
}

static void refuse(Pair *p, const void *bytes, size_t len, const int *fds, size_t nfds) {
    Frame f;
    const int before = open_fds();
    send_raw(p->a, bytes, len, fds, nfds);
    assert_int_equal(wire_recv(p->b, &f), -EPROTO);
    assert_int_equal(f.area, -1);
    assert_null(f.body);
    assert_int_equal(open_fds(), before);
}

static void test_malformed(void **state) {
    Pair *p = *state;
    unsigned char h[WIRE_PACKET + 10] = {0};
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC), many[4] = {null, null, null, null};
    Area area;
    assert_true(area_create(&area, 4096));
    refuse(p, "x", 1, NULL, 0);
    refuse(p, h, 24, NULL, 0);
    refuse(p, h, raw_header(h, WIRE_VERSION + 1, FRAME_ping, 0, 0), NULL, 0);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_NONE, 0, 0), NULL, 0);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_TYPES, 0, 0), NULL, 0);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 1, 0), NULL, 0);      /* body shorter than said */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 0) + 1, NULL, 0);  /* and longer */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 4), NULL, 0);      /* unknown flag */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 2), NULL, 0);      /* an area that is not there */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 0), many, 1);      /* or not announced */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 2), many, 2);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 0, 2), many, 4);      /* MSG_CTRUNC */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 10, 1), &null, 1);    /* a body that is no memfd */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 4096, 1), &area.fd, 1); /* one that could still be written */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, UINT32_MAX, 1), &area.fd, 1);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, WIRE_PACKET + 10 - 24, 0) + WIRE_PACKET + 10 - 24, NULL, 0); /* MSG_TRUNC */
    int body = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(body, h, 100), 100);
    assert_int_equal(fcntl(body, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), 0);
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 200 << 20, 1), &body, 1); /* a claimed length is not allocated */
    refuse(p, h, raw_header(h, WIRE_VERSION, FRAME_ping, 99, 1), &body, 1);
    Area plain;
    assert_false(area_open(&plain, null, 1, true));
    int loose = memfd_create("loose", MFD_CLOEXEC);
    assert_int_equal(ftruncate(loose, 4096), 0);
    assert_false(area_open(&plain, loose, 4096, true)); /* could shrink under us */
    assert_false(area_create(&plain, 0));
    assert_false(area_create(&plain, LIMIT_JOB_BYTES + 1));
    area_release(&area);
    close(loose);
    close(body);
    close(null);
}

/* The frame a put makes; body owned by the Buf. */
static Frame frame_of(FrameType type, const Buf *b) { return (Frame){.type = type, .body = b->data, .len = b->len, .area = -1}; }

/* Put, get, put again gives the same bytes; every shorter frame, one too long, and one of another type are refused. */
#define ROUND_TRIP(name, Msg, message) \
    do { \
        Buf first_, again_; \
        Msg got_; \
        buf_init(&first_); \
        buf_init(&again_); \
        wire_put_##name(&first_, (message)); \
        Frame frame_ = frame_of(FRAME_##name, &first_); \
        assert_true(wire_get_##name(&frame_, &got_)); \
        wire_put_##name(&again_, &got_); \
        assert_int_equal(first_.len, again_.len); \
        assert_memory_equal(first_.data, again_.data, first_.len); \
        for (frame_.len = 0; frame_.len < first_.len; frame_.len++) assert_false(wire_get_##name(&frame_, &got_)); \
        buf_u8(&first_, 0); \
        frame_ = frame_of(FRAME_##name, &first_); \
        assert_false(wire_get_##name(&frame_, &got_)); \
        frame_.len--; \
        frame_.type = FRAME_ping; \
        assert_false(wire_get_##name(&frame_, &got_)); \
        buf_release(&first_); \
        buf_release(&again_); \
    } while (0)

static const unsigned char *const ABC = (const unsigned char *)"abc";

static void test_messages(void **state) {
    (void)state;
    ROUND_TRIP(hello, HelloMsg, (&(HelloMsg){.version = 1, .build = UINT64_MAX, .pid = 77, .threads = 2,
               .libraries = "blas", .libraries_len = 4}));
    ROUND_TRIP(build, BuildMsg, (&(BuildMsg){.program = ABC, .program_len = 3, .nargs = WIRE_ALL_ARGS,
               .derive = DERIVE_JVP, .verify = true, .nat_limit = 65536}));
    ROUND_TRIP(built, BuiltMsg, (&(BuiltMsg){.code = ERR_linear_reused, .at_kind = 1, .other_kind = 2, .at_index = 3, .other_index = 4, .message = ABC,
               .message_len = 3, .graph = ABC, .graph_len = 2, .types = ABC, .types_len = 1, .ninputs = 5, .nargs = 6, .smooth_args = 1ull << 63,
               .neurons = 7, .weights = 8, .recurrent = 9, .macs = 1.5e300, .cases = 10, .exhaustive = true, .compile_us = 11, .verify_us = 12}));
    ROUND_TRIP(load, LoadMsg, (&(LoadMsg){.key = 5, .graph = ABC, .graph_len = 3}));
    ROUND_TRIP(drop, DropMsg, (&(DropMsg){.key = UINT64_MAX}));
    ROUND_TRIP(executed, ExecutedMsg, (&(ExecutedMsg){.code = ERR_internal, .message = ABC, .message_len = 3, .exec_ns = 9,
               .inline_results = ABC, .inline_len = 1}));
}

static void test_values_survive(void **state) {
    (void)state;
    Buf b;
    BuiltMsg m = {.code = ERR_too_large, .hint = ABC, .hint_len = 3, .macs = -0.5, .exhaustive = true, .cases = 4096}, got;
    buf_init(&b);
    wire_put_built(&b, &m);
    Frame f = frame_of(FRAME_built, &b);
    assert_true(wire_get_built(&f, &got));
    assert_true(got.code == ERR_too_large && got.hint_len == 3 && got.macs == -0.5);
    assert_true(got.exhaustive && got.cases == 4096 && got.graph_len == 0);
    assert_memory_equal(got.hint, "abc", 3);
    b.data[0] = ERR_COUNT; /* no such code */
    assert_false(wire_get_built(&f, &got));
    buf_release(&b);
}

static bool run_accepted(const ExecMsg *m, int area) {
    Buf b;
    ExecMsg got;
    buf_init(&b);
    wire_put_exec(&b, m);
    Frame f = frame_of(FRAME_exec, &b);
    f.area = area;
    bool ok = wire_get_exec(&f, &got);
    if (ok) {
        assert_true(got.ntensors == m->ntensors && got.nresults == m->nresults);
        assert_true(got.rows == m->rows && got.results_at == m->results_at);
        for (uint32_t i = 0; i < got.ntensors; i++)
            assert_true(got.tensors[i].offset == m->tensors[i].offset && got.tensors[i].dtype == m->tensors[i].dtype);
        exec_msg_release(&got);
        for (f.len = 0; f.len < b.len; f.len++) assert_false(wire_get_exec(&f, &got));
    }
    buf_release(&b);
    return ok;
}

static void test_run(void **state) {
    (void)state;
    TensorMsg t[] = {{.slot = 0, .dtype = DT_F32, .batched = true, .cols = 4, .offset = 0},
                     {.slot = 1, .dtype = DT_I64, .discrete = 1, .cols = 1, .offset = 48}};
    ResultMsg r = {.output = 0, .batched = true, .offset = 56};
    const ExecMsg good = {.key = 1, .dtype = DT_F32, .rows = 3, .area_size = 80, .results_at = 56,
                         .ntensors = 2, .nresults = 1, .tensors = t, .results = &r};
    ExecMsg m = good;
    assert_true(run_accepted(&m, 5));
    assert_false(run_accepted(&m, -1)); /* neither area nor inline bytes */
    m.inline_area = (const unsigned char[56]){0};
    m.inline_len = 56;
    assert_true(run_accepted(&m, -1));
    assert_false(run_accepted(&m, 5));
#define REFUSED(change) \
    do { \
        const TensorMsg keep0 = t[0], keep1 = t[1]; \
        const ResultMsg keep2 = r; \
        m = good; \
        change; \
        assert_false(run_accepted(&m, 5)); \
        t[0] = keep0; \
        t[1] = keep1; \
        r = keep2; \
    } while (0)
    REFUSED(m.rows = 0);
    REFUSED(m.rows = 4); /* the last tensor row would lie behind the inputs: 4·4·4 > 56 */
    REFUSED(m.dtype = DT_I64);
    REFUSED(m.results_at = 81);
    REFUSED(t[0].cols = 0);
    REFUSED(t[0].cols = LIMIT_JOB_BYTES);
    REFUSED(t[0].offset = 12);
    REFUSED(t[0].offset = 2);
    REFUSED(t[1].offset = 56);
    REFUSED(t[1].discrete = 0);
    REFUSED(t[0].discrete = 1);
    REFUSED(t[0].discrete = 3);
    REFUSED(t[0].dtype = DT_COUNT);
    REFUSED(r.offset = 48);
    REFUSED(r.offset = 80);
    REFUSED(r.offset = 58);
    m = good;
    assert_true(run_accepted(&m, 5));
    assert_int_equal(dtype_size(DT_F32) + dtype_size(DT_F64) + dtype_size(DT_I64) + dtype_size(DT_U8) + dtype_size(DT_BOOL), 22);
}

/* Whatever arrives: refused, or within its limits. */
static void test_fuzz(void **state) {
    (void)state;
    Rng r = rng_new("wire_fuzz");
    unsigned char bytes[200];
    for (int round = 0; round < 200000; round++) {
        Frame f = {.type = FRAME_exec, .body = bytes, .len = rng_below(&r, sizeof bytes), .area = rng_below(&r, 2) ? 3 : -1};
        for (size_t i = 0; i < f.len; i++) bytes[i] = rng_below(&r, 4) ? 0 : (unsigned char)rng_below(&r, 6);
        ExecMsg run;
        BuiltMsg built;
        if (wire_get_exec(&f, &run)) {
            assert_true(run.results_at <= run.area_size);
            exec_msg_release(&run);
        }
        f.type = FRAME_built;
        if (wire_get_built(&f, &built)) assert_true(built.code < ERR_COUNT && built.graph_len <= f.len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small, setup, teardown), cmocka_unit_test_setup_teardown(test_large_and_area, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown), cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test(test_messages), cmocka_unit_test(test_values_survive), cmocka_unit_test(test_run), cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
