/* What must hold for any program that a reader accepted: the steps of a compile, each with its round trip.
 *
 * A program is rejected with a diagnostic that can be shown, or: its canonical bytes, its text and its JSON read back to the same
 * program; its graph and derivatives verify and their file forms read back; on basis vectors the neurons agree with the
 * interpreter. A broken property aborts (fuzz.h). */
#ifndef CAJAL_FUZZ_PROGRAMS_H
#define CAJAL_FUZZ_PROGRAMS_H
#include "schema/formats/json.h"
#include "compiler/language/term.h"
#include "schema/graph/graph.h"

/* A Cx with limits that keep one input's time and memory small. */
void programs_cx(Cx *cx);
/* Reads a body {"term", "context", "nat"}; NULL: some key has the wrong kind. Inside CX_TRY; *made is set before anything fails. */
Program *programs_of_json(Cx *cx, Json *json, Program **made);
/* Shows the diagnostic cx ended in. p may be NULL. */
void programs_show(const Cx *cx, const Program *p);
/* All properties. Outside CX_TRY; p was read with cx. */
void programs_check(Cx *cx, Program *p);
/* The graph verifies, its file form reads back and is the same again, and it prints. */
void programs_check_graph(const Graph *g);
#endif
