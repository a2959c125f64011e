/* A new program's neurons against the interpreter, on basis vectors of its inputs and arguments (language.md §5, correctness).
 *
 * All combinations when there are at most LIMIT_VERIFY_EXHAUSTIVE, else LIMIT_VERIFY_SAMPLES drawn from `seed`; fewer, and not
 * exhaustive, when the interpreter's budget ends first. No cases when an input or argument is real or a network.
 * Called outside CX_TRY. False: cx->diag says why: compiler_mismatch with the case, or an operational failure. */
#ifndef CAJAL_VERIFY_H
#define CAJAL_VERIFY_H
#include "compiler/lower/compile.h"
#include "worker/plan/exec.h"

typedef struct {
    uint32_t cases;
    bool exhaustive;
} Verified;

/* g: the program lowered with all its arguments. */
bool verify_program(Cx *cx, const Program *p, const Signature *sig, const Graph *g, uint64_t seed, Workspace *w, Verified *out);
#endif
