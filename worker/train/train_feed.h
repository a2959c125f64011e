/* Data sets as batches: a mapped file, its rows in the order of an epoch or as they stand, used columns gathered into the run's dtype.
 *
 * A column is used as x·scale + shift, in double, rounded once; a discrete one (an integer a row, meaning a basis vector) as it is. Every
 * discrete value is checked when the feed is opened. The file is mapped whole and read in at once, so no step waits for a disk.
 * Which rows a step gets is a function of (seed, step): epoch e's order is random_order of the key (seed, "order", e), a short last batch
 * is dropped.
 * Ownership: a Feed owns map, order and batch buffers; the descriptor stays the caller's. Read-only but for the batch.
 * Errors: bad_run (a value that is no place of its variable), internal (map, memory). Linking refused more than LIMIT_RUN_ROWS. */
#ifndef CAJAL_TRAIN_FEED_H
#define CAJAL_TRAIN_FEED_H
#include "compiler/training/link.h"
#include "schema/protocol/wire_train.h"
#include "worker/plan/exec.h"
#include "worker/train/file_map.h"

typedef struct {
    const unsigned char *rows; /* the first; at any address */
    DType dtype;
    size_t count;     /* elements a row */
    uint8_t discrete; /* as in TensorMsg */
    double scale, shift;
    void *table;      /* u8: what each of its 256 values becomes */
    void *batch;      /* `room` rows in the run's dtype; int64 when discrete */
} FeedColumn;

typedef struct {
    FileMap file;
    uint64_t rows;
    FeedColumn *columns; /* by slot of the linked graph */
    uint32_t ncolumns;
    bool f64;
    size_t room;         /* rows a batch */
    uint32_t *order;     /* of `epoch`; NULL before the first feed_batch */
    uint64_t epoch;
} Feed;

/* The used columns of the data set that `msg` describes; `test`: the test data's. */
bool feed_open(Feed *feed, int fd, const DataMsg *msg, const Linked *linked, bool test, bool f64, size_t room, Err *err);
void feed_release(Feed *feed); /* harmless on a zeroed one */
/* The batch of a step (counted from 0), `room` rows. */
bool feed_batch(Feed *feed, uint64_t seed, uint64_t step, Err *err);
/* Rows from..from+n as they stand; n at most `room`. */
void feed_rows(Feed *feed, uint64_t from, size_t n);
/* The batch as the slot's tensor. */
ExecInput feed_input(const Feed *feed, uint32_t slot);
/* The first slot whose batch has an element that is not finite; UINT32_MAX: none. */
uint32_t feed_nonfinite(const Feed *feed);
#endif
