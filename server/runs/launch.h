/* A launch: what a run needs before a worker can begin with it (its row, data sets, the checkpoint to go on from or weights of earlier runs), looked
 * up, opened and checked, then sent.
 *
 * Ownership: a Launch owns rows and descriptors (launch_free). */
#ifndef CAJAL_LAUNCH_H
#define CAJAL_LAUNCH_H
#include "schema/limits.h"
#include "server/workers/pool.h"
#include "server/failure.h"
#include "server/runs/run_facts.h"
#include "server/server.h"
#include "server/store/store_runs.h"

/* A run's checkpoints, and the one that is used, whose file is as its row says. */
typedef struct {
    char id[RUN_ID + 1];
    int64_t seq;
    RunCheckpoint *rows; /* ascending */
    size_t n;
    int fd;              /* the file of `chosen`; -1: none is open */
    RunCheckpoint chosen;
    bool damaged;        /* one that was tried is */
    int cause;           /* errno of what keeps it from being opened that has nothing to do with the file; 0: nothing does */
} LaunchFile;
/* The rows of a run's checkpoints; in the loop. ERR_not_found, ERR_internal; whatever comes of it, launch_file_release. */
ErrCode launch_file_find(Server *server, const char *id, LaunchFile *file);
/* Whether an older checkpoint will do when the newest cannot be used: a run goes on from any of its own, but its weights are those of the newest. */
typedef enum { OLDER_NEVER, OLDER_WHEN_MISSING, OLDER_ANY } OlderCheckpoint;
/* The newest that may be used; on a thread. What is damaged is marked in the database. False: none may. */
bool launch_file_open(const Server *server, LaunchFile *file, OlderCheckpoint older);
void launch_file_release(LaunchFile *file);

typedef struct {
    Server *server;
    StoredRun run;
    RunFacts facts;
    Dataset train, test; /* fd -1: none */
    atomic_bool stop;    /* set in the loop: it is not to begin any more */
    LaunchFile own, sources[LIMIT_RUN_SOURCES];
    Failure failure;
} Launch;

/* Reads the database; in the loop. What is missing is in failure. NULL: memory is short. */
Launch *launch_new(Server *server, const char *id);
/* Opens and checks the files; on a thread. False: failure says why; queue_full: there is no descriptor at the moment. */
bool launch_open(Launch *l);
/* The newest checkpoint of a run that weights come from was pruned before it could be opened, for there is a newer one: launch again. Reads the
 * database; in the loop. */
bool launch_is_stale(const Launch *l);
/* The step to go on from; 0 also for the beginning. */
uint64_t launch_step(const Launch *l);
/* The run has a newer checkpoint, which is damaged: its step, else 0. */
uint64_t launch_passed_over(const Launch *l);
/* The frames. False: the worker is lost, or memory is short. */
bool launch_send(const Launch *l, Worker *worker);
void launch_free(Launch *l);
#endif
