/* Regions: what of a graph is constant, and what is linear in one node and constant otherwise (architecture.md, collapse).
 *
 * Every node has a *root*: itself when it is opaque; another node's root when it is linear in that one and nothing else varies;
 * ROOT_NONE when nothing varies at all. A linear node is a matrix applied to its root, a constant one a vector; both are found by running
 * the region once, on the root's basis vectors.
 * Memory is the Cx's. */
#ifndef CAJAL_REGION_H
#define CAJAL_REGION_H
#include "compiler/passes/rewrite.h"

#define ROOT_NONE UINT32_MAX

/* How large one table may be, and what the tables of one graph may cost to find, in multiply-adds. */
#define REGION_CELLS ((size_t)1 << 20)
#define REGION_WORK 4e6

typedef struct {
    const Graph *g;
    uint32_t *root;   /* by node */
    double *saving;   /* by node: what a row no longer costs once this node is a table: itself and what nothing else reads */
    bool *boundary;   /* an output, or read by a node of another root */
    double budget;    /* multiply-adds that may still be spent on tables */
    /* scratch */
    uint32_t *cone, *stamps, stamp, *moved;
} Regions;

/* work: what all tables together may cost, in multiply-adds. */
Regions *region_find(Cx *cx, const Graph *g, double work);

/* The matrix [size of root, size of node] of a linear node, or the vector [size of node] of a constant one. In the arena. NULL when it is
 * larger than `cells` or the budget does not reach. */
const double *region_table(Cx *cx, Regions *r, uint32_t node, size_t cells);
#endif
