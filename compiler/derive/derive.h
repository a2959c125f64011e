/* Derivatives of one output of a graph with respect to some of its slots.
 *
 * The result has the graph's slots and, first, all its outputs as they were.
 * Ownership: guarded by the Cx until rewrite_give. Errors: too_large; not_tabulable where a network was not linked; internal for the derivative of
 * a derivative. */
#ifndef CAJAL_DERIVE_H
#define CAJAL_DERIVE_H
#include "compiler/language/cx.h"
#include "schema/graph/graph.h"

typedef struct {
    uint32_t output;      /* what is differentiated, an index into the graph's outputs */
    const bool *slots;    /* by slot: with respect to it? NULL: all */
    /* VJP, by slot: the role of its gradient, whose index is the slot's. NULL: grad_input, grad_arg, grad_weight by the slot's role. */
    const OutRole *roles;
    bool rows;            /* VJP: gradients of shared slots stay one a row; else they are summed over the batch (`batch_sum`) */
} DeriveSpec;

/* COTANGENT 0, of the output's size, is added to the slots; the outputs of one gradient for each slot asked for, in order. */
Graph *derive_vjp(Cx *cx, const Graph *g, const DeriveSpec *spec);
/* TANGENT_INPUT i and TANGENT_ARG i are added for each slot asked for, INPUT i or ARG i; and the output TANGENT 0. */
Graph *derive_jvp(Cx *cx, const Graph *g, const DeriveSpec *spec);

/* The same of a lowered program, with respect to all its inputs and arguments: outputs VALUE, and GRAD_INPUT i and GRAD_ARG i for every INPUT and
 * ARG slot, or TANGENT. The graph is the caller's (graph_free). */
Graph *derive_graph_vjp(Cx *cx, const Graph *g);
Graph *derive_graph_jvp(Cx *cx, const Graph *g);
#endif
