#include "schema/errors.h"
#include <string.h>

typedef struct {
    const char *name, *title;
    int status;
    bool retryable;
} ErrRow;

static const ErrRow rows[ERR_COUNT] = {
    [ERR_NONE] = {"none", "No error", 200, false},
#define ERROR(code, status, retryable, title) [ERR_##code] = {#code, title, status, retryable},
#include "schema/errors.def"
#undef ERROR
};

static const ErrRow *row_of(ErrCode code) {
    return &rows[(unsigned)code < ERR_COUNT ? code : ERR_internal];
}

const char *err_name(ErrCode code) { return row_of(code)->name; }
const char *err_title(ErrCode code) { return row_of(code)->title; }
int err_status(ErrCode code) { return row_of(code)->status; }
bool err_retryable(ErrCode code) { return row_of(code)->retryable; }

ErrCode err_from_name(const char *name) {
    for (int c = 1; c < ERR_COUNT; c++)
        if (strcmp(rows[c].name, name) == 0) return (ErrCode)c;
    return ERR_NONE;
}
