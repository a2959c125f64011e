/* The database's rows of data sets; dataset_files.h has their files, and is the only one to call this.
 *
 * Ownership, errors, threads: as in store.h. A damaged row is reported absent, and logged. */
#ifndef CAJAL_STORE_DATA_H
#define CAJAL_STORE_DATA_H
#include "schema/limits.h"
#include "server/store/store.h"

enum { DATASET_NAME = LIMIT_RUN_NAME, DATASET_SHA = 64 }; /* characters */

typedef struct {
    char sha256[DATASET_SHA + 1];
    char *record;
    int64_t created; /* microseconds of the Unix epoch */
} StoredDataset;
void stored_dataset_release(StoredDataset *d);

/* ERR_not_found, ERR_internal (damaged). */
ErrCode store_dataset_get(Store *store, const char *name, StoredDataset *out);
/* The records, newest first; as store_programs. */
ErrCode store_datasets(Store *store, const StorePlace *after, size_t limit, StoreRow *row, void *arg, StorePlace *last);

/* Writes. */
typedef struct {
    const char *name, *sha256, *record;
    const char *base; /* the content that the name must still have, "" for none; NULL: whatever it has */
    int64_t created;
} DatasetRow;
typedef enum { ROW_DONE, ROW_MOVED, ROW_HELD, ROW_ABSENT, ROW_FULL, ROW_FAILED } RowResult;
/* MOVED: the base is another one by now. HELD: a run that is queued or running uses what it would replace. `before` becomes the content that
 * the name had, "" for none. */
RowResult store_dataset_put(Store *store, const DatasetRow *row, char before[DATASET_SHA + 1]);
RowResult store_dataset_delete(Store *store, const char *name, char before[DATASET_SHA + 1]);
/* A data set or a run refers to the content; also true when the database does not answer. */
bool store_content_used(Store *store, const char *sha256);
#endif
