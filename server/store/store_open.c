#include "server/store/store_open.h"
#include "server/embedded.h"
#include "server/store/store_sums.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_MS = 5000, CHECKED_BYTES = 64 << 20 };

static bool run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK; }

/* A pragma's number; -1: it cannot be read. */
static int64_t number_of(sqlite3 *db, const char *pragma) {
    sqlite3_stmt *s = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, pragma, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

bool store_check(sqlite3 *db, char *why, size_t room) {
    sqlite3_stmt *s = NULL;
    int64_t pages = number_of(db, "PRAGMA page_count"), bytes = number_of(db, "PRAGMA page_size");
    snprintf(why, room, "%s", pages < 0 || bytes <= 0 ? sqlite3_errmsg(db) : "");
    if (*why || pages > CHECKED_BYTES / bytes) return !*why;
    bool answered = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    snprintf(why, room, "%s", answered ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db));
    sqlite3_finalize(s);
    for (char *p = why; *p; p++)
        if (*p == '\n') *p = ' ';
    return answered && strcmp(why, "ok") == 0;
}

/* Each migration is one transaction, and its number the database's user_version. */
static bool migrate(sqlite3 *db, char *why, size_t room) {
    int64_t at = number_of(db, "PRAGMA user_version");
    if (at < 0 || at > (int64_t)embedded_nmigrations) {
        snprintf(why, room, at < 0 ? "the database is unreadable: %s" : "the database is of a later version of this service (%s)",
                 at < 0 ? sqlite3_errmsg(db) : "a newer schema");
        return false;
    }
    for (; at < (int64_t)embedded_nmigrations; at++) {
        char set[64];
        snprintf(set, sizeof set, "PRAGMA user_version = %d", (int)at + 1);
        if (run(db, "BEGIN IMMEDIATE") && run(db, embedded_migrations[at]) && run(db, set) && run(db, "COMMIT")) continue;
        snprintf(why, room, "migration %d failed: %s", (int)at + 1, sqlite3_errmsg(db));
        run(db, "ROLLBACK");
        return false;
    }
    return true;
}

int store_claim(const char *dir, char *why, size_t room) {
    char path[4096];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        snprintf(why, room, "cannot make %s: %s", dir, strerror(errno));
        return -1;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/lock", dir) >= sizeof path) {
        snprintf(why, room, "the name of the data directory is too long");
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (fd >= 0 && errno == EWOULDBLOCK) snprintf(why, room, "another cajald is using %s", dir);
    else snprintf(why, room, "cannot lock %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

sqlite3 *store_connect(const char *dir, bool writer, char *why, size_t room) {
    char path[4096];
    sqlite3 *db = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/cajal.db", dir) >= sizeof path) return NULL;
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    bool ok = sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK && sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK && store_sums_register(db);
    if (!ok) snprintf(why, room, "cannot open %s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
    if (ok && writer) {
        ok = run(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
                     " PRAGMA journal_size_limit = 16777216");
        if (!ok) snprintf(why, room, "cannot use %s: %s", path, sqlite3_errmsg(db));
        ok = ok && migrate(db, why, room);
    }
    if (ok) return db;
    sqlite3_close(db);
    return NULL;
}
