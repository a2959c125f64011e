/* language.md §3 word by word: recursive, a full table of usages at every node. What the checker is held against, on small
 * programs. */
#ifndef CAJAL_TESTS_NAIVE_CHECK_H
#define CAJAL_TESTS_NAIVE_CHECK_H
#include "compiler/language/term.h"

/* The diagnostic's code, at and other; no code when the program is right. Call inside CX_TRY; every name must be bound. */
Diag naive_check(Cx *cx, const Program *p);
#endif
