/* The database's rows of runs' events. An event has a number, counted from 1 in its run, a kind, and a line of JSON that says all of it.
 *
 * A row holds consecutive events of one kind, a few tens of kilobytes of them at most, for each of those who watch a run holds some of them.
 * A run's events are bounded (LIMIT_RUN_EVENT_BYTES, _ROWS): of more the oldest go, metrics and checkpoints before what is logged, and that before
 * states; whoever reads on from before them is told so, by an event of kind "gap" with the number of the last one missing.
 * Ownership, errors, threads: as in store_runs.h; a RunEvents owns its buffers (run_events_release). */
#ifndef CAJAL_STORE_EVENTS_H
#define CAJAL_STORE_EVENTS_H
#include "server/store/store.h"

typedef enum { EVENT_STATE, EVENT_METRIC, EVENT_LOG, EVENT_CHECKPOINT, EVENT_END } RunEventKind;

/* Events on their way into the database, numbered from `first` on. Zeroed: none. */
typedef struct {
    uint64_t first;
    Buf lines; /* all, each with its newline */
    Buf items; /* a RunEvent each */
} RunEvents;

/* Appends {"seq":NUMBER,"event":KIND,"time":now MEMBERS}; members: "" or ",\"step\":7…". The numbers are consecutive. */
void run_events_add(RunEvents *events, uint64_t number, RunEventKind kind, const char *members);
bool run_events_failed(const RunEvents *events); /* memory was short */
void run_events_release(RunEvents *events);
/* Writes them, as a part of the caller's transaction. For store*.c. */
ErrCode store_events_put(Store *store, int64_t run, const RunEvents *events);

typedef struct {
    uint64_t number;
    const char *kind, *line; /* the line without its newline, `len` bytes */
    size_t len;
} StoredEvent;
/* False: enough. */
typedef bool EventRow(void *arg, const StoredEvent *event);
/* The events after number `after`, in order; run: its seq. In place of those whose rows are damaged there is one, of the kind `log` and the number
 * of the last of them, that says so. */
ErrCode store_run_events(Store *store, int64_t run, uint64_t after, EventRow *row, void *arg);
#endif
