/* How deep binders stand: the bridge from binder indices to de Bruijn indices and environments. */
#ifndef CAJAL_LEVELS_H
#define CAJAL_LEVELS_H
#include "compiler/language/term.h"

/* By binder, in the arena: the number of variables in scope where it is bound, itself not counted. Context variables count from 0
 * in order of name (program_inputs); all others lie above them. */
const uint32_t *levels_of(Cx *cx, const Program *p);
#endif
