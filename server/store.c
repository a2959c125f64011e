#include "server/store.h"
#include "compiler/canon.h"
#include "server/store_open.h"
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUM = crypto_generichash_BYTES_MIN };

/* STATEMENT(name, connection, SQL) */
#define STATEMENTS(STATEMENT) \
    STATEMENT(ping, reader, "SELECT (SELECT hash FROM programs LIMIT 1), (SELECT id FROM graphs LIMIT 1)") \
    STATEMENT(program, reader, "SELECT canonical, record, text, version, checksum FROM programs WHERE hash = ?1") \
    STATEMENT(graph, reader, "SELECT blob, checksum, version FROM graphs WHERE hash = ?1 AND variant = ?2") \
    STATEMENT(list, reader, "SELECT created, hash, record, text, checksum FROM programs WHERE (created, hash) < (?1, ?2)" \
              " ORDER BY created DESC, hash DESC LIMIT ?3") \
    STATEMENT(put_program, writer, "INSERT INTO programs (hash, canonical, record, text, version, checksum, created)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)" \
              " ON CONFLICT (hash) DO UPDATE SET canonical = ?2, record = ?3, text = ?4, version = ?5, checksum = ?6") \
    STATEMENT(put_graph, writer, "INSERT INTO graphs (hash, variant, version, blob, checksum, bytes, last_used)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)" \
              " ON CONFLICT (hash, variant) DO UPDATE SET version = ?3, blob = ?4, checksum = ?5, bytes = ?6, last_used = ?7") \
    STATEMENT(touch, writer, "UPDATE graphs SET last_used = ?3 WHERE hash = ?1 AND variant = ?2") \
    STATEMENT(delete, writer, "DELETE FROM programs WHERE hash = ?1") \
    STATEMENT(total, writer, "SELECT coalesce(sum(bytes), 0) FROM graphs") \
    STATEMENT(evict, writer, "DELETE FROM graphs WHERE id = (SELECT g.id FROM graphs g JOIN programs p USING (hash)" \
              " WHERE p.pinned = 0 ORDER BY g.last_used LIMIT 1)" \
              " RETURNING bytes")

struct Store {
    sqlite3 *reader, *writer;
#define STATEMENT(name, connection, sql) sqlite3_stmt *name;
    STATEMENTS(STATEMENT)
#undef STATEMENT
    const Log *log;
    pthread_mutex_t lock; /* guards the writer and total_bytes */
    uint64_t graph_bytes, total_bytes;
    int claim;
    atomic_bool damaged;
    char version[64];
};

void stored_program_release(StoredProgram *p) {
    free(p->hash);
    free(p->canonical);
    free(p->record);
    free(p->text);
    *p = (StoredProgram){0};
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out) {
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK;
}

static void bind_text(sqlite3_stmt *s, int i, const char *text) { sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC); }

static void finish(sqlite3_stmt *s) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

/* Says what went wrong, and remembers damage. */
static void note(Store *store, sqlite3_stmt *s, int code, const char *what) {
    int kind = code & 0xff;
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) store->damaged = true;
    log_put(store->log, LOG_ERROR, "database failed", "what=%s cause=\"%s\"", what, sqlite3_errmsg(sqlite3_db_handle(s)));
}

typedef enum { STEP_ROW, STEP_END, STEP_FAILED } Step;

static Step step(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) return STEP_ROW;
    if (code == SQLITE_DONE) return STEP_END;
    note(store, s, code, what);
    return STEP_FAILED;
}

static uint64_t sum_of_graphs(Store *store) {
    uint64_t total = step(store, store->total, "size") == STEP_ROW ? (uint64_t)sqlite3_column_int64(store->total, 0) : 0;
    finish(store->total);
    return total;
}

Store *store_open(const char *dir, const char *version, uint64_t graph_bytes, const Log *log, char *why, size_t room) {
    Store *store = calloc(1, sizeof *store);
    if (!store) return NULL;
    pthread_mutex_init(&store->lock, NULL);
    store->log = log;
    store->graph_bytes = graph_bytes;
    snprintf(store->version, sizeof store->version, "%s", version);
    store->claim = store_claim(dir, why, room);
    store->writer = store->claim >= 0 ? store_connect(dir, true, why, room) : NULL;
    store->reader = store->writer ? store_connect(dir, false, why, room) : NULL;
    bool ok = store->reader != NULL;
#define STATEMENT(name, connection, sql) \
    if (ok && !prepare(store->connection, sql, &store->name)) { \
        snprintf(why, room, "the database in %s cannot be used: %s", dir, sqlite3_errmsg(store->connection)); \
        ok = false; \
    }
    STATEMENTS(STATEMENT)
#undef STATEMENT
    if (!ok) {
        store_close(store);
        return NULL;
    }
    char damage[300];
    if (!store_check(store->reader, damage, sizeof damage)) {
        store->damaged = true;
        log_put(log, LOG_ERROR, "database damaged", "dir=%s cause=\"%s\"", dir, damage);
    }
    store->total_bytes = sum_of_graphs(store);
    return store;
}

