/* A database that gives its space back. For store.c. */
#ifndef CAJAL_STORE_VACUUM_H
#define CAJAL_STORE_VACUUM_H
#include "schema/base/log.h"
#include <sqlite3.h>

/* A file made before version 7 keeps what is deleted from it as free pages, until it is made anew: once, at the start, a few seconds a gigabyte, where
 * the file system has room for two copies; else it stays as it is till the next start. Nobody else uses the connection. */
void store_make_shrinkable(sqlite3 *writer, const char *dir, const Log *log);
#endif
