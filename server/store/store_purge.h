/* What deleted runs have left in the database: it goes in pieces, each a short transaction, and its space returns to the file system with it.
 *
 * A run is gone for everybody when store_run_delete has returned; its rows follow, after a restart if need be. Ownership, errors: as in store.h. */
#ifndef CAJAL_STORE_PURGE_H
#define CAJAL_STORE_PURGE_H
#include "server/store/store.h"

/* The next piece, some megabytes at most. *more: there are others. From any thread. */
ErrCode store_purge(Store *store, bool *more);
/* The ids of runs that are deleted and have rows. In the loop's thread; row must not use the reader. */
ErrCode store_purge_runs(Store *store, void (*row)(void *arg, const char *id), void *arg);
#endif
