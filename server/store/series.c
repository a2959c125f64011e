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

void series_add(SeriesSummary *bucket, Point p) { join(bucket, &(SeriesSummary){1, p, p, p, p}); }

SeriesSummary series_summary(const void *block, size_t len) {
    SeriesSummary s = {0};
    for (size_t i = 0; i < len / SERIES_POINT_BYTES; i++) series_add(&s, series_point(block, i));
    return s;
}

/* ---- what is kept ---- */

size_t series_keep(const SeriesSummary *b, Point out[2]) {
    Point one = b->least, other = b->most;
    if (one.step == other.step) other = b->first.step == one.step ? b->last : b->first;
    out[0] = one.step <= other.step ? one : other;
    out[1] = one.step <= other.step ? other : one;
    return one.step == other.step ? 1 : 2;
}

void series_halve(Buf *out, const void *block, size_t len) {
    SeriesSummary bucket = {0};
    Point kept[2];
    for (size_t i = 0, n = len / SERIES_POINT_BYTES; i < n; i++) {
        series_add(&bucket, series_point(block, i));
        if (bucket.n < 4 && i + 1 < n) continue;
        const size_t nkept = series_keep(&bucket, kept);
        for (size_t k = 0; k < nkept; k++) series_put(out, kept[k]);
        bucket = (SeriesSummary){0};
    }
}

void series_put_bucket(Buf *out, const SeriesSummary *b) {
    buf_u64(out, b->n);
    const Point points[] = {b->first, b->last, b->least, b->most};
    for (size_t i = 0; i < 4; i++) series_put(out, points[i]);
}

bool series_get_bucket(SeriesSummary *b, const void *bytes, size_t len) {
    if (len != sizeof(uint64_t) + (size_t)4 * SERIES_POINT_BYTES) return false;
    Reader r = reader_of(bytes, len);
    const unsigned char *points = (const unsigned char *)bytes + sizeof(uint64_t);
    *b = (SeriesSummary){read_u64(&r), series_point(points, 0), series_point(points, 1), series_point(points, 2), series_point(points, 3)};
    return true;
}

/* ---- thinning for those who look ---- */

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
