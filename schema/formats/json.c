#include "schema/formats/json.h"
#include "schema/formats/number.h"
#include "schema/limits.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool no_memory(Err *err) { return err_set(err, ERR_too_large, "There is not enough memory to read this body."); }

/* Appends /key with ~ and / escaped (RFC 6901), cut where `room` ends. */
static void pointer_push(char *pointer, size_t room, const char *key) {
    size_t n = strlen(pointer);
    if (n + 1 < room) pointer[n++] = '/';
    for (; *key && n + 3 < room; key++) {
        if (*key == '~' || *key == '/') pointer[n++] = '~', pointer[n++] = *key == '~' ? '0' : '1';
        else pointer[n++] = *key;
    }
    pointer[n] = 0;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A key that stands twice in the object, decoded; NULL when there is none. False when out of memory. */
static bool find_duplicate(JsonNode object, const char **twice) {
    enum { FEW = 8 };
    const char **keys;
    size_t n = 0, i = 0;
    *twice = NULL;
    for (JsonNode at = object->child; at; at = at->next, n++)
        for (JsonNode before = object->child; n < FEW && before != at; before = before->next)
            if (strcmp(before->string, at->string) == 0) *twice = at->string;
    if (n <= FEW || *twice) return true;
    keys = malloc(n * sizeof *keys);
    if (!keys) return false;
    for (JsonNode at = object->child; at; at = at->next) keys[i++] = at->string;
    qsort(keys, n, sizeof *keys, by_text);
    for (i = 1; i < n && !*twice; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) *twice = keys[i];
    free(keys);
    return true;
}

/* The place of path[depth - 1], for a message. */
static void path_pointer(const JsonNode *path, size_t depth, char *pointer, size_t room) {
    pointer[0] = 0;
    for (size_t i = 1; i < depth; i++) {
        size_t index = 0;
        char number[24];
        for (JsonNode at = path[i - 1]->child; at != path[i]; at = at->next) index++;
        snprintf(number, sizeof number, "%zu", index);
        pointer_push(pointer, room, path[i]->string ? path[i]->string : number);
    }
}

/* A string that stands for a number becomes one, and keeps the text: no integer is read from it. */
static void restore_rounded(cJSON *node) {
    const char *text = cJSON_IsString(node) ? node->valuestring + 1 : NULL;
    Decimal d;
    if (!text || (unsigned char)text[-1] != JSON_ROUNDED || !number_scan(text, text + strlen(text), &d)) return;
    node->valuedouble = number_value(&d);
    node->type = cJSON_Number;
}

/* A look at every node; false: an object has a key twice. */
static bool finish_tree(cJSON *root, Err *err) {
    JsonNode path[LIMIT_JSON_DEPTH + 2];
    size_t depth = 0;
    for (cJSON *node = root; node;) {
        path[depth++] = node;
        restore_rounded(node);
        const char *twice = NULL;
        if (cJSON_IsObject(node) && !find_duplicate(node, &twice)) return no_memory(err);
        if (twice) {
            char pointer[sizeof err->pointer];
            path_pointer(path, depth, pointer, sizeof pointer);
            return err_at(err, ERR_bad_json, pointer, "The key \"%.100s\" stands twice in one object.", twice);
        }
        node = node->child;
        while (!node && depth > 1) node = path[--depth]->next;
    }
    return true;
}

bool json_parse(Json *json, const char *body, size_t len, Err *err) {
    *json = (Json){0};
    Buf stripped;
    buf_init(&stripped);
    json->text = len < SIZE_MAX ? malloc(len + 1) : NULL;
    bool ok = json->text || no_memory(err);
    if (ok) {
        if (len) memcpy(json->text, body, len);
        json->text[len] = 0;
        buf_reserve(&stripped, len + JSON_CUT_ROOM);
        ok = json_scan(json->text, len, &json->spans, &stripped, err);
    }
    if (ok) {
        buf_putc(&stripped, 0);
        if (!stripped.failed) json->root = cJSON_ParseWithLengthOpts((char *)stripped.data, stripped.len, NULL, true);
        /* The scanner accepts nothing that cJSON refuses. */
        ok = (json->root || no_memory(err)) && finish_tree(json->root, err);
    }
    buf_release(&stripped);
    if (!ok) json_release(json);
    return ok;
}

void json_release(Json *json) {
    cJSON_Delete(json->root);
    free(json->text);
    free(json->spans.items);
    *json = (Json){0};
}

JsonKind json_kind(JsonNode node) {
    switch (node->type & 0xFF) {
    case cJSON_False:
    case cJSON_True: return JSON_BOOL;
    case cJSON_Number: return JSON_NUMBER;
    case cJSON_String: return (unsigned char)node->valuestring[0] == JSON_CUT ? JSON_NUMBERS : JSON_STRING;
    case cJSON_Array: return JSON_ARRAY;
    case cJSON_Object: return JSON_OBJECT;
    default: return JSON_NULL;
    }
}

const JsonSpan *json_span(const Json *json, JsonNode node) {
    return json_kind(node) == JSON_NUMBERS ? json_span_of(&json->spans, node->valuestring) : NULL;
}

JsonNode json_get(JsonNode object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

/* Where the element of a cut-out array that begins at `at` ends. */
static const char *element_end(const char *at, const char *end) {
    size_t depth = 0;
    for (; at < end; at++) {
        if (*at == ',' && !depth) return at;
        if (*at == '[') depth++;
        if (*at == ']' && --depth == 0) return at + 1;
    }
    return at;
}

static cJSON *open_number(const Decimal *d) {
    cJSON *made = cJSON_CreateNumber(number_value(d));
    if (!made || !number_rounds_to_integer(d)) return made;
    Buf text;
    buf_init(&text);
    buf_putc(&text, (char)JSON_ROUNDED);
    buf_put(&text, d->begin, (size_t)(d->end - d->begin));
    made->valuestring = text.failed ? NULL : cJSON_malloc(text.len + 1);
    if (made->valuestring) memcpy(made->valuestring, buf_text(&text), text.len + 1);
    buf_release(&text);
    if (made->valuestring) return made;
    cJSON_Delete(made);
    return NULL;
}

static cJSON *open_element(Json *json, const char *at, const char *end) {
    Decimal d;
    double special;
    char text[JSON_CUT_ROOM];
    if (*at == '[') {
        JsonSpan span = {(size_t)(at - json->text), (size_t)(element_end(at, end) - at)};
        return json_span_add(&json->spans, span, text) ? cJSON_CreateString(text) : NULL;
    }
    size_t n = json_special(at, end, &special);
    if (!n) return number_scan(at, end, &d) ? open_number(&d) : NULL;
    snprintf(text, sizeof text, "%.*s", (int)n - 2, at + 1);
    return cJSON_CreateString(text);
}

/* Hangs the elements of a cut-out array under its node, where cJSON_Delete finds them. All or none. */
static void open_numbers(Json *json, cJSON *node, JsonSpan span) {
    const char *at = json->text + span.begin + 1, *end = json->text + span.begin + span.len - 1;
    while (at < end) {
        if (*at == ',' || *at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') {
            at++;
            continue;
        }
        cJSON *made = open_element(json, at, end);
        if (!made || !cJSON_AddItemToArray(node, made)) {
            cJSON_Delete(made);
            cJSON_Delete(node->child);
            node->child = NULL;
            return;
        }
        at = element_end(at, end);
    }
}

JsonNode json_items(Json *json, JsonNode array) {
    const JsonSpan *span = json_span(json, array);
    /* The tree is ours; nodes are const to everybody else. */
    if (span && !array->child) open_numbers(json, (cJSON *)array, *span);
    return span || cJSON_IsArray(array) ? array->child : NULL;
}

size_t json_count(Json *json, JsonNode array) {
    size_t n = 0, depth = 0;
    const JsonSpan *span = json_span(json, array);
    if (!span || array->child) {
        for (JsonNode at = span || cJSON_IsArray(array) ? array->child : NULL; at; at = at->next) n++;
        return n;
    }
    const char *at = json->text + span->begin + 1, *end = json->text + span->begin + span->len - 1;
    if (at + strspn(at, " \n\t\r") >= end) return 0;
    for (n = 1; at < end; at++) {
        depth += *at == '[';
        depth -= *at == ']';
        n += *at == ',' && !depth;
    }
    return n;
}

bool json_natural(JsonNode node, uint64_t most, uint64_t *out) {
    const double v = node->valuedouble;
    if (json_kind(node) != JSON_NUMBER || json_rounded(node) || !(v >= 0 && v <= 0x1p53 && v == floor(v)) || (uint64_t)v > most) return false;
    *out = (uint64_t)v;
    return true;
}

const char *json_rounded(JsonNode node) { return json_kind(node) == JSON_NUMBER && node->valuestring ? node->valuestring + 1 : NULL; }

static bool is_kind(JsonNode node, FieldKind want) {
    JsonKind kind = json_kind(node);
    uint64_t natural;
    switch (want) {
    case FIELD_NODE: return true;
    case FIELD_OBJECT: return kind == JSON_OBJECT;
    case FIELD_ARRAY: return kind == JSON_ARRAY || kind == JSON_NUMBERS;
    case FIELD_STRING:
    case FIELD_ENUM: return kind == JSON_STRING;
    case FIELD_BOOL: return kind == JSON_BOOL;
    case FIELD_DOUBLE: return kind == JSON_NUMBER;
    case FIELD_UINT:
        return json_natural(node, LIMIT_NUMERAL, &natural);
    }
    return false;
}

/* "exact, drop, saturate" */
static void list_names(const char *const *names, char *out, size_t room) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; names[i] && n < room; i++)
        n += (size_t)snprintf(out + n, room - n, "%s\"%s\"", i ? ", " : "", names[i]);
}

