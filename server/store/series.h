/* A run's metrics: points (step, value) of a key in blocks, thinned when there are too many to be kept, and for those who look at them. Pure.
 *
 * Thinning keeps of each bucket the least and the greatest point, in order of their steps: no peak is lost. For those who look the first and the last
 * point are kept, too. What is not finite is kept when nothing else is in its bucket. Ownership: a Thinner owns its points (thin_release). */
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

/* A bucket, zeroed when empty: one more point; and the two of its points (one, if it has no more) that are kept: returns how many. */
void series_add(SeriesSummary *bucket, Point point);
size_t series_keep(const SeriesSummary *bucket, Point out[2]);
/* Appends half of a block's points: two of each four, and of what is left over. */
void series_halve(Buf *out, const void *block, size_t len);
/* A bucket as bytes. False: these are none. */
void series_put_bucket(Buf *out, const SeriesSummary *bucket);
bool series_get_bucket(SeriesSummary *bucket, const void *bytes, size_t len);

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
