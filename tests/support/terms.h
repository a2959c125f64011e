/* Programs as S-expressions, for tests of what lies below the syntax module.
 *
 *     [x 2] [!f (2 -o 2)] (f x)          a context, then the term; ! is smooth
 *     (\ x N e)  (\ !x N e)  (let x e b)  (iter base y step count)  (if c a b)  (succ e)  (f a b)  true  3  x
 *     types: 2  N  N[7]  R[2,3]  (A -o B)  (!A -o B)
 *
 * Nodes have no places. A malformed text aborts: it is the test's mistake. Call inside CX_TRY. */
#ifndef CAJAL_TESTS_TERMS_H
#define CAJAL_TESTS_TERMS_H
#include "compiler/language/term.h"

Program *terms_read(Cx *cx, Nat nat, const char *text);
#endif
