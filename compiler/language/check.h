/* The graded linear checker (language.md §3): one loop over the nodes in post-order.
 *
 * On success every node has a type and every binder its type and grade; errors fail the Cx with the code, node and hint that
 * language.md §3 gives: the first in post-order, a binder judged on leaving it, the context last (in order of declaration).
 * Cost: about linear in the program: usages are merged small into large, and "everything here becomes ω" is lazy. */
#ifndef CAJAL_CHECK_H
#define CAJAL_CHECK_H
#include "compiler/language/term.h"

typedef struct {
    const Type **types;   /* by node, bounds as written */
    const Type **binders; /* by binder */
    Grade *grades;        /* LET and ITER binders: the grade of the variable in its scope, never ZERO; else ONE or OMEGA for linear/smooth */
} Checked;

/* In cx's arena. */
Checked *check_program(Cx *cx, const Program *p);
#endif
