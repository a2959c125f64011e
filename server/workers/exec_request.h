/* Evaluations on their way to a worker: small ones of the same graph merged into one with all their rows, and its results taken apart again.
 *
 * Two evaluations go together when they want the same outputs of the same graph in the same dtype, and give the same slots tensors of the same kind:
 * batched ones are put one behind the other, shared ones must be equal. Every result must be batched: a sum over the batch would be
 * nobody's alone. A row's bits do not depend on the batch it is in (architecture.md, Executing), so nobody can tell.
 * Ownership: everything is lent. */
#ifndef CAJAL_EXEC_REQUEST_H
#define CAJAL_EXEC_REQUEST_H
#include "schema/protocol/wire.h"

typedef struct {
    ExecMsg msg;
    const size_t *row_bytes; /* of each result; results stand in the area in their order, from results_at on */
    double cost;             /* multiply-adds, about */
    bool small;              /* values and results are inline, and it takes far less than a millisecond: others may wait behind it, or go with it */
} ExecRequest;

enum { EXEC_MEMBERS = 64, EXEC_TENSORS = 16 }; /* of one merged evaluation: members, tensors, results */

bool exec_request_mergeable(const ExecRequest *exec);
/* Both are mergeable. */
bool exec_request_goes_with(const ExecRequest *a, const ExecRequest *b);
size_t exec_request_result_bytes(const ExecRequest *exec);
/* Appends the one message (wire_put_exec) for n evaluations that go with each other; their values, and their results, take WIRE_INLINE_AREA at
 * most. */
void exec_request_put_merged(Buf *out, const ExecRequest *const *execs, size_t n);
/* The results of an evaluation whose rows stand from row0 on in a merged one of all_rows: in place, or put together in `room`, which has
 * exec_request_result_bytes. */
const unsigned char *exec_request_part(const ExecRequest *exec, const unsigned char *merged, size_t row0, size_t all_rows, unsigned char *room);
#endif
