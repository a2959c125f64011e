#include "server/store/store_data.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stored_dataset_release(StoredDataset *d) {
    free(d->record);
    *d = (StoredDataset){0};
}

ErrCode store_dataset_get(Store *store, const char *name, StoredDataset *out) {
    sqlite3_stmt *s = store->dataset;
    *out = (StoredDataset){0};
    store_bind_text(s, 1, name);
    StoreStep at = store_step(store, s, "data set");
    ErrCode code = at == STEP_ROW ? ERR_NONE : at == STEP_END ? ERR_not_found : ERR_internal;
    if (code == ERR_NONE && !store_intact(store, s, 3, "data set", name)) code = ERR_damaged;
    if (code == ERR_NONE) {
        snprintf(out->sha256, sizeof out->sha256, "%s", store_column_text(s, 0));
        out->record = strdup(store_column_text(s, 1));
        out->created = sqlite3_column_int64(s, 2);
        out->damaged = sqlite3_column_int(s, 4);
        if (!out->record) code = ERR_internal;
    }
    store_finish(s);
    return code;
}

ErrCode store_datasets(Store *store, const StorePlace *after, size_t limit, StoreDatasetRow *row, void *arg, StorePlace *last) {
    sqlite3_stmt *s = store->dataset_list;
    bool first = !*after->key, more = true;
    StoreStep at = STEP_END;
    sqlite3_bind_int64(s, 1, first ? INT64_MAX : (int64_t)after->created);
    store_bind_text(s, 2, after->key);
    sqlite3_bind_int64(s, 3, (int64_t)limit + 1);
    for (size_t n = 0; more && n < limit && (at = store_step(store, s, "data sets")) == STEP_ROW; n++) {
        last->created = (uint64_t)sqlite3_column_int64(s, 0);
        snprintf(last->key, sizeof last->key, "%s", store_column_text(s, 1));
        if (store_intact(store, s, 3, "data set", last->key))
            more = row(arg, store_column_text(s, 2), (size_t)sqlite3_column_bytes(s, 2), sqlite3_column_int(s, 4));
    }
    /* One more was asked for, to see whether there is any. */
    if (at == STEP_ROW) at = store_step(store, s, "data sets");
    if (at != STEP_ROW) *last->key = 0;
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

/* ---- writes ---- */

/* What the name has now, with the lock held. */
static RowResult look(Store *store, const char *name, char sha256[DATASET_SHA + 1], bool *held) {
    sqlite3_stmt *s = store->dataset_now;
    store_bind_text(s, 1, name);
    StoreStep at = store_step(store, s, "data set");
    bool row = at == STEP_ROW;
    snprintf(sha256, DATASET_SHA + 1, "%s", row ? store_column_text(s, 0) : "");
    *held = row && sqlite3_column_int(s, 1);
    store_finish(s);
    return at == STEP_FAILED ? ROW_FAILED : row ? ROW_DONE : ROW_ABSENT;
}

static RowResult result_of(ErrCode code) {
    switch (code) {
    case ERR_NONE: return ROW_DONE;
    case ERR_storage_full: return ROW_FULL;
    case ERR_storage_busy: return ROW_BUSY;
    default: return ROW_FAILED;
    }
}

/* Ends the transaction that `result` came of. */
static RowResult end(Store *store, RowResult result) {
    ErrCode code = store_end(store, result == ROW_DONE ? ERR_NONE : ERR_internal);
    return result == ROW_DONE ? result_of(code) : result;
}

static RowResult put(Store *store, const DatasetRow *row, char before[DATASET_SHA + 1]) {
    sqlite3_stmt *s = store->put_dataset;
    bool held;
    RowResult now = look(store, row->name, before, &held);
    if (now == ROW_FAILED) return now;
    if (row->base && strcmp(row->base, before) != 0) return ROW_MOVED;
    if (strcmp(row->sha256, before) == 0) held = false; /* nothing changes for the run */
    if (held) return ROW_HELD;
    store_bind_text(s, 1, row->name);
    store_bind_text(s, 2, row->sha256);
    store_bind_text(s, 3, row->record);
    sqlite3_bind_int64(s, 4, row->created);
    return result_of(store_outcome(store, s, "data set"));
}

RowResult store_dataset_put(Store *store, const DatasetRow *row, char before[DATASET_SHA + 1]) {
    *before = 0;
    if (!store_has_room(store)) return ROW_FULL;
    ErrCode begun = store_begin(store, WRITE_DURABLE);
    return begun ? result_of(begun) : end(store, put(store, row, before));
}

static RowResult delete(Store *store, const char *name, char before[DATASET_SHA + 1]) {
    bool held;
    RowResult now = look(store, name, before, &held);
    if (now != ROW_DONE) return now;
    if (held) return ROW_HELD;
    store_bind_text(store->delete_dataset, 1, name);
    return result_of(store_outcome(store, store->delete_dataset, "data set"));
}

static RowResult delete_once(Store *store, const char *name, char before[DATASET_SHA + 1]) {
    *before = 0;
    ErrCode begun = store_begin(store, WRITE_DURABLE);
    return begun ? result_of(begun) : end(store, delete(store, name, before));
}

RowResult store_dataset_delete(Store *store, const char *name, char before[DATASET_SHA + 1]) {
    const RowResult result = delete_once(store, name, before);
    return result == ROW_FULL && store_again(store, ERR_storage_full) ? delete_once(store, name, before) : result;
}

/* True also when the database does not answer. */
static bool is_used(Store *store, sqlite3_stmt *s, const char *sha256) {
    store_bind_text(s, 1, sha256);
    bool used = store_step(store, s, "content") != STEP_ROW || sqlite3_column_int(s, 0);
    store_finish(s);
    return used;
}

bool store_content_used(Store *store, const char *sha256) {
    pthread_mutex_lock(&store->lock);
    bool used = is_used(store, store->content_used, sha256) || is_used(store, store->content_used_in_tables, sha256);
    pthread_mutex_unlock(&store->lock);
    return used;
}

/* ---- contents ---- */

void stored_content_release(StoredContent *c) {
    free(c->sums);
    *c = (StoredContent){0};
}

static ErrCode get_content(Store *store, sqlite3_stmt *s, const char *sha256, StoredContent *out) {
    *out = (StoredContent){0};
    store_bind_text(s, 1, sha256);
    const StoreStep at = store_step(store, s, "content");
    ErrCode code = at == STEP_ROW ? ERR_NONE : at == STEP_END ? ERR_not_found : ERR_internal;
    if (code == ERR_NONE) {
        out->damaged = sqlite3_column_int(s, 3);
        out->len = (size_t)sqlite3_column_bytes(s, 2);
        /* A row without sums only says that the content is damaged. */
        if (!out->len || !store_intact(store, s, 4, "content", sha256)) code = ERR_not_found;
    }
    if (code == ERR_NONE) {
        out->bytes = (uint64_t)sqlite3_column_int64(s, 0);
        out->block = (uint64_t)sqlite3_column_int64(s, 1);
        out->sums = malloc(out->len);
        if (out->sums) memcpy(out->sums, sqlite3_column_blob(s, 2), out->len);
        else code = ERR_internal;
    }
    store_finish(s);
    return code;
}

ErrCode store_content_get(Store *store, const char *sha256, StoredContent *out) { return get_content(store, store->content, sha256, out); }

ErrCode store_content_get_aside(Store *store, const char *sha256, StoredContent *out) {
    pthread_mutex_lock(&store->lock);
    const ErrCode code = get_content(store, store->content_now, sha256, out);
    pthread_mutex_unlock(&store->lock);
    return code;
}

/* What is known of contents can be found out again. */
ErrCode store_content_put(Store *store, const char *sha256, const StoredContent *c) {
    const ErrCode begun = store_begin(store, WRITE_CACHE);
    if (begun) return begun;
    sqlite3_stmt *s = store->put_content;
    store_bind_text(s, 1, sha256);
    sqlite3_bind_int64(s, 2, (int64_t)c->bytes);
    sqlite3_bind_int64(s, 3, (int64_t)c->block);
    sqlite3_bind_blob64(s, 4, c->sums, c->len, SQLITE_STATIC);
    return store_end(store, store_outcome(store, s, "content"));
}

static ErrCode change_content(Store *store, sqlite3_stmt *s, const char *sha256) {
    const ErrCode begun = store_begin(store, WRITE_CACHE);
    if (begun) return begun;
    store_bind_text(s, 1, sha256);
    return store_end(store, store_outcome(store, s, "content"));
}

ErrCode store_content_mark(Store *store, const char *sha256) { return change_content(store, store->mark_content, sha256); }

ErrCode store_content_delete(Store *store, const char *sha256) { return change_content(store, store->delete_content, sha256); }
