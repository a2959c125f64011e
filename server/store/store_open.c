#include "server/store/store_open.h"
#include "server/embedded.h"
#include "server/store/store_check.h"
#include "server/store/store_migrate.h"
#include "server/store/store_salvage.h"
#include "server/store/store_sums.h"
#include "server/store/store_vacuum.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads are made in the loop, and almost never meet a lock: one that changes the journal's mode, or recovers it. */
enum { OPENING_BUSY_MS = 5000, READER_BUSY_MS = 20 };
/* Checked before anybody is served: 0.6 s from memory, a few from a slow disk. */
#define CHECKED_BYTES ((int64_t)1 << 30)
/* Pages of the write-ahead log: from where on it is brought into the database; and what is not kept, or only until nobody reads from it. */
enum { CHECKPOINT_PAGES = 1000, KEPT_PAGES = 4000 };

/* ---- the directory ---- */

static bool sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* The directory, and its name in the one above. */
static bool make_dir(const char *dir) {
    char above[STORE_PATH];
    if (mkdir(dir, 0700) != 0) return errno == EEXIST;
    return (size_t)snprintf(above, sizeof above, "%s/..", dir) < sizeof above && sync_folder(above);
}

int store_claim(const char *dir, char *why, size_t room) {
    char path[STORE_PATH];
    if ((size_t)snprintf(path, sizeof path, "%s/lock", dir) >= sizeof path) {
        snprintf(why, room, "the name of the data directory is too long");
        return -1;
    }
    if (!make_dir(dir)) {
        snprintf(why, room, "cannot make %s: %s", dir, strerror(errno));
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (fd >= 0 && errno == EWOULDBLOCK) snprintf(why, room, "another cajald is using %s", dir);
    else snprintf(why, room, "cannot lock %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

/* Something lies in DIR/FOLDER that is not merely temporary. */
static bool holds_anything(const char *dir, const char *folder) {
    char path[STORE_PATH];
    bool any = false;
    DIR *entries = (size_t)snprintf(path, sizeof path, "%s/%s", dir, folder) < sizeof path ? opendir(path) : NULL;
    for (struct dirent *e; entries && !any && (e = readdir(entries));) any = *e->d_name != '.' && strncmp(e->d_name, "tmp-", 4) != 0;
    if (entries) closedir(entries);
    return any;
}

/* A database that knows nothing would make everything there unknown: whoever lost it wants it back first. */
static bool may_begin_anew(const StoreSpec *spec, char *why, size_t room) {
    const char *dir = spec->dir;
    if (spec->recover || !(holds_anything(dir, "datasets") || holds_anything(dir, "runs"))) return true;
    snprintf(why, room,
             "%s/cajal.db is missing or empty, but there are data sets or runs beside it that only it knows. Put it back, from a backup for instance; or "
             "start once with --recover, which begins with an empty one and moves them to %s/lost+found", dir, dir);
    return false;
}

/* Before it is opened, which makes it, and drops a log of what is not there. */
static bool check_there(const StoreSpec *spec, char *why, size_t room) {
    char path[STORE_PATH];
    struct stat st;
    snprintf(path, sizeof path, "%s/cajal.db", spec->dir);
    if (stat(path, &st) == 0 && st.st_size) return true;
    return may_begin_anew(spec, why, room) && store_set_log_aside(spec, why, room);
}

/* ---- connections ---- */

bool store_refuse(sqlite3 *db, const char *dir, char *why, size_t room) {
    snprintf(why, room, "the database %s/cajal.db cannot be used: %s", dir, db ? sqlite3_errmsg(db) : "no memory");
    return false;
}

/* With every commit: keeps the log short. When others read from it, the next commit tries again. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages) {
    (void)arg;
    if (pages >= CHECKPOINT_PAGES) sqlite3_wal_checkpoint_v2(db, name, pages > KEPT_PAGES ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

static sqlite3 *connect(const char *dir, int flags, int busy_ms, char *why, size_t room) {
    char path[STORE_PATH];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_NOMUTEX | flags, NULL) == SQLITE_OK && sqlite3_busy_timeout(db, busy_ms) == SQLITE_OK && store_sums_register(db))
        return db;
    store_refuse(db, dir, why, room);
    sqlite3_close(db);
    return NULL;
}

sqlite3 *store_open_reader(const char *dir, char *why, size_t room) { return connect(dir, SQLITE_OPEN_READONLY, READER_BUSY_MS, why, room); }

typedef enum { USABLE, DAMAGED, REFUSED } Fitness;

static Fitness unfit(sqlite3 *db, const char *dir, char *why, size_t room) {
    const int kind = sqlite3_errcode(db) & 0xff;
    store_refuse(db, dir, why, room);
    return kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ? DAMAGED : REFUSED;
}

static Fitness examine(sqlite3 *db, const StoreSpec *spec, StoreFound *found, char *why, size_t room) {
    if (!store_run(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 16777216"))
        return unfit(db, spec->dir, why, room);
    const int64_t version = store_number(db, "PRAGMA user_version"), bytes = store_number(db, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    if (version < 0 || bytes < 0) return unfit(db, spec->dir, why, room);
    if (version == 0 && !may_begin_anew(spec, why, room)) return REFUSED;
    found->unchecked = bytes > CHECKED_BYTES && !spec->recover;
    char first[300];
    if (found->unchecked || store_check(db, NULL, first, sizeof first)) return USABLE;
    log_put(spec->log, LOG_ERROR, "database damaged", "file=%s/cajal.db cause=\"%s\"", spec->dir, first);
    if (store_rebuild_indexes(db, why, room)) {
        log_put(spec->log, LOG_WARN, "database repaired", "file=%s/cajal.db how=\"its indexes were made again from its tables\"", spec->dir);
        found->repaired = true;
        return USABLE;
    }
    snprintf(why, room, "the database %s/cajal.db is damaged: %s", spec->dir, first);
    return DAMAGED;
}

/* NULL: `why`, and whether it is for damage. */
static sqlite3 *open_fit(const StoreSpec *spec, StoreFound *found, Fitness *fitness, char *why, size_t room) {
    sqlite3 *db = connect(spec->dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, OPENING_BUSY_MS, why, room);
    *fitness = db ? examine(db, spec, found, why, room) : REFUSED;
    if (*fitness == USABLE) return db;
    sqlite3_close(db);
    return NULL;
}

static sqlite3 *salvaged(const StoreSpec *spec, StoreFound *found, char *why, size_t room) {
    Fitness fitness;
    if (!store_salvage(spec, why, room)) return NULL;
    sqlite3 *db = open_fit(spec, found, &fitness, why, room);
    found->repaired = true;
    return db;
}

static sqlite3 *open_or_salvage(const StoreSpec *spec, StoreFound *found, char *why, size_t room) {
    Fitness fitness;
    sqlite3 *db = open_fit(spec, found, &fitness, why, room);
    if (fitness != DAMAGED) return db;
    if (spec->recover) return salvaged(spec, found, why, room);
    const size_t said = strlen(why);
    snprintf(why + said, room - said,
             ". Put a backup in its place; or start once with --recover, which keeps what can be read of it, moves the damaged file to %s/lost+found, and "
             "with it what is not known any more", spec->dir);
    return NULL;
}

sqlite3 *store_open_writer(const StoreSpec *spec, StoreFound *found, char *why, size_t room) {
    sqlite3 *db = store_salvage_finish(spec, why, room) && check_there(spec, why, room) ? open_or_salvage(spec, found, why, room) : NULL;
    if (!db) return NULL;
    sqlite3_wal_hook(db, on_commit, NULL);
    /* What is refused from now on is seen by whoever asked (store_begin). */
    if (store_migrate(db, (int64_t)embedded_nmigrations, why, room)) {
        store_make_shrinkable(db, spec->dir, spec->log);
        if (sync_folder(spec->dir) && sqlite3_busy_timeout(db, 0) == SQLITE_OK) return db;
        store_refuse(db, spec->dir, why, room);
    }
    sqlite3_close(db);
    return NULL;
}
