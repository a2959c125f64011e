/* Opening the database: connections, pragmas, migrations. */
#ifndef CAJAL_STORE_OPEN_H
#define CAJAL_STORE_OPEN_H
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

/* A connection to DIR/cajal.db; the writing one makes the directory, and brings the tables up to date. NULL: `why`. */
sqlite3 *store_connect(const char *dir, bool writer, char *why, size_t room);
#endif
