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

/* A run's checkpoints, and the newest whose file is as its row says. */
typedef struct {
    char id[RUN_ID + 1];
    RunCheckpoint *rows; /* ascending */
    size_t n;
    int fd;              /* the file of `chosen`; -1: none is open */
    RunCheckpoint chosen;
} LaunchFile;
/* The rows of a run's checkpoints; in the loop. ERR_not_found, ERR_internal; whatever comes of it, launch_file_release. */
ErrCode launch_file_find(Server *server, const char *id, LaunchFile *file);
/* The newest that is whole; on a thread. False: none is. */
bool launch_file_open(const Server *server, LaunchFile *file);
void launch_file_release(LaunchFile *file);

typedef struct {
    Server *server;
    StoredRun run;
    RunFacts facts;
    int train, test;     /* descriptors, -1: none */
    LaunchFile own, sources[LIMIT_RUN_SOURCES];
    Failure failure;
} Launch;

/* Reads the database; in the loop. What is missing is in failure. NULL: memory is short. */
Launch *launch_new(Server *server, const char *id);
/* Opens and checks the files; on a thread. False: failure says why. */
bool launch_open(Launch *l);
/* The newest checkpoint of a run that weights come from was pruned before it could be opened, for there is a newer one: launch again. Reads the
 * database; in the loop. */
bool launch_is_stale(const Launch *l);
/* The step to go on from; 0 also for the beginning. */
uint64_t launch_step(const Launch *l);
/* The frames. False: the worker is lost, or memory is short. */
bool launch_send(const Launch *l, Worker *worker);
void launch_free(Launch *l);
#endif
