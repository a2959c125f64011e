/* Opening the database: its lock, connections, pragmas, migrations. */
#ifndef CAJAL_STORE_OPEN_H
#define CAJAL_STORE_OPEN_H
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

/* Makes the directory, and claims it: a descriptor whose closing gives it free. -1: `why`. */
int store_claim(const char *dir, char *why, size_t room);
/* A connection to DIR/cajal.db; the writing one brings the tables up to date. NULL: `why`. */
sqlite3 *store_connect(const char *dir, bool writer, char *why, size_t room);
/* Whether the pages of a database that is not large are in order; a large one is taken at its word. False: `why`. */
bool store_check(sqlite3 *db, char *why, size_t room);
#endif
