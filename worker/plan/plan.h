/* Plans: a graph turned into an array of kernel calls with settled operands, once for a batch class, dtype and set of outputs. What a plan is made of
 * stands in worker/kernels/exec_state.h and step.h.
 *
 * Ownership: a Plan refers to its Graph, which must outlive it; it owns its sub-plans. Read-only once made.
 * Errors: plan_new returns NULL and sets the error: not_tabulable (a network that was not linked), too_large, internal (out of
 * memory). */
#ifndef CAJAL_PLAN_H
#define CAJAL_PLAN_H
#include "schema/errors.h"
#include "worker/kernels/exec_state.h"

#define PLAN_KEEP_BYTES ((size_t)192 << 10) /* of a row: 128 rows of it are 24 MiB */

typedef struct {
    const Graph *graph;
    bool f64;
    const bool *batched; /* by slot */
    const bool *wanted;  /* by output */
    size_t rows;         /* training: every run has so many; 0: any number, and a row's bits do not depend on it */
    Isa isa_below;       /* 0: the best this CPU has; else a lesser one (tests) */
    bool no_tape;        /* ordinary steps whatever the size (tests) */
    size_t keep_bytes;   /* 0: PLAN_KEEP_BYTES; a row's states of a recurrence beyond it are recomputed by segments (tests) */
    bool is_step;
    /* step graphs, by output: */
    const bool *out_batched; /* the form the iteration wants it in */
    const bool *adds;        /* added to what the iteration binds */
    const bool *sums;        /* summed over rows before; then not batched */
} PlanSpec;

Plan *plan_new(const PlanSpec *spec, Err *err);
void plan_free(Plan *plan);
#endif
