/* All that the database knows and has, thing by thing, for whoever holds it against its sums (server/upkeep/scrub.h): files that it knows, then its own
 * rows. A place in this order is kept in the database, so that a restart goes on from there.
 *
 * For any thread, but for store_damaged_files, which is the loop's. Errors: as in store.h. */
#ifndef CAJAL_STORE_SCRUB_H
#define CAJAL_STORE_SCRUB_H
#include "server/store/store_data.h"
#include "server/store/store_runs.h"

typedef enum {
    SCRUB_CONTENTS, SCRUB_CHECKPOINTS,
    SCRUB_PROGRAMS, SCRUB_GRAPHS, SCRUB_DATASETS, SCRUB_RUNS, SCRUB_EVENTS, SCRUB_POINTS, SCRUB_SERIES, SCRUB_SUMS, /* rows */
    SCRUB_KINDS /* through */
} ScrubKind;
/* Behind this thing: of what has text for a key, that; else numbers. */
typedef struct {
    ScrubKind kind;
    char key[80];
    int64_t a, b;
} ScrubPlace;

/* Where the scrub was, and when its pass began; at the beginning and 0 when there was none. */
void store_scrub_get(Store *store, ScrubPlace *at, int64_t *started);
ErrCode store_scrub_put(Store *store, const ScrubPlace *at, int64_t started);

/* The next content that something refers to: at->key. ERR_not_found: there are no more. */
ErrCode store_scrub_content(Store *store, ScrubPlace *at);
/* The next checkpoint, and its run: at->a its seq. */
ErrCode store_scrub_checkpoint(Store *store, ScrubPlace *at, char id[RUN_ID + 1], RunCheckpoint *out);
/* Holds some rows of at->kind against their sums; a damaged one is logged and counted (store_damage). *bytes: read. ERR_not_found: there are no more. */
ErrCode store_scrub_rows(Store *store, ScrubPlace *at, uint64_t *bytes);

/* Contents and checkpoints that are known to be damaged. */
uint64_t store_damaged_files(Store *store);
#endif
