/* The pass before cJSON: accepts exactly RFC 8259 within the limits (and passes over a byte order mark at the beginning), and cuts the arrays of numbers out. Internal to json.c and
 * json_numbers.c; json.h says what becomes of it. */
#ifndef CAJAL_JSON_SCAN_H
#define CAJAL_JSON_SCAN_H
#include "schema/base/buf.h"
#include "schema/errors.h"

/* A cut-out array: its place in the text, brackets included. */
typedef struct {
    size_t begin, len;
} JsonSpan;
typedef struct {
    JsonSpan *items; /* free() */
    size_t n, room;
} JsonSpans;

/* First byte of the string that stands for a cut-out array; its span's number follows in decimal. */
enum { JSON_CUT = 0xFF, JSON_CUT_ROOM = 24 };
/* First byte of the string that stands for a number which would be rounded to an integer (number.h); its text follows. */
enum { JSON_ROUNDED = 0xFE };

/* Appends to `out` what cJSON is to parse, and to `spans` what was cut out. */
bool json_scan(const char *text, size_t len, JsonSpans *spans, Buf *out, Err *err);
/* False when out of memory. Writes the marking string (NUL-terminated). */
bool json_span_add(JsonSpans *spans, JsonSpan span, char marker[JSON_CUT_ROOM]);
/* The span of a marking string. */
const JsonSpan *json_span_of(const JsonSpans *spans, const char *marker);
/* Length of "NaN", "Infinity" or "-Infinity" with its quotes at `at`, 0 when none stands there. */
size_t json_special(const char *at, const char *end, double *value);
#endif