void store_close(Store *store) {
    if (!store) return;
#define STATEMENT(name, connection, sql) sqlite3_finalize(store->name);
    STATEMENTS(STATEMENT)
#undef STATEMENT
    sqlite3_close(store->reader);
    sqlite3_close(store->writer);
    if (store->claim >= 0) close(store->claim);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* ---- reads ---- */

const char *store_library(void) { return sqlite3_libversion(); }

bool store_healthy(Store *store) {
    bool ok = !store->damaged && step(store, store->ping, "ping") == STEP_ROW;
    finish(store->ping);
    return ok;
}

static void sum_program(unsigned char out[SUM], const char *record, const char *text) {
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, SUM);
    crypto_generichash_update(&state, (const unsigned char *)record, strlen(record) + 1);
    crypto_generichash_update(&state, (const unsigned char *)text, strlen(text));
    crypto_generichash_final(&state, out, SUM);
}

static bool sum_is(sqlite3_stmt *s, int column, const unsigned char sum[SUM]) {
    const void *stored = sqlite3_column_blob(s, column);
    return stored && sqlite3_column_bytes(s, column) == SUM && memcmp(stored, sum, SUM) == 0;
}

static const char *column_text(sqlite3_stmt *s, int column) {
    const unsigned char *text = sqlite3_column_text(s, column);
    return text ? (const char *)text : "";
}

static bool program_intact(sqlite3_stmt *s, int record, int text, int checksum) {
    unsigned char sum[SUM];
    sum_program(sum, column_text(s, record), column_text(s, text));
    return sum_is(s, checksum, sum);
}

bool store_program_get(Store *store, const char *hash, StoredProgram *out) {
    sqlite3_stmt *s = store->program;
    *out = (StoredProgram){0};
    bind_text(s, 1, hash);
    bool found = step(store, s, "program") == STEP_ROW;
    if (found) {
        const unsigned char *canonical = sqlite3_column_blob(s, 0);
        size_t len = (size_t)sqlite3_column_bytes(s, 0);
        char real[CANON_HASH_TEXT] = "";
        if (canonical) canon_hash(canonical, len, real);
        if (strcmp(real, hash) == 0 && (out->canonical = malloc(len + 1)) && (out->hash = strdup(hash))) {
            memcpy(out->canonical, canonical, len);
            out->canonical_len = len;
            bool current = strcmp(column_text(s, 3), store->version) == 0;
            bool intact = program_intact(s, 1, 2, 4);
            if (intact && current) out->record = strdup(column_text(s, 1));
            if (intact) out->text = strdup(column_text(s, 2));
            if (!out->record)
                log_put(store->log, LOG_WARN, "program record not used", "hash=%s cause=%s", hash, intact ? "outdated" : "damaged");
        } else {
            log_put(store->log, LOG_ERROR, "damaged program", "hash=%s", hash);
            stored_program_release(out);
            found = false;
        }
    }
    finish(s);
    return found;
}

bool store_graph_get(Store *store, const char *hash, const char *variant, Buf *out) {
    sqlite3_stmt *s = store->graph;
    bind_text(s, 1, hash);
    bind_text(s, 2, variant);
    bool good = false;
    if (step(store, s, "graph") == STEP_ROW) {
        const void *blob = sqlite3_column_blob(s, 0);
        size_t len = (size_t)sqlite3_column_bytes(s, 0);
        unsigned char sum[SUM];
        crypto_generichash(sum, SUM, blob, len, NULL, 0);
        bool current = strcmp(column_text(s, 2), store->version) == 0;
        good = current && blob && sum_is(s, 1, sum);
        if (good) buf_put(out, blob, len);
        else log_put(store->log, LOG_WARN, "graph not used", "hash=%s variant=%s cause=%s", hash, variant,
                     current ? "damaged" : "outdated");
        good = good && !out->failed;
    }
    finish(s);
    return good;
}

