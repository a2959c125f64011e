/* What a client may have meant where its JSON is refused. */
#ifndef CAJAL_JSON_HINT_H
#define CAJAL_JSON_HINT_H
#include <stdbool.h>
#include <stddef.h>

enum { JSON_HINT_ROOM = 100 };
/* Of what stands at `at`, outside a string, and is not JSON there. after_comma: a comma stood before it. Writes into `what` what it is to be called,
 * where it is not just its first byte, and into `hint` what to write instead, each "" when there is nothing to say. */
void json_hint(const char *at, const char *end, bool after_comma, char what[JSON_HINT_ROOM], char hint[JSON_HINT_ROOM]);
#endif
