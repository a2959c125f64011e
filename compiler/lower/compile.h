/* The back half as one function: a checked program to a neuron graph (language.md §5, §6), and what is said about it.
 *
 * Errors fail the Cx: nat_bound_exceeded, too_large, not_tabulable, with the node. The graph is the caller's (graph_free). */
#ifndef CAJAL_COMPILE_H
#define CAJAL_COMPILE_H
#include "compiler/language/check.h"
#include "schema/graph/graph.h"

typedef struct {
    const Type *type;   /* the program's, sized */
    const Type **inputs; /* sized, context order by name */
    uint32_t ninputs;
    const Type **args;  /* sized, all parameters of the result */
    bool *smooth_args;
    uint32_t nargs;
    const Type *output; /* after all arguments */
} Signature;

/* Lowers the program with its result applied to `nargs` arguments (UINT32_MAX: all). Slots: INPUT 0.. by name, ARG 0..; a
 * network input is a NETWORK slot. Output: VALUE. */
Graph *compile_lower(Cx *cx, const Program *p, const Checked *checked, uint32_t nargs, Signature *signature);
#endif
