/* A batch: jobs that travel to a worker in one frame, and whose replies come back in one. For dispatch.c and worker_state.c only.
 *
 * A batch has items. An item is what the worker executes in one go: one job, or several evaluations merged into one (exec_request.h). A batch
 * of one item is that item's own frame (FRAME_exec, or what the job's spec says); one of several is a FRAME_exec_batch.
 * Ownership: a batch owns its jobs until they are taken out. */
#ifndef CAJAL_BATCH_H
#define CAJAL_BATCH_H
#include "server/workers/job_list.h"
#include "server/workers/pool.h"

struct WorkerState;
struct Queue;

enum { BATCH_ITEMS = 32 };

typedef struct {
    size_t members, rows, values, results; /* members: jobs; values, results: bytes */
} BatchItem;

/* What a job's spec lends is looked at until the frame is made; after that only while the job is not cancelled. */
typedef struct Batch {
    uint64_t id, load_id, load_key; /* of its frame; of the FRAME_load sent before it, 0: none; that graph's key */
    ErrCode load_code;              /* why the load failed; ERR_NONE: it has not */
    char load_message[200];
    struct WorkerState *ws;
    bool unsent;                    /* the worker was lost before it had it */
    int64_t begun, abandoned;       /* when the worker came to it; when nobody waited for it any more: 0, not yet */
    JobList jobs;                   /* by item */
    uint32_t nitems;
    BatchItem items[BATCH_ITEMS];
    struct Batch *prev, *next;
} Batch;

/* Moves the waiting job into the batch, and with it others that may go along: small evaluations of the first one's graph, or of graphs that the batch's
 * worker `has`. */
void batch_fill(Batch *batch, struct Queue *queue, Job *first, bool (*has)(const struct WorkerState *ws, uint64_t key));
bool batch_is_small(const Batch *batch);
/* One of its jobs is not cancelled. */
bool batch_is_wanted(const Batch *batch);
/* When the batch, which its worker has come to, will have had its time, and why its worker is ended then: ABANDONED, STUCK, LIMIT. */
int64_t batch_time_is_up(const Batch *batch, int64_t max_exec, WorkerEnd *why);
/* The frame's body: the job's own, or made in `room`. */
const Buf *batch_body(const Batch *batch, Buf *room, FrameType *type);
/* Reads a reply: one ExecutedMsg an item, unless the batch is one job that is no evaluation. False: it is no reply to this batch. */
bool batch_read(const Batch *batch, const Frame *frame, ExecutedMsg executed[BATCH_ITEMS]);
#endif
