#include "server/workers/pool.h"
#include "schema/graph/graph.h"
#include "schema/protocol/build.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND ((int64_t)1000000000)
enum { HELLO_SECONDS = 30, YOUNG_SECONDS = 5, HOPELESS_DEATHS = 4, LONGEST_PAUSE_MS = 10000 };
/* Killed from outside so soon after its start, a process has hardly begun; and what is waited then at most. */
enum { SWIFT_MS = 100, LONGEST_SWIFT_PAUSE_MS = 1000 };

/* A frame that found the socket full. */
struct Outgoing {
    Outgoing *next;
    FrameType type;
    uint64_t id;
    Buf body;
    int area; /* a duplicate, -1: none */
};

struct Pool {
    PoolSpec spec;
    char *program;
    int n;
    Worker workers[];
};

static const char *const end_words[] = {
#define WORKER_END(name, cause, words) words,
    WORKER_ENDS(WORKER_END)
#undef WORKER_END
};
static const EndCause causes[] = {
#define WORKER_END(name, cause, words) CAUSE_##cause,
    WORKER_ENDS(WORKER_END)
#undef WORKER_END
};

EndCause pool_cause(WorkerEnd end) { return causes[end]; }

static void start_worker(void *arg);
static void on_sock(void *arg, uint32_t events);
static void on_exit_of(void *arg, uint32_t events);

Pool *pool_new(const PoolSpec *spec) {
    Pool *pool = calloc(1, sizeof *pool + (size_t)spec->workers * sizeof(Worker));
    if (!pool) return NULL;
    pool->spec = *spec;
    pool->program = strdup(spec->program);
    pool->n = spec->workers;
    for (int i = 0; i < pool->n; i++)
        pool->workers[i] = (Worker){.pool = pool, .index = i, .sock = -1, .pidfd = -1, .box.fd = -1, .resting = true, .out_end = &pool->workers[i].out_first};
    if (pool->program) return pool;
    free(pool);
    return NULL;
}

void pool_start(Pool *pool) {
    for (Worker *w = pool->workers; w < pool->workers + pool->n; w++) {
        if (!w->resting) continue;
        w->resting = false;
        if (w->pidfd < 0) start_worker(w); /* else it is still ending */
    }
}

int pool_size(const Pool *pool) { return pool->n; }
Worker *pool_worker(Pool *pool, int index) { return &pool->workers[index]; }

bool pool_hopeful(const Pool *pool) {
    for (int i = 0; i < pool->n; i++)
        if (pool->workers[i].life == WORKER_READY || pool->workers[i].young_deaths < HOPELESS_DEATHS) return true;
    return false;
}

/* ---- starting ---- */

static bool spawn(Worker *w, int sock) {
    char threads[16], parent[16], memory[24];
    char *argv[] = {w->pool->program, "--threads", threads, "--parent", parent, "--memory", memory, w->pool->spec.background ? "--background" : NULL, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    snprintf(threads, sizeof threads, "%d", w->pool->spec.threads);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)w->pool->spec.memory);
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, 2, 1);
    posix_spawn_file_actions_adddup2(&files, w->box.fd, WIRE_BOX_FD); /* first: sock, made later, is the higher one */
    posix_spawn_file_actions_adddup2(&files, sock, WIRE_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, WIRE_BOX_FD + 1);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int code = posix_spawn(&w->pid, w->pool->program, &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (code == 0) return true;
    log_put(w->pool->spec.log, LOG_ERROR, "worker does not start", "program=%s cause=\"%s\"", w->pool->program, strerror(code));
    return false;
}

static void close_all(Worker *w) {
    loop_unwatch(w->pool->spec.loop, &w->on_sock);
    loop_unwatch(w->pool->spec.loop, &w->on_exit);
    loop_untimer(w->pool->spec.loop, &w->timer);
    if (w->sock >= 0) close(w->sock);
    if (w->pidfd >= 0) close(w->pidfd);
    w->sock = w->pidfd = -1;
    area_release(&w->box);
    for (Outgoing *o = w->out_first, *next; o; o = next) {
        next = o->next;
        buf_release(&o->body);
        if (o->area >= 0) close(o->area);
        free(o);
    }
    w->out_first = NULL;
    w->out_end = &w->out_first;
}

