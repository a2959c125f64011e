/* Why something failed, kept until somebody is told: what a worker, the compiler's front half or the store had to say.
 *
 * Beside Err, which has one place in a request, a Failure may point into a program: a diagnostic that has outlived its Cx, its places in terms
 * of the canonical form. Strings are malloced (failure_release). */
#ifndef CAJAL_FAILURE_H
#define CAJAL_FAILURE_H
#include "compiler/language/cx.h"
#include <stddef.h>

typedef struct {
    ErrCode code; /* ERR_NONE: nothing failed */
    At at, other;
    char *message, *hint;
} Failure;

void failure_set(Failure *f, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* From a worker's reply, whose code need not be one of ours. */
void failure_set_reply(Failure *f, uint16_t code, const void *message, size_t len, const void *hint, size_t hint_len);
void failure_copy(Failure *to, const Failure *from);
void failure_release(Failure *f); /* harmless on a zeroed one; leaves one */
/* A place as frames have it. */
At failure_at(uint8_t kind, uint32_t index);

/* What is short, by the errno of what could not be made. File descriptors, of which there may be some in a moment: queue_full; else memory: internal. */
ErrCode failure_short(int cause);
const char *failure_short_text(int cause); /* a sentence */
bool failure_short_err(Err *err, int cause); /* false */
#endif
