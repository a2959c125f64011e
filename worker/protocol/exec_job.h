/* Exec jobs: an ExecMsg's tensors through a plan, or with key 0 through the interpreter, into the area or back in the frame.
 *
 * The frame's descriptor is taken over, and stays in `maps` for a while. Every slot and output is checked against the graph, offsets against the area; that
 * inputs lie within it has been checked by wire_get_exec. Errors go back as an ExecutedMsg. */
#ifndef CAJAL_EXEC_JOB_H
#define CAJAL_EXEC_JOB_H
#include "worker/protocol/cache.h"
#include "worker/plan/exec.h"
#include "worker/protocol/maps.h"

typedef struct {
    Area area; /* of the answer when its results go neither inline nor into the caller's area; fd -1: none */
} ExecAnswer;

/* Puts the ExecutedMsg into `out`; answer->area is the caller's to release after sending. */
void exec_job_answer(Cache *cache, Workspace *w, Maps *maps, Frame *frame, const ExecMsg *m, Buf *out, ExecAnswer *answer);
/* An ExecutedMsg without results. */
void exec_job_put_err(Buf *out, const Err *err);
#endif
