/* The worker processes: started, greeted, reaped, started again; frames to and from them.
 *
 * A worker is DOWN (waiting to be started), STARTING (no hello yet) or READY. A process that ends is started again, after a pause by the cause of its
 * end: none when it had work, or the daemon ended it for a job's sake; none when it was killed from outside, unless it comes so soon that
 * processes hardly begin; one that doubles while processes end of themselves, young and without having had work. Only the last can make the pool
 * hopeless. After one that is dismissed its place rests until pool_start. Each has a process group of its own, so that a terminal's signals
 * reach the daemon alone, and dies with the daemon. Workers are an array for the life of the pool: a Worker is a place, its processes come and
 * go.
 * Ownership: frames given to `frame` are released by the pool afterwards. */
#ifndef CAJAL_POOL_H
#define CAJAL_POOL_H
#include "schema/base/log.h"
#include "schema/protocol/wire.h"
#include "server/loop.h"
#include "server/metrics.h"
#include <sys/types.h>

typedef struct Pool Pool;
typedef struct Outgoing Outgoing;
typedef enum { WORKER_DOWN, WORKER_STARTING, WORKER_READY } WorkerLife;

/* WORKER_END(name, cause, words): why a worker ended. OWN: by its own doing. OUTSIDE: by somebody else's. OURS: the daemon ended it, and no process is to
 * blame. */
#define WORKER_ENDS(WORKER_END) \
    WORKER_END(ITSELF, OWN, "it ended by itself") /* a fault, or an exit */ \
    WORKER_END(KILLED, OUTSIDE, "it was killed") /* SIGKILL; the kernel's, too, when memory is short */ \
    WORKER_END(SIGNALLED, OUTSIDE, "it was told to end") /* another signal that is no fault's */ \
    WORKER_END(ABANDONED, OURS, "nobody waited for what it did") \
    WORKER_END(LIMIT, OURS, "its job ran for longer than jobs may") \
    WORKER_END(FROZEN, OUTSIDE, "it did nothing for half a minute, and did not answer") \
    WORKER_END(STUCK, OURS, "stuck with one of several small jobs") \
    WORKER_END(MOVED, OURS, "its job takes long, and short ones wait") \
    WORKER_END(MEMORY, OURS, "memory is short") \
    WORKER_END(UNSENT, OURS, "a frame could not be sent to it") \
    WORKER_END(UNTAKEN, OURS, "there was no file descriptor for what it sent") \
    WORKER_END(SILENT, OWN, "it did not say hello") \
    WORKER_END(STRANGE, OWN, "its greeting was not understood") \
    WORKER_END(FOREIGN, OWN, "it is of another build than the daemon") \
    WORKER_END(NONSENSE, OWN, "it sent something else than the answer due") \
    WORKER_END(LEFTOVER, OWN, "it closed its socket and stayed") \
    WORKER_END(STOPPED, OURS, "its run was stopped") \
    WORKER_END(DISMISSED, OURS, "it was not needed any more")
typedef enum {
#define WORKER_END(name, cause, words) END_##name,
    WORKER_ENDS(WORKER_END)
#undef WORKER_END
} WorkerEnd;
typedef enum { CAUSE_OWN, CAUSE_OUTSIDE, CAUSE_OURS } EndCause;

typedef struct Worker {
    Pool *pool;
    void *data; /* who uses the pool keeps here what it knows of the worker */
    int index;
    WorkerLife life;
    pid_t pid;
    uint32_t threads;
    char libraries[200];
    uint64_t starts;
    char last_end[64]; /* how the last process ended, "" when none has */
    int sock, pidfd;   /* the pool's from here */
    Area box;          /* a BlackBox (wire.h): what the process was doing, should it die */
    Watch on_sock, on_exit;
    Timer timer;
    int64_t started;
    unsigned young_deaths, swift_kills; /* in a row: of its own doing and without work; from outside, hardly begun */
    WorkerEnd killed;   /* why the daemon ended it; ITSELF: it did not */
    bool worked;        /* it was sent something */
    bool resting;       /* down, or about to be, until pool_start */
    bool leaving;       /* it takes nothing more: its socket is closed, or it is dead already */
    Outgoing *out_first, **out_end;
} Worker;

typedef struct {
    void (*ready)(void *arg, Worker *worker);
    void (*frame)(void *arg, Worker *worker, Frame *frame);
    /* how: "signal SIGSEGV", "exit code 1", or the words of `end` */
    void (*died)(void *arg, Worker *worker, WorkerEnd end, const char *how);
} PoolEvents;

typedef struct {
    Loop *loop;
    const Log *log;
    Metrics *metrics;
    const char *program; /* path of cajal-worker */
    int workers, threads;
    uint64_t memory;     /* bytes that a worker's jobs may take; 0: no limit */
    bool background;     /* gives way to what else wants a core */
    PoolEvents events;
    void *arg;
} PoolSpec;

Pool *pool_new(const PoolSpec *spec); /* copies the strings; the processes start in pool_start */
/* Starts what rests: everything at first, later what was dismissed. */
void pool_start(Pool *pool);
/* An idle worker is to end, and its place to rest. */
void pool_dismiss(Worker *worker);
/* Ends all processes: a second to leave by themselves, then SIGKILL. */
void pool_free(Pool *pool);
int pool_size(const Pool *pool);
Worker *pool_worker(Pool *pool, int index);
/* False while every worker keeps dying young, of its own doing: nothing can be expected soon. */
bool pool_hopeful(const Pool *pool);
EndCause pool_cause(WorkerEnd end);

/* It can be given work. */
bool pool_takes(const Worker *worker);
/* It has said something that has not been read yet. */
bool pool_has_word(const Worker *worker);
/* Sends, now or when the socket has room; `area` is lent. False: it will not arrive, and the worker is lost (died follows). */
bool pool_send(Worker *worker, FrameType type, uint64_t id, const Buf *body, int area);
void pool_kill(Worker *worker, WorkerEnd why);
#endif