static void arm(Worker *w, void (*fire)(void *), int64_t due) {
    Loop *loop = w->pool->spec.loop;
    loop_untimer(loop, &w->timer);
    w->timer = (Timer){.fire = fire, .arg = w};
    loop_timer(loop, &w->timer, due);
}

/* Milliseconds until the place's next process is started. */
static int64_t pause_after(Worker *w, WorkerEnd end) {
    int64_t lived = loop_now() - w->started, ms = 0;
    bool young = lived < YOUNG_SECONDS * SECOND || end == END_SILENT, swift = lived < SWIFT_MS * (SECOND / 1000) || w->life != WORKER_READY;
    if (causes[end] == CAUSE_OWN) w->young_deaths = young && !w->worked ? w->young_deaths + 1 : 0;
    if (causes[end] == CAUSE_OUTSIDE) w->swift_kills = swift ? w->swift_kills + 1 : 0;
    if (causes[end] == CAUSE_OWN && w->young_deaths > 1) ms = 50 << (w->young_deaths < 9 ? w->young_deaths : 9);
    if (causes[end] == CAUSE_OUTSIDE && w->swift_kills > 1) ms = 5 << (w->swift_kills < 9 ? w->swift_kills : 9);
    int64_t most = causes[end] == CAUSE_OWN ? LONGEST_PAUSE_MS : LONGEST_SWIFT_PAUSE_MS;
    return ms < most ? ms : most;
}

/* Arms the timer that starts the place's next process. */
static void restart_later(Worker *w, WorkerEnd end) {
    int64_t ms = pause_after(w, end);
    w->life = WORKER_DOWN;
    if (!w->resting) arm(w, start_worker, loop_now() + ms * 1000000);
}

static void not_started(Worker *w) {
    close_all(w);
    restart_later(w, END_ITSELF);
    w->pool->spec.events.died(w->pool->spec.arg, w, END_ITSELF, "it could not be started");
}

static void on_silence(void *arg) { pool_kill(arg, END_SILENT); }

static void start_worker(void *arg) {
    Worker *w = arg;
    Loop *loop = w->pool->spec.loop;
    int pair[2];
    w->started = loop_now();
    w->killed = END_ITSELF;
    w->leaving = w->worked = false;
    if (!area_create(&w->box, WIRE_BOX_BYTES) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        not_started(w);
        return;
    }
    w->sock = pair[0];
    fcntl(w->sock, F_SETFL, O_NONBLOCK);
    bool started = spawn(w, pair[1]);
    close(pair[1]);
    if (started) w->pidfd = pidfd_open(w->pid, 0);
    if (w->pidfd < 0) {
        if (started) {
            kill(w->pid, SIGKILL);
            waitpid(w->pid, NULL, 0);
        }
        not_started(w);
        return;
    }
    w->life = WORKER_STARTING;
    w->starts++;
    w->pool->spec.metrics->worker_starts++;
    w->on_sock = (Watch){.fd = w->sock, .events = EPOLLIN, .ready = on_sock, .arg = w};
    w->on_exit = (Watch){.fd = w->pidfd, .events = EPOLLIN, .ready = on_exit_of, .arg = w};
    loop_watch(loop, &w->on_sock);
    loop_watch(loop, &w->on_exit);
    arm(w, on_silence, w->started + HELLO_SECONDS * SECOND);
}

/* ---- ending ---- */

void pool_kill(Worker *w, WorkerEnd why) {
    if (w->pidfd < 0 || w->killed) return;
    w->killed = why;
    w->pool->spec.metrics->worker_kills++;
    log_put(w->pool->spec.log, LOG_WARN, "worker killed", "pid=%d cause=\"%s\"", (int)w->pid, end_words[why]);
    kill(w->pid, SIGKILL);
}

static void on_stayed(void *arg) { kill(((Worker *)arg)->pid, SIGKILL); }

