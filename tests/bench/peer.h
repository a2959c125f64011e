/* A cajal-worker driven over its socket, as the daemon would, without HTTP in front.
 *
 * Ownership: peer_stop ends the process; a Job's tensors live in its area, which job_release unmaps. Graphs are the caller's (graph_free).
 * Errors: whatever goes wrong is said on standard error and ends the program with 1. */
#ifndef CAJAL_BENCH_PEER_H
#define CAJAL_BENCH_PEER_H
#include "schema/graph/graph.h"
#include "schema/protocol/wire.h"
#include <sys/types.h>

typedef struct {
    pid_t pid;
    int sock;
    uint64_t id;
    char core[32]; /* the kernels OpenBLAS has chosen there */
} Peer;

void peer_start(Peer *p, const char *program, int threads);
void peer_stop(Peer *p);
/* Builds a program (text with its context) and keeps its graph there under the key. */
Graph *peer_load(Peer *p, uint64_t key, const char *source, Derive derive);

enum { JOB_TENSORS = 8 };
typedef struct {
    const Graph *graph;
    Area area;
    ExecMsg msg;
    TensorMsg tensors[JOB_TENSORS];
    ResultMsg results[JOB_TENSORS];
} Job;

/* f32. room: bytes enough for all tensors, each rounded up to 64. Inputs are added before results. */
void job_init(Job *job, const Graph *g, uint64_t key, size_t rows, size_t room);
void job_release(Job *job);
/* The tensor's place in the area, zeros: rows × the slot's or output's size, or one row of it. */
float *job_input(Job *job, SlotRole role, uint32_t index, bool batched);
float *job_result(Job *job, OutRole role, uint32_t index, bool batched);

typedef struct {
    double exec, trip; /* seconds: ExecutedMsg.exec_ns; from sending the frame to having read the answer */
} Took;
Took peer_run(Peer *p, const Job *job);

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
double seconds_now(void);
/* OpenMP threads spin for a while after their work; before the other side is timed, they go to sleep. */
void settle(void);
/* Uniform in [-1, 1); the state is the caller's, any number but 0. */
float draw_real(uint64_t *state);
/* "name": [a, b, …] */
void print_samples(const char *name, const double *samples, int n);
#endif
