/* The run that a request's path names: looked up, or the request refused. One place for what a client is told when there is none. */
#ifndef CAJAL_RUN_FIND_H
#define CAJAL_RUN_FIND_H
#include "server/http/call.h"
#include "server/store/store_runs.h"

typedef ErrCode RunGet(Store *store, const char *id, StoredRun *out); /* store_run_get, store_run_head */

/* Fills `run` (stored_run_release). False: there is none, or it cannot be read, and the call is answered. */
bool run_find(Call *call, RunGet *get, StoredRun *run);
/* Says why a run was not read, by a store function's code; for any thread. False, always. */
bool run_not_read(Err *err, ErrCode code, const char *id);
#endif
