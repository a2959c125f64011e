#include "server/store/store_sql.h"

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
    log_put(store->log, LOG_ERROR, "database failed", "what=%s cause=\"%s\"", what, sqlite3_errmsg(sqlite3_db_handle(s)));
}

StoreStep store_step(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) return STEP_ROW;
    if (code == SQLITE_DONE) return STEP_END;
    note(store, s, code, what);
    return STEP_FAILED;
}

ErrCode store_outcome(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    bool done = code == SQLITE_DONE || code == SQLITE_ROW;
    if (!done) note(store, s, code, what);
    store_finish(s);
    if (done) return ERR_NONE;
    return code == SQLITE_FULL || code == SQLITE_TOOBIG ? ERR_storage_full : ERR_internal;
}

ErrCode store_begin(Store *store) {
    pthread_mutex_lock(&store->lock);
    ErrCode code = store_outcome(store, store->begin, "begin");
    if (code) pthread_mutex_unlock(&store->lock);
    return code;
}

ErrCode store_end(Store *store, ErrCode code) {
    if (!code) code = store_outcome(store, store->commit, "commit");
    /* A full disk ends a transaction by itself. */
    if (code && !sqlite3_get_autocommit(store->writer)) store_outcome(store, store->rollback, "rollback");
    pthread_mutex_unlock(&store->lock);
    return code;
}
