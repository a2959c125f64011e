#include "compiler/training/spec_reader.h"
#include "schema/formats/elements.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void spec_fail(SpecReader *r, const char *pointer, const char *format, ...) {
    char message[sizeof r->err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    err_at(r->err, ERR_bad_run, pointer, "%s", message);
    longjmp(r->unwind, 1);
}

const char *spec_under(SpecReader *r, const char *pointer, const char *key) {
    const size_t n = strlen(pointer), m = strlen(key);
    char *made = arena_alloc(&r->spec->arena, n + 2 * m + 2), *to = made + n;
    memcpy(made, pointer, n);
    *to++ = '/';
    for (; *key; key++) {
        if (*key == '~' || *key == '/') *to++ = '~', *to++ = *key == '~' ? '0' : '1';
        else *to++ = *key;
    }
    return made;
}

char *spec_printf(SpecReader *r, const char *format, ...) {
    char text[8 * LIMIT_RUN_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return arena_strndup(&r->spec->arena, text, strlen(text));
}

const char *spec_item(SpecReader *r, const char *pointer, size_t index) {
    char number[24];
    snprintf(number, sizeof number, "%zu", index);
    return spec_under(r, pointer, number);
}

void spec_decode(SpecReader *r, JsonNode object, const char *pointer, const Field *fields, void *out) {
    if (json_decode(object, pointer, fields, out, r->err)) return;
    r->err->code = ERR_bad_run;
    longjmp(r->unwind, 1);
}

void spec_fits(SpecReader *r, const char *pointer, double v) {
    if (r->spec->dtype == DT_F32 && element_beyond_f32(v))
        spec_fail(r, pointer, "%.9g is too large: f32 ends at %.9g. Give the run \"dtype\": \"f64\".", v, (double)__FLT_MAX__);
}

static void list_names(const char *const *names, char *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; names[i] && n < room; i++) n += (size_t)snprintf(out + n, room - n, "%s%s", i ? ", " : "", names[i]);
}

uint32_t spec_choice(SpecReader *r, JsonNode node, const char *pointer, const char *const *names, const char *what, JsonNode *body,
                     const char **at) {
    const char *name = NULL;
    char all[300] = "";
    *body = NULL;
    *at = pointer;
    if (json_kind(node) == JSON_STRING) name = node->valuestring;
    if (json_kind(node) == JSON_OBJECT && node->child && !node->child->next) {
        name = node->child->string;
        *body = node->child;
        *at = spec_under(r, pointer, name);
    }
    list_names(names, all, sizeof all);
    if (!name) spec_fail(r, pointer, "This must be %s: a name, or an object with one key; the names are %s.", what, all);
    for (uint32_t i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    spec_fail(r, *at, "\"%.60s\" is not %s; there are %s.", name, what, all);
}

const char *spec_string(SpecReader *r, JsonNode node, const char *pointer) {
    if (json_kind(node) != JSON_STRING || !*node->valuestring || strlen(node->valuestring) > LIMIT_RUN_NAME)
        spec_fail(r, pointer, "This must be a string of 1 to %d bytes.", LIMIT_RUN_NAME);
    return node->valuestring;
}

const char *spec_name(SpecReader *r, const char *text, const char *pointer) {
    static const char *const legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const size_t n = strlen(text);
    if (!n || n > LIMIT_RUN_NAME || strspn(text, legal) != n)
        spec_fail(r, pointer, "A name must be 1 to %d letters, digits, _ and -.", LIMIT_RUN_NAME);
    return text;
}

const char *spec_string_place(SpecReader *r, JsonNode node, const char *pointer, uint32_t index) {
    return json_kind(node) == JSON_STRING ? pointer : spec_item(r, pointer, index);
}

const char **spec_strings(SpecReader *r, JsonNode node, const char *pointer, uint32_t most, uint32_t *count) {
    const bool one = json_kind(node) == JSON_STRING;
    const size_t n = one ? 1 : json_count(&r->spec->json, node);
    if (!n || n > most) spec_fail(r, pointer, "This must be a name, or an array of 1 to %u names.", most);
    const char **made = ARENA_ARRAY(&r->spec->arena, const char *, n);
    JsonNode at = one ? node : json_items(&r->spec->json, node);
    for (*count = 0; *count < n && at; at = at->next, (*count)++)
        made[*count] = spec_string(r, at, spec_string_place(r, node, pointer, *count));
    if (*count != n) longjmp(r->unwind, 1); /* no memory to open the array */
    return made;
}

typedef struct {
    const char *run, *name;
    int init;
    double deviation;
} WeightFields;

SpecWeights spec_weights(SpecReader *r, JsonNode node, const char *pointer, const char *name) {
    static const Field fields[] = {{"run", FIELD_STRING, offsetof(WeightFields, run), false, NULL},
                                   {"name", FIELD_STRING, offsetof(WeightFields, name), false, NULL},
                                   {"init", FIELD_ENUM, offsetof(WeightFields, init), false, init_names},
                                   {"std", FIELD_DOUBLE, offsetof(WeightFields, deviation), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    WeightFields w = {.init = -1};
    spec_decode(r, node, pointer, fields, &w);
    if (w.run && (w.init >= 0 || json_get(node, "std")))
        spec_fail(r, pointer, "Weights come from a \"run\" or from an \"init\", not from both.");
    if (w.name && !w.run) spec_fail(r, spec_under(r, pointer, "name"), "A \"name\" goes with the \"run\" that the weights come from.");
    if (w.run) spec_string(r, json_get(node, "run"), spec_under(r, pointer, "run"));
    if (w.name && strncmp(w.name, "bind.", 5) != 0 && strncmp(w.name, "nets.", 5) != 0)
        spec_fail(r, spec_under(r, pointer, "name"), "The names of weights begin with \"bind.\" or \"nets.\".");
    if (json_get(node, "std") && (w.init != INIT_NORMAL || !(w.deviation > 0)))
        spec_fail(r, spec_under(r, pointer, "std"), "\"std\" is larger than 0 and goes with the init \"normal\".");
    spec_fits(r, spec_under(r, pointer, "std"), w.deviation);
    return (SpecWeights){.init = w.init < 0 ? INIT_KAIMING : (InitKind)w.init, .deviation = w.deviation > 0 ? w.deviation : 1,
                         .run = w.run, .name = w.run && w.name ? w.name : name};
}
