#include "server/store/series.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void series_put(Buf *out, Point point) {
    uint64_t bits;
    memcpy(&bits, &point.value, sizeof bits);
    buf_u64(out, point.step);
    buf_u64(out, bits);
}

Point series_point(const void *block, size_t i) {
    Reader r = reader_of((const unsigned char *)block + i * SERIES_POINT_BYTES, SERIES_POINT_BYTES);
    Point p = {.step = read_u64(&r)};
    uint64_t bits = read_u64(&r);
    memcpy(&p.value, &bits, sizeof p.value);
    return p;
}

static bool replaces(double now, double was, bool below) {
    if (!isfinite(was)) return isfinite(now);
    return below ? now < was : now > was && isfinite(now);
}

static void join(SeriesSummary *to, const SeriesSummary *next) {
    if (!to->n) {
        *to = *next;
        return;
    }
    to->n += next->n;
    to->last = next->last;
    if (replaces(next->least.value, to->least.value, true)) to->least = next->least;
    if (replaces(next->most.value, to->most.value, false)) to->most = next->most;
}

static void join_point(SeriesSummary *to, Point p) { join(to, &(SeriesSummary){1, p, p, p, p}); }

SeriesSummary series_summary(const void *block, size_t len) {
    SeriesSummary s = {0};
    for (size_t i = 0; i < len / SERIES_POINT_BYTES; i++) join_point(&s, series_point(block, i));
    return s;
}

/* ---- thinning ---- */

static void emit(Thinner *t, Point p) {
    if (t->n && t->points[t->n - 1].step == p.step) return;
    if (t->n == t->room) {
        size_t room = t->room ? t->room * 2 : 256, bytes;
        Point *points = __builtin_mul_overflow(room, sizeof *points, &bytes) ? NULL : realloc(t->points, bytes);
        t->failed |= !points;
        if (!points) return;
        t->points = points;
        t->room = room;
    }
    t->points[t->n++] = p;
}

static void close_bucket(Thinner *t) {
    if (!t->bucket.n) return;
    bool least_first = t->bucket.least.step <= t->bucket.most.step;
    emit(t, least_first ? t->bucket.least : t->bucket.most);
    emit(t, least_first ? t->bucket.most : t->bucket.least);
    t->bucket = (SeriesSummary){0};
}

void thin_begin(Thinner *t, uint64_t total, uint64_t most) {
    uint64_t buckets = (most - 2) / 2;
    *t = (Thinner){.per = total <= most ? 1 : (total - 1) / buckets + 1};
}

bool thin_takes_blocks(const Thinner *t) { return t->per >= SERIES_BLOCK; }

void thin_block(Thinner *t, const SeriesSummary *block) {
    if (!block->n) return;
    if (!t->any) emit(t, block->first);
    t->any = true;
    t->last = block->last;
    join(&t->bucket, block);
    if (t->bucket.n >= t->per) close_bucket(t);
}

void thin_point(Thinner *t, Point p) { thin_block(t, &(SeriesSummary){1, p, p, p, p}); }

void thin_end(Thinner *t) {
    close_bucket(t);
    if (t->any) emit(t, t->last);
}

void thin_release(Thinner *t) {
    free(t->points);
    *t = (Thinner){0};
}
