#include "server/store/store_sql.h"
#include "schema/base/time.h"
#include <errno.h>
#include <time.h>

/* How long to wait before another process's lock is tried again; and after how long without having met it the next one is another one. */
#define AGAIN_NS 10000000L
#define FORGOTTEN_NS ((int64_t)1000000000)

void store_bind_text(sqlite3_stmt *s, int i, const char *text) { sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC); }

const char *store_column_text(sqlite3_stmt *s, int column) {
    const unsigned char *text = sqlite3_column_text(s, column);
    return text ? (const char *)text : "";
}

bool store_intact(Store *store, sqlite3_stmt *s, int column, const char *what, const char *which) {
    if (sqlite3_column_int(s, column)) return true;
    store->damage++;
    log_put(store->log, LOG_ERROR, "damaged row", "of=\"%s\" which=%.100s", what, which);
    return false;
}

void store_finish(sqlite3_stmt *s) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

/* Says what went wrong, and remembers damage. */
static void note(Store *store, sqlite3_stmt *s, int code, const char *what) {
    int kind = code & 0xff;
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) store->damaged = true;
    log_put(store->log, LOG_ERROR, "database failed", "what=%s code=%d cause=\"%s\"", what,
            sqlite3_extended_errcode(sqlite3_db_handle(s)), sqlite3_errmsg(sqlite3_db_handle(s)));
}

StoreStep store_step(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) return STEP_ROW;
    if (code == SQLITE_DONE) return STEP_END;
    note(store, s, code, what);
    return STEP_FAILED;
}

static bool is_full(int cause) { return cause == ENOSPC || cause == EDQUOT; }

/* What the system had last against the file. */
static int errno_of(sqlite3_file *file) {
    int cause = 0;
    if (file && file->pMethods) file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &cause);
    return cause;
}

/* A full disk may be met by whatever writes: by a flush, too, or where the index of the log grows. */
static bool met_full_disk(sqlite3 *db) {
    sqlite3_file *file = NULL, *journal = NULL;
    const int code = sqlite3_extended_errcode(db);
    if (code == SQLITE_FULL || code == SQLITE_TOOBIG || code == SQLITE_IOERR_SHMSIZE) return true;
    if ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CANTOPEN) return false;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal);
    return is_full(sqlite3_system_errno(db)) || is_full(errno_of(file)) || is_full(errno_of(journal));
}

static ErrCode code_of(const Store *store) {
    if (met_full_disk(store->writer)) return ERR_storage_full;
    return (sqlite3_extended_errcode(store->writer) & 0xff) == SQLITE_BUSY ? ERR_storage_busy : ERR_internal;
}

ErrCode store_outcome(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    bool done = code == SQLITE_DONE || code == SQLITE_ROW;
    const ErrCode outcome = done ? ERR_NONE : code_of(store);
    if (!done) note(store, s, code, what);
    store_finish(s);
    return outcome;
}

bool store_has_room(const Store *store) { return !store->disk || disk_has_room(store->disk, 0); }

bool store_again(const Store *store, ErrCode code) { return code == ERR_storage_full && store->disk && disk_give_way(store->disk); }

/* ---- writes ---- */

/* Before a transaction, for the pragma is not taken within one. */
static bool set_durable(Store *store, bool durable) {
    if (store->durable == durable) return true;
    const bool set = sqlite3_exec(store->writer, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) == SQLITE_OK;
    if (set) store->durable = durable;
    return set || !durable;
}

/* With the lock held: another process's was met. True: it is worth waiting for. */
static bool note_locked(Store *store) {
    const int64_t now = time_monotonic_ns();
    const bool fresh = !store->locked_at || now - store->locked_at > FORGOTTEN_NS;
    if (fresh) store->locked_from = now;
    if (fresh) log_put(store->log, LOG_WARN, "database locked", "cause=\"another process holds its write lock\"");
    store->locked_at = now;
    return now - store->locked_from < STORE_PATIENCE_NS;
}

ErrCode store_begin(Store *store, StoreWrite kind) {
    for (;;) {
        pthread_mutex_lock(&store->lock);
        const int code = set_durable(store, kind == WRITE_DURABLE) ? sqlite3_step(store->begin) : SQLITE_ERROR;
        const ErrCode err = code == SQLITE_DONE ? ERR_NONE : code_of(store);
        sqlite3_reset(store->begin);
        if (!err) {
            store->locked_at = 0;
            return ERR_NONE;
        }
        if (err != ERR_storage_busy) note(store, store->begin, code, "begin");
        const bool again = err == ERR_storage_busy && note_locked(store) && kind == WRITE_DURABLE;
        pthread_mutex_unlock(&store->lock);
        if (!again) return err;
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_NS}, NULL);
    }
}

ErrCode store_end(Store *store, ErrCode code) {
    if (!code) code = store_outcome(store, store->commit, "commit");
    /* A full disk ends a transaction by itself. */
    if (code && !sqlite3_get_autocommit(store->writer)) store_outcome(store, store->rollback, "rollback");
    pthread_mutex_unlock(&store->lock);
    return code;
}
