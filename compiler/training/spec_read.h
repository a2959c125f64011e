/* A specification's JSON to a Spec.
 *
 * Everything that can be wrong with the specification alone is bad_run (bad_json or too_large for what is no JSON that we read) with the
 * JSON Pointer and what was expected. `text` is copied. On failure the Spec is released. */
#ifndef CAJAL_SPEC_READ_H
#define CAJAL_SPEC_READ_H
#include "compiler/training/spec.h"

bool spec_read(Spec *spec, const char *text, size_t len, Err *err);
#endif
