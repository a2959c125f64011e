/* What can be read of a damaged database, in a new one; the damaged one goes to lost+found.
 *
 * The new one is made beside it, under a temporary name, and gets the name recovered.db when it is whole and on the disk; from then on it takes the
 * other's place whatever comes in between (store_salvage_finish). Rows are copied from both ends of each table to where it cannot be read, and those
 * in between that can be found by their number. For start-up, with the directory claimed. */
#ifndef CAJAL_STORE_SALVAGE_H
#define CAJAL_STORE_SALVAGE_H
#include "server/store/store_spec.h"
#include <stddef.h>

/* False: `why`, and everything is where it was. */
bool store_salvage(const StoreSpec *spec, char *why, size_t room);
/* Ends a salvage that was interrupted; true when there is none. */
bool store_salvage_finish(const StoreSpec *spec, char *why, size_t room);
/* A write-ahead log without its database goes to lost+found. */
bool store_set_log_aside(const StoreSpec *spec, char *why, size_t room);
#endif
