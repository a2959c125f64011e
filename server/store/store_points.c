#include "server/store/store_points.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = SERIES_BLOCK * SERIES_POINT_BYTES, KEYS_SHARE = 8 };

/* What is known of a key's series besides its blocks. */
typedef struct {
    uint64_t stride;      /* points that came for one that is kept */
    uint64_t n;           /* points in blocks */
    SeriesSummary bucket; /* of those that came since, fewer than 2 · stride, and its `last` the very last; with stride 1 all zero */
} Series;

static void bind_key(sqlite3_stmt *s, int64_t run, const char *key) {
    sqlite3_bind_int64(s, 1, run);
    store_bind_text(s, 2, key);
}

static ErrCode count_points(Store *store, int64_t run, const char *key, uint64_t from, uint64_t *n) {
    sqlite3_stmt *s = store->run_count;
    bind_key(s, run, key);
    sqlite3_bind_int64(s, 3, (int64_t)from);
    StoreStep at = store_step(store, s, "metrics");
    *n = at == STEP_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

static void take_series(sqlite3_stmt *s, Series *out) {
    const void *bucket = sqlite3_column_blob(s, 2);
    out->stride = (uint64_t)sqlite3_column_int64(s, 0);
    out->n = (uint64_t)sqlite3_column_int64(s, 1);
    if (!bucket || !series_get_bucket(&out->bucket, bucket, (size_t)sqlite3_column_bytes(s, 2))) out->bucket = (SeriesSummary){0};
}

/* Where there is none, or a damaged one, the blocks are taken for all there is. */
static ErrCode read_series(Store *store, int64_t run, const char *key, Series *out, bool *damaged) {
    sqlite3_stmt *s = store->run_series;
    bind_key(s, run, key);
    StoreStep at = store_step(store, s, "metrics");
    const bool intact = at == STEP_ROW && store_intact(store, s, 3, "metrics", key);
    *damaged = at == STEP_ROW && !intact;
    *out = (Series){.stride = 1};
    if (intact) take_series(s, out);
    store_finish(s);
    if (at == STEP_FAILED) return ERR_internal;
    return *damaged ? count_points(store, run, key, 0, &out->n) : ERR_NONE;
}

static ErrCode write_series(Store *store, int64_t run, const char *key, const Series *series) {
    sqlite3_stmt *s = store->put_series;
    Buf bucket;
    buf_init(&bucket);
    if (series->bucket.last.step) series_put_bucket(&bucket, &series->bucket);
    bind_key(s, run, key);
    sqlite3_bind_int64(s, 3, (int64_t)series->stride);
    sqlite3_bind_int64(s, 4, (int64_t)series->n);
    sqlite3_bind_blob64(s, 5, bucket.len ? (const char *)bucket.data : "", bucket.len, SQLITE_STATIC);
    ErrCode code = bucket.failed ? ERR_internal : store_outcome(store, s, "metrics");
    buf_release(&bucket);
    return code;
}

/* ---- reading ---- */

ErrCode store_run_keys(Store *store, int64_t run, char keys[LIMIT_RUN_KEYS][RUN_KEY + 1], size_t *n) {
    sqlite3_stmt *s = store->run_keys;
    StoreStep at = STEP_END;
    sqlite3_bind_int64(s, 1, run);
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

/* What has come since the last block: its last point is known even where it is not kept. Returns how many points a thinner takes it for. */
static uint64_t bucket_points(const Series *series, uint64_t from) {
    const SeriesSummary *b = &series->bucket;
    if (!b->last.step || b->last.step < from) return 0;
    return b->n < 2 || b->first.step < from ? 1 : b->n < 3 ? 2 : 3;
}

static void thin_bucket(Thinner *t, const Series *series, uint64_t n) {
    SeriesSummary b = series->bucket;
    b.n = n;
    if (n == 1) thin_point(t, b.last);
    else if (n) thin_block(t, &b);
}

static ErrCode read_points(Store *store, int64_t run, const char *key, uint64_t from, uint64_t most, Thinner *out, RunPoints *about) {
    Series series;
    uint64_t total;
    ErrCode code = read_series(store, run, key, &series, &about->damaged);
    if (!code) code = count_points(store, run, key, from, &total);
    if (code) return code;
    const uint64_t newest = bucket_points(&series, from);
    StoreStep at;
    about->stride = series.stride;
    thin_begin(out, total + newest, most);
    sqlite3_stmt *s = store->run_points;
    bind_key(s, run, key);
    sqlite3_bind_int64(s, 3, (int64_t)from);
    while ((at = store_step(store, s, "metrics")) == STEP_ROW) about->damaged |= !thin_row(store, out, s, key, from);
    store_finish(s);
    thin_bucket(out, &series, newest);
    thin_end(out);
    return at == STEP_FAILED || out->failed ? ERR_internal : ERR_NONE;
}

ErrCode store_run_points(Store *store, int64_t run, const char *key, uint64_t from, uint64_t most, Thinner *out, RunPoints *about) {
    *out = (Thinner){0};
    *about = (RunPoints){.stride = 1};
    if (from > INT64_MAX) return ERR_NONE;
    pthread_mutex_lock(&store->lock);
    ErrCode code = read_points(store, run, key, from, most, out, about);
    pthread_mutex_unlock(&store->lock);
    return code;
}

/* ---- blocks ---- */

/* Bytes of the block, its summary beside it. `id` 0: a new row. */
static ErrCode put_block(Store *store, int64_t id, int64_t run, const char *key, const Buf *block) {
    sqlite3_stmt *s = store->put_points;
    SeriesSummary sum = series_summary(block->data, block->len);
    const Point points[] = {sum.first, sum.last, sum.least, sum.most};
    if (id) sqlite3_bind_int64(s, 1, id);
    sqlite3_bind_int64(s, 2, run);
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
static int64_t last_block(Store *store, int64_t run, const char *key, bool full, Buf *block) {
    sqlite3_stmt *s = store->last_points;
    int64_t id = 0;
    bind_key(s, run, key);
    if (store_step(store, s, "metrics") == STEP_ROW && store_intact(store, s, 3, "metrics", key) && (full || sqlite3_column_int64(s, 1) < SERIES_BLOCK)) {
        id = sqlite3_column_int64(s, 0);
        buf_put(block, sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
    }
    store_finish(s);
    return id;
}

/* Two blocks become one, of half their points; one that is damaged stays what it is. Returns the last step of what it has seen in *after; `found`: how
 * many blocks there were. */
static ErrCode halve_pair(Store *store, int64_t run, const char *key, int64_t *after, size_t *found, uint64_t *n) {
    sqlite3_stmt *s = store->next_points;
    int64_t ids[2];
    Buf both, half;
    StoreStep at = STEP_ROW;
    ErrCode code = ERR_NONE;
    buf_init(&both);
    buf_init(&half);
    bind_key(s, run, key);
    sqlite3_bind_int64(s, 3, *after);
    for (*found = 0; *found < 2 && (at = store_step(store, s, "metrics")) == STEP_ROW;) {
        *after = sqlite3_column_int64(s, 1);
        if (!store_intact(store, s, 3, "metrics", key)) continue;
        ids[(*found)++] = sqlite3_column_int64(s, 0);
        buf_put(&both, sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
    }
    store_finish(s);
    series_halve(&half, both.data, both.len);
    if (at == STEP_FAILED || both.failed || half.failed) code = ERR_internal;
    if (!code && *found == 2) {
        sqlite3_bind_int64(store->delete_points, 1, ids[1]);
        code = store_outcome(store, store->delete_points, "metrics");
    }
    if (!code && *found) code = put_block(store, ids[0], run, key, &half);
    *n += half.len / SERIES_POINT_BYTES;
    buf_release(&both);
    buf_release(&half);
    return code;
}

/* Half of all the key's points go. */
static ErrCode halve(Store *store, int64_t run, const char *key, Series *series) {
    int64_t after = -1;
    size_t found = 2;
    ErrCode code = ERR_NONE;
    series->n = 0;
    series->stride *= 2;
    while (!code && found == 2) code = halve_pair(store, run, key, &after, &found, &series->n);
    return code;
}

/* ---- writing ---- */

/* A key's points on their way into its blocks. */
typedef struct {
    Store *store;
    int64_t run;
    const char *key;
    uint64_t most;
    Series series;
    Buf block;  /* the last one */
    int64_t id; /* its row; 0: it has none yet */
    bool changed;
} Adding;

static ErrCode write_block(Adding *a) {
    if (!a->changed) return ERR_NONE;
    a->changed = false;
    return a->block.failed ? ERR_internal : put_block(a->store, a->id, a->run, a->key, &a->block);
}

static void read_last_block(Adding *a) {
    buf_clear(&a->block);
    a->id = last_block(a->store, a->run, a->key, false, &a->block);
}

static ErrCode halve_all(Adding *a) {
    ErrCode code = write_block(a);
    while (!code && a->series.n >= a->most) code = halve(a->store, a->run, a->key, &a->series);
    if (!code) read_last_block(a);
    return code;
}

static ErrCode append(Adding *a, Point point) {
    ErrCode code = ERR_NONE;
    if (a->block.len >= BLOCK_BYTES) {
        code = write_block(a);
        buf_clear(&a->block);
        a->id = 0;
    }
    series_put(&a->block, point);
    a->changed = true;
    a->series.n++;
    return code;
}

static ErrCode add_point(Adding *a, Point point) {
    Series *s = &a->series;
    Point kept[2] = {point};
    size_t nkept = 1;
    if (s->stride > 1) {
        series_add(&s->bucket, point);
        if (s->bucket.n < 2 * s->stride) return ERR_NONE;
        nkept = series_keep(&s->bucket, kept);
        s->bucket = (SeriesSummary){.last = point};
    }
    ErrCode code = ERR_NONE;
    for (size_t i = 0; i < nkept && !code; i++) code = append(a, kept[i]);
    return code || s->n < a->most ? code : halve_all(a);
}

static ErrCode add_key(Adding *a, uint32_t key, const KeyedPoint *points, size_t npoints) {
    size_t i = 0;
    while (i < npoints && points[i].key != key) i++;
    if (i == npoints) return ERR_NONE;
    bool damaged;
    ErrCode code = read_series(a->store, a->run, a->key, &a->series, &damaged);
    if (code) return code;
    read_last_block(a);
    for (; i < npoints && !code; i++)
        if (points[i].key == key) code = add_point(a, points[i].point);
    if (!code) code = write_block(a);
    return code ? code : write_series(a->store, a->run, a->key, &a->series);
}

/* A key's share of the run's points: of whole blocks, and more than a view of LIMIT_POINTS needs unless there are many keys. */
static uint64_t share(uint32_t nkeys) {
    const uint64_t blocks = LIMIT_RUN_POINTS / SERIES_BLOCK / (nkeys > KEYS_SHARE ? nkeys : KEYS_SHARE);
    return blocks / 2 * 2 * SERIES_BLOCK;
}

ErrCode store_points_put(Store *store, int64_t run, const char (*keys)[RUN_KEY + 1], uint32_t nkeys, const KeyedPoint *points, size_t npoints) {
    ErrCode code = ERR_NONE;
    for (uint32_t k = 0; k < nkeys && npoints && !code; k++) {
        Adding a = {.store = store, .run = run, .key = keys[k], .most = share(nkeys)};
        buf_init(&a.block);
        code = add_key(&a, k, points, npoints);
        buf_release(&a.block);
    }
    return code;
}

/* ---- dropping ---- */

/* Whole blocks behind the step have gone already. */
static ErrCode cut_points(Store *store, int64_t run, const char *key, uint64_t after) {
    Buf block;
    ErrCode code = ERR_NONE;
    buf_init(&block);
    int64_t id = last_block(store, run, key, true, &block);
    size_t had = block.len;
    while (block.len && series_point(block.data, block.len / SERIES_POINT_BYTES - 1).step > after) block.len -= SERIES_POINT_BYTES;
    if (block.len < had) code = put_block(store, id, run, key, &block);
    buf_release(&block);
    return code;
}

/* A bucket that goes beyond the step is dropped: of its points too little is known. */
static ErrCode cut_series(Store *store, int64_t run, const char *key, uint64_t after) {
    Series series;
    bool damaged;
    ErrCode code = read_series(store, run, key, &series, &damaged);
    if (!code) code = count_points(store, run, key, 0, &series.n);
    if (code) return code;
    if (series.bucket.last.step > after) series.bucket = (SeriesSummary){0};
    if (!series.n && !series.bucket.last.step) series.stride = 1;
    return write_series(store, run, key, &series);
}

ErrCode store_points_drop(Store *store, int64_t run, uint64_t after) {
    char keys[LIMIT_RUN_KEYS][RUN_KEY + 1];
    size_t n = 0;
    sqlite3_bind_int64(store->drop_points, 1, run);
    sqlite3_bind_int64(store->drop_points, 2, (int64_t)after);
    ErrCode code = store_outcome(store, store->drop_points, "metrics");
    sqlite3_stmt *s = store->run_keys_now;
    sqlite3_bind_int64(s, 1, run);
    while (n < LIMIT_RUN_KEYS && store_step(store, s, "metrics") == STEP_ROW) snprintf(keys[n++], RUN_KEY + 1, "%s", store_column_text(s, 0));
    store_finish(s);
    for (size_t i = 0; i < n && !code; i++) {
        code = cut_points(store, run, keys[i], after);
        if (!code) code = cut_series(store, run, keys[i], after);
    }
    return code;
}
