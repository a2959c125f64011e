#include "server/store/store_purge.h"
#include "server/store/store_sql.h"
#include <stdint.h>

static bool run_sql(Store *store, const char *sql) {
    if (sqlite3_exec(store->writer, sql, NULL, NULL, NULL) == SQLITE_OK) return true;
    log_put(store->log, LOG_ERROR, "database failed", "what=vacuum cause=\"%s\"", sqlite3_errmsg(store->writer));
    return false;
}

/* Some rows of it by the statement. *any: there were some. */
static ErrCode take(Store *store, sqlite3_stmt *s, int64_t run, bool *any) {
    sqlite3_bind_int64(s, 1, run);
    ErrCode code = store_outcome(store, s, "deletion");
    *any = !code && sqlite3_changes(store->writer) > 0;
    return code;
}

/* Of a deleted run: points, then events, then all else. */
static ErrCode take_some(Store *store, int64_t run) {
    sqlite3_stmt *order[] = {store->purge_points, store->purge_events, store->purge_run};
    ErrCode code = ERR_NONE;
    bool any = false;
    for (size_t i = 0; i < sizeof order / sizeof *order && !code && !any; i++) code = take(store, order[i], run, &any);
    return code;
}

static StoreStep next_run(Store *store, int64_t *run) {
    StoreStep at = store_step(store, store->purge_next, "deletion");
    if (at == STEP_ROW) *run = sqlite3_column_int64(store->purge_next, 0);
    store_finish(store->purge_next);
    return at;
}

/* Pages at the end of the file take the places of free ones. A file that was not made for it stays as large as it is. */
static ErrCode shrink(Store *store, bool *more) {
    const StoreStep at = store_step(store, store->free_pages, "vacuum");
    const int64_t before = at == STEP_ROW ? sqlite3_column_int64(store->free_pages, 0) : 0;
    store_finish(store->free_pages);
    if (!before) return at == STEP_FAILED ? ERR_internal : ERR_NONE;
    if (!run_sql(store, "PRAGMA incremental_vacuum(512)")) return ERR_internal;
    const bool fewer = store_step(store, store->free_pages, "vacuum") == STEP_ROW && sqlite3_column_int64(store->free_pages, 0) < before;
    store_finish(store->free_pages);
    *more |= fewer;
    return ERR_NONE;
}

static ErrCode purge(Store *store, bool *more) {
    int64_t run;
    const StoreStep at = next_run(store, &run);
    ErrCode code = at == STEP_FAILED ? ERR_internal : at == STEP_ROW ? take_some(store, run) : ERR_NONE;
    *more = at == STEP_ROW;
    return code ? code : shrink(store, more);
}

static ErrCode purge_piece(Store *store, bool *more) {
    *more = false;
    const ErrCode code = store_begin(store, WRITE_CACHE); /* what is lost of it is done again */
    return code ? code : store_end(store, purge(store, more));
}

ErrCode store_purge(Store *store, bool *more) {
    ErrCode code = purge_piece(store, more);
    if (store_again(store, code)) code = purge_piece(store, more);
    /* The file itself shrinks when what was written is brought into it. */
    if (!code && !*more) {
        pthread_mutex_lock(&store->lock);
        run_sql(store, "PRAGMA wal_checkpoint(PASSIVE)");
        pthread_mutex_unlock(&store->lock);
    }
    return code;
}

ErrCode store_purge_runs(Store *store, void (*row)(void *arg, const char *id), void *arg) {
    sqlite3_stmt *s = store->runs_deleted;
    StoreStep at;
    while ((at = store_step(store, s, "deletion")) == STEP_ROW) row(arg, store_column_text(s, 0));
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}
