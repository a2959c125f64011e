#include "tests/bench/peer.h"
#include "compiler/language/canon.h"
#include "compiler/language/check.h"
#include "compiler/language/syntax.h"
#include "schema/limits.h"
#include "schema/protocol/build.h"
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, SETTLE_US = 20000, ALIGN = 64 };

_Noreturn void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void settle(void) { usleep(SETTLE_US); }

float draw_real(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17; /* Marsaglia, Xorshift RNGs, 2003 */
    return (float)(*state >> 40) / (float)(1 << 23) - 1;
}

void print_samples(const char *name, const double *samples, int n) {
    printf("\"%s\": [", name);
    for (int i = 0; i < n; i++) printf("%s%.9f", i ? ", " : "", samples[i]);
    printf("]");
}

/* ---- the process ---- */

static void receive(Peer *p, FrameType want, Frame *frame) {
    if (poll(&(struct pollfd){.fd = p->sock, .events = POLLIN}, 1, PATIENCE_MS) != 1) die("the worker is silent");
    if (wire_recv(p->sock, frame) != 1 || frame->type != want || frame->id != p->id) die("the worker's answer does not read");
}

static void ask(Peer *p, FrameType type, const Buf *body, int area, FrameType want, Frame *frame) {
    int code = wire_send(p->sock, type, ++p->id, body, area);
    if (code) die("the worker takes no frame: %s", strerror(-code));
    receive(p, want, frame);
}

void peer_start(Peer *p, const char *program, int threads) {
    char number[16], *argv[] = {(char *)program, "--threads", number, NULL};
    int pair[2];
    posix_spawn_file_actions_t files;
    *p = (Peer){0};
    snprintf(number, sizeof number, "%d", threads);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) die("socketpair: %s", strerror(errno));
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, pair[1], WIRE_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, WIRE_FD + 1);
    int code = posix_spawn(&p->pid, program, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    close(pair[1]);
    if (code) die("%s: %s", program, strerror(code));
    p->sock = pair[0];
    Frame frame;
    HelloMsg hello;
    receive(p, FRAME_hello, &frame);
    if (!wire_get_hello(&frame, &hello) || hello.build != build_all) die("this worker is of another build");
    const char *core = memmem(hello.libraries, hello.libraries_len, "running on ", 11);
    if (core) snprintf(p->core, sizeof p->core, "%.*s", (int)(hello.libraries + hello.libraries_len - core - 11), core + 11);
    frame_release(&frame);
}

void peer_stop(Peer *p) {
    close(p->sock);
    waitpid(p->pid, NULL, 0);
}

/* ---- programs ---- */

static void put_build(Buf *body, const char *source, Derive derive) {
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        BuildMsg m = {.nargs = WIRE_ALL_ARGS, .derive = (uint8_t)derive, .nat_limit = LIMIT_NAT_SIZE};
        Program *program = program_new(&cx, NAT_DEFAULT);
        syntax_text(&cx, program, source, strlen(source));
        check_program(&cx, program);
        m.program = canon_write(&cx, program, &m.program_len);
        wire_put_build(body, &m);
    }
    if (cx.diag.code) die("%s: %s", source, cx.diag.message);
    cx_release(&cx);
}

Graph *peer_load(Peer *p, uint64_t key, const char *source, Derive derive) {
    Buf body;
    Frame frame, loaded;
    BuiltMsg built;
    ExecutedMsg ran;
    char why[200];
    buf_init(&body);
    put_build(&body, source, derive);
    ask(p, FRAME_build, &body, -1, FRAME_built, &frame);
    if (!wire_get_built(&frame, &built) || built.code) die("%s: it does not compile", source);
    Graph *g = graph_read(built.graph, built.graph_len, why, sizeof why);
    if (!g) die("%s: %s", source, why);
    buf_clear(&body);
    wire_put_load(&body, &(LoadMsg){key, built.graph, built.graph_len});
    ask(p, FRAME_load, &body, -1, FRAME_executed, &loaded);
    if (!wire_get_executed(&loaded, &ran) || ran.code) die("%s: it does not load", source);
    frame_release(&frame);
    frame_release(&loaded);
    buf_release(&body);
    return g;
}

/* ---- jobs ---- */

void job_init(Job *job, const Graph *g, uint64_t key, size_t rows, size_t room) {
    *job = (Job){.graph = g, .msg = {.key = key, .dtype = DT_F32, .rows = (uint32_t)rows}};
    if (!area_create(&job->area, room)) die("no area of %zu bytes", room);
}

void job_release(Job *job) { area_release(&job->area); }

static float *take(Job *job, size_t size, bool batched, uint64_t *offset) {
    *offset = job->msg.area_size;
    job->msg.area_size += (size * sizeof(float) * (batched ? job->msg.rows : 1) + ALIGN - 1) / ALIGN * ALIGN;
    if (job->msg.area_size > job->area.size) die("a job's area is too small");
    return (float *)((char *)job->area.data + *offset);
}

float *job_input(Job *job, SlotRole role, uint32_t index, bool batched) {
    for (uint32_t s = 0; s < job->graph->nslots; s++) {
        const Slot *slot = &job->graph->slots[s];
        if (slot->role != role || slot->index != index || job->msg.ntensors == JOB_TENSORS) continue;
        TensorMsg *t = &job->tensors[job->msg.ntensors++];
        *t = (TensorMsg){.slot = s, .dtype = DT_F32, .batched = batched, .cols = slot->size};
        float *data = take(job, slot->size, batched, &t->offset);
        job->msg.results_at = job->msg.area_size;
        return data;
    }
    die("there is no input %u of that role", index);
}

float *job_result(Job *job, OutRole role, uint32_t index, bool batched) {
    for (uint32_t o = 0; o < job->graph->noutputs; o++) {
        const Output *output = &job->graph->outputs[o];
        if (output->role != role || output->index != index || job->msg.nresults == JOB_TENSORS) continue;
        ResultMsg *r = &job->results[job->msg.nresults++];
        *r = (ResultMsg){.output = o, .batched = batched};
        return take(job, job->graph->nodes[output->node].size, batched, &r->offset);
    }
    die("there is no output %u of that role", index);
}

Took peer_run(Peer *p, const Job *job) {
    ExecMsg m = job->msg;
    Buf body;
    Frame frame;
    ExecutedMsg ran;
    m.tensors = (TensorMsg *)job->tensors;
    m.results = (ResultMsg *)job->results;
    buf_init(&body);
    double began = seconds_now();
    wire_put_exec(&body, &m);
    ask(p, FRAME_exec, &body, job->area.fd, FRAME_executed, &frame);
    Took took = {.trip = seconds_now() - began};
    if (!wire_get_executed(&frame, &ran)) die("the worker's answer does not read");
    if (ran.code) die("the worker refuses: %.*s", (int)ran.message_len, (const char *)ran.message);
    took.exec = (double)ran.exec_ns / 1e9;
    frame_release(&frame);
    buf_release(&body);
    return took;
}