void pool_dismiss(Worker *w) {
    w->killed = END_DISMISSED;
    w->resting = true;
    loop_unwatch(w->pool->spec.loop, &w->on_sock);
    shutdown(w->sock, SHUT_RDWR); /* which a worker takes as the end */
    arm(w, on_stayed, loop_now() + SECOND);
}

/* " in <op>": the kernel that ran when the process ended. The page is the dead worker's: any number may stand there. */
static const char *last_op(Worker *w) {
    static const char *const words[OP_COUNT] = {
#define OP(name, ...) " in " #name,
#include "schema/graph/ops.def"
#undef OP
    };
    uint32_t op = atomic_load_explicit(&((BlackBox *)w->box.data)->op, memory_order_relaxed);
    return op && op <= OP_COUNT ? words[op - 1] : "";
}

/* Signals that a process brings upon itself; all others are sent to it. */
static bool is_fault(int signal) {
    return signal == SIGSEGV || signal == SIGABRT || signal == SIGFPE || signal == SIGBUS || signal == SIGILL || signal == SIGSYS || signal == SIGTRAP;
}

/* Why it ended; in words in last_end. */
static WorkerEnd describe_end(Worker *w) {
    siginfo_t info = {0};
    waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
    const char *name = info.si_code == CLD_EXITED ? NULL : sigabbrev_np(info.si_status);
    if (w->killed) snprintf(w->last_end, sizeof w->last_end, "%s", end_words[w->killed]);
    else if (name) snprintf(w->last_end, sizeof w->last_end, "signal SIG%s%s", name, last_op(w));
    else snprintf(w->last_end, sizeof w->last_end, "exit code %d%s", info.si_status, last_op(w));
    if (w->killed || info.si_code == CLD_EXITED || is_fault(info.si_status)) return w->killed;
    return info.si_status == SIGKILL ? END_KILLED : END_SIGNALLED;
}

static bool read_frames(Worker *w);

static void on_exit_of(void *arg, uint32_t events) {
    Worker *w = arg;
    (void)events;
    w->leaving = true;
    /* What it said before it ended still counts. */
    if (!w->killed) read_frames(w);
    WorkerEnd end = describe_end(w);
    log_put(w->pool->spec.log, w->killed == END_DISMISSED ? LOG_INFO : LOG_WARN, "worker ended", "pid=%d how=\"%s\"", (int)w->pid, w->last_end);
    w->pool->spec.metrics->worker_deaths += !w->killed;
    close_all(w);
    restart_later(w, end);
    w->pool->spec.events.died(w->pool->spec.arg, w, end, w->last_end);
}

/* ---- frames ---- */

/* The first frame. Kills a worker that does not greet, or is not of the daemon's build. */
static void greet(Worker *w, const Frame *frame) {
    HelloMsg hello;
    if (frame->type != FRAME_hello || !wire_get_hello(frame, &hello)) {
        pool_kill(w, END_STRANGE);
        return;
    }
    if (hello.version != WIRE_VERSION || hello.build != build_all) {
        log_put(w->pool->spec.log, LOG_ERROR, "worker of another build", "program=%s worker=%016llx daemon=%016llx remedy=\"start the daemon anew\"",
                w->pool->program, (unsigned long long)hello.build, (unsigned long long)build_all);
        pool_kill(w, END_FOREIGN);
        return;
    }
    size_t len = hello.libraries_len < sizeof w->libraries - 1 ? hello.libraries_len : sizeof w->libraries - 1;
    memcpy(w->libraries, hello.libraries, len);
    w->libraries[len] = 0;
    w->threads = hello.threads;
    w->life = WORKER_READY;
    loop_untimer(w->pool->spec.loop, &w->timer);
    log_put(w->pool->spec.log, LOG_INFO, "worker ready", "pid=%d threads=%u libraries=\"%s\"", (int)w->pid, w->threads, w->libraries);
    w->pool->spec.events.ready(w->pool->spec.arg, w);
}

