/* Jobs given to a dispatch whose workers are the test program itself, started again: what they do is written in the job.
 *
 * A test program's main begins with `if (jobs_is_worker(argc, argv)) return jobs_worker();`. Bounds are against hanging only. */
#ifndef CAJAL_TEST_JOBS_H
#define CAJAL_TEST_JOBS_H
#include "server/workers/dispatch.h"

#define MS ((int64_t)1000000)

bool jobs_is_worker(int argc, char **argv);
int jobs_worker(void);

typedef struct {
    Loop *loop;
    Metrics metrics;
    Log log;
    Dispatch *dispatch;
    int open, finished; /* jobs not done, and done */
    Timer limit;
    const char *program; /* the worker; NULL: the test program */
    int64_t max_exec;    /* 0: an hour */
} Bench;

Bench *bench_new(int workers, size_t max_queue);
/* With these settings. */
Bench *bench_start(Bench settings, int workers, size_t max_queue);
void bench_run(Bench *b); /* until no job is open */
void bench_free(Bench *b);
/* Runs the loop until the condition holds. */
void bench_until(Bench *b, bool (*holds)(void *arg), void *arg);

typedef struct {
    Bench *bench;
    bool done;
    ErrCode code;
    char message[400];
    uint64_t loads, pid;
    FrameType type;
    int order; /* how many were done before it */
} Ticket;

/* A build. what: "echo", "die" (SIGKILL), "crash" (SIGABRT), "leave" (SIGTERM), "exit", "hang", "nap", or "bye" (answers, then SIGKILL). */
typedef struct {
    const char *what, *culprit, *graph;
    uint64_t key, party;
} Order;
Job *bench_submit(Bench *b, Ticket *t, Order o, ErrCode *why);
Job *bench_ping(Bench *b, Ticket *t);

/* The process of the only worker; 0: it has not greeted yet. */
pid_t bench_worker(const Bench *b);
/* As /proc says it: 'T' when it is stopped. */
char process_state(pid_t pid);

/* An evaluation of one row, which the worker doubles. 666 aborts it, 667 kills it, 777 hangs it, 888 stops it until it is sent a SIGCONT, a negative one is refused. */
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
void bench_exec(Bench *b, Small *s, float value, uint64_t key);
/* One of that cost for that party; a small one may travel. NULL: refused, ticket.code says why. */
Job *bench_exec_as(Bench *b, Small *s, float value, uint64_t key, double cost, uint64_t party);
void bench_answered(const Small *s);
#endif
