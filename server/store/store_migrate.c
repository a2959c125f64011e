#include "server/store/store_migrate.h"
#include "server/embedded.h"
#include <stdio.h>

bool store_run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK; }

int64_t store_number(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

bool store_migrate(sqlite3 *db, int64_t to, char *why, size_t room) {
    int64_t at = store_number(db, "PRAGMA user_version");
    if (at < 0 || at > (int64_t)embedded_nmigrations) {
        snprintf(why, room, at < 0 ? "the database is unreadable: %s" : "the database is of a later version of this service (%s)",
                 at < 0 ? sqlite3_errmsg(db) : "a newer schema");
        return false;
    }
    for (; at < to; at++) {
        char set[64];
        snprintf(set, sizeof set, "PRAGMA user_version = %d", (int)at + 1);
        if (store_run(db, "BEGIN IMMEDIATE") && store_run(db, embedded_migrations[at]) && store_run(db, set) && store_run(db, "COMMIT")) continue;
        snprintf(why, room, "migration %d failed: %s", (int)at + 1, sqlite3_errmsg(db));
        store_run(db, "ROLLBACK");
        return false;
    }
    return true;
}
