/* What a job is to whoever has it done (dispatch.h): what is sent, what is lent to it, and what comes back. */
#ifndef CAJAL_JOB_H
#define CAJAL_JOB_H
#include "schema/errors.h"
#include "server/workers/exec_request.h"

typedef struct Job Job;

typedef struct {
    const Err *err;              /* why there is no reply; NULL: there is one */
    Frame *frame;                /* the reply; NULL for an evaluation that travelled with others */
    const ExecutedMsg *executed; /* an evaluation's reply; its own code is the handler's to look at */
    int64_t queue_ns;            /* how long it waited for a worker, the last time it did */
} JobResult;

typedef struct {
    FrameType type, reply;   /* what is sent, and what answers it */
    Buf body;                /* the frame's, unless it is FRAME_exec */
    const ExecRequest *exec; /* FRAME_exec */
    int area;                /* a descriptor to go along; -1: none */
    uint64_t key;            /* of the graph that the worker must have; 0: none */
    const void *graph;
    size_t graph_len;
    const char *culprit;     /* who is blamed for a worker's death; copied; NULL: nobody */
    bool small;              /* short enough to wait behind others in a worker */
    uint64_t party;          /* who asks: whose share it comes out of; 0: the service itself */
    void (*done)(void *arg, const JobResult *result);
    void *arg;
} JobSpec;
#endif
