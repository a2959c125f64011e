/* Whether a database is in order: its pages, and its indexes against its tables (SQLite's integrity_check). An index that is not can be made again;
 * what tables hold cannot.
 *
 * store_check and store_rebuild_indexes: on a connection that nobody else uses. A checker is a thread that looks through a large database while it
 * serves, a table at a time; what it finds makes the store damaged, unless it could be mended. */
#ifndef CAJAL_STORE_CHECK_H
#define CAJAL_STORE_CHECK_H
#include "server/store/store_sql.h"

/* table: NULL: all, and pages that nobody has. False: `why` has the first finding, in one line. */
bool store_check(sqlite3 *db, const char *table, char *why, size_t room);
/* In one transaction. False: `why`, and everything is as it was. */
bool store_rebuild_indexes(sqlite3 *db, char *why, size_t room);

/* On a connection of its own, which is taken over. False: there is no thread to be had. */
bool store_checker_start(Store *store, sqlite3 *reader);
void store_checker_stop(Store *store); /* harmless without one */
bool store_checking(const Store *store);
#endif
