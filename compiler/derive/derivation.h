/* Inside derivation: a derivative under way, and the rules that the op table names (schema/graph/ops.def).
 *
 * derivation.c has what rules are written with, derive_program.c the rules of the ops of programs, derive_layers.c those of layers and losses;
 * derive.c has iterations, whose steps are derived in their turn, and calls the rules. */
#ifndef CAJAL_DERIVATION_H
#define CAJAL_DERIVATION_H
#include "compiler/passes/rewrite.h"
#include "schema/graph/ops.h"

#define SLOPE_NONE UINT32_MAX

typedef struct {
    Rewrite *rw;      /* the primal is copied first; slopes are added behind it */
    const Graph *from;
    bool *active;     /* by node of from */
    bool *tame;       /* by node of from: finite when the graph's inputs are (derivation.c) */
    uint32_t *slope;  /* by node of from: its cotangent or tangent in the new graph, SLOPE_NONE = zero */
    uint32_t *reader; /* by slot: its input node, SLOPE_NONE when nothing reads it */
} Derivation;

static inline const GNode *derive_node(const Derivation *d, uint32_t node) { return &d->from->nodes[node]; }
static inline uint32_t derive_input(const Derivation *d, uint32_t node, uint32_t k) { return node_ins(d->from, derive_node(d, node))[k]; }
static inline int64_t derive_attr(const Derivation *d, uint32_t node, uint32_t k) { return node_attrs(d->from, derive_node(d, node))[k]; }
static inline Dims derive_dims(const Derivation *d, uint32_t node, uint32_t k) { return dims_of(d->from, derive_input(d, node, k)); }
/* Input k's value in the new graph, and its tangent, SLOPE_NONE = zero. */
static inline uint32_t derive_primal(const Derivation *d, uint32_t node, uint32_t k) { return d->rw->moved[derive_input(d, node, k)]; }
static inline uint32_t derive_tangent(const Derivation *d, uint32_t node, uint32_t k) { return d->slope[derive_input(d, node, k)]; }

/* VJP: whether input k's cotangent is asked for; adding to it. */
static inline bool derive_wants(const Derivation *d, uint32_t node, uint32_t k) { return d->active[derive_input(d, node, k)]; }
void derive_give(Derivation *d, uint32_t node, uint32_t k, uint32_t cotangent);
/* Gives input 0 what `op`, with the node's attributes, makes of the cotangent: its transpose. */
void derive_give_transpose(Derivation *d, uint32_t node, uint32_t cotangent, Op op);

/* The new graph's nodes for zeros, and for a slot's tensor in these dims. */
uint32_t derive_zero(Derivation *d, const Dims *dims);
uint32_t derive_slot(Derivation *d, SlotRole role, uint32_t index, const Dims *dims);
/* A derivation begun: the primal is copied. differentiated: by slot, whether it is; NULL: all that are tensors. */
Derivation *derivation_new(Cx *cx, const Graph *from, const bool *differentiated);

/* Ends the derivation as not_tabulable: a network was not linked. */
_Noreturn void derive_no_networks(Cx *cx);

/* Rules. vjp_<rule>: y is the node, yb its cotangent in the new graph; gives cotangents to those inputs that want them. jvp_<rule>: y's tangent; at
 * least one input has one. */
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, ...) \
    void vjp_##vjp(Derivation *d, uint32_t y, uint32_t yb);                                  \
    uint32_t jvp_##jvp(Derivation *d, uint32_t y);
#include "schema/graph/ops.def"
#undef OP
#endif
