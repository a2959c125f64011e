/* Results that are not finite, made again with care.
 *
 * Kernels multiply as IEEE says, so an infinity in what a row does not take (a branch, a state beyond its count) makes that row's result NaN: 0·∞. Such
 * are few, so they are looked for afterwards: whatever of the results is not finite is computed once more by the naive evaluator, in which a factor that
 * is 0 takes nothing (compiler/passes/naive.h); in the results' precision. What is infinite or NaN then is so in earnest. Rows that were
 * finite keep their bits. A sum over the rows is made again as a whole.
 * Ownership: everything is lent. Errors: internal (out of memory). */
#ifndef CAJAL_CAREFUL_H
#define CAJAL_CAREFUL_H
#include "worker/plan/exec.h"

/* Inputs and outputs as exec_run has had them, which went well. */
bool careful_mend(const Graph *g, bool f64, const ExecInput *inputs, const ExecOutput *outputs, size_t rows, Err *err);
#endif