static bool store_enum(JsonNode node, const Field *field, int *to) {
    for (int i = 0; field->names[i]; i++) {
        if (strcmp(field->names[i], node->valuestring)) continue;
        *to = i;
        return true;
    }
    return false;
}

/* False: the value is none of those that the field takes. */
static bool store(JsonNode node, const Field *field, void *to) {
    if (!is_kind(node, field->kind)) return false;
    switch (field->kind) {
    case FIELD_NODE:
    case FIELD_OBJECT:
    case FIELD_ARRAY: *(JsonNode *)to = node; break;
    case FIELD_STRING: *(const char **)to = node->valuestring; break;
    case FIELD_BOOL: *(bool *)to = cJSON_IsTrue(node); break;
    case FIELD_UINT: *(uint64_t *)to = (uint64_t)node->valuedouble; break; /* is_kind: exactly */
    case FIELD_DOUBLE: *(double *)to = node->valuedouble; break;
    case FIELD_ENUM: return store_enum(node, field, to);
    }
    return true;
}

/* field: the key's; NULL when there is none of that name. */
static bool refuse_member(JsonNode node, const char *pointer, const Field *field, Err *err) {
    static const char *const kinds[] = {"", "an object", "an array", "a string", "true or false",
                                        "an integer from 0 to 2^53", "a number", "a string"};
    char at[sizeof err->pointer], names[200];
    snprintf(at, sizeof at, "%s", pointer);
    pointer_push(at, sizeof at, node->string);
    if (!field) return err_at(err, ERR_bad_request, at, "There is no key \"%.100s\" here.", node->string);
    if (!is_kind(node, field->kind)) return err_at(err, ERR_bad_request, at, "\"%s\" must be %s.", field->key, kinds[field->kind]);
    list_names(field->names, names, sizeof names);
    return err_at(err, ERR_bad_request, at, "\"%s\" must be one of %s.", field->key, names);
}

bool json_decode(JsonNode object, const char *pointer, const Field *fields, void *out, Err *err) {
    if (json_kind(object) != JSON_OBJECT) return err_at(err, ERR_bad_request, pointer, "This must be an object.");
    for (JsonNode node = object->child; node; node = node->next) {
        const Field *field = fields;
        while (field->key && strcmp(field->key, node->string)) field++;
        if (!field->key) return refuse_member(node, pointer, NULL, err);
        if (!store(node, field, (char *)out + field->offset)) return refuse_member(node, pointer, field, err);
    }
    for (const Field *field = fields; field->key; field++)
        if (field->required && !json_get(object, field->key))
            return err_at(err, ERR_bad_request, pointer, "The key \"%s\" is missing.", field->key);
    return true;
}