ErrCode store_programs(Store *store, const StorePlace *after, size_t limit, StoreRow *row, void *arg, StorePlace *last) {
    sqlite3_stmt *s = store->list;
    bool first = !*after->hash, more = true;
    Step at = STEP_END;
    sqlite3_bind_int64(s, 1, first ? INT64_MAX : (int64_t)after->created);
    bind_text(s, 2, after->hash);
    sqlite3_bind_int64(s, 3, (int64_t)limit + 1);
    for (size_t n = 0; more && n < limit && (at = step(store, s, "programs")) == STEP_ROW; n++) {
        last->created = (uint64_t)sqlite3_column_int64(s, 0);
        snprintf(last->hash, sizeof last->hash, "%s", column_text(s, 1));
        if (program_intact(s, 2, 3, 4)) more = row(arg, column_text(s, 2), (size_t)sqlite3_column_bytes(s, 2));
        else log_put(store->log, LOG_WARN, "program record not used", "hash=%s cause=damaged", last->hash);
    }
    /* One more was asked for, to see whether there is any. */
    if (at == STEP_ROW) at = step(store, s, "programs");
    if (at != STEP_ROW) *last->hash = 0;
    finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

/* ---- writes ---- */

static ErrCode outcome(Store *store, sqlite3_stmt *s, const char *what) {
    int code = sqlite3_step(s);
    bool done = code == SQLITE_DONE || code == SQLITE_ROW;
    if (!done) note(store, s, code, what);
    finish(s);
    if (done) return ERR_NONE;
    return code == SQLITE_FULL || code == SQLITE_TOOBIG ? ERR_storage_full : ERR_internal;
}

ErrCode store_program_put(Store *store, const char *hash, const void *canonical, size_t canonical_len, const char *record,
                          const char *text) {
    unsigned char sum[SUM];
    sum_program(sum, record, text);
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *s = store->put_program;
    bind_text(s, 1, hash);
    sqlite3_bind_blob64(s, 2, canonical, canonical_len, SQLITE_STATIC);
    bind_text(s, 3, record);
    bind_text(s, 4, text);
    bind_text(s, 5, store->version);
    sqlite3_bind_blob(s, 6, sum, SUM, SQLITE_STATIC);
    sqlite3_bind_int64(s, 7, now_us());
    ErrCode code = outcome(store, s, "program");
    pthread_mutex_unlock(&store->lock);
    return code;
}

/* Graphs go, the least recently used first, until the size limit holds again. */
static void evict(Store *store) {
    while (store->total_bytes > store->graph_bytes) {
        bool row = step(store, store->evict, "eviction") == STEP_ROW;
        uint64_t bytes = row ? (uint64_t)sqlite3_column_int64(store->evict, 0) : 0;
        finish(store->evict);
        if (!row) break;
        store->total_bytes -= bytes < store->total_bytes ? bytes : store->total_bytes;
    }
}

ErrCode store_graph_put(Store *store, const char *hash, const char *variant, const void *blob, size_t len) {
    unsigned char sum[SUM];
    crypto_generichash(sum, SUM, blob, len, NULL, 0);
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *s = store->put_graph;
    bind_text(s, 1, hash);
    bind_text(s, 2, variant);
    bind_text(s, 3, store->version);
    sqlite3_bind_blob64(s, 4, blob, len, SQLITE_STATIC);
    sqlite3_bind_blob(s, 5, sum, SUM, SQLITE_STATIC);
    sqlite3_bind_int64(s, 6, (int64_t)len);
    sqlite3_bind_int64(s, 7, now_us());
    ErrCode code = outcome(store, s, "graph");
    if (code == ERR_NONE) {
        store->total_bytes += len;
        /* A replaced row was counted twice; the exact sum is taken only when it matters. */
        if (store->total_bytes > store->graph_bytes) store->total_bytes = sum_of_graphs(store);
        evict(store);
    }
    pthread_mutex_unlock(&store->lock);
    return code;
}

ErrCode store_touch(Store *store, const char *hash, const char *variant) {
    pthread_mutex_lock(&store->lock);
    bind_text(store->touch, 1, hash);
    bind_text(store->touch, 2, variant);
    sqlite3_bind_int64(store->touch, 3, now_us());
    ErrCode code = outcome(store, store->touch, "touch");
    pthread_mutex_unlock(&store->lock);
    return code;
}

ErrCode store_program_delete(Store *store, const char *hash) {
    pthread_mutex_lock(&store->lock);
    bind_text(store->delete, 1, hash);
    ErrCode code = outcome(store, store->delete, "delete");
    if (code == ERR_NONE && sqlite3_changes(store->writer) == 0) code = ERR_not_found;
    store->total_bytes = sum_of_graphs(store);
    pthread_mutex_unlock(&store->lock);
    return code;
}
