/* Arrays of numbers, read without a node for each (json.h). */
#include "schema/formats/json.h"
#include "schema/formats/number.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Takes brackets and numbers in order, from text or from nodes. */
typedef struct {
    Tensor *out;
    size_t room, depth, counts[LIMIT_TENSOR_RANK];
    bool leaf, closed[LIMIT_TENSOR_RANK]; /* leaf: the rank is known; closed: the extent at this depth is */
    Err *err;
} Fill;

static bool fill_bad(Fill *f, const char *why) { return err_set(f->err, ERR_bad_tensor, "%s", why); }

static bool fill_open(Fill *f) {
    if (f->depth == LIMIT_TENSOR_RANK) return err_set(f->err, ERR_bad_tensor, "A tensor has at most %d axes.", LIMIT_TENSOR_RANK);
    if (f->leaf && f->depth == f->out->rank) return fill_bad(f, "The arrays are ragged: one stands where others have a number.");
    f->counts[f->depth++] = 0;
    return true;
}

static bool fill_number(Fill *f, double v) {
    Tensor *t = f->out;
    if (!f->leaf) f->leaf = true, t->rank = f->depth;
    if (f->depth != t->rank) return fill_bad(f, "The arrays are ragged: a number stands where others have an array.");
    if (t->count == f->room) {
        size_t room = f->room ? f->room * 2 : 16, bytes;
        double *data = __builtin_mul_overflow(room, sizeof *data, &bytes) ? NULL : realloc(t->data, bytes);
        if (!data) return err_set(f->err, ERR_too_large, "There is not enough memory for this tensor.");
        t->data = data;
        f->room = room;
    }
    t->data[t->count++] = v;
    f->counts[f->depth - 1]++;
    return true;
}

static bool fill_close(Fill *f) {
    size_t axis = --f->depth, n = f->counts[axis];
    if (n == 0) return fill_bad(f, "An array in a tensor must not be empty.");
    if (!f->closed[axis]) f->closed[axis] = true, f->out->shape[axis] = n;
    if (f->out->shape[axis] != n)
        return err_set(f->err, ERR_bad_tensor, "The arrays are ragged: one has %zu entries, the first beside it %zu.", n,
                       f->out->shape[axis]);
    if (axis) f->counts[axis - 1]++;
    return true;
}

static bool fill_text(Fill *f, const char *at, const char *end) {
    while (at < end) {
        Decimal d;
        double special;
        size_t n = 1;
        bool ok = true;
        switch (*at) {
        case '[': ok = fill_open(f); break;
        case ']': ok = fill_close(f); break;
        case ' ': case '\t': case '\n': case '\r': case ',': break;
        case '"':
            n = json_special(at, end, &special);
            ok = fill_number(f, special);
            break;
        default:
            n = (size_t)(number_scan(at, end, &d) - at);
            ok = fill_number(f, number_value(&d));
            f->out->rounded |= number_rounds_to_integer(&d);
        }
        if (!ok) return false;
        at += n;
    }
    return true;
}

static bool fill_node(Fill *f, const Json *json, JsonNode node) {
    double v;
    const JsonSpan *span = json_span(json, node);
    if (span) return fill_text(f, json->text + span->begin, json->text + span->begin + span->len);
    switch (json_kind(node)) {
    case JSON_NUMBER:
        f->out->rounded |= json_rounded(node) != NULL;
        return fill_number(f, node->valuedouble);
    case JSON_ARRAY:
        /* As deep as LIMIT_TENSOR_RANK at most: fill_open sees to it. */
        if (!fill_open(f)) return false;
        for (JsonNode at = node->child; at; at = at->next)
            if (!fill_node(f, json, at)) return false;
        return fill_close(f);
    case JSON_STRING:
        if (strcmp(node->valuestring, "NaN") == 0) v = NAN;
        else if (strcmp(node->valuestring, "Infinity") == 0) v = INFINITY;
        else if (strcmp(node->valuestring, "-Infinity") == 0) v = -INFINITY;
        else break;
        return fill_number(f, v);
    default: break;
    }
    return fill_bad(f, "A tensor holds numbers and the strings \"NaN\", \"Infinity\" and \"-Infinity\" only.");
}

bool json_numbers(const Json *json, JsonNode node, Tensor *out, Err *err) {
    *out = (Tensor){0};
    Fill fill = {.out = out, .err = err};
    JsonKind kind = json_kind(node);
    bool ok = kind == JSON_NUMBERS || kind == JSON_ARRAY || fill_bad(&fill, "A tensor is an array of numbers or of such arrays.");
    ok = ok && fill_node(&fill, json, node);
    if (!ok) tensor_release(out);
    return ok;
}

static const char *read_size(const char *at, const char *end, size_t *out) {
    const char *begin = at;
    for (*out = 0; at < end && *at >= '0' && *at <= '9' && *out <= LIMIT_NUMERAL; at++) *out = *out * 10 + (size_t)(*at - '0');
    return at > begin && *out <= LIMIT_NUMERAL ? at : NULL;
}

size_t json_sizes(const Json *json, JsonNode list, size_t *out, size_t room) {
    const JsonSpan *span = json_span(json, list);
    size_t n = 0;
    if (!span) return json_kind(list) == JSON_ARRAY && !list->child ? 0 : SIZE_MAX;
    const char *at = json->text + span->begin + 1, *end = json->text + span->begin + span->len - 1;
    for (;;) {
        at += strspn(at, " \n\t\r");
        if (n == room || !(at = read_size(at, end, &out[n++]))) return SIZE_MAX;
        at += strspn(at, " \n\t\r");
        if (at == end) return n;
        if (*at++ != ',') return SIZE_MAX;
    }
}

void tensor_release(Tensor *tensor) {
    free(tensor->data);
    *tensor = (Tensor){0};
}
