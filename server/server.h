/* The daemon's parts, as every handler sees them. Made in main.c's `start`, taken down in its `stop`, callers first; all are used in the loop's thread only,
 * except Tasks, Log, and Store's writes. */
#ifndef CAJAL_SERVER_H
#define CAJAL_SERVER_H
#include "schema/base/log.h"
#include "server/http/shm_pool.h"
#include "server/config.h"
#include "server/disk.h"
#include "server/http/party.h"
#include "server/http/route.h"
#include "server/data/dataset_files.h"
#include "server/workers/dispatch.h"
#include "server/loop.h"
#include "server/metrics.h"
#include "server/store/store.h"
#include "server/tasks.h"

typedef struct Http Http;
typedef struct Programs Programs;
typedef struct Purge Purge;
typedef struct Scheduler Scheduler;
typedef struct Scrub Scrub;
struct Call;

typedef struct Server {
    const Config *config;
    const RouteTable *routes;
    Log log;
    Loop *loop;
    Tasks *tasks;
    Tasks *writes;   /* one thread for the database's writes: it alone waits for another process's lock */
    Tasks *bulk;     /* one thread for whole data sets, on their way in or looked through for a run, which takes seconds */
    Disk *disk;
    Store *store;
    DatasetFiles *dataset_files;
    size_t lost_found; /* what lay there at the start */
    Metrics *metrics;
    ShmPool shm_pool;
    Dispatch *dispatch;
    Programs *programs;
    Scheduler *scheduler;
    Purge *purge;
    Scrub *scrub;    /* NULL: none */
    Http *http;
    struct Call *spare_calls; /* list (call.h) */
    size_t nspare_calls;
    bool draining;   /* new requests are refused */
    Parties parties; /* who asks */
    size_t held;     /* bytes of bodies, values and answers in flight (call_hold) */
    int most_fd;      /* descriptors from this one on are neither a connection's nor a request's */
    size_t most_held; /* what they may take together; one party half of it */
} Server;
#endif
