#include "worker/serve.h"
#include "worker/build.h"
#include "worker/run.h"
#include <cblas.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int sock;
    const Log *log;
    Cache cache;
    Workspace workspace;
} Worker;

/* The daemon's end may not block, and flags may be shared with ours: wait where the socket would. */
static void wait_for(int sock, short events) { poll(&(struct pollfd){.fd = sock, .events = events}, 1, -1); }

/* The daemon ends us by closing the socket: nothing to complain of. */
static bool is_end(int result) { return result == -EPIPE || result == -ECONNRESET; }

static bool answer(Worker *w, FrameType type, uint64_t id, Buf *body, int area) {
    int result;
    while ((result = wire_send(w->sock, type, id, body, area)) == -EAGAIN) wait_for(w->sock, POLLOUT);
    if (result < 0 && !is_end(result)) log_put(w->log, LOG_ERROR, "send failed", "type=%d error=\"%s\"", (int)type, strerror(-result));
    return result == 0;
}

static bool say_hello(Worker *w, unsigned threads) {
    char libraries[256];
    int n = snprintf(libraries, sizeof libraries, "%s; running on %s", openblas_get_config(), openblas_get_corename());
    HelloMsg hello = {.version = WIRE_VERSION,
                      .op_table = op_table_hash(),
                      .pid = (uint32_t)getpid(),
                      .threads = threads,
                      .libraries = libraries,
                      .libraries_len = (size_t)n < sizeof libraries ? (size_t)n : sizeof libraries - 1};
    Buf body;
    buf_init(&body);
    wire_put_hello(&body, &hello);
    bool ok = answer(w, FRAME_hello, 0, &body, -1);
    buf_release(&body);
    return ok;
}

/* Each handler returns false when the frame does not read; otherwise `out` is the answer's body. */
static bool handle_build(Worker *w, Frame *frame, Buf *out) {
    BuildMsg m;
    if (!wire_get_build(frame, &m)) return false;
    build_answer(&m, &w->workspace, out);
    return true;
}

static bool handle_load(Worker *w, Frame *frame, Buf *out) {
    LoadMsg m;
    Fault fault = {0};
    if (!wire_get_load(frame, &m)) return false;
    cache_load(&w->cache, m.key, m.graph, m.graph_len, &fault);
    run_put_fault(out, &fault);
    return true;
}

static bool handle_drop(Worker *w, Frame *frame) {
    DropMsg m;
    if (!wire_get_drop(frame, &m)) return false;
    cache_drop(&w->cache, m.key);
    return true;
}

static bool handle_run(Worker *w, Frame *frame, Buf *out, RunAnswer *area) {
    RunMsg m;
    if (!wire_get_run(frame, &m)) return false;
    run_answer(&w->cache, &w->workspace, frame, &m, out, area);
    run_msg_release(&m);
    return true;
}

/* Each is answered, one behind the other, as if it had come by itself. */
static bool handle_runs(Worker *w, Frame *frame, Buf *out) {
    Reader in = reader_of(frame->body, frame->len);
    Frame member;
    while (wire_next_member(frame, &in, &member)) {
        RunAnswer area;
        size_t begun = wire_begin_member(out);
        if (!handle_run(w, &member, out, &area)) return false;
        wire_end_member(out, begun);
        const bool is_inline = area.area.fd < 0;
        area_release(&area.area);
        if (!is_inline) return false;
    }
    return reader_done(&in);
}

/* False: the worker is at its end. */
static bool handle(Worker *w, Frame *frame) {
    Buf out;
    RunAnswer run = {.area.fd = -1};
    bool reads = false, sent = true;
    FrameType type = FRAME_ran;
    buf_init(&out);
    switch (frame->type) {
    case FRAME_build:
        reads = handle_build(w, frame, &out), type = FRAME_built;
        break;
    case FRAME_load:
        reads = handle_load(w, frame, &out);
        break;
    case FRAME_drop:
        reads = handle_drop(w, frame), type = FRAME_NONE;
        break;
    case FRAME_run:
        reads = handle_run(w, frame, &out, &run);
        break;
    case FRAME_runs:
        reads = handle_runs(w, frame, &out), type = FRAME_rans;
        break;
    case FRAME_ping:
        reads = frame->len == 0, type = FRAME_pong;
        break;
    default:
        break;
    }
    if (!reads) log_put(w->log, LOG_ERROR, "malformed frame", "type=%d bytes=%zu", (int)frame->type, frame->len);
    else if (type != FRAME_NONE) sent = answer(w, type, frame->id, &out, run.area.fd);
    area_release(&run.area);
    buf_release(&out);
    return reads && sent;
}

int serve_run(int sock, unsigned threads, BlackBox *box, const Log *log) {
    Worker w = {.sock = sock, .log = log, .workspace.threads = threads, .workspace.box = box};
    cache_init(&w.cache);
    openblas_set_num_threads((int)threads);
    bool alive = say_hello(&w, threads);
    int received = 1;
    while (alive) {
        Frame frame;
        received = wire_recv(sock, &frame);
        if (received == -EAGAIN) {
            wait_for(sock, POLLIN);
            continue;
        }
        if (received <= 0) break;
        alive = handle(&w, &frame);
        frame_release(&frame);
    }
    if (received < 0 && !is_end(received)) log_put(log, LOG_ERROR, "malformed frame", "error=\"%s\"", strerror(-received));
    cache_release(&w.cache);
    workspace_release(&w.workspace);
    return alive && received == 0 ? 0 : 1;
}
