/* A run that is queued or running, as the daemon has it in memory: its progress, and what of it is not in the database yet.
 *
 * Events and points collect for a moment (TRAINING_FLUSH_NS) and are written together, in one transaction with the record (a flush); only then is
 * anybody told (committed). What a flush has of metric and log events is bounded (of more metric events the last one is told, log lines are counted), and
 * so are the points that wait while nothing can be written: of each two only one is kept then. A checkpoint goes to its file first, in the order they came, and its row with the next flush; the worker is told of
 * each (saved), so that one which is ahead of the disk waits for it.
 * All in the loop's thread; files and database on task threads.
 * Ownership: a Training is its maker's (training_free), who does not free it while training_busy. */
#ifndef CAJAL_TRAINING_H
#define CAJAL_TRAINING_H
#include "schema/formats/json.h"
#include "schema/limits.h"
#include "server/runs/run_facts.h"
#include "server/server.h"
#include "server/store/store_runs.h"

#define TRAINING_FLUSH_NS ((int64_t)200000000)
enum { TRAINING_CHECKPOINTS = 64, TRAINING_EVENTS = 512 }; /* in one flush; of metrics, and of log lines */

/* A metric event: the step, and of which keys. */
typedef struct {
    uint64_t step;
    double epoch;
    bool wanted[LIMIT_RUN_KEYS];
} TrainingMetric;

/* What the next flush writes. */
typedef struct {
    RunEvents events;
    size_t metrics, logs;     /* events of these kinds */
    TrainingMetric held;      /* the last one that found no room; step 0: none */
    uint64_t unsaid;          /* log lines that found none */
    Buf attempts;
    char *latest, *versions, *reason;
    KeyedPoint *points;
    size_t npoints, room;
    RunCheckpoint checkpoints[TRAINING_CHECKPOINTS];
    size_t ncheckpoints;
    uint64_t *pruned;
    size_t npruned;
    bool dirty;          /* there is something to write */
    bool drop;           /* what is beyond step drop_after goes first */
    uint64_t drop_after;
    RunProgress progress;
    uint32_t nkeys;
} Unwritten;

typedef struct {
    uint64_t step, bytes;
    int fd;
} Arrived; /* a checkpoint from the worker */

typedef struct Training {
    Server *server;
    int64_t seq;
    char id[RUN_ID + 1];
    RunState state;
    ErrCode code;             /* why it failed */
    char reason[400];
    int64_t started, ended;   /* microseconds of the Unix epoch; 0: not yet */
    uint64_t step, steps;
    double epoch;
    uint64_t events;          /* number of the last */
    char keys[LIMIT_RUN_KEYS][RUN_KEY + 1];
    double values[LIMIT_RUN_KEYS];  /* the last of each */
    uint32_t nkeys;
    char *versions;           /* JSON */
    Buf attempts;             /* JSON, members of an array: those that have ended */
    int64_t attempt;          /* when the present one began; 0: none */
    uint64_t attempt_from;    /* its first step */
    uint64_t keep;            /* checkpoints besides the first and the last */
    char sources[LIMIT_RUN_SOURCES][RUN_ID + 1]; /* runs that weights come from; "": no more */
    uint64_t *kept;           /* steps of the checkpoints that are there, ascending */
    size_t nkept;
    ErrCode trouble;          /* what failed in writing; ERR_NONE: nothing */
    char trouble_text[400];
    /* the maker's */
    void (*changed)(struct Training *t);   /* a flush or a checkpoint has been written, or has failed */
    void (*committed)(struct Training *t); /* of a flush that went well, before `changed`: new events are in the database */
    void (*saved)(struct Training *t);     /* of a checkpoint, before `changed`: there is room for another */
    void *owner;
    /* the module's */
    Unwritten next, now;      /* what collects; what is being written, or was to be and is tried again */
    Task flush, write;        /* to the database; a checkpoint's file */
    bool flushing, writing;
    Timer timer;              /* of the next flush */
    Timer write_again;        /* of a checkpoint that there was no file descriptor for */
    bool hurry;               /* such a one is not waited for */
    int64_t flushed;          /* when the last one ended */
    ErrCode outcome;          /* its */
    bool stuck;               /* the run's state cannot be written: what the database says of it is not true any more */
    Arrived arrived[WIRE_CHECKPOINTS];
    size_t narrived;
    RunCheckpoint written;    /* the last file, and what was wrong with it */
    Err err;
} Training;

/* Of a run in the database (its strings are copied), with its checkpoints. NULL: memory is short, or the row damaged. */
Training *training_new(Server *server, const StoredRun *run);
void training_free(Training *t);
/* Something of it is being written, or waits for that. */
bool training_busy(const Training *t);

/* code: why it failed, else ERR_NONE. */
void training_set_state(Training *t, RunState state, ErrCode code, const char *reason);
/* The run's next event; members as in run_events_add. */
void training_event(Training *t, RunEventKind kind, const char *members);
void training_log(Training *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void training_begin_attempt(Training *t, uint64_t from_step);
/* `how` NULL: well. */
void training_end_attempt(Training *t, const char *how);
/* The service ended without notice while it ran. */
void training_lost_attempt(Training *t);
/* Goes on from the step: what is beyond it is dropped. */
void training_resume_at(Training *t, uint64_t step);
/* Keys that are new beyond LIMIT_RUN_KEYS, or no good, are left out. */
void training_point(Training *t, const char *key, size_t len, Point point);
/* A metric event of the given keys' last values. */
void training_metric(Training *t, const TrainingMetric *metric);
uint32_t training_key(Training *t, const char *key, size_t len); /* LIMIT_RUN_KEYS: none */
void training_set_versions(Training *t, const char *json, size_t len);
/* The run is cancelled: a checkpoint that no file descriptor can be had for is not waited for. */
void training_hurry(Training *t);
/* Takes the descriptor over. False: the worker did not wait for those before. */
bool training_checkpoint(Training *t, uint64_t step, uint64_t bytes, int fd);
/* Writes what there is: soon, or in this pass of the loop. */
void training_save(Training *t, bool now);
/* What could not be written is tried again at once; `changed` follows if there is any. */
void training_retry(Training *t);
#endif
