/* Tapes: the batched part of a small plan as straight-line code over scalars, each instruction run on a block of rows at once.
 *
 * The planner expands its batched nodes element by element (iterations unrolled), into *terms*: interned, so equal ones are one;
 * with constants folded; a product with a structural zero is zero, whatever the other factor. When that takes more than the
 * budget below, or when a node deserves a matrix product, there is no tape and the ordinary steps do the work.
 * What depends on no row is computed once, by tape_scalars; the rest is the tape's code over a register file of `lanes` rows
 * a register. Sums of products are chains of multiply-adds in the order of the summed axis, as everywhere.
 * Ownership: a Tape lives while its planner does; what runs is a TapeDetail (worker/kernels/step.h), the plan's. */
#ifndef CAJAL_TAPE_H
#define CAJAL_TAPE_H
#include "worker/plan/planner.h"

enum {
    TAPE_CODE = 4096,     /* instructions */
    TAPE_TERMS = 1 << 14, /* terms, and looked up */
    TAPE_POOL = 1 << 17,  /* elements of all nodes expanded */
    TAPE_MATRIX = 1024,   /* elements of a matrix from which on rows times it is a product's business */
    TAPE_NONE = UINT32_MAX
};

typedef enum { TERM_CONST, TERM_SHARED, TERM_LOAD, TERM_MUL, TERM_ADD, TERM_FMA } TermOp;

typedef struct {
    TermOp op;
    bool shared;      /* the same for all rows */
    uint32_t a, b, c; /* terms; SHARED: node, element; LOAD: slot, element */
    double value;     /* CONST */
} TapeTerm;

/* Where an expanded node goes: to an output of the plan, or, summed over rows, into the value of another node. */
typedef struct {
    uint32_t node, to;
    bool sum;
} TapeEnd;

struct Tape {
    TapeTerm *terms;
    uint32_t nterms, *buckets;
    uint32_t *pool; /* terms of nodes' elements, one node after the other */
    uint32_t npool, zero, one;
    uint32_t *elements;      /* by node of the plan's graph: its place in the pool */
    TapeEnd *ends;
    uint32_t nends;
    bool failed; /* over budget or out of memory; sticky, and harmless */
};

/* tape_terms.c */
bool tape_init(Tape *t, const Graph *g);
void tape_release(Tape *t);
uint32_t tape_const(Tape *t, double value);
uint32_t tape_leaf(Tape *t, TermOp op, uint32_t a, uint32_t b); /* SHARED, LOAD */
uint32_t tape_add(Tape *t, uint32_t a, uint32_t b);
uint32_t tape_mul(Tape *t, uint32_t a, uint32_t b);
uint32_t tape_fma(Tape *t, uint32_t a, uint32_t b, uint32_t c); /* a·b + c */
/* Place of n elements in the pool, all zero. */
uint32_t tape_take(Tape *t, size_t n);

/* tape_expand.c: all nodes that are planner_on_tape. False: too much for a tape. */
bool tape_expand(Tape *t, const Planner *b);

/* tape_code.c: how many instructions the ends need; the steps that run them. */
uint32_t tape_count(const Tape *t, const Planner *b);
void tape_steps(const Tape *t, Planner *b);
#endif
