/* The front half of a compile, for one request: source or term to a checked program, its canonical form and identity.
 *
 * Pure: runs on any thread. A Frontend owns everything it made; it does not move after frontend_make (its Cx points into itself).
 * Errors: false, with err.code set (the request's form) or cx.diag.code set (the language's codes, with places). */
#ifndef CAJAL_FRONTEND_H
#define CAJAL_FRONTEND_H
#include "compiler/language/canon.h"
#include "schema/formats/json.h"
#include "server/failure.h"
#include "server/http/call.h"
#include <stddef.h>

/* A program as /compile and /eval name it. */
typedef struct {
    const char *source, *program;
    JsonNode term, context, nat;
    const char *within; /* as in Program (compiler/language/term.h) */
} ProgramSpec;
#define PROGRAM_FIELDS(T, member) \
    {"source", FIELD_STRING, offsetof(T, member.source), false, NULL}, {"term", FIELD_NODE, offsetof(T, member.term), false, NULL}, \
    {"context", FIELD_OBJECT, offsetof(T, member.context), false, NULL}, {"nat", FIELD_OBJECT, offsetof(T, member.nat), false, NULL}

typedef struct {
    Cx cx;
    Program *program;
    const unsigned char *canonical; /* in cx's arena */
    size_t canonical_len;
    char hash[CANON_HASH_TEXT];
    char *text; /* the program printed, where that takes long enough to be done ahead; NULL: it is not */
    Err err;
} Frontend;

/* The spec has a source or a term; json is the tree its nodes are in and must outlive the Frontend's use for diagnostics. */
bool frontend_make(Frontend *frontend, Json *json, const ProgramSpec *spec, uint64_t nat_limit);
/* A stored program, so that a diagnostic about it can be shown: places are those in its text. */
bool frontend_restore(Frontend *frontend, const unsigned char *canonical, size_t len, const char *text);
void frontend_release(Frontend *frontend); /* harmless on a zeroed one */
/* The program printed; free(). NULL when memory is short. */
char *frontend_text(Frontend *frontend);
/* Answers with what frontend_make found. */
void frontend_refuse(const Frontend *frontend, Call *call);
/* Answers with a failure from further on; its places are in canonical terms. frontend may be NULL. */
void frontend_explain(const Frontend *frontend, Call *call, const Failure *failure);
#endif
