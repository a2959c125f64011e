/* The database's rows of data sets; dataset_files.h has their files, and is the only one to call this.
 *
 * Ownership, errors, threads: as in store.h. A damaged row is logged and counted, and never served. */
#ifndef CAJAL_STORE_DATA_H
#define CAJAL_STORE_DATA_H
#include "schema/limits.h"
#include "server/store/store.h"

enum { DATASET_NAME = LIMIT_RUN_NAME, DATASET_SHA = 64 }; /* characters */

typedef struct {
    char sha256[DATASET_SHA + 1];
    char *record;
    int64_t created; /* microseconds of the Unix epoch */
    bool damaged;    /* its content is known to be */
} StoredDataset;
void stored_dataset_release(StoredDataset *d);

/* ERR_not_found, ERR_damaged (the row), ERR_internal. */
ErrCode store_dataset_get(Store *store, const char *name, StoredDataset *out);
/* As StoreRow; damaged: the content is known to be. */
typedef bool StoreDatasetRow(void *arg, const char *record, size_t len, bool damaged);
/* The records, newest first; as store_programs. */
ErrCode store_datasets(Store *store, const StorePlace *after, size_t limit, StoreDatasetRow *row, void *arg, StorePlace *last);

/* Writes. */
typedef struct {
    const char *name, *sha256, *record;
    const char *base; /* the content that the name must still have, "" for none; NULL: whatever it has */
    int64_t created;
} DatasetRow;
typedef enum { ROW_DONE, ROW_MOVED, ROW_HELD, ROW_ABSENT, ROW_FULL, ROW_QUOTA, ROW_BUSY, ROW_FAILED } RowResult;
/* MOVED: the base is another one by now. HELD: a run that is queued or running uses what it would replace. `before` becomes the content that
 * the name had, "" for none. BUSY: another process holds the database.
 * QUOTA: all files would be too much; the store does not say that, dataset_files.h does. */
RowResult store_dataset_put(Store *store, const DatasetRow *row, char before[DATASET_SHA + 1]);
RowResult store_dataset_delete(Store *store, const char *name, char before[DATASET_SHA + 1]);
/* A data set or a run refers to the content; also true when the database does not answer. No comes from the tables themselves: whoever asks removes
 * a file then, and an index may be damaged. */
bool store_content_used(Store *store, const char *sha256);

/* What is known of a content's file, whoever refers to it. */
typedef struct {
    uint64_t bytes, block; /* of the file, of a block */
    unsigned char *sums;   /* of the blocks, one after the other, `len` bytes together; NULL: none are known */
    size_t len;
    bool damaged;          /* found so by whoever looked last */
} StoredContent;
void stored_content_release(StoredContent *c);
/* ERR_not_found: there are no sums that can be used (damaged is filled in all the same). In the loop, and `_aside` on any thread. */
ErrCode store_content_get(Store *store, const char *sha256, StoredContent *out);
ErrCode store_content_get_aside(Store *store, const char *sha256, StoredContent *out);
/* Writes the sums of a content that is whole. */
ErrCode store_content_put(Store *store, const char *sha256, const StoredContent *content);
/* The content is damaged. */
ErrCode store_content_mark(Store *store, const char *sha256);
/* Forgets what is known of it. */
ErrCode store_content_delete(Store *store, const char *sha256);
#endif
