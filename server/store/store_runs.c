#include "server/store/store_runs.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const run_state_names[RUN_STATES + 1] = {"queued", "running", "done", "failed", "cancelled", NULL};

static RunState state_of(const char *name) {
    for (int i = 0; i < RUN_STATES; i++)
        if (strcmp(run_state_names[i], name) == 0) return (RunState)i;
    return RUN_FAILED;
}

void stored_run_release(StoredRun *r) {
    char *owned[] = {r->name, r->spec, r->program, r->facts, (char *)r->progress.reason, (char *)r->progress.latest,
                     (char *)r->progress.versions, (char *)r->progress.attempts};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(r->canonical);
    free(r->link);
    *r = (StoredRun){0};
}

/* ---- reading records ---- */

/* The columns of RUN_COLUMNS (store_sql.h). ERR_damaged, ERR_internal: memory is short. */
static ErrCode read_progress(Store *store, sqlite3_stmt *s, StoredRun *out) {
    RunProgress *p = &out->progress;
    if (!store_intact(store, s, 18, "run", store_column_text(s, 1))) return ERR_damaged;
    out->seq = sqlite3_column_int64(s, 0);
    snprintf(out->id, sizeof out->id, "%s", store_column_text(s, 1));
    out->name = strdup(store_column_text(s, 2));
    out->program = strdup(store_column_text(s, 3));
    snprintf(out->forked_from, sizeof out->forked_from, "%s", store_column_text(s, 4));
    out->created = sqlite3_column_int64(s, 5);
    p->state = state_of(store_column_text(s, 6));
    p->reason = strdup(store_column_text(s, 7));
    p->started = sqlite3_column_int64(s, 8);
    p->ended = sqlite3_column_int64(s, 9);
    p->step = (uint64_t)sqlite3_column_int64(s, 10);
    p->steps = (uint64_t)sqlite3_column_int64(s, 11);
    p->epoch = sqlite3_column_double(s, 12);
    p->latest = strdup(store_column_text(s, 13));
    p->versions = strdup(store_column_text(s, 14));
    p->attempts = strdup(store_column_text(s, 15));
    p->events = (uint64_t)sqlite3_column_int64(s, 16);
    p->code = err_from_name(store_column_text(s, 17));
    return out->name && out->program && p->reason && p->latest && p->versions && p->attempts ? ERR_NONE : ERR_internal;
}

static unsigned char *copy_blob(sqlite3_stmt *s, int column, size_t *len) {
    *len = (size_t)sqlite3_column_bytes(s, column);
    const void *blob = sqlite3_column_blob(s, column);
    unsigned char *copy = malloc(*len + 1);
    if (copy && *len) memcpy(copy, blob, *len);
    return copy;
}

static ErrCode read_whole(Store *store, sqlite3_stmt *s, StoredRun *out) {
    const ErrCode code = read_progress(store, s, out);
    if (code) return code;
    if (!store_intact(store, s, 23, "run", out->id)) return ERR_damaged;
    out->spec = strdup(store_column_text(s, 19));
    out->facts = strdup(store_column_text(s, 20));
    out->canonical = copy_blob(s, 21, &out->canonical_len);
    out->link = copy_blob(s, 22, &out->link_len);
    return out->spec && out->facts && out->canonical && out->link ? ERR_NONE : ERR_internal;
}

static ErrCode get(Store *store, sqlite3_stmt *s, const char *id, bool whole, StoredRun *out) {
    *out = (StoredRun){0};
    store_bind_text(s, 1, id);
    const StoreStep at = store_step(store, s, "run");
    ErrCode code = at == STEP_END ? ERR_not_found : at == STEP_FAILED ? ERR_internal : ERR_NONE;
    if (!code) code = whole ? read_whole(store, s, out) : read_progress(store, s, out);
    store_finish(s);
    if (code) stored_run_release(out);
    return code;
}

ErrCode store_run_get(Store *store, const char *id, StoredRun *out) { return get(store, store->run, id, true, out); }

