/* Jobs that travel to a worker in one frame, and their answers in another. dispatch.c's.
 *
 * A parcel has items, each of which is one run in the worker: that of one job, or of several merged ones (run.h). A parcel of one item is the
 * job's own frame, else a runs frame.
 * Ownership: a parcel owns its jobs until they are taken out. */
#ifndef CAJAL_BATCH_H
#define CAJAL_BATCH_H
#include "server/workers/dispatch.h"

struct WorkerState;

struct Job {
    JobSpec spec;
    unsigned attempts;      /* that ended with a worker's death */
    bool cancelled;
    bool alone;             /* goes by itself: it was in company that failed */
    bool suspect;           /* that company's worker died */
    struct Batch *batch;  /* under way in it; NULL: it waits */
    uint32_t item;
    size_t row0;            /* where its rows begin in the item's */
    int64_t queued, waited; /* when it came; nanoseconds until it was sent */
    Job *prev, *next;
    char culprit[]; /* spec's, copied */
};

typedef struct {
    Job *first, *last;
    size_t count;
} JobList;

enum { BATCH_ITEMS = 32 };

typedef struct {
    size_t members, rows, values, results; /* values, results: bytes */
} BatchItem;

/* What the jobs lend is looked at until the frame is made; afterwards only what a job that is not cancelled lends. */
typedef struct Batch {
    uint64_t id, load_id, load_key; /* load_id: of the load sent before it, 0 none */
    ErrCode load_code;              /* why the load failed */
    char load_message[200];
    struct WorkerState *ws;
    bool unsent;                    /* the worker was lost before it had it */
    JobList jobs;                   /* by item */
    uint32_t nitems;
    BatchItem items[BATCH_ITEMS];
    struct Batch *prev, *next;
} Batch;

void job_free(Job *job);
void job_list_add(JobList *list, Job *job, bool front);
void job_list_remove(JobList *list, Job *job);
void job_list_clear(JobList *list); /* frees the jobs */

/* Moves the first job of the queue into the parcel, and with it those behind it that may go with it: small runs whose graph `has` (or the
 * first one's). */
void batch_fill(Batch *batch, JobList *queue, bool (*has)(const struct WorkerState *ws, uint64_t key));
bool batch_is_small(const Batch *batch);
/* Somebody still wants the result of one of its jobs. */
bool batch_is_wanted(const Batch *batch);
/* The shortest of its jobs' that are wanted; of all when none is. */
int64_t batch_patience(const Batch *batch);
/* The frame's body: one of a job's, or made in `room`. */
const Buf *batch_body(const Batch *batch, Buf *room, FrameType *type);
/* Reads an answer, one ExecutedMsg an item (none when it is no run's). False: it is not this parcel's. */
bool batch_read(const Batch *batch, const Frame *frame, ExecutedMsg executed[BATCH_ITEMS]);
#endif
