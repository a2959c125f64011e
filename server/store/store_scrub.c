#include "server/store/store_scrub.h"
#include "compiler/language/canon.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <string.h>

void store_scrub_get(Store *store, ScrubPlace *at, int64_t *started) {
    int kind = 0;
    long long a = 0, b = 0;
    *at = (ScrubPlace){0};
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *s = store->scrub_at;
    const bool row = store_step(store, s, "scrub") == STEP_ROW;
    *started = row ? sqlite3_column_int64(s, 0) : 0;
    if (row && sscanf(store_column_text(s, 1), "%d %lld %lld %79s", &kind, &a, &b, at->key) >= 3 && kind >= 0 && kind < SCRUB_KINDS)
        at->kind = (ScrubKind)kind, at->a = a, at->b = b;
    else if (row)
        *at = (ScrubPlace){.kind = SCRUB_KINDS};
    store_finish(s);
    pthread_mutex_unlock(&store->lock);
}

ErrCode store_scrub_put(Store *store, const ScrubPlace *at, int64_t started) {
    char place[160] = "";
    if (at->kind < SCRUB_KINDS) snprintf(place, sizeof place, "%d %lld %lld %s", (int)at->kind, (long long)at->a, (long long)at->b, at->key);
    const ErrCode code = store_begin(store, WRITE_CACHE);
    if (code) return code;
    sqlite3_bind_int64(store->put_scrub, 1, started);
    store_bind_text(store->put_scrub, 2, place);
    return store_end(store, store_outcome(store, store->put_scrub, "scrub"));
}

ErrCode store_scrub_content(Store *store, ScrubPlace *at) {
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *s = store->scrub_content;
    store_bind_text(s, 1, at->key);
    const StoreStep step = store_step(store, s, "scrub");
    char key[sizeof at->key] = "";
    if (step == STEP_ROW) snprintf(key, sizeof key, "%s", store_column_text(s, 0));
    store_finish(s);
    pthread_mutex_unlock(&store->lock);
    strcpy(at->key, key);
    return step == STEP_FAILED ? ERR_internal : *key ? ERR_NONE : ERR_not_found;
}

ErrCode store_scrub_checkpoint(Store *store, ScrubPlace *at, char id[RUN_ID + 1], RunCheckpoint *out) {
    pthread_mutex_lock(&store->lock);
    sqlite3_stmt *s = store->scrub_checkpoint;
    sqlite3_bind_int64(s, 1, at->a);
    sqlite3_bind_int64(s, 2, at->b);
    const StoreStep step = store_step(store, s, "scrub");
    if (step == STEP_ROW) {
        *out = (RunCheckpoint){(uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1), {0}, sqlite3_column_int(s, 3)};
        if (sqlite3_column_bytes(s, 2) == sizeof out->sum) memcpy(out->sum, sqlite3_column_blob(s, 2), sizeof out->sum);
        at->a = sqlite3_column_int64(s, 4);
        at->b = (int64_t)out->step;
        snprintf(id, RUN_ID + 1, "%s", store_column_text(s, 5));
    }
    store_finish(s);
    pthread_mutex_unlock(&store->lock);
    return step == STEP_FAILED ? ERR_internal : step == STEP_END ? ERR_not_found : ERR_NONE;
}

/* A program's name is the sum of its canonical form. */
static bool is_named(sqlite3_stmt *s) {
    char hash[CANON_HASH_TEXT] = "";
    canon_hash(sqlite3_column_blob(s, 4), (size_t)sqlite3_column_bytes(s, 4), hash);
    return strcmp(hash, store_column_text(s, 1)) == 0;
}

static void look_at(Store *store, sqlite3_stmt *s, ScrubPlace *at, const char *what, uint64_t *bytes) {
    char which[sizeof at->key];
    at->a = sqlite3_column_int64(s, 0);
    snprintf(at->key, sizeof at->key, "%s", store_column_text(s, 1));
    snprintf(which, sizeof which, *at->key ? "%s" : "%.0s%lld", at->key, (long long)at->a);
    if (store_intact(store, s, 2, what, which) && at->kind == SCRUB_PROGRAMS && !is_named(s)) {
        store->damage++;
        log_put(store->log, LOG_ERROR, "damaged row", "of=\"%s\" which=%s", what, which);
    }
    *bytes += (uint64_t)sqlite3_column_int64(s, 3);
}

ErrCode store_scrub_rows(Store *store, ScrubPlace *at, uint64_t *bytes) {
    static const char *const what[SCRUB_KINDS] = {NULL, NULL, "program", "graph", "data set", "run", "events", "metrics", "metrics", "content"};
    sqlite3_stmt *const statements[SCRUB_KINDS] = {NULL, NULL, store->scrub_programs, store->scrub_graphs, store->scrub_datasets, store->scrub_runs,
                                                   store->scrub_events, store->scrub_points, store->scrub_series, store->scrub_sums};
    sqlite3_stmt *s = statements[at->kind];
    char after[sizeof at->key];
    StoreStep step;
    size_t rows = 0;
    *bytes = 0;
    strcpy(after, at->key);
    pthread_mutex_lock(&store->lock);
    sqlite3_bind_int64(s, 1, at->a);
    store_bind_text(s, 2, after);
    if (at->kind == SCRUB_GRAPHS) store_bind_text(s, 3, store->version);
    for (; (step = store_step(store, s, "scrub")) == STEP_ROW; rows++) look_at(store, s, at, what[at->kind], bytes);
    store_finish(s);
    pthread_mutex_unlock(&store->lock);
    return step == STEP_FAILED ? ERR_internal : rows ? ERR_NONE : ERR_not_found;
}

uint64_t store_damaged_files(Store *store) {
    sqlite3_stmt *s = store->damaged_files;
    const uint64_t n = store_step(store, s, "damage") == STEP_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    store_finish(s);
    return n;
}
