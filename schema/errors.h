/* What went wrong, and how it is handed on.
 *
 * A code is a row of errors.def: its name, its HTTP status and its title are looked up here, and nowhere else is anything decided by them.
 *
 * An Err carries a code and one sentence from where something is refused to who asked; it is filled in by a function that returns false, and lies
 * wherever the caller likes, by value, zeroed. The first error stays: the function that failed first knows the cause, and what fails after it
 * mostly fails because of it (a list that is read to its end, a checkpoint that is saved although training broke off). Who knows better, reads into an Err of
 * its own and says it anew; who uses an Err for another attempt zeroes it.
 *
 * Two other carriers exist, for what an Err cannot say. Diag (compiler/language/cx.h): what the compiler found, its place a node of the term and its
 * strings in the arena of the Cx, to which cx_fail unwinds. Failure (server/failure.h): a Diag that has outlived its Cx, or came from a worker. */
#ifndef CAJAL_ERRORS_H
#define CAJAL_ERRORS_H
#include <stdbool.h>

typedef enum {
    ERR_NONE = 0,
#define ERROR(code, status, retryable, title) ERR_##code,
#include "schema/errors.def"
#undef ERROR
    ERR_COUNT
} ErrCode;

const char *err_name(ErrCode code);  /* "linear_reused" */
const char *err_title(ErrCode code); /* one line for people */
int err_status(ErrCode code);        /* HTTP */
bool err_retryable(ErrCode code);    /* answers carry Retry-After */
ErrCode err_from_name(const char *name); /* ERR_NONE when unknown */

typedef struct {
    ErrCode code;      /* ERR_NONE: nothing went wrong */
    char message[400]; /* one sentence for the client; longer ones are cut */
    char pointer[200]; /* where in the request's body: a JSON Pointer, or "" */
} Err;

/* Both return false, so that a check can end in `return err_set(…)`, and leave an Err that is set as it is. */
bool err_set(Err *err, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool err_at(Err *err, ErrCode code, const char *pointer, const char *format, ...) __attribute__((format(printf, 4, 5)));
#endif
