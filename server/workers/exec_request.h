/* Runs on their way to a worker: small ones of the same graph made one run of all their rows, and its results taken apart again.
 *
 * Two runs go together when they want the same outputs of the same graph in the same dtype, and give the same slots tensors of the same kind:
 * batched ones are put one behind the other, shared ones must be equal. Every result must be batched: a sum over the batch would be
 * nobody's alone. A row's bits do not depend on the batch it is in (architecture.md, Executing), so nobody can tell.
 * Ownership: everything is lent. */
#ifndef CAJAL_EXEC_REQUEST_H
#define CAJAL_EXEC_REQUEST_H
#include "schema/protocol/wire.h"

typedef struct {
    RunMsg msg;
    const size_t *row_bytes; /* of each result; they stand in the area in order, from results_at on */
    double cost;             /* about multiply-adds */
    bool small;              /* values and results are inline, and over well within a millisecond: others may wait behind it, or go with it */
} Run;

enum { RUN_MEMBERS = 64, RUN_TENSORS = 16 }; /* of one merged run: members, and tensors and results each */

bool run_mergeable(const Run *run);
/* Both are mergeable. */
bool run_goes_with(const Run *a, const Run *b);
size_t run_result_bytes(const Run *run);
/* Appends the one message (wire_put_run) for n runs that go with each other; their values, and their results, take at most WIRE_INLINE_AREA. */
void run_put_merged(Buf *out, const Run *const *runs, size_t n);
/* The results of a run whose rows stand from row0 on in a merged one of all_rows: in place, or put together in `room`, which has
 * run_result_bytes. */
const unsigned char *run_part(const Run *run, const unsigned char *merged, size_t row0, size_t all_rows, unsigned char *room);
#endif
