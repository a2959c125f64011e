#include "server/store_open.h"
#include "server/embedded.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { BUSY_MS = 5000 };

static bool run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK; }

static int user_version(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return version;
}

/* Each migration is one transaction, and its number the database's user_version. */
static bool migrate(sqlite3 *db, char *why, size_t room) {
    int at = user_version(db);
    if (at < 0 || at > (int)embedded_nmigrations) {
        snprintf(why, room, at < 0 ? "the database is unreadable: %s" : "the database is of a later version of this service (%s)",
                 at < 0 ? sqlite3_errmsg(db) : "a newer schema");
        return false;
    }
    for (; at < (int)embedded_nmigrations; at++) {
        char set[64];
        snprintf(set, sizeof set, "PRAGMA user_version = %d", at + 1);
        if (run(db, "BEGIN IMMEDIATE") && run(db, embedded_migrations[at]) && run(db, set) && run(db, "COMMIT")) continue;
        snprintf(why, room, "migration %d failed: %s", at + 1, sqlite3_errmsg(db));
        run(db, "ROLLBACK");
        return false;
    }
    return true;
}

sqlite3 *store_connect(const char *dir, bool writer, char *why, size_t room) {
    char path[4096];
    sqlite3 *db = NULL;
    if (writer && mkdir(dir, 0700) != 0 && errno != EEXIST) {
        snprintf(why, room, "cannot make %s: %s", dir, strerror(errno));
        return NULL;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/cajal.db", dir) >= sizeof path) return NULL;
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    bool ok = sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK && sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK;
    if (!ok) snprintf(why, room, "cannot open %s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
    if (ok && writer) {
        ok = run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
        if (!ok) snprintf(why, room, "cannot use %s: %s", path, sqlite3_errmsg(db));
        ok = ok && migrate(db, why, room);
    }
    if (ok) return db;
    sqlite3_close(db);
    return NULL;
}
