/* A run's metrics: points (step, value) of a key in blocks, and thinned for those who look at them. Pure.
 *
 * Thinning keeps the first and the last point, and of each bucket between the least and the greatest, in order of their steps: no peak is lost.
 * What is not finite is kept when nothing else is in its bucket. Ownership: a Thinner owns its points (thin_release). */
#ifndef CAJAL_SERIES_H
#define CAJAL_SERIES_H
#include "schema/base/buf.h"

enum { SERIES_BLOCK = 1024, SERIES_POINT_BYTES = 16, SERIES_LEAST_POINTS = 4 };

typedef struct {
    uint64_t step;
    double value;
} Point;

/* What is known of a block without its points. */
typedef struct {
    uint64_t n;
    Point first, last, least, most;
} SeriesSummary;

void series_put(Buf *out, Point point);
/* The i-th point of a block of `len` bytes; i < len / SERIES_POINT_BYTES. */
Point series_point(const void *block, size_t i);
SeriesSummary series_summary(const void *block, size_t len);

typedef struct {
    Point *points; /* the answer */
    size_t n, room;
    uint64_t per;            /* points that a bucket has, at least */
    SeriesSummary bucket;
    Point last;
    bool any, failed;        /* failed: memory is short */
} Thinner;
/* `total` points are coming, of which about `most` (at least SERIES_LEAST_POINTS) shall be left; never more. */
void thin_begin(Thinner *t, uint64_t total, uint64_t most);
/* Whole blocks will do: thin_block instead of its points. */
bool thin_takes_blocks(const Thinner *t);
void thin_point(Thinner *t, Point point);
void thin_block(Thinner *t, const SeriesSummary *block);
void thin_end(Thinner *t);
void thin_release(Thinner *t);
#endif
