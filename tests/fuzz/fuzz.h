/* What every fuzz target has: the entry point libFuzzer and replay.c call, and a way to say that a property is broken.
 *
 * A target returns 0 whatever the bytes are; a broken property aborts, with a line on standard error. */
#ifndef CAJAL_FUZZ_H
#define CAJAL_FUZZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_require(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "broken property: %s\n", what);
    abort();
}
#endif
