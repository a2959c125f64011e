/* Characters that are not seen, or are taken for others: what editors, web pages and word processors put where ASCII was meant. For messages. */
#ifndef CAJAL_LOOKALIKE_H
#define CAJAL_LOOKALIKE_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char what[64];    /* "U+00A0, a no-break space" */
    char instead[32]; /* what to do: "put a space there", "put `-` there", "take it out" */
} Lookalike;

/* Of the character at `at`; false: it is none of them, or no character. Needs at < end. */
bool lookalike_find(const char *at, const char *end, Lookalike *out);
#endif
