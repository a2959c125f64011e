/* The interpreter (language.md §4): the reference the compiler is held against.
 *
 * An explicit-stack machine: neither deep terms nor long iterations touch the C stack. Values: booleans, naturals, closures,
 * none, and basis functions; a basis vector of a real type is carried like a natural, its place. Memory (LIMIT_INTERP_BYTES) and
 * steps are bounded (too_large). The program is one that check_program accepted.
 * Ownership: values live in the Cx's arena. What the machine itself lets go of is used again; what a caller got stays. */
#ifndef CAJAL_INTERP_H
#define CAJAL_INTERP_H
#include "compiler/language/check.h"

typedef struct InterpValue InterpValue;

typedef struct {
    Cx *cx;
    const Program *program;
    uint64_t steps, step_limit; /* over it: cx_fail too_large; steps add up until the caller resets them */
    struct Machine *machine;    /* NULL at first; the interpreter's own */
} Interp;

/* Basis vector `index` of a sized vector type, as a value (index < type->dim). */
const InterpValue *interp_basis(Interp *in, const Type *type, size_t index);
const InterpValue *interp_none(void);
/* The program's value: inputs by context binder order sorted by name, then its result applied to the arguments in turn. */
const InterpValue *interp_run(Interp *in, const InterpValue *const *inputs, const InterpValue *const *args, uint32_t nargs);
/* The value as a vector of the sized type: out[type->dim], zeros and ones (tables row-major). Applies functions to basis values.
 * A natural beyond the type's size fails the Cx with compiler_mismatch: sizes are an upper bound. */
void interp_vector(Interp *in, const InterpValue *value, const Type *type, double *out);
#endif