ErrCode store_run_get_aside(Store *store, const char *id, StoredRun *out) {
    pthread_mutex_lock(&store->lock);
    ErrCode code = get(store, store->run_aside, id, true, out);
    pthread_mutex_unlock(&store->lock);
    return code;
}

ErrCode store_run_head(Store *store, const char *id, StoredRun *out) { return get(store, store->run_head, id, false, out); }

ErrCode store_runs(Store *store, RunState state, int64_t before, size_t limit, bool (*row)(void *arg, const StoredRun *run), void *arg,
                   bool *more) {
    sqlite3_stmt *s = state == RUN_STATES ? store->run_list : store->run_list_of;
    StoreStep at = STEP_END;
    bool wanted = true;
    sqlite3_bind_int64(s, 1, before);
    sqlite3_bind_int64(s, 2, (int64_t)limit + 1);
    if (state != RUN_STATES) store_bind_text(s, 3, run_state_names[state]);
    for (size_t n = 0; wanted && n < limit && (at = store_step(store, s, "runs")) == STEP_ROW; n++) {
        StoredRun run = {0};
        if (read_progress(store, s, &run) == ERR_NONE) wanted = row(arg, &run);
        stored_run_release(&run);
    }
    /* One more was asked for, to see whether there is any. */
    if (at == STEP_ROW) at = store_step(store, s, "runs");
    *more = at == STEP_ROW;
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

ErrCode store_runs_active(Store *store, void (*row)(void *arg, const char *id), void *arg) {
    StoreStep at;
    while ((at = store_step(store, store->run_active, "runs")) == STEP_ROW) row(arg, store_column_text(store->run_active, 0));
    store_finish(store->run_active);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

static RunCheckpoint checkpoint_of(sqlite3_stmt *s) {
    RunCheckpoint c = {(uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1), {0}, sqlite3_column_int(s, 3)};
    if (sqlite3_column_bytes(s, 2) == sizeof c.sum) memcpy(c.sum, sqlite3_column_blob(s, 2), sizeof c.sum);
    return c;
}

void store_count_checkpoints(Store *store) {
    sqlite3_stmt *s = store->checkpoint_total;
    if (store_step(store, s, "checkpoints") == STEP_ROW) store->checkpoint_bytes = (uint64_t)sqlite3_column_int64(s, 0);
    store_finish(s);
}

uint64_t store_checkpoint_bytes(const Store *store) { return store->checkpoint_bytes; }

ErrCode store_run_checkpoints(Store *store, int64_t seq, void (*row)(void *arg, const RunCheckpoint *checkpoint), void *arg) {
    sqlite3_stmt *s = store->run_checkpoints;
    StoreStep at;
    sqlite3_bind_int64(s, 1, seq);
    while ((at = store_step(store, s, "checkpoints")) == STEP_ROW) {
        RunCheckpoint c = checkpoint_of(s);
        row(arg, &c);
    }
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

ErrCode store_run_checkpoint(Store *store, const char *id, bool at_step, uint64_t step, RunCheckpoint *out) {
    sqlite3_stmt *s = store->run_checkpoint;
    if (step > INT64_MAX) step = INT64_MAX;
    store_bind_text(s, 1, id);
    sqlite3_bind_int64(s, 2, at_step ? (int64_t)step : 0);
    sqlite3_bind_int64(s, 3, at_step ? (int64_t)step : INT64_MAX);
    StoreStep at = store_step(store, s, "checkpoint");
    ErrCode code = at == STEP_FAILED ? ERR_internal : at == STEP_END ? ERR_not_found : ERR_NONE;
    if (!code && sqlite3_column_type(s, 0) == SQLITE_NULL) code = ERR_conflict;
    if (!code) *out = checkpoint_of(s);
    store_finish(s);
    return code;
}

/* ---- writing ---- */

static ErrCode run_simple(Store *store, sqlite3_stmt *s, int64_t seq, uint64_t step, const char *what) {
    sqlite3_bind_int64(s, 1, seq);
    sqlite3_bind_int64(s, 2, (int64_t)step);
    return store_outcome(store, s, what);
}

static ErrCode drop(Store *store, const RunFlush *f) {
    const ErrCode code = store_points_drop(store, f->seq, f->drop_after);
    return code ? code : run_simple(store, store->drop_checkpoints, f->seq, f->drop_after, "checkpoints");
}

static ErrCode put_checkpoint(Store *store, int64_t seq, const RunCheckpoint *c) {
    sqlite3_stmt *s = store->put_checkpoint;
    sqlite3_bind_int64(s, 3, (int64_t)c->bytes);
    sqlite3_bind_blob(s, 4, c->sum, sizeof c->sum, SQLITE_STATIC);
    return run_simple(store, s, seq, c->step, "checkpoint");
}

/* Numbers from 1 on. */
static void bind_progress(sqlite3_stmt *s, const RunProgress *p) {
    store_bind_text(s, 1, run_state_names[p->state]);
    store_bind_text(s, 2, p->reason);
    sqlite3_bind_int64(s, 3, p->started);
    sqlite3_bind_int64(s, 4, p->ended);
    sqlite3_bind_int64(s, 5, (int64_t)p->step);
    sqlite3_bind_int64(s, 6, (int64_t)p->steps);
    sqlite3_bind_double(s, 7, p->epoch);
    store_bind_text(s, 8, p->latest);
    store_bind_text(s, 9, p->versions);
    store_bind_text(s, 10, p->attempts);
    sqlite3_bind_int64(s, 11, (int64_t)p->events);
    store_bind_text(s, 12, p->code ? err_name(p->code) : "");
}

static ErrCode hold_data(Store *store, const char *id, bool held) {
    sqlite3_stmt *s = store->hold_run_data;
    store_bind_text(s, 1, id);
    sqlite3_bind_int(s, 2, held);
    return store_outcome(store, s, "run's data");
}

static ErrCode put_progress(Store *store, const RunFlush *f) {
    sqlite3_stmt *s = store->run_progress;
    bind_progress(s, &f->progress);
    sqlite3_bind_int64(s, 13, f->seq);
    ErrCode code = store_outcome(store, s, "run");
    return code ? code : hold_data(store, f->id, f->progress.state <= RUN_RUNNING);
}

static ErrCode flush(Store *store, const RunFlush *f) {
    ErrCode code = f->drop ? drop(store, f) : ERR_NONE;
    if (!code) code = store_points_put(store, f->seq, f->keys, f->nkeys, f->points, f->npoints);
    for (size_t i = 0; i < f->ncheckpoints && !code; i++) code = put_checkpoint(store, f->seq, &f->checkpoints[i]);
    for (size_t i = 0; i < f->npruned && !code; i++) code = run_simple(store, store->prune_checkpoint, f->seq, f->pruned[i], "checkpoint");
    if (f->drop || f->ncheckpoints || f->npruned) store_count_checkpoints(store);
    if (!code) code = store_events_put(store, f->seq, f->events);
    return code ? code : put_progress(store, f);
}

static ErrCode flush_once(Store *store, const RunFlush *f) {
    const ErrCode code = store_begin(store, WRITE_DURABLE);
    return code ? code : store_end(store, flush(store, f));
}

ErrCode store_run_flush(Store *store, const RunFlush *f) {
    if (f->npoints && !store_has_room(store)) return ERR_storage_full;
    ErrCode code = flush_once(store, f);
    return !f->npoints && store_again(store, code) ? flush_once(store, f) : code;
}

static ErrCode add_data(Store *store, const char *id, const RunData *data) {
    sqlite3_stmt *s = store->add_run_data;
    store_bind_text(s, 1, id);
    store_bind_text(s, 2, data->dataset);
    store_bind_text(s, 3, data->sha256);
    ErrCode code = store_outcome(store, s, "run's data");
    return code ? code : sqlite3_changes(store->writer) ? ERR_NONE : ERR_conflict;
}

static ErrCode add_row(Store *store, StoredRun *r) {
    sqlite3_stmt *s = store->add_run;
    bind_progress(s, &r->progress);
    const char *texts[] = {r->id, r->name, r->spec, r->program, r->facts, r->forked_from};
    for (int i = 0; i < 6; i++) store_bind_text(s, 13 + i, texts[i]);
    sqlite3_bind_blob64(s, 19, r->canonical, r->canonical_len, SQLITE_STATIC);
    sqlite3_bind_blob64(s, 20, r->link, r->link_len, SQLITE_STATIC);
    sqlite3_bind_int64(s, 21, r->created);
    const ErrCode code = store_outcome(store, s, "run");
    if (code) return code;
    r->seq = sqlite3_last_insert_rowid(store->writer);
    sqlite3_bind_int64(store->sum_run, 1, r->seq);
    return store_outcome(store, store->sum_run, "run");
}

static ErrCode add(Store *store, StoredRun *r, const RunData *data, size_t ndata, const RunCheckpoint *begin, const RunEvents *events) {
    ErrCode code = add_row(store, r);
    for (size_t i = 0; i < ndata && !code; i++) code = add_data(store, r->id, &data[i]);
    if (!code && begin) code = put_checkpoint(store, r->seq, begin);
    if (begin) store_count_checkpoints(store);
    return code ? code : store_events_put(store, r->seq, events);
}

ErrCode store_run_add(Store *store, StoredRun *r, const RunData *data, size_t ndata, const RunCheckpoint *begin, const RunEvents *events) {
    if (!store_has_room(store)) return ERR_storage_full;
    const ErrCode code = store_begin(store, WRITE_DURABLE);
    return code ? code : store_end(store, add(store, r, data, ndata, begin, events));
}

static ErrCode look(Store *store, sqlite3_stmt *s, const char *id) {
    store_bind_text(s, 1, id);
    StoreStep at = store_step(store, s, "run");
    store_finish(s);
    return at == STEP_ROW ? ERR_NONE : at == STEP_END ? ERR_not_found : ERR_internal;
}

ErrCode store_run_exists(Store *store, const char *id) {
    pthread_mutex_lock(&store->lock);
    ErrCode code = look(store, store->run_there, id);
    if (code == ERR_not_found) code = look(store, store->run_there_in_table, id);
    pthread_mutex_unlock(&store->lock);
    return code;
}

static ErrCode delete(Store *store, const char *id, bool damaged) {
    store_bind_text(store->delete_run, 1, id);
    sqlite3_bind_int(store->delete_run, 2, damaged);
    ErrCode code = store_outcome(store, store->delete_run, "run");
    if (code) return code;
    if (!sqlite3_changes(store->writer)) {
        code = look(store, store->run_there, id);
        return code ? code : ERR_conflict;
    }
    store_bind_text(store->delete_run_data, 1, id);
    code = store_outcome(store, store->delete_run_data, "run's data");
    store_bind_text(store->delete_checkpoints, 1, id);
    if (!code) code = store_outcome(store, store->delete_checkpoints, "run's checkpoints");
    store_count_checkpoints(store);
    return code;
}

ErrCode store_run_mark(Store *store, int64_t seq, uint64_t step, bool damaged) {
    const ErrCode code = store_begin(store, WRITE_CACHE);
    if (code) return code;
    sqlite3_bind_int(store->mark_checkpoint, 3, damaged);
    return store_end(store, run_simple(store, store->mark_checkpoint, seq, step, "checkpoint"));
}

static ErrCode delete_once(Store *store, const char *id, bool damaged) {
    const ErrCode code = store_begin(store, WRITE_DURABLE);
    return code ? code : store_end(store, delete(store, id, damaged));
}

ErrCode store_run_delete(Store *store, const char *id, bool damaged) {
    ErrCode code = delete_once(store, id, damaged);
    return store_again(store, code) ? delete_once(store, id, damaged) : code;
}
