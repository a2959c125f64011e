/* The pass before cJSON (json.h): accepts exactly RFC 8259 within the limits, and cuts the arrays of numbers out.
 * Internal to json*.c. */
#ifndef CAJAL_JSON_SCAN_H
#define CAJAL_JSON_SCAN_H
#include "schema/formats/json.h"

typedef struct JsonSpan {
    size_t begin, len; /* in json->text, brackets included */
} JsonSpan;

/* First byte of the string that stands for a cut-out array; its span's number follows in decimal. */
enum { JSON_CUT = 0xFF, JSON_CUT_ROOM = 24 };

/* Appends to `out` what cJSON is to parse, and the spans to json. json->text is len bytes. */
bool json_scan(Json *json, size_t len, Buf *out, Err *err);
/* False when out of memory. Writes the marking string (NUL-terminated). */
bool json_span_add(Json *json, JsonSpan span, char marker[JSON_CUT_ROOM]);
/* The span a node stands for; NULL when it is no cut-out array. */
const JsonSpan *json_span(const Json *json, JsonNode node);
/* Length of "NaN", "Infinity" or "-Infinity" with its quotes at `at`, 0 when none stands there. */
size_t json_special(const char *at, const char *end, double *value);
#endif
