/* A data set on its way in: the columns of a body (safetensors, npy, npz or IDX), with those of the data set that a single column is added to,
 * written as the one stored form. The same columns give the same bytes, whatever the way they came: sorted by the size of their elements,
 * largest first (so that all are aligned), then by name.
 *
 * Ownership: a Draft points into the body and the base, which outlive it; draft_release.
 * Errors: bad_request, bad_tensor, shape_mismatch, too_large (LIMIT_DATASET_BYTES, LIMIT_COLUMNS), storage_full, internal; the message names
 * the column. */
#ifndef CAJAL_DRAFT_H
#define CAJAL_DRAFT_H
#include "server/data/dataset.h"
#include "server/data/npz.h"
#include <stdatomic.h>

typedef struct {
    DatasetColumn column;
    BulkTensor tensor;         /* how the data lie; without its name */
    const unsigned char *data; /* in the body or an npz; NULL: in the base's file, as they are to be */
    uint64_t from;             /* where in that file */
} DraftColumn;

typedef struct {
    DraftColumn *columns;
    size_t n;
    uint64_t rows;
    int base;                  /* descriptor of the base; -1: none */
    StoredContent content;     /* once written: the sums of the file's blocks */
} Draft;

/* column: what the one column of npy and IDX is called, which they need; NULL: safetensors, which have names of their own. */
bool draft_read(Draft *draft, const unsigned char *body, size_t len, const char *column, Err *err);
/* Likewise of an npz, which has names of its own and outlives the draft. */
bool draft_read_npz(Draft *draft, const Npz *npz, const char *column, Err *err);
/* Takes the base's other columns along. */
bool draft_add(Draft *draft, const Dataset *base, Err *err);
/* Bytes that it has as a file, but for the header; UINT64_MAX: more than can be told. */
uint64_t draft_bytes(const Draft *draft);
/* Writes all at descriptor fd, flushed to the disk. Reads `stop` now and then: once it is true the write ends in `internal`. */
bool draft_write(Draft *draft, int fd, const atomic_bool *stop, char sha256[DATASET_SHA + 1], Err *err);
void draft_release(Draft *draft);
#endif
