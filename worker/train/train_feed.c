#include "worker/train/train_feed.h"
#include "worker/train/train_random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A file's elements need not be aligned. */
typedef float LooseF32 __attribute__((aligned(1), may_alias));
typedef double LooseF64 __attribute__((aligned(1), may_alias));
typedef int64_t LooseI64 __attribute__((aligned(1), may_alias));

static size_t feed_element(const Feed *feed) { return feed->f64 ? sizeof(double) : sizeof(float); }
static size_t batch_bytes(const Feed *feed, const FeedColumn *c) {
    return feed->room * (c->discrete ? sizeof(int64_t) : c->count * feed_element(feed));
}

/* ---- a row ---- */

static const unsigned char *row_of(const FeedColumn *c, uint64_t row) { return c->rows + row * c->count * dtype_size(c->dtype); }

#define SCALE(To, From) \
    for (size_t i = 0; i < c->count; i++) ((To *)to)[i] = (To)((double)((const From *)from)[i] * c->scale + c->shift)
#define LOOK_UP(To) \
    for (size_t i = 0; i < c->count; i++) ((To *)to)[i] = ((const To *)c->table)[from[i]]

static bool is_plain(const Feed *feed, const FeedColumn *c) {
    return c->dtype == (feed->f64 ? DT_F64 : DT_F32) && c->scale == 1 && c->shift == 0;
}

static void gather_row(const Feed *feed, const FeedColumn *c, const unsigned char *from, void *to) {
    const bool f64 = feed->f64;
    if (is_plain(feed, c)) memcpy(to, from, c->count * feed_element(feed));
    else if (c->dtype == DT_F32 && f64) SCALE(double, LooseF32);
    else if (c->dtype == DT_F32) SCALE(float, LooseF32);
    else if (c->dtype == DT_F64 && f64) SCALE(double, LooseF64);
    else if (c->dtype == DT_F64) SCALE(float, LooseF64);
    else if (c->dtype == DT_I64 && f64) SCALE(double, LooseI64);
    else if (c->dtype == DT_I64) SCALE(float, LooseI64);
    else if (f64) LOOK_UP(double);
    else LOOK_UP(float);
}

/* ---- opening ---- */

static int64_t discrete_at(const FeedColumn *c, uint64_t row) {
    return c->dtype == DT_I64 ? ((const LooseI64 *)c->rows)[row] : c->rows[row];
}

static bool check_discrete(const FeedColumn *c, const ColumnMsg *column, uint64_t rows, size_t size, Err *err) {
    const int64_t places = c->discrete == 2 ? 2 : (int64_t)size;
    for (uint64_t r = 0; r < rows; r++) {
        const int64_t v = discrete_at(c, r);
        if (v < 0 || v >= places)
            return err_set(err, ERR_bad_run, "Column \"%.*s\" has %lld in row %llu; its variable takes 0 to %lld.",
                             (int)column->name_len, (const char *)column->name, (long long)v, (unsigned long long)r, (long long)places - 1);
    }
    return true;
}

static bool fill_table(Feed *feed, FeedColumn *c) {
    c->table = calloc(256, feed_element(feed));
    for (int v = 0; c->table && v < 256; v++) {
        const double y = v * c->scale + c->shift;
        if (feed->f64) ((double *)c->table)[v] = y;
        else ((float *)c->table)[v] = (float)y;
    }
    return c->table != NULL;
}

static bool open_column(Feed *feed, const ColumnMsg *column, const LinkSlot *slot, FeedColumn *c, Err *err) {
    *c = (FeedColumn){.rows = feed->file.data + column->offset,
                      .dtype = (DType)column->dtype,
                      .count = (size_t)column_elements(column),
                      .scale = slot->scale,
                      .shift = slot->shift};
    if (slot->discrete) c->discrete = slot->type && slot->type->kind == TYPE_BOOL ? 2 : 1;
    const bool integer = c->dtype == DT_I64 || c->dtype == DT_U8 || c->dtype == DT_BOOL;
    if (c->discrete ? !integer || c->count != 1 : c->count != slot->size)
        return err_set(err, ERR_internal, "Column \"%.*s\" is not what was linked.", (int)column->name_len, (const char *)column->name);
    c->batch = aligned_alloc(64, (batch_bytes(feed, c) + 63) / 64 * 64);
    const bool tabled = !c->discrete && (c->dtype == DT_U8 || c->dtype == DT_BOOL);
    if (!c->batch || (tabled && !fill_table(feed, c))) return err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
    return !c->discrete || check_discrete(c, column, feed->rows, slot->size, err);
}

