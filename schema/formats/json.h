/* Strict JSON on cJSON: what every reader of client bodies, specs and vectors goes through.
 *
 * json_parse checks before cJSON sees a byte: UTF-8, no NUL (raw or \u0000), nesting at most LIMIT_JSON_DEPTH and at most LIMIT_JSON_VALUES
 * values (too_large), finite numbers, nothing behind the value; afterwards duplicate keys (any object). Depth and number of values apart, all are
 * bad_json, with the byte offset in the message.
 *
 * Arrays of numbers are never cJSON nodes: a maximal array whose leaves are all numbers or the strings "NaN", "Infinity",
 * "-Infinity" (at least one leaf a number; arrays of arrays count) is cut out by the scanner and stands in the tree as an opaque node of kind
 * JSON_NUMBERS that points at its text. (In the text handed to cJSON it is a string that starts with byte 0xFF, which
 * checked UTF-8 cannot contain.) json_numbers reads it as a tensor; json_items opens it one level where a list is
 * wanted after all, e.g. "wrt": [0, 1] or {"app": [3, 4]}.
 *
 * Ownership: a Json owns tree and text; nodes and strings live until json_release. No globals (cJSON_GetErrorPtr unused).
 * Errors: functions that can fail fill an Err (code, message with the place) and return false. */
#ifndef CAJAL_JSON_H
#define CAJAL_JSON_H
#include "schema/base/buf.h"
#include "schema/errors.h"
#include "schema/formats/json_scan.h"
#include "schema/limits.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT, JSON_NUMBERS } JsonKind;
typedef const cJSON *JsonNode;

typedef struct {
    cJSON *root;
    char *text;             /* the body as received, for the numbers in it */
    JsonSpans spans;        /* the cut-out arrays */
} Json;

bool json_parse(Json *json, const char *body, size_t len, Err *err); /* copies body */
void json_release(Json *json);

JsonKind json_kind(JsonNode node);
/* Case-sensitive; NULL when there is none. */
JsonNode json_get(JsonNode object, const char *key);
/* Where the text of a JSON_NUMBERS stands in json->text; NULL for any other node. */
const JsonSpan *json_span(const Json *json, JsonNode node);
/* First element of an array, opening a JSON_NUMBERS one level (its elements are numbers or again JSON_NUMBERS); then node->next. NULL at the end. */
JsonNode json_items(Json *json, JsonNode array);
size_t json_count(Json *json, JsonNode array);
/* A natural of at most `most`, which is at most 2^53, as it is written: what has to be rounded to be one (9007199254740993, 0.99999999999999999999) is
 * none, though node->valuedouble is one. False: something else, or larger. */
bool json_natural(JsonNode node, uint64_t most, uint64_t *out);
/* The text of a number that was rounded to an integer; NULL for all others. */
const char *json_rounded(JsonNode node);

/* A rectangular tensor of numbers. */
typedef struct {
    size_t rank, shape[LIMIT_TENSOR_RANK];
    size_t count;
    double *data; /* row-major; free() */
    bool rounded; /* one of them was rounded to an integer, as json_natural has it */
} Tensor;
/* Reads a JSON_NUMBERS (or an array of arrays holding only "NaN"… strings). Ragged or empty arrays: bad_tensor. */
bool json_numbers(const Json *json, JsonNode node, Tensor *out, Err *err);
void tensor_release(Tensor *tensor);
/* A list of sizes as they are written, digits alone: 2.0 is none, and a number too large for a double's digits is not rounded. Into out[0..room);
 * SIZE_MAX: it is something else, longer, or a size is above LIMIT_NUMERAL. */
size_t json_sizes(const Json *json, JsonNode list, size_t *out, size_t room);

/* Descriptor-driven decoding of an object into a struct: one way for all handlers. Unknown keys, missing required ones and
 * wrong kinds are bad_request with the pointer. Absent optional fields keep the value the struct came with. */
typedef enum {
    FIELD_NODE,   /* JsonNode: any kind, left to the caller */
    FIELD_OBJECT, /* JsonNode: an object */
    FIELD_ARRAY,  /* JsonNode: an array (JSON_NUMBERS included) */
    FIELD_STRING, /* const char * */
    FIELD_BOOL,   /* bool */
    FIELD_UINT,   /* uint64_t: an integer in 0..2^53 */
    FIELD_DOUBLE, /* double */
    FIELD_ENUM,   /* int: index into `names` (NULL-terminated) */
} FieldKind;
typedef struct {
    const char *key;
    FieldKind kind;
    size_t offset;   /* offsetof */
    bool required;
    const char *const *names;
} Field;
/* `pointer` is where `object` stands ("" for the body). fields end with key NULL. */
bool json_decode(JsonNode object, const char *pointer, const Field *fields, void *out, Err *err);

/* Writing: text escapes by RFC 8259; numbers shortest that read back to the same float or double. Non-finite numbers are the strings
 * "NaN", "Infinity", "-Infinity". */
void json_put_string(Buf *out, const char *text);
void json_put_string_n(Buf *out, const char *text, size_t len);
void json_put_double(Buf *out, double v);
void json_put_float(Buf *out, float v);
/* data nested as shape; f64 when `f64`, else f32. rank 0: a single number. */
void json_put_tensor(Buf *out, const void *data, bool f64, const size_t *shape, size_t rank);
#endif
