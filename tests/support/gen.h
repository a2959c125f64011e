/* Random well-typed programs for property tests.
 *
 * gen_program builds a program that check_program accepts, top-down from a result type: linear variables are handed out so that
 * each is consumed exactly once, smooth ones are used at will. All constructs occur: context variables (linear and smooth),
 * functions and higher-order functions, let, iter (with function states too), if, succ, numerals. The program is not promised to
 * keep its naturals within bounds: compiling it under NAT_EXACT may end in nat_bound_exceeded, which property tests skip.
 * Ownership: the program is in cx's arena. Call inside CX_TRY: size and memory limits fail the Cx as everywhere. */
#ifndef CAJAL_TESTS_GEN_H
#define CAJAL_TESTS_GEN_H
#include "compiler/language/term.h"
#include "tests/support/rng.h"

typedef struct {
    uint64_t seed;  /* equal options give equal programs */
    uint32_t size;  /* about how many nodes; 0: smallest */
    Nat nat;        /* N[k] is written only under NAT_EXACT */
    bool discrete;  /* every context variable and linear parameter is over 2, N and -o: interp_basis has all inputs */
    bool closed;    /* no context */
} GenOptions;
#define GEN_DEFAULT ((GenOptions){.size = 30, .nat = {.dim = 4}, .discrete = true})

Program *gen_program(Cx *cx, const GenOptions *options);
/* A vector type over 2, N, N[k] and -o, nested at most `depth` deep; its dimension with N read as `nat.dim` is at most 256. */
const Type *gen_type(Cx *cx, Rng *rng, Nat nat, uint32_t depth);
#endif
