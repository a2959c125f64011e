/* Inside the structure pass: ops put into a new graph by their algebra (structure_algebra.c the ops that move numbers, sums and the conditional,
 * structure_contract.c contractions; structure.c is the pass). Each function gives a node of rw->to that means op(inputs), at most as dear as the op itself, given
 * that what only the op reads dies with it. */
#ifndef CAJAL_STRUCTURE_H
#define CAJAL_STRUCTURE_H
#include "compiler/passes/rewrite.h"

/* The contraction's labels; operands and result, each a list as long as its rank. */
typedef struct {
    int64_t at[3][LIMIT_GRAPH_RANK];
    uint32_t n[3];
} Labels;

typedef struct Structure Structure;
struct Structure {
    Rewrite *rw;
    /* structure_contract: contractions call the rest of the algebra, and it calls them through here */
    uint32_t (*contract)(Structure *s, uint32_t a, uint32_t b, const Labels *labels);
    uint32_t *readers, room; /* by node of rw->to: readers it has in the old graph, through all nodes that became it */
    uint32_t depth;          /* of rewriting within rewriting */
    uint32_t kept;           /* nodes seen through that others read too: what is below them stays */
};

enum { STRUCTURE_DEPTH = 16 }; /* deeper, an op is put as it is */

/* Whether the node is read by nothing but the op at hand. */
bool structure_single(const Structure *s, uint32_t node);
/* From here to structure_leave the node is seen through: nothing below is single unless the node is. Returns what leave wants. */
uint32_t structure_enter(Structure *s, uint32_t node);
static inline void structure_leave(Structure *s, uint32_t kept) { s->kept -= kept; }
/* What selecting along an axis of the node costs. */
double structure_select_cost(const Structure *s, uint32_t node, uint32_t axis);

uint32_t structure_zero(Structure *s, const Dims *dims);
uint32_t structure_reshape(Structure *s, uint32_t x, const Dims *dims);
uint32_t structure_slide(Structure *s, uint32_t x, uint32_t axis, uint32_t to, int64_t by);
uint32_t structure_select(Structure *s, uint32_t x, uint32_t axis, uint32_t index);
uint32_t structure_scatter(Structure *s, uint32_t x, uint32_t axis, uint32_t index, uint32_t extent);
uint32_t structure_permute(Structure *s, uint32_t x, const int64_t *perm);
uint32_t structure_add(Structure *s, uint32_t a, uint32_t b);
uint32_t structure_if(Structure *s, uint32_t c, uint32_t a, uint32_t b);
uint32_t structure_contract(Structure *s, uint32_t a, uint32_t b, const Labels *labels);

/* A contract's labels. */
Labels structure_labels(const Graph *g, uint32_t node);
/* A cut, padded or moved axis: y[j] = x[j-by]. */
typedef struct {
    uint32_t x, axis, from, to;
    int64_t by;
} Slide;
bool structure_is_slide(const Structure *s, uint32_t node, Slide *slide);
#endif
