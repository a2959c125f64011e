/* The database's rows of runs: records and checkpoints; store_points.h has their metrics, store_events.h their events.
 *
 * Ownership, errors: as in store.h. Reads are made in the loop's thread, but for store_run_get_aside and store_run_exists, which
 * take the writer's lock and are for any thread; writes by any thread. What a run's progress comes to is written in one transaction
 * (store_run_flush): whoever sees an event sees its points and its checkpoint. */
#ifndef CAJAL_STORE_RUNS_H
#define CAJAL_STORE_RUNS_H
#include "server/store/store_events.h"
#include "server/store/store_points.h"

enum { RUN_ID = 14 }; /* characters of an id */

typedef enum { RUN_QUEUED, RUN_RUNNING, RUN_DONE, RUN_FAILED, RUN_CANCELLED, RUN_STATES } RunState;
extern const char *const run_state_names[RUN_STATES + 1]; /* NULL at the end */

/* What changes while a run runs. */
typedef struct {
    RunState state;
    ErrCode code;       /* why it failed; ERR_NONE: it has not */
    const char *reason; /* "" for none */
    int64_t started, ended; /* 0: not yet */
    uint64_t step, steps;
    double epoch;
    const char *latest, *versions, *attempts; /* JSON: objects; members of an array */
    uint64_t events; /* number of the last event */
} RunProgress;

typedef struct {
    int64_t seq;
    char id[RUN_ID + 1], forked_from[RUN_ID + 1]; /* "": no fork */
    char *name, *spec, *program, *facts;
    unsigned char *canonical, *link;
    size_t canonical_len, link_len;
    int64_t created;
    RunProgress progress; /* its strings are the run's */
} StoredRun;
void stored_run_release(StoredRun *run);

/* ERR_not_found, ERR_damaged, ERR_internal. */
ErrCode store_run_get(Store *store, const char *id, StoredRun *out);
/* The same on a task thread, where megabytes of specification hold nobody up. */
ErrCode store_run_get_aside(Store *store, const char *id, StoredRun *out);
/* As store_run_get, without its canonical, link, spec and facts, which may be megabytes. */
ErrCode store_run_head(Store *store, const char *id, StoredRun *out);
/* ERR_NONE, ERR_not_found (from the table itself: whoever asks moves files away then, and an index may be damaged), ERR_internal. From any thread. */
ErrCode store_run_exists(Store *store, const char *id);
/* Runs without their canonical, link, spec and facts, newest first, those with seq below `before` (INT64_MAX: all), of one state or
 * (RUN_STATES) any. `row` may stop by returning false. *more: there are others behind the last one. */
ErrCode store_runs(Store *store, RunState state, int64_t before, size_t limit, bool (*row)(void *arg, const StoredRun *run), void *arg, bool *more);
/* Calls back with the id of each run that is queued or running, oldest first. The list is small; row must not use the reader. */
ErrCode store_runs_active(Store *store, void (*row)(void *arg, const char *id), void *arg);

/* Writes. */
typedef struct {
    const char *dataset, *sha256;
} RunData;
typedef struct {
    uint64_t step, bytes;
    unsigned char sum[16];
    bool damaged; /* found so by whoever looked last */
} RunCheckpoint;
/* Sets run->seq. ERR_conflict: a data set has another content by now. The last event is numbered progress.events. */
ErrCode store_run_add(Store *store, StoredRun *run, const RunData *data, size_t ndata, const RunCheckpoint *begin, const RunEvents *events);

/* One without points may use the disk's reserve: it is small, and says what has become of the run. */
typedef struct {
    int64_t seq;
    const char *id;
    RunProgress progress;
    bool drop;               /* first of all: points and checkpoints beyond step `drop_after` go */
    uint64_t drop_after;
    const RunEvents *events; /* the last one is numbered progress.events */
    const char (*keys)[RUN_KEY + 1];
    uint32_t nkeys;
    const KeyedPoint *points;
    size_t npoints;
    const RunCheckpoint *checkpoints;
    size_t ncheckpoints;
    const uint64_t *pruned;  /* steps */
    size_t npruned;
} RunFlush;
ErrCode store_run_flush(Store *store, const RunFlush *flush);
/* It is not there any more; its rows go later (store_purge.h). ERR_not_found, ERR_conflict: it is queued or running, which of a damaged record is not
 * believed. */
ErrCode store_run_delete(Store *store, const char *id, bool damaged);

/* Bytes that the checkpoints of all runs take. From any thread. */
uint64_t store_checkpoint_bytes(const Store *store);
/* Steps of the checkpoints, ascending. */
ErrCode store_run_checkpoints(Store *store, int64_t seq, void (*row)(void *arg, const RunCheckpoint *checkpoint), void *arg);
/* The run's newest checkpoint, or that of a step. ERR_not_found: there is no such run; ERR_conflict: no such checkpoint. */
ErrCode store_run_checkpoint(Store *store, const char *id, bool at_step, uint64_t step, RunCheckpoint *out);
/* Whether the file of a checkpoint was found damaged. For any thread. */
ErrCode store_run_mark(Store *store, int64_t seq, uint64_t step, bool damaged);
#endif
