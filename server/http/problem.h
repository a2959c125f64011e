/* application/problem+json (RFC 9457), api.md "Errors": made in one place for every answer that is an error. */
#ifndef CAJAL_PROBLEM_H
#define CAJAL_PROBLEM_H
#include "compiler/language/syntax.h"

/* Why something failed, on its way to a client: what a worker, the compiler's front half or a handler had to say.
 * A diagnostic's node or binder is in terms of the canonical form. Strings are malloced; failure_release. */
typedef struct {
    ErrCode code;
    At at, other;
    char *message, *hint;
} Failure;
void failure_set(Failure *f, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void failure_set_n(Failure *f, ErrCode code, const void *message, size_t len, const void *hint, size_t hint_len);
void failure_copy(Failure *to, const Failure *from);
void failure_release(Failure *f);

/* Appends the body. `pointer`: JSON Pointer into the request, "" for none. */
void problem_put(Buf *out, const char *request_id, ErrCode code, const char *detail, const char *pointer);
/* With diagnostics and the rendered source. p may be NULL: then the diagnostic has no place. */
void problem_put_diag(Buf *out, const char *request_id, const Cx *cx, const Program *p, const Diag *diag);
#endif
