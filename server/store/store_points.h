/* The database's rows of runs' metrics: points of a key, in blocks (series.h).
 *
 * A block is written with the sum of its points, and one of what is known of it besides (which often will do). What does not have its sum any more
 * is left out of what is read, and is not built upon.
 * Ownership, errors, threads: as in store_runs.h. */
#ifndef CAJAL_STORE_POINTS_H
#define CAJAL_STORE_POINTS_H
#include "schema/limits.h"
#include "server/store/series.h"
#include "server/store/store.h"

enum { RUN_KEY = 64 }; /* characters of a metric's key */

typedef struct {
    uint32_t key; /* index into keys */
    Point point;
} KeyedPoint;

/* Writes, as a part of the caller's transaction; for store*.c. `seq`: the run's. */
ErrCode store_points_put(Store *store, int64_t seq, const char (*keys)[RUN_KEY + 1], uint32_t nkeys, const KeyedPoint *points, size_t npoints);
/* Those beyond the step go. */
ErrCode store_points_drop(Store *store, int64_t seq, uint64_t step);

/* The keys of a run's metrics, in order; at most LIMIT_RUN_KEYS. */
ErrCode store_run_keys(Store *store, int64_t seq, char keys[LIMIT_RUN_KEYS][RUN_KEY + 1], size_t *n);
/* The points of a key from step `from` on, thinned to `most`; thin_release. damaged: some are, and left out. */
ErrCode store_run_points(Store *store, int64_t seq, const char *key, uint64_t from, uint64_t most, Thinner *out, bool *damaged);
#endif
