#include "server/store/store_points.h"
#include "server/store/store_sql.h"
#include <stdio.h>

/* ---- reading ---- */

ErrCode store_run_keys(Store *store, int64_t seq, char keys[LIMIT_RUN_KEYS][RUN_KEY + 1], size_t *n) {
    sqlite3_stmt *s = store->run_keys;
    StoreStep at = STEP_END;
    sqlite3_bind_int64(s, 1, seq);
    for (*n = 0; *n < LIMIT_RUN_KEYS && (at = store_step(store, s, "metrics")) == STEP_ROW; ++*n)
        snprintf(keys[*n], RUN_KEY + 1, "%s", store_column_text(s, 0));
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

/* What is not finite has no place in a REAL column of SQLite but NULL (NaN), so it is looked up in the block. */
static Point point_at(sqlite3_stmt *s, int column) {
    return (Point){(uint64_t)sqlite3_column_int64(s, column), sqlite3_column_double(s, column + 1)};
}

/* The points of the present row of `head`, asked for by themselves: they would be read for every row otherwise, wanted or not. False: damaged. */
static bool thin_points(Store *store, Thinner *t, sqlite3_stmt *head, const char *key, uint64_t from) {
    sqlite3_stmt *s = store->block_points;
    sqlite3_bind_int64(s, 1, sqlite3_column_int64(head, 10));
    sqlite3_bind_value(s, 2, sqlite3_column_value(head, 9));
    const bool intact = store_step(store, s, "metrics") == STEP_ROW && store_intact(store, s, 1, "metrics", key);
    const void *points = intact ? sqlite3_column_blob(s, 0) : NULL;
    const size_t n = points ? (size_t)sqlite3_column_bytes(s, 0) / SERIES_POINT_BYTES : 0;
    for (size_t i = 0; i < n; i++) {
        Point p = series_point(points, i);
        if (p.step >= from) thin_point(t, p);
    }
    store_finish(s);
    return intact;
}

/* False: the row is damaged. */
static bool thin_row(Store *store, Thinner *t, sqlite3_stmt *s, const char *key, uint64_t from) {
    if (!store_intact(store, s, 11, "metrics", key)) return false;
    SeriesSummary sum = {(uint64_t)sqlite3_column_int64(s, 8), point_at(s, 0), point_at(s, 2), point_at(s, 4), point_at(s, 6)};
    bool plain = true;
    for (int column = 1; column < 8; column += 2) plain &= sqlite3_column_type(s, column) != SQLITE_NULL;
    if (!thin_takes_blocks(t) || sum.first.step < from || !plain) return thin_points(store, t, s, key, from);
    thin_block(t, &sum);
    return true;
}

static void bind_key(sqlite3_stmt *s, int64_t seq, const char *key) {
    sqlite3_bind_int64(s, 1, seq);
    store_bind_text(s, 2, key);
}

static ErrCode read_points(Store *store, int64_t seq, const char *key, uint64_t from, uint64_t most, Thinner *out, bool *damaged) {
    sqlite3_stmt *s = store->run_count;
    bind_key(s, seq, key);
    sqlite3_bind_int64(s, 3, (int64_t)from);
    StoreStep at = store_step(store, s, "metrics");
    uint64_t total = at == STEP_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    store_finish(s);
    if (at == STEP_FAILED) return ERR_internal;
    thin_begin(out, total, most);
    s = store->run_points;
    bind_key(s, seq, key);
    sqlite3_bind_int64(s, 3, (int64_t)from);
    while ((at = store_step(store, s, "metrics")) == STEP_ROW) *damaged |= !thin_row(store, out, s, key, from);
    store_finish(s);
    thin_end(out);
    return at == STEP_FAILED || out->failed ? ERR_internal : ERR_NONE;
}

ErrCode store_run_points(Store *store, int64_t seq, const char *key, uint64_t from, uint64_t most, Thinner *out, bool *damaged) {
    *out = (Thinner){0};
    *damaged = false;
    if (from > INT64_MAX) return ERR_NONE;
    pthread_mutex_lock(&store->lock);
    ErrCode code = read_points(store, seq, key, from, most, out, damaged);
    pthread_mutex_unlock(&store->lock);
    return code;
}

/* ---- writing ---- */

/* Bytes of the block, its summary beside it. `id` 0: a new row. */
static ErrCode put_block(Store *store, int64_t id, int64_t seq, const char *key, const Buf *block) {
    sqlite3_stmt *s = store->put_points;
    SeriesSummary sum = series_summary(block->data, block->len);
    const Point points[] = {sum.first, sum.last, sum.least, sum.most};
    if (id) sqlite3_bind_int64(s, 1, id);
    sqlite3_bind_int64(s, 2, seq);
    store_bind_text(s, 3, key);
    for (int i = 0; i < 4; i++) {
        sqlite3_bind_int64(s, 4 + 2 * i, (int64_t)points[i].step);
        sqlite3_bind_double(s, 5 + 2 * i, points[i].value);
    }
    sqlite3_bind_int64(s, 12, (int64_t)sum.n);
    sqlite3_bind_blob64(s, 13, block->data, block->len, SQLITE_STATIC);
    return store_outcome(store, s, "metrics");
}

/* The key's last block, when it has room (at any rate when `full`) and is whole. Returns its row's id, 0 without one. */
static int64_t last_block(Store *store, int64_t seq, const char *key, bool full, Buf *block) {
    sqlite3_stmt *s = store->last_points;
    int64_t id = 0;
    bind_key(s, seq, key);
    if (store_step(store, s, "metrics") == STEP_ROW && store_intact(store, s, 3, "metrics", key) && (full || sqlite3_column_int64(s, 1) < SERIES_BLOCK)) {
        id = sqlite3_column_int64(s, 0);
        buf_put(block, sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
    }
    store_finish(s);
    return id;
}

typedef struct {
    uint32_t index;
    const char *name;
} Key;

static ErrCode add_points(Store *store, int64_t seq, Key key, const KeyedPoint *points, size_t npoints) {
    Buf block;
    ErrCode code = ERR_NONE;
    buf_init(&block);
    int64_t id = last_block(store, seq, key.name, false, &block);
    bool changed = false;
    for (size_t i = 0; i < npoints && !code; i++) {
        if (points[i].key != key.index) continue;
        if (block.len >= SERIES_BLOCK * SERIES_POINT_BYTES) {
            code = put_block(store, id, seq, key.name, &block);
            buf_clear(&block);
            id = 0;
        }
        series_put(&block, points[i].point);
        changed = true;
    }
    if (block.failed) code = ERR_internal;
    if (changed && !code) code = put_block(store, id, seq, key.name, &block);
    buf_release(&block);
    return code;
}

ErrCode store_points_put(Store *store, int64_t seq, const char (*keys)[RUN_KEY + 1], uint32_t nkeys, const KeyedPoint *points, size_t npoints) {
    ErrCode code = ERR_NONE;
    for (uint32_t k = 0; k < nkeys && npoints && !code; k++) code = add_points(store, seq, (Key){k, keys[k]}, points, npoints);
    return code;
}

/* Whole blocks behind the step have gone already. */
static ErrCode cut_points(Store *store, int64_t seq, const char *key, uint64_t step) {
    Buf block;
    ErrCode code = ERR_NONE;
    buf_init(&block);
    int64_t id = last_block(store, seq, key, true, &block);
    size_t had = block.len;
    while (block.len && series_point(block.data, block.len / SERIES_POINT_BYTES - 1).step > step) block.len -= SERIES_POINT_BYTES;
    if (block.len < had) code = put_block(store, id, seq, key, &block);
    buf_release(&block);
    return code;
}

/* All of a key's points, or one beyond the step's block, are gone at once. */
ErrCode store_points_drop(Store *store, int64_t seq, uint64_t step) {
    char keys[LIMIT_RUN_KEYS][RUN_KEY + 1];
    size_t n = 0;
    sqlite3_bind_int64(store->drop_points, 1, seq);
    sqlite3_bind_int64(store->drop_points, 2, (int64_t)step);
    ErrCode code = store_outcome(store, store->drop_points, "metrics");
    sqlite3_stmt *s = store->run_keys_now;
    sqlite3_bind_int64(s, 1, seq);
    while (n < LIMIT_RUN_KEYS && store_step(store, s, "metrics") == STEP_ROW) snprintf(keys[n++], RUN_KEY + 1, "%s", store_column_text(s, 0));
    store_finish(s);
    for (size_t i = 0; i < n && !code; i++) code = cut_points(store, seq, keys[i], step);
    return code;
}
