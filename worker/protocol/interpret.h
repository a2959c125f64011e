/* Exec jobs with key 0: the interpreter on discrete values (language.md §4).
 *
 * Slots: the inputs in order of name, then the arguments; every tensor is discrete. One result, output 0: the vector of the
 * value after m->nargs arguments. `base` is the area.
 * Errors: the language's, too_large, bad_request, not_tabulable. */
#ifndef CAJAL_INTERPRET_H
#define CAJAL_INTERPRET_H
#include "schema/protocol/wire.h"
#include "schema/errors.h"

bool interpret_exec(const ExecMsg *m, void *base, Err *err);
#endif
