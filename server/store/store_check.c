#include "server/store/store_check.h"
#include "server/store/store_migrate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool store_check(sqlite3 *db, const char *table, char *why, size_t room) {
    sqlite3_stmt *s = NULL;
    char *sql = table ? sqlite3_mprintf("PRAGMA integrity_check(%Q)", table) : sqlite3_mprintf("PRAGMA integrity_check(1)");
    bool answered = sql && sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    snprintf(why, room, "%s", answered ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db));
    sqlite3_finalize(s);
    sqlite3_free(sql);
    for (char *p = why; *p; p++)
        if (*p == '\n') *p = ' ';
    return answered && strcmp(why, "ok") == 0;
}

/* Within a transaction. table: NULL for all. */
static bool rebuild(sqlite3 *db, const char *table, char *why, size_t room) {
    char *sql = table ? sqlite3_mprintf("REINDEX %Q", table) : sqlite3_mprintf("REINDEX");
    bool made = sql && store_run(db, sql);
    if (!made) snprintf(why, room, "%s", sqlite3_errmsg(db));
    sqlite3_free(sql);
    return made && store_check(db, table, why, room);
}

bool store_rebuild_indexes(sqlite3 *db, char *why, size_t room) {
    if (store_run(db, "BEGIN IMMEDIATE") && rebuild(db, NULL, why, room) && store_run(db, "COMMIT")) return true;
    store_run(db, "ROLLBACK");
    return false;
}

/* ---- beside the service ---- */

struct StoreChecker {
    Store *store;
    sqlite3 *db;
    pthread_t thread;
    atomic_bool stop, done;
};

static void mend(StoreChecker *c, const char *table, const char *first) {
    Store *store = c->store;
    char why[300];
    log_put(store->log, LOG_ERROR, "database damaged", "table=%s cause=\"%s\"", table, first);
    ErrCode code = store_begin(store, WRITE_DURABLE);
    if (!code) code = store_end(store, rebuild(store->writer, table, why, sizeof why) ? ERR_NONE : ERR_internal);
    /* As the file has it: the writer may have sound pages in memory. */
    if (code || !store_check(c->db, table, why, sizeof why)) {
        store->damaged = true;
        return;
    }
    store->repaired = true;
    log_put(store->log, LOG_WARN, "database repaired", "table=%s how=\"its indexes were made again\"", table);
}

/* The table behind place *at of the schema, in which no read lies open then; sqlite3_free. NULL: no more. */
static char *next_table(sqlite3 *db, int64_t *at) {
    static const char sql[] = "SELECT rowid, name FROM sqlite_schema WHERE type = 'table' AND rowid > ?1 ORDER BY rowid LIMIT 1";
    sqlite3_stmt *s = NULL;
    char *name = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_bind_int64(s, 1, *at) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        *at = sqlite3_column_int64(s, 0);
        name = sqlite3_mprintf("%s", sqlite3_column_text(s, 1));
    }
    sqlite3_finalize(s);
    return name;
}

static void *look_through(void *arg) {
    StoreChecker *c = arg;
    Store *store = c->store;
    int64_t at = 0;
    size_t n = 0;
    for (char *table; !atomic_load(&c->stop) && (table = next_table(c->db, &at)); n++) {
        char first[300];
        if (!store_check(c->db, table, first, sizeof first) && !atomic_load(&c->stop)) mend(c, table, first);
        sqlite3_free(table);
    }
    if (!atomic_load(&c->stop)) log_put(store->log, LOG_INFO, "database checked", "tables=%zu sound=%s", n, store->damaged ? "no" : "yes");
    atomic_store(&c->done, true);
    return NULL;
}

bool store_checker_start(Store *store, sqlite3 *reader) {
    StoreChecker *c = calloc(1, sizeof *c);
    if (c) *c = (StoreChecker){.store = store, .db = reader};
    if (c && pthread_create(&c->thread, NULL, look_through, c) == 0) {
        store->checker = c;
        return true;
    }
    sqlite3_close(reader);
    free(c);
    return false;
}

void store_checker_stop(Store *store) {
    StoreChecker *c = store->checker;
    if (!c) return;
    atomic_store(&c->stop, true);
    /* It may be between two statements, where there is nothing to interrupt. */
    while (!atomic_load(&c->done)) {
        sqlite3_interrupt(c->db);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    pthread_join(c->thread, NULL);
    sqlite3_close(c->db);
    free(c);
    store->checker = NULL;
}

bool store_checking(const Store *store) { return store->checker && !atomic_load(&store->checker->done); }
