/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef CAJAL_UTF8_H
#define CAJAL_UTF8_H
#include <stddef.h>

/* Bytes of the well-formed character at `at` (1..4), 0 when it is malformed or cut off. Needs at < end. */
size_t utf8_step(const char *at, const char *end);
/* Characters in [at, end); a malformed byte counts as one. */
size_t utf8_count(const char *at, const char *end);
#endif
