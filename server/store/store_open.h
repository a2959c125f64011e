/* Opening the database: the directory's lock, what is refused and what is mended, connections, pragmas, migrations. */
#ifndef CAJAL_STORE_OPEN_H
#define CAJAL_STORE_OPEN_H
#include "server/store/store_spec.h"
#include <sqlite3.h>
#include <stddef.h>

/* Makes the directory, and claims it: a descriptor whose closing gives it free. -1: `why`. */
int store_claim(const char *dir, char *why, size_t room);

typedef struct {
    bool unchecked; /* it is too large to be checked while somebody waits */
    bool repaired;  /* indexes were made again, or it is a salvaged one */
} StoreFound;
/* The connection that writes, at first waiting for another process's lock a while, flushing with every commit. NULL: `why`. */
sqlite3 *store_open_writer(const StoreSpec *spec, StoreFound *found, char *why, size_t room);
/* One that reads. */
sqlite3 *store_open_reader(const char *dir, char *why, size_t room);
/* Says what the connection has against it. Returns false. */
bool store_refuse(sqlite3 *db, const char *dir, char *why, size_t room);
#endif
