#include "schema/formats/merge_patch.h"
#include "schema/formats/json_scan.h"
#include <string.h>

/* A node and the tree it is of. */
typedef struct {
    const Json *json;
    JsonNode node;
} Place;

static void put_value(Buf *out, Place p);

static void put_key(Buf *out, const char *key, bool *first) {
    if (!*first) buf_putc(out, ',');
    *first = false;
    json_put_string(out, key);
    buf_putc(out, ':');
}

static void put_object(Buf *out, Place p) {
    bool first = true;
    buf_putc(out, '{');
    for (JsonNode at = p.node->child; at; at = at->next) {
        put_key(out, at->string, &first);
        put_value(out, (Place){p.json, at});
    }
    buf_putc(out, '}');
}

static void put_array(Buf *out, Place p) {
    buf_putc(out, '[');
    for (JsonNode at = p.node->child; at; at = at->next) {
        if (at != p.node->child) buf_putc(out, ',');
        put_value(out, (Place){p.json, at});
    }
    buf_putc(out, ']');
}

static void put_value(Buf *out, Place p) {
    const JsonSpan *span = json_span(p.json, p.node);
    switch (json_kind(p.node)) {
    case JSON_NULL: buf_puts(out, "null"); break;
    case JSON_BOOL: buf_puts(out, cJSON_IsTrue(p.node) ? "true" : "false"); break;
    case JSON_NUMBER:
        if (json_rounded(p.node)) buf_puts(out, json_rounded(p.node));
        else json_put_double(out, p.node->valuedouble);
        break;
    case JSON_STRING: json_put_string(out, p.node->valuestring); break;
    case JSON_ARRAY: put_array(out, p); break;
    case JSON_OBJECT: put_object(out, p); break;
    case JSON_NUMBERS: buf_put(out, p.json->text + span->begin, span->len); break;
    }
}

/* A patch by itself: what it would take away is not there. */
static void put_patch(Buf *out, Place target, Place patch, const char *skip) {
    bool first = true;
    if (json_kind(patch.node) != JSON_OBJECT) {
        put_value(out, patch);
        return;
    }
    bool merges = target.node && json_kind(target.node) == JSON_OBJECT;
    buf_putc(out, '{');
    for (JsonNode at = merges ? target.node->child : NULL; at; at = at->next) {
        JsonNode change = json_get(patch.node, at->string);
        if (change && json_kind(change) == JSON_NULL) continue;
        put_key(out, at->string, &first);
        if (change) put_patch(out, (Place){target.json, at}, (Place){patch.json, change}, NULL);
        else put_value(out, (Place){target.json, at});
    }
    for (JsonNode at = patch.node->child; at; at = at->next) {
        bool skipped = skip && strcmp(skip, at->string) == 0;
        if (skipped || json_kind(at) == JSON_NULL || (merges && json_get(target.node, at->string))) continue;
        put_key(out, at->string, &first);
        put_patch(out, (Place){NULL, NULL}, (Place){patch.json, at}, NULL);
    }
    buf_putc(out, '}');
}

void merge_patch(Buf *out, const Json *target, const Json *patch, const char *skip) {
    put_patch(out, (Place){target, target->root}, (Place){patch, patch->root}, skip);
}
