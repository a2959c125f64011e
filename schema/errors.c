#include "schema/errors.h"
#include <stdarg.h>
#include <stdio.h>
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

static void say(Err *err, ErrCode code, const char *pointer, const char *format, va_list args) {
    if (err->code != ERR_NONE) return;
    err->code = code;
    snprintf(err->pointer, sizeof err->pointer, "%s", pointer);
    vsnprintf(err->message, sizeof err->message, format, args);
}

bool err_set(Err *err, ErrCode code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(err, code, "", format, args);
    va_end(args);
    return false;
}

bool err_at(Err *err, ErrCode code, const char *pointer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(err, code, pointer, format, args);
    va_end(args);
    return false;
}
