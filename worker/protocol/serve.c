#include "worker/protocol/serve.h"
#include "schema/protocol/build.h"
#include "worker/post.h"
#include "worker/protocol/build_job.h"
#include "worker/protocol/exec_job.h"
#include "worker/train/link_job.h"
#include "worker/train/train.h"
#include <cblas.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int sock;
    const Log *log;
    Cache cache;
    Workspace workspace;
    Maps maps;
    TrainInbox inbox;
    char libraries[256];
} Serving;

static bool answer(Serving *w, FrameType type, uint64_t id, Buf *body, int area) {
    const int result = post_frame(w->sock, type, id, body, area);
    if (result < 0 && !post_is_end(result)) log_put(w->log, LOG_ERROR, "send failed", "type=%d error=\"%s\"", (int)type, strerror(-result));
    return result == 0;
}

static bool say_hello(Serving *w, unsigned threads) {
    snprintf(w->libraries, sizeof w->libraries, "%s; running on %s", openblas_get_config(), openblas_get_corename());
    HelloMsg hello = {.version = WIRE_VERSION,
                      .build = build_all,
                      .pid = (uint32_t)getpid(),
                      .threads = threads,
                      .libraries = w->libraries,
                      .libraries_len = strlen(w->libraries)};
    Buf body;
    buf_init(&body);
    wire_put_hello(&body, &hello);
    bool ok = answer(w, FRAME_hello, 0, &body, -1);
    buf_release(&body);
    return ok;
}

/* Each handler returns false when the frame does not read; otherwise `out` is the answer's body. */
static bool handle_build(Serving *w, Frame *frame, Buf *out) {
    BuildMsg m;
    if (!wire_get_build(frame, &m)) return false;
    build_job_answer(&m, &w->workspace, out);
    return true;
}

static bool handle_load(Serving *w, Frame *frame, Buf *out) {
    LoadMsg m;
    Err err = {0};
    if (!wire_get_load(frame, &m)) return false;
    cache_load(&w->cache, m.key, m.graph, m.graph_len, &err);
    exec_job_put_err(out, &err);
    return true;
}

static bool handle_drop(Serving *w, Frame *frame) {
    DropMsg m;
    if (!wire_get_drop(frame, &m)) return false;
    cache_drop(&w->cache, m.key);
    return true;
}

static bool handle_exec(Serving *w, Frame *frame, Buf *out, ExecAnswer *area) {
    ExecMsg m;
    if (!wire_get_exec(frame, &m)) return false;
    exec_job_answer(&w->cache, &w->workspace, &w->maps, frame, &m, out, area);
    exec_msg_release(&m);
    return true;
}

/* Each is answered, one behind the other, as if it had come by itself. */
static bool handle_exec_batch(Serving *w, Frame *frame, Buf *out) {
    Reader in = reader_of(frame->body, frame->len);
    Frame member;
    while (wire_next_member(frame, &in, &member)) {
        ExecAnswer area;
        size_t begun = wire_begin_member(out);
        if (!handle_exec(w, &member, out, &area)) return false;
        wire_end_member(out, begun);
        const bool is_inline = area.area.fd < 0;
        area_release(&area.area);
        if (!is_inline) return false;
    }
    return reader_done(&in);
}

static bool handle_link(Serving *w, Frame *frame, Buf *out) {
    LinkMsg m;
    if (!wire_get_link(frame, &m)) return false;
    link_job_answer(&m, frame->area, w->workspace.threads, out);
    link_msg_release(&m);
    return true;
}

/* The whole run, which reads the socket itself. False: the worker is at its end, with this exit code. */
static bool train(Serving *w, Frame *frame, int *code) {
    const TrainSeat seat = {.sock = w->sock, .threads = w->workspace.threads, .box = w->workspace.box, .libraries = w->libraries};
    workspace_release(&w->workspace);
    int result;
    if (train_run(&w->inbox, frame, &seat, &result)) return true;
    *code = result;
    if (result) log_put(w->log, LOG_ERROR, "malformed frame", "type=%d bytes=%zu", (int)frame->type, frame->len);
    return false;
}

/* False: the worker is at its end. */
static bool handle(Serving *w, Frame *frame) {
    Buf out;
    ExecAnswer executed = {.area.fd = -1};
    bool reads = false, sent = true;
    FrameType type = FRAME_executed;
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
    case FRAME_exec:
        reads = handle_exec(w, frame, &out, &executed);
        break;
    case FRAME_exec_batch:
        reads = handle_exec_batch(w, frame, &out), type = FRAME_executed_batch;
        break;
    case FRAME_ping:
        reads = frame->len == 0, type = FRAME_pong;
        break;
    case FRAME_link:
        reads = handle_link(w, frame, &out), type = FRAME_linked;
        break;
    case FRAME_data:
        reads = train_take(&w->inbox, frame), type = FRAME_NONE;
        break;
    case FRAME_stop:
    case FRAME_saved: /* the run it is for has just ended */
        reads = frame->len == 0, type = FRAME_NONE;
        break;
    default:
        break;
    }
    if (!reads) log_put(w->log, LOG_ERROR, "malformed frame", "type=%d bytes=%zu", (int)frame->type, frame->len);
    else if (type != FRAME_NONE) sent = answer(w, type, frame->id, &out, executed.area.fd);
    area_release(&executed.area);
    buf_release(&out);
    return reads && sent;
}

/* Waits for a frame, letting go of areas meanwhile. As wire_recv. */
static int receive(Serving *w, Frame *frame) {
    int ms, received;
    do {
        while ((ms = maps_tidy(&w->maps)) >= 0 && !post_wait(w->sock, POLLIN, ms)) {}
        received = wire_recv(w->sock, frame);
        if (received == -EAGAIN) post_wait(w->sock, POLLIN, ms);
    } while (received == -EAGAIN);
    return received;
}

void serve_warm_up(unsigned threads) {
    enum { N = 48, ROUNDS = 8, LARGE = 256 };
    static const double zeros[LARGE * LARGE];
    openblas_set_num_threads(1);
    /* Buffers are handed out to whoever is inside at the time: all are to be, a few times over. */
#pragma omp parallel num_threads((int)threads)
    for (int i = 0; i < ROUNDS; i++) {
        double out[N * N];
#pragma omp barrier
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, zeros, N, zeros, N, 0, out, N);
    }
    openblas_set_num_threads((int)threads);
    /* Large enough to be divided among the library's own. */
    double *out = threads > 1 ? malloc(sizeof zeros) : NULL;
    if (out) cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, LARGE, LARGE, LARGE, 1, zeros, LARGE, zeros, LARGE, 0, out, LARGE);
    free(out);
}

int serve_run(int sock, unsigned threads, BlackBox *box, const Log *log) {
    Serving w = {.sock = sock, .log = log, .workspace.threads = threads, .workspace.box = box};
    cache_init(&w.cache);
    openblas_set_num_threads((int)threads);
    bool alive = say_hello(&w, threads);
    int received = 1, code = 1;
    while (alive) {
        Frame frame;
        received = receive(&w, &frame);
        if (received <= 0) break;
        alive = frame.type == FRAME_train ? train(&w, &frame, &code) : handle(&w, &frame);
        frame_release(&frame);
    }
    if (received < 0 && !post_is_end(received)) log_put(log, LOG_ERROR, "malformed frame", "error=\"%s\"", strerror(-received));
    maps_release(&w.maps);
    cache_release(&w.cache);
    workspace_release(&w.workspace);
    train_forget(&w.inbox);
    return alive && received == 0 ? 0 : code;
}
