#include "server/failure.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set(Failure *f, ErrCode code, const void *message, size_t len, const void *hint, size_t hint_len) {
    failure_release(f);
    f->code = code;
    f->message = message ? strndup(message, len) : NULL;
    f->hint = hint_len ? strndup(hint, hint_len) : NULL;
}

void failure_set_reply(Failure *f, uint16_t code, const void *message, size_t len, const void *hint, size_t hint_len) {
    set(f, code < ERR_COUNT ? (ErrCode)code : ERR_internal, message, len, hint, hint_len);
}

void failure_set(Failure *f, ErrCode code, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set(f, code, text, strlen(text), NULL, 0);
}

void failure_copy(Failure *to, const Failure *from) {
    set(to, from->code, from->message, from->message ? strlen(from->message) : 0, from->hint, from->hint ? strlen(from->hint) : 0);
    to->at = from->at;
    to->other = from->other;
}

void failure_release(Failure *f) {
    free(f->message);
    free(f->hint);
    *f = (Failure){0};
}

At failure_at(uint8_t kind, uint32_t index) { return kind <= AT_PLACE ? AT((AtKind)kind, index) : AT_NOWHERE; }

static bool is_descriptors(int cause) { return cause == EMFILE || cause == ENFILE; }

ErrCode failure_short(int cause) { return is_descriptors(cause) ? ERR_queue_full : ERR_internal; }

const char *failure_short_text(int cause) {
    return is_descriptors(cause) ? "The service has no file descriptor left for this at the moment." : "Memory is short.";
}

bool failure_short_err(Err *err, int cause) { return err_set(err, failure_short(cause), "%s", failure_short_text(cause)); }
