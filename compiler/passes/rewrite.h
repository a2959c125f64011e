/* Rewriting graphs: a pass walks a graph in order, puts every node, or something else in its place, into a new one, and ends with what the
 * outputs need.
 *
 *     Rewrite *rw = rewrite_new(cx, g);
 *     for each node i: rw->moved[i] = rewrite_copy(rw, i), or a node made with rewrite_add
 *     Graph *made = rewrite_finish(rw);
 *
 * Ownership: the new graph is guarded by the Cx until it is given away (rewrite_give). Steps are copied.
 * Errors: too_large when the new graph outgrows the limits. */
#ifndef CAJAL_REWRITE_H
#define CAJAL_REWRITE_H
#include "compiler/language/cx.h"
#include "schema/graph/graph.h"
#include "schema/limits.h"

typedef struct {
    Cx *cx;
    const Graph *from;
    Graph *to;
    uint32_t *moved; /* node of from -> node of to */
} Rewrite;

/* A node's dims, copied: adding nodes may move the arrays they stand in. */
typedef struct {
    uint32_t rank, at[LIMIT_GRAPH_RANK];
} Dims;

enum { REWRITE_SUBS = 2 }; /* sub-graphs of a node, at most */

Rewrite *rewrite_new(Cx *cx, const Graph *from); /* slots are copied, in order */
uint32_t rewrite_add(Rewrite *rw, const NodeSpec *spec);
uint32_t rewrite_copy(Rewrite *rw, uint32_t node);
/* Copies the outputs, drops dead nodes; `to` is used up. */
Graph *rewrite_finish(Rewrite *rw);
/* The same when the pass has set outputs itself. */
Graph *rewrite_finish_as_is(Rewrite *rw);

/* A copy with only the nodes the outputs need, steps included. Guarded. */
Graph *rewrite_prune(Cx *cx, const Graph *g);
/* The graph is the caller's from now on. */
Graph *rewrite_give(Cx *cx, Graph *g);
/* Ends the compilation as too_large: what a program is compiled to must not depend on how much memory there happens to be. */
_Noreturn void rewrite_no_memory(Cx *cx);
/* `made` in the place of `old`, which is freed. */
Graph *rewrite_replace(Cx *cx, Graph *old, Graph *made);
/* Guards a graph against the Cx's failure; NULL is too_large. */
Graph *rewrite_guard(Cx *cx, Graph *g);

/* By node, how often it is read, outputs included. In the arena. */
uint32_t *rewrite_readers(Cx *cx, const Graph *g);

Dims dims_of(const Graph *g, uint32_t node);
bool dims_equal(const Dims *a, const Dims *b);
size_t dims_product(const Dims *dims);
uint32_t rewrite_node(Rewrite *rw, Op op, const uint32_t *ins, uint32_t nin, const Dims *dims, const int64_t *attrs, uint32_t nattr);
uint32_t rewrite_plus(Rewrite *rw, uint32_t a, uint32_t b); /* `add` */
/* A contraction's labels, of both operands and the result, named 0, 1, … as they come, so that equal contractions are written alike. */
void rewrite_labels(int64_t *labels, uint32_t n);
uint32_t rewrite_reshape(Rewrite *rw, uint32_t node, const Dims *dims); /* of what the node is a reshape of; that itself when it has these dims */
/* y[j] = x[j-by] along the axis, which becomes `to` long; at least one element stays. By its short name (shift, unshift) where there is one;
 * the node itself when nothing moves. */
uint32_t rewrite_slide(Rewrite *rw, uint32_t node, uint32_t axis, uint32_t to, int64_t by);
#endif
