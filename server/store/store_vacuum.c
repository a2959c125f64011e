#include "server/store/store_vacuum.h"
#include "schema/base/time.h"
#include <stdbool.h>
#include <sys/statvfs.h>

enum { INCREMENTAL = 2 };

static int64_t number_of(sqlite3 *db, const char *pragma) {
    sqlite3_stmt *s = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, pragma, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

static bool has_room(const char *dir, uint64_t bytes) {
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 && bytes / fs.f_frsize < fs.f_bavail;
}

/* Temporary files beside the database: elsewhere there may be no room for them. */
static bool make_anew(sqlite3 *db, const char *dir) {
    char *sql = sqlite3_mprintf("PRAGMA temp_store_directory = %Q; PRAGMA auto_vacuum = INCREMENTAL; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", dir);
    const bool made = sql && sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_free(sql);
    return made;
}

void store_make_shrinkable(sqlite3 *db, const char *dir, const Log *log) {
    if (number_of(db, "PRAGMA auto_vacuum") == INCREMENTAL) return;
    const int64_t pages = number_of(db, "PRAGMA page_count") - number_of(db, "PRAGMA freelist_count");
    const uint64_t bytes = pages > 0 ? (uint64_t)pages * (uint64_t)number_of(db, "PRAGMA page_size") : 0;
    const int64_t from = time_monotonic_ns();
    if (!has_room(dir, 2 * bytes))
        log_put(log, LOG_WARN, "database not made anew", "bytes=%llu cause=\"no room for two copies; space of what is deleted is not given back\"",
                (unsigned long long)bytes);
    else if (!make_anew(db, dir)) log_put(log, LOG_WARN, "database not made anew", "cause=\"%s\"", sqlite3_errmsg(db));
    else log_put(log, LOG_INFO, "database made anew", "bytes=%llu ms=%lld", (unsigned long long)bytes, (long long)(time_monotonic_ns() - from) / 1000000);
}
