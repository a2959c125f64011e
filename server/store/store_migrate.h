/* What opening, checking and salvaging a database share: SQL without an answer, a pragma's number, migrations. For store_*.c, on a connection that
 * nobody else uses. */
#ifndef CAJAL_STORE_MIGRATE_H
#define CAJAL_STORE_MIGRATE_H
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_PATH = 4096 };

bool store_run(sqlite3 *db, const char *sql);
/* The first column of the first row; -1: it cannot be read. */
int64_t store_number(sqlite3 *db, const char *sql);
/* Brings the tables to version `to`, at most embedded_nmigrations; each migration is one transaction, and its number the database's user_version.
 * False: `why`; also when it is of a later version of this service. */
bool store_migrate(sqlite3 *db, int64_t to, char *why, size_t room);
#endif
