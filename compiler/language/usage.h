/* Usages: which variables a term uses, with which grade and why (language.md §3).
 *
 * A set belongs to one node and is consumed exactly once, by its parent, so sets are merged in place, the smaller into the
 * larger, and "every use in here becomes ω" is one event that entries look up when they are next touched. A program costs
 * O(n log n) in all.
 * Ownership: everything is in the Cx's arena. A set handed to a function is used up by it (or updated, through a pointer). */
#ifndef CAJAL_USAGE_H
#define CAJAL_USAGE_H
#include "compiler/language/term.h"

/* Why a grade is ω: the error it would be in a linear variable, and the VAR nodes to point at. */
typedef struct {
    ErrCode code;
    uint32_t node;  /* TERM_NONE in usage_scale: each variable's own first use */
    uint32_t other; /* linear_reused: the earlier use; else TERM_NONE */
} Cause;

typedef struct {
    Grade grade;
    uint32_t use; /* the first VAR node in evaluation order */
    Cause cause;  /* of OMEGA */
} Usage;

typedef struct UsagePool UsagePool;
typedef struct {
    uint32_t id;          /* 0: empty */
    uint32_t head, count; /* entries */
    uint32_t first, last; /* events, 0 = none */
} UsageSet;

UsagePool *usage_pool(Cx *cx);
/* {binder: 1}, used at VAR node `node`. */
UsageSet usage_one(UsagePool *pool, uint32_t binder, uint32_t node);
/* a + b, a evaluated first. */
UsageSet usage_add(UsagePool *pool, UsageSet a, UsageSet b);
/* join(a, b), a the `then` branch. */
UsageSet usage_join(UsagePool *pool, UsageSet a, UsageSet b);
/* ω · set: what was 1 becomes ω with this cause; an ω keeps its own. */
void usage_scale(UsagePool *pool, UsageSet *set, Cause cause);
/* Takes the variable out of the set; grade ZERO when it is not in it. */
Usage usage_take(UsagePool *pool, UsageSet *set, uint32_t binder);
#endif
