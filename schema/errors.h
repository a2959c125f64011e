/* Error codes, generated from errors.def. A code is the only thing modules hand on; its name, HTTP status and
 * title are looked up here. */
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
#endif
