/* application/problem+json (RFC 9457), api.md "Errors": made in one place for every answer that is an error. */
#ifndef CAJAL_PROBLEM_H
#define CAJAL_PROBLEM_H
#include "compiler/language/syntax.h"

/* Appends the body. `pointer`: JSON Pointer into the request, "" for none. */
void problem_put(Buf *out, const char *request_id, ErrCode code, const char *detail, const char *pointer);
/* With diagnostics and the rendered source. p may be NULL: then the diagnostic has no place. */
void problem_put_diag(Buf *out, const char *request_id, const Cx *cx, const Program *p, const Diag *diag);
#endif