/* Reads what is there. False at the end of the stream. */
static bool read_frames(Worker *w) {
    while (!w->killed && w->sock >= 0) {
        Frame frame;
        int code = wire_recv(w->sock, &frame);
        if (code == -EAGAIN || code == -EINTR) return true;
        if (code == -EPROTO) pool_kill(w, w->life == WORKER_READY ? END_NONSENSE : END_STRANGE);
        if (code == -EMFILE) pool_kill(w, END_UNTAKEN);
        if (code <= 0) return false;
        if (w->life == WORKER_READY) w->pool->spec.events.frame(w->pool->spec.arg, w, &frame);
        else greet(w, &frame);
        frame_release(&frame);
    }
    return true;
}

static void on_leftover(void *arg) { pool_kill(arg, END_LEFTOVER); }

static void flush(Worker *w) {
    while (w->out_first) {
        Outgoing *o = w->out_first;
        int code = wire_send(w->sock, o->type, o->id, &o->body, o->area);
        if (code == -EAGAIN) return;
        /* Any other error is the end of the process, which its pidfd tells. */
        w->out_first = o->next;
        if (!w->out_first) w->out_end = &w->out_first;
        buf_release(&o->body);
        if (o->area >= 0) close(o->area);
        free(o);
    }
    loop_rewatch(w->pool->spec.loop, &w->on_sock, EPOLLIN);
}

static void on_sock(void *arg, uint32_t events) {
    Worker *w = arg;
    if (events & EPOLLOUT) flush(w);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || read_frames(w)) return;
    loop_unwatch(w->pool->spec.loop, &w->on_sock);
    w->leaving = true;
    if (w->killed) return;
    arm(w, on_leftover, loop_now() + SECOND);
}

static bool send_later(Worker *w, FrameType type, uint64_t id, const Buf *body, int area) {
    Outgoing *o = calloc(1, sizeof *o);
    if (!o) return false;
    *o = (Outgoing){.type = type, .id = id, .area = area >= 0 ? fcntl(area, F_DUPFD_CLOEXEC, 0) : -1};
    buf_put(&o->body, body->data, body->len);
    if (o->body.failed || (area >= 0 && o->area < 0)) {
        buf_release(&o->body);
        if (o->area >= 0) close(o->area);
        free(o);
        return false;
    }
    *w->out_end = o;
    w->out_end = &o->next;
    return loop_rewatch(w->pool->spec.loop, &w->on_sock, EPOLLIN | EPOLLOUT);
}

bool pool_takes(const Worker *w) { return w->life == WORKER_READY && !w->killed && !w->leaving; }

bool pool_has_word(const Worker *w) { return w->sock >= 0 && poll(&(struct pollfd){.fd = w->sock, .events = POLLIN}, 1, 0) == 1; }

bool pool_send(Worker *w, FrameType type, uint64_t id, const Buf *body, int area) {
    w->worked = true;
    int code = body->failed ? -ENOMEM : w->out_first ? -EAGAIN : wire_send(w->sock, type, id, body, area);
    if (code == 0 || (code == -EAGAIN && send_later(w, type, id, body, area))) return true;
    /* The process has ended, or is about to, and how is to be heard from itself. */
    if (code == -EPIPE || code == -ECONNRESET) w->leaving = true;
    /* A frame that is lost would leave both sides waiting. */
    else pool_kill(w, END_UNSENT);
    return false;
}

void pool_free(Pool *pool) {
    if (!pool) return;
    int64_t until = loop_now() + SECOND;
    for (int i = 0; i < pool->n; i++) {
        Worker *w = &pool->workers[i];
        loop_unwatch(pool->spec.loop, &w->on_sock);
        if (w->sock >= 0) close(w->sock);
        w->sock = -1;
    }
    for (int i = 0; i < pool->n; i++) {
        Worker *w = &pool->workers[i];
        if (w->pidfd >= 0) {
            int64_t left = (until - loop_now()) / 1000000;
            struct pollfd p = {.fd = w->pidfd, .events = POLLIN};
            if (poll(&p, 1, left > 0 ? (int)left : 0) != 1) kill(w->pid, SIGKILL);
            waitid(P_PIDFD, (id_t)w->pidfd, &(siginfo_t){0}, WEXITED);
        }
        close_all(w);
    }
    free(pool->program);
    free(pool);
}
