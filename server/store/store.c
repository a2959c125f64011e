#include "server/store/store.h"
#include "compiler/language/canon.h"
#include "server/store/store_check.h"
#include "server/store/store_open.h"
#include "server/store/store_sql.h"
#include "schema/base/time.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void stored_program_release(StoredProgram *p) {
    free(p->hash);
    free(p->canonical);
    free(p->record);
    free(p->text);
    *p = (StoredProgram){0};
}

static bool prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out) {
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK;
}

static uint64_t sum_of_graphs(Store *store) {
    uint64_t total = store_step(store, store->total, "size") == STEP_ROW ? (uint64_t)sqlite3_column_int64(store->total, 0) : 0;
    store_finish(store->total);
    return total;
}

static bool prepare_all(Store *store) {
#define STATEMENT(name, connection, sql) \
    if (!prepare(store->connection, sql, &store->name)) return false;
    STORE_STATEMENTS(STATEMENT)
#undef STATEMENT
    return true;
}

static bool start_checker(Store *store, const char *dir, char *why, size_t room) {
    sqlite3 *reader = store_open_reader(dir, why, room);
    if (reader && store_checker_start(store, reader)) return true;
    if (reader) snprintf(why, room, "there is no thread to check the database");
    return false;
}

Store *store_open(const StoreSpec *spec, char *why, size_t room) {
    StoreFound found = {0};
    Store *store = calloc(1, sizeof *store);
    if (!store) return NULL;
    pthread_mutex_init(&store->lock, NULL);
    store->log = spec->log;
    store->graph_bytes = spec->graph_bytes;
    snprintf(store->version, sizeof store->version, "%s", spec->version);
    store->claim = store_claim(spec->dir, why, room);
    store->writer = store->claim >= 0 ? store_open_writer(spec, &found, why, room) : NULL;
    store->reader = store->writer ? store_open_reader(spec->dir, why, room) : NULL;
    store->durable = true;
    store->repaired = found.repaired;
    bool ok = store->reader && (prepare_all(store) || store_refuse(store->writer, spec->dir, why, room));
    if (ok && found.unchecked) ok = start_checker(store, spec->dir, why, room);
    if (!ok) {
        store_close(store);
        return NULL;
    }
    store->total_bytes = sum_of_graphs(store);
    store_count_checkpoints(store);
    return store;
}

