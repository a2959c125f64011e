/* The database's rows of runs' metrics: blocks of points (series.h), and beside them, a row a key, what is known of the key's series.
 *
 * A run's points are bounded, however long it trains: a key that comes to its share of LIMIT_RUN_POINTS has half of its points taken away, and from
 * then on of each two that come only one is kept, and so on: one of `stride`. What is kept depends on the points alone, not on when they were written.
 * A block is written with the sum of its points, and one of what is known of it besides (which often will do). What does not have its sum any more
 * is left out of what is read, and is not built upon.
 * Ownership, errors: as in store.h. */
#ifndef CAJAL_STORE_POINTS_H
#define CAJAL_STORE_POINTS_H
#include "schema/limits.h"
#include "server/store/series.h"
#include "server/store/store.h"

enum { RUN_KEY = 64 }; /* characters of a metric's key */

typedef struct {
    uint32_t key; /* index into the write's keys */
    Point point;
} KeyedPoint;

/* The keys of a run's metrics, in order; at most LIMIT_RUN_KEYS. In the loop's thread. */
ErrCode store_run_keys(Store *store, int64_t run, char keys[LIMIT_RUN_KEYS][RUN_KEY + 1], size_t *n);
/* The points of a key from step `from` on, thinned to `most` (thin_release). Takes the writer's lock: from any thread. */
typedef struct {
    uint64_t stride; /* of so many that came one was kept */
    bool damaged;    /* some are, and left out */
} RunPoints;
ErrCode store_run_points(Store *store, int64_t run, const char *key, uint64_t from, uint64_t most, Thinner *out, RunPoints *about);

/* For store*.c, as a part of the caller's transaction. Of each key the steps ascend. */
ErrCode store_points_put(Store *store, int64_t run, const char (*keys)[RUN_KEY + 1], uint32_t nkeys, const KeyedPoint *points, size_t npoints);
/* What is beyond the step goes. */
ErrCode store_points_drop(Store *store, int64_t run, uint64_t after);
#endif
