/* A data set as it is stored: a safetensors file whose tensors, the columns, have one leading row axis. Read here; written by draft.h, found by
 * dataset_files.h.
 *
 * Ownership: a Dataset owns its descriptor, columns and record (dataset_release). */
#ifndef CAJAL_DATASET_H
#define CAJAL_DATASET_H
#include "schema/formats/bulk.h"
#include "schema/protocol/wire_train.h"
#include "server/store/store_data.h"

typedef struct {
    char *name;
    DType dtype;                   /* U8, I64, F32 or F64 */
    size_t rank, dims[LIMIT_ROW_RANK]; /* of a row */
    size_t count, bytes;           /* elements, and bytes, of a row; at least 1 */
    uint64_t offset;               /* where the first row begins in the file; the rows follow each other */
} DatasetColumn;

typedef struct {
    int fd;                        /* O_RDONLY; -1: none */
    char sha256[DATASET_SHA + 1];  /* of the file */
    uint64_t rows, bytes;          /* at least 1; of the file */
    DatasetColumn *columns;        /* at most LIMIT_COLUMNS, in the file's order */
    size_t ncolumns;
    char *record;                  /* api.md's; NULL when it was not found by name */
    StoredContent content;         /* what is known of the file's blocks; without sums: nothing yet */
} Dataset;

/* The names of data sets and columns: 1 to 100 of A-Z a-z 0-9 . _ - */
bool dataset_name_ok(const char *name);
/* The same, but for the one that means something else in the file. */
bool dataset_column_name_ok(const char *name);
/* The tensor as a column of `rows` rows. bad_tensor when it is none; its dtype may be BOOL, which becomes U8. */
bool dataset_column_of(const BulkTensor *tensor, DatasetColumn *out, uint64_t *rows, Err *err);

/* Columns, rows and bytes of a stored file; the descriptor becomes the data set's. Only the header is read. False: the file is damaged, and the
 * descriptor still the caller's. */
bool dataset_read(int fd, Dataset *out, Err *err);
/* Appends the record; dataset: as read, with its sha256. created: microseconds of the Unix epoch. */
void dataset_put_record(Buf *out, const char *name, const Dataset *dataset, int64_t created);
/* Appends a stored record, which also says of a content that is damaged. */
void dataset_put_damage(Buf *out, const char *record, size_t len, bool damaged);
/* Appends {"from","count","columns"}; from and count are cut to the rows there are. False: the file cannot be read. */
bool dataset_put_rows(Buf *out, const Dataset *dataset, uint64_t from, uint64_t count);
void dataset_release(Dataset *dataset);
#endif