void store_close(Store *store) {
    if (!store) return;
    store_checker_stop(store);
#define STATEMENT(name, connection, sql) sqlite3_finalize(store->name);
    STORE_STATEMENTS(STATEMENT)
#undef STATEMENT
    sqlite3_close(store->reader);
    sqlite3_close(store->writer);
    if (store->claim >= 0) close(store->claim);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

void store_use_disk(Store *store, Disk *disk) { store->disk = disk; }

/* ---- reads ---- */

uint64_t store_damage(Store *store) { return store->damage; }

const char *store_library(void) { return sqlite3_libversion(); }

StoreState store_state(Store *store) {
    if (!store_healthy(store)) return STORE_DAMAGED;
    return store_checking(store) ? STORE_CHECKING : store->repaired ? STORE_REPAIRED : STORE_SOUND;
}

bool store_healthy(Store *store) {
    bool ok = !store->damaged && store_step(store, store->ping, "ping") == STEP_ROW;
    store_finish(store->ping);
    return ok;
}

bool store_program_get(Store *store, const char *hash, StoredProgram *out) {
    sqlite3_stmt *s = store->program;
    *out = (StoredProgram){0};
    store_bind_text(s, 1, hash);
    bool found = store_step(store, s, "program") == STEP_ROW;
    if (found) {
        const unsigned char *canonical = sqlite3_column_blob(s, 0);
        size_t len = (size_t)sqlite3_column_bytes(s, 0);
        char real[CANON_HASH_TEXT] = "";
        if (canonical) canon_hash(canonical, len, real);
        if (strcmp(real, hash) == 0 && (out->canonical = malloc(len + 1)) && (out->hash = strdup(hash))) {
            memcpy(out->canonical, canonical, len);
            out->canonical_len = len;
            bool current = strcmp(store_column_text(s, 3), store->version) == 0;
            bool intact = store_intact(store, s, 4, "program", hash);
            if (intact && current) out->record = strdup(store_column_text(s, 1));
            if (intact) out->text = strdup(store_column_text(s, 2));
            if (intact && !current) log_put(store->log, LOG_WARN, "program record not used", "hash=%s cause=outdated", hash);
        } else {
            store->damage++;
            log_put(store->log, LOG_ERROR, "damaged row", "of=\"program\" which=%s", hash);
            stored_program_release(out);
            found = false;
        }
    }
    store_finish(s);
    return found;
}

bool store_graph_get(Store *store, const char *hash, const char *variant, Buf *out) {
    sqlite3_stmt *s = store->graph;
    store_bind_text(s, 1, hash);
    store_bind_text(s, 2, variant);
    bool good = false;
    if (store_step(store, s, "graph") == STEP_ROW) {
        const bool current = strcmp(store_column_text(s, 1), store->version) == 0;
        good = current && store_intact(store, s, 2, "graph", hash);
        if (good) buf_put(out, sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        else if (!current) log_put(store->log, LOG_WARN, "graph not used", "hash=%s variant=%s cause=outdated", hash, variant);
        good = good && !out->failed;
    }
    store_finish(s);
    return good;
}

ErrCode store_programs(Store *store, const StorePlace *after, size_t limit, StoreRow *row, void *arg, StorePlace *last) {
    sqlite3_stmt *s = store->list;
    bool first = !*after->key, more = true;
    StoreStep at = STEP_END;
    sqlite3_bind_int64(s, 1, first ? INT64_MAX : (int64_t)after->created);
    store_bind_text(s, 2, after->key);
    sqlite3_bind_int64(s, 3, (int64_t)limit + 1);
    for (size_t n = 0; more && n < limit && (at = store_step(store, s, "programs")) == STEP_ROW; n++) {
        last->created = (uint64_t)sqlite3_column_int64(s, 0);
        snprintf(last->key, sizeof last->key, "%s", store_column_text(s, 1));
        if (store_intact(store, s, 3, "program", last->key)) more = row(arg, store_column_text(s, 2), (size_t)sqlite3_column_bytes(s, 2));
    }
    /* One more was asked for, to see whether there is any. */
    if (at == STEP_ROW) at = store_step(store, s, "programs");
    if (at != STEP_ROW) *last->key = 0;
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

/* ---- writes ---- */

ErrCode store_program_put(Store *store, const char *hash, const void *canonical, size_t canonical_len, const char *record,
                          const char *text) {
    if (!store_has_room(store)) return ERR_storage_full;
    ErrCode code = store_begin(store, WRITE_CACHE);
    if (code) return code;
    sqlite3_stmt *s = store->put_program;
    store_bind_text(s, 1, hash);
    sqlite3_bind_blob64(s, 2, canonical, canonical_len, SQLITE_STATIC);
    store_bind_text(s, 3, record);
    store_bind_text(s, 4, text);
    store_bind_text(s, 5, store->version);
    sqlite3_bind_int64(s, 6, time_epoch_us());
    return store_end(store, store_outcome(store, s, "program"));
}

/* Graphs go, the least recently used first, until the size limit holds again. */
static void evict(Store *store) {
    while (store->total_bytes > store->graph_bytes) {
        bool row = store_step(store, store->evict, "eviction") == STEP_ROW;
        uint64_t bytes = row ? (uint64_t)sqlite3_column_int64(store->evict, 0) : 0;
        store_finish(store->evict);
        if (!row) break;
        store->total_bytes -= bytes < store->total_bytes ? bytes : store->total_bytes;
    }
}

ErrCode store_graph_put(Store *store, const char *hash, const char *variant, const void *blob, size_t len) {
    if (!store_has_room(store)) return ERR_storage_full;
    ErrCode code = store_begin(store, WRITE_CACHE);
    if (code) return code;
    sqlite3_stmt *s = store->put_graph;
    store_bind_text(s, 1, hash);
    store_bind_text(s, 2, variant);
    store_bind_text(s, 3, store->version);
    sqlite3_bind_blob64(s, 4, blob, len, SQLITE_STATIC);
    sqlite3_bind_int64(s, 5, (int64_t)len);
    sqlite3_bind_int64(s, 6, time_epoch_us());
    code = store_outcome(store, s, "graph");
    if (code == ERR_NONE) {
        store->total_bytes += len;
        /* A replaced row was counted twice; the exact sum is taken only when it matters. */
        if (store->total_bytes > store->graph_bytes) store->total_bytes = sum_of_graphs(store);
        evict(store);
    }
    return store_end(store, code);
}

ErrCode store_touch(Store *store, const char *hash, const char *variant) {
    ErrCode code = store_begin(store, WRITE_CACHE);
    if (code) return code;
    store_bind_text(store->touch, 1, hash);
    store_bind_text(store->touch, 2, variant);
    sqlite3_bind_int64(store->touch, 3, time_epoch_us());
    return store_end(store, store_outcome(store, store->touch, "touch"));
}

static ErrCode delete_program(Store *store, const char *hash) {
    ErrCode code = store_begin(store, WRITE_DURABLE);
    if (code) return code;
    store_bind_text(store->program_held, 1, hash);
    bool held = store_step(store, store->program_held, "program's runs") != STEP_END;
    store_finish(store->program_held);
    store_bind_text(store->delete, 1, hash);
    code = held ? ERR_conflict : store_outcome(store, store->delete, "delete");
    if (code == ERR_NONE && sqlite3_changes(store->writer) == 0) code = ERR_not_found;
    store->total_bytes = sum_of_graphs(store);
    return store_end(store, code);
}

ErrCode store_program_delete(Store *store, const char *hash) {
    ErrCode code = delete_program(store, hash);
    return store_again(store, code) ? delete_program(store, hash) : code;
}