bool feed_open(Feed *feed, int fd, const DataMsg *msg, const Linked *linked, bool test, bool f64, size_t room, Err *err) {
    *feed = (Feed){.rows = msg->rows, .f64 = f64, .room = room, .ncolumns = linked->nslots};
    feed->columns = calloc(linked->nslots + (size_t)1, sizeof *feed->columns);
    bool ok = feed->columns || err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
    if (ok && !file_map_open(&feed->file, fd, msg->bytes)) ok = err_set(err, ERR_internal, "A data set cannot be mapped.");
    for (uint32_t s = 0; ok && s < linked->nslots; s++) {
        const uint32_t at = test ? linked->slots[s].test_column : linked->slots[s].column;
        ok = at < msg->ncolumns ? open_column(feed, &msg->columns[at], &linked->slots[s], &feed->columns[s], err)
                                : err_set(err, ERR_internal, "The data set lacks a column.");
    }
    if (!ok) feed_release(feed);
    return ok;
}

void feed_release(Feed *feed) {
    for (uint32_t s = 0; feed->columns && s < feed->ncolumns; s++) {
        free(feed->columns[s].table);
        free(feed->columns[s].batch);
    }
    free(feed->columns);
    free(feed->order);
    file_map_release(&feed->file);
    *feed = (Feed){0};
}

/* ---- batches ---- */

/* Data row `row` into row `at` of every column's batch. */
static void gather(Feed *feed, uint64_t row, size_t at) {
    for (uint32_t s = 0; s < feed->ncolumns; s++) {
        const FeedColumn *c = &feed->columns[s];
        if (c->discrete) ((int64_t *)c->batch)[at] = discrete_at(c, row);
        else gather_row(feed, c, row_of(c, row), (char *)c->batch + at * c->count * feed_element(feed));
    }
}

static bool turn_to(Feed *feed, uint64_t seed, uint64_t epoch, Err *err) {
    if (feed->order && feed->epoch == epoch) return true;
    if (!feed->order) feed->order = malloc(feed->rows * sizeof *feed->order);
    if (!feed->order) return err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
    random_order(random_key(seed, "order", epoch), feed->order, (uint32_t)feed->rows);
    feed->epoch = epoch;
    return true;
}

bool feed_batch(Feed *feed, uint64_t seed, uint64_t step, Err *err) {
    const uint64_t batches = feed->rows / feed->room, first = step % batches * feed->room;
    if (!turn_to(feed, seed, step / batches, err)) return false;
    for (size_t r = 0; r < feed->room; r++) gather(feed, feed->order[first + r], r);
    return true;
}

void feed_rows(Feed *feed, uint64_t from, size_t n) {
    for (size_t r = 0; r < n; r++) gather(feed, from + r, r);
}

ExecInput feed_input(const Feed *feed, uint32_t slot) {
    const FeedColumn *c = &feed->columns[slot];
    const DType dense = feed->f64 ? DT_F64 : DT_F32;
    return (ExecInput){.data = c->batch, .dtype = c->discrete ? DT_I64 : dense, .discrete = c->discrete, .batched = true,
                       .cols = c->discrete ? 1 : c->count};
}

uint32_t feed_nonfinite(const Feed *feed) {
    for (uint32_t s = 0; s < feed->ncolumns; s++) {
        const FeedColumn *c = &feed->columns[s];
        for (size_t i = 0; !c->discrete && i < feed->room * c->count; i++)
            if (!isfinite(feed->f64 ? ((const double *)c->batch)[i] : (double)((const float *)c->batch)[i])) return s;
    }
    return UINT32_MAX;
}
