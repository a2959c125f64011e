/* Iterations with a constant step. Σᵢ nᵢ·sᵢ with sᵢ₊₁ = step(sᵢ):
 *   base constant       the states are a constant table S, and the sum is n·S
 *   count a numeral m   Aᵐ·base, A the step's matrix: its power by repeated squaring
 *   step the identity   (Σᵢ nᵢ)·base
 *   otherwise           the powers Aⁱ are a constant table, where applying it costs less than running the recurrence
 * A capture that is constant is put into the step first. Steps are optimised before what contains them.
 * Ownership and errors: optimise.h. */
#ifndef CAJAL_RECUR_H
#define CAJAL_RECUR_H
#include "compiler/passes/rewrite.h"

/* All passes, on a step. */
typedef Graph *(*RecurOptimise)(Cx *cx, const Graph *g);
Graph *recur_graph(Cx *cx, const Graph *g, RecurOptimise optimise);
#endif
