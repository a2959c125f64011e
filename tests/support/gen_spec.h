/* Random specifications for property tests: networks of all layers in small programs, over the columns of trial_data. */
#ifndef CAJAL_TESTS_GEN_SPEC_H
#define CAJAL_TESTS_GEN_SPEC_H
#include "schema/base/buf.h"
#include "tests/support/rng.h"

/* JSON, of strings in single quotes; buf_release. smooth: nothing in it has a kink. */
void gen_spec(Buf *out, Rng *r, bool smooth);
#endif
