/* Programs as JSON (syntax.h). Bodies nest at most LIMIT_JSON_DEPTH (json.h), so this recurses. */
#include "compiler/language/syntax.h"
#include "schema/limits.h"
#include <math.h>
#include <string.h>

typedef struct {
    Cx *cx;
    Program *p;
    Json *json;
} Reading;

static uint32_t read_term(Reading *r, JsonNode node, uint32_t place);

static _Noreturn void bad(Reading *r, uint32_t place, const char *hint, const char *message) {
    cx_fail(r->cx, ERR_parse_error, AT(AT_PLACE, place), hint, "%s", message);
}

static uint32_t key_place(Reading *r, uint32_t object, const char *key) {
    return place_add(r->cx, r->p, (Place){.kind = PLACE_KEY, .a = object, .key = key});
}

static uint32_t read_key(Reading *r, JsonNode object, uint32_t place, const char *key) {
    return read_term(r, json_get(object, key), key_place(r, place, key));
}

static Sym name_of(Reading *r, JsonNode node, uint32_t place, const char *hint) {
    if (json_kind(node) != JSON_STRING) bad(r, place, hint, "A name is a string.");
    const char *text = node->valuestring;
    if (!sym_is_name(text, strlen(text)))
        cx_fail(r->cx, ERR_parse_error, AT(AT_PLACE, place), hint, "\"%.40s\" is not a name.", text);
    return sym_intern(r->cx, text, strlen(text));
}

static const char name_hint[] =
    "A name is a letter or `_`, then letters, digits, `_` and `'`; keywords such as true and if are none.";

static Sym read_name(Reading *r, JsonNode object, uint32_t place, const char *key, uint32_t *at) {
    *at = key_place(r, place, key);
    return name_of(r, json_get(object, key), *at, name_hint);
}

static uint32_t read_variable(Reading *r, JsonNode node, uint32_t place) {
    static const struct {
        const char *text, *hint;
    } words[] = {{"true", "The boolean is true, without quotes."},   {"tt", "The boolean is true, without quotes."},
                 {"false", "The boolean is false, without quotes."}, {"ff", "The boolean is false, without quotes."}};
    const char *hint = "A string is a variable; other terms are objects: see the language's JSON spelling.";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(node->valuestring, words[i].text) == 0) hint = words[i].hint;
    return term_var(r->cx, r->p, name_of(r, node, place, hint), place);
}

static uint32_t read_numeral(Reading *r, JsonNode node, uint32_t place) {
    const double v = node->valuedouble;
    uint64_t natural;
    const bool read = json_natural(node, LIMIT_NUMERAL, &natural), large = v > (double)LIMIT_NUMERAL - 1 && !read;
    if (signbit(v) || (!read && !(large && v == floor(v)))) bad(r, place, NULL, "A numeral is a whole number from 0 on.");
    if (large)
        cx_fail(r->cx, ERR_nat_bound_exceeded, AT(AT_PLACE, place), NULL,
                "This number is larger than 2^53, the largest there is a spelling for.");
    return term_const(r->cx, r->p, TERM_NAT, natural, place);
}

static uint32_t read_succ(Reading *r, JsonNode node, uint32_t place) {
    return term_succ(r->cx, r->p, read_key(r, node, place, "succ"), place);
}

static uint32_t read_if(Reading *r, JsonNode node, uint32_t place) {
    uint32_t cond = read_key(r, node, place, "if"), then = read_key(r, node, place, "then");
    return term_if(r->cx, r->p, cond, then, read_key(r, node, place, "else"), place);
}

static uint32_t read_fun(Reading *r, JsonNode node, uint32_t place) {
    uint32_t name_at, type_at = key_place(r, place, "type");
    bool smooth;
    Sym name = read_name(r, node, place, "fun", &name_at);
    JsonNode text = json_get(node, "type");
    if (json_kind(text) != JSON_STRING) bad(r, type_at, "For example \"2 -o 2\" or \"!N\".", "A type is a string.");
    const Type *type = syntax_type(r->cx, text->valuestring, strlen(text->valuestring), &smooth, AT(AT_PLACE, type_at));
    uint32_t binder = term_bind(r->cx, r->p, BINDER_FUN, name, type, smooth, TERM_NONE, name_at);
    return term_fun(r->cx, r->p, binder, read_key(r, node, place, "body"), place);
}

static uint32_t read_app(Reading *r, JsonNode node, uint32_t place) {
    uint32_t list = key_place(r, place, "app"), index = 0, function = TERM_NONE;
    JsonNode app = json_get(node, "app");
    JsonKind kind = json_kind(app);
    if (kind != JSON_ARRAY && kind != JSON_NUMBERS) bad(r, list, NULL, "\"app\" is an array: the function, then its arguments.");
    size_t count = json_count(r->json, app);
    if (count < 2) bad(r, list, NULL, "\"app\" has at least two entries: the function, then its arguments.");
    /* Before the entries become nodes of their own. */
    if (count > LIMIT_TERM_NODES)
        cx_fail(r->cx, ERR_too_large, AT(AT_PLACE, list), NULL, "The program has more than %d nodes.", LIMIT_TERM_NODES);
    JsonNode at = json_items(r->json, app);
    if (!at) cx_fail(r->cx, ERR_too_large, AT(AT_PLACE, list), NULL, "There is not enough memory to read this array.");
    for (; at; at = at->next, index++) {
        uint32_t entry = read_term(r, at, place_add(r->cx, r->p, (Place){.kind = PLACE_INDEX, .a = list, .b = index}));
        function = index ? term_app(r->cx, r->p, function, entry, place) : entry;
    }
    return function;
}

/* Fails when the object has another key than these (NULL-terminated) or lacks one. */
static void check_keys(Reading *r, JsonNode object, uint32_t place, const char *const *keys) {
    for (JsonNode at = object->child; at; at = at->next) {
        const char *const *key = keys;
        while (*key && strcmp(*key, at->string)) key++;
        if (!*key)
            cx_fail(r->cx, ERR_parse_error, AT(AT_PLACE, place), NULL, "\"%.40s\" does not belong beside \"%s\" here.",
                    at->string, keys[0]);
    }
    for (; *keys; keys++)
        if (!json_get(object, *keys))
            cx_fail(r->cx, ERR_parse_error, AT(AT_PLACE, place), NULL, "The key \"%s\" is missing here.", *keys);
}

static uint32_t read_iter(Reading *r, JsonNode node, uint32_t place) {
    static const char *const keys[] = {"base", "var", "step", "count", NULL};
    uint32_t inner = key_place(r, place, "iter"), name_at;
    JsonNode iter = json_get(node, "iter");
    if (json_kind(iter) != JSON_OBJECT) bad(r, inner, NULL, "\"iter\" is an object with base, var, step and count.");
    check_keys(r, iter, inner, keys);
    uint32_t base = read_key(r, iter, inner, "base");
    Sym name = read_name(r, iter, inner, "var", &name_at);
    uint32_t binder = term_bind(r->cx, r->p, BINDER_ITER, name, NULL, false, base, name_at);
    uint32_t step = read_key(r, iter, inner, "step");
    term_unbind(r->p, binder);
    return term_iter(r->cx, r->p, binder, step, read_key(r, iter, inner, "count"), place);
}

static uint32_t read_let(Reading *r, JsonNode node, uint32_t place) {
    uint32_t name_at;
    Sym name = read_name(r, node, place, "let", &name_at);
    uint32_t be = read_key(r, node, place, "be");
    uint32_t binder = term_bind(r->cx, r->p, BINDER_LET, name, NULL, false, be, name_at);
    return term_let(r->cx, r->p, binder, read_key(r, node, place, "in"), place);
}

static uint32_t read_object(Reading *r, JsonNode node, uint32_t place) {
    static const struct {
        const char *keys[4]; /* the first says which form it is */
        uint32_t (*read)(Reading *, JsonNode, uint32_t);
    } forms[] = {{{"succ"}, read_succ}, {{"if", "then", "else"}, read_if},  {{"fun", "type", "body"}, read_fun},
                 {{"app"}, read_app},   {{"iter"}, read_iter},              {{"let", "be", "in"}, read_let}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!json_get(node, forms[i].keys[0])) continue;
        check_keys(r, node, place, forms[i].keys);
        return forms[i].read(r, node, place);
    }
    bad(r, place, "An object is a term by one of the keys succ, if, fun, app, iter and let.", "This object is no term.");
}

static uint32_t read_term(Reading *r, JsonNode node, uint32_t place) {
    switch (json_kind(node)) {
    case JSON_STRING: return read_variable(r, node, place);
    case JSON_BOOL: return term_const(r->cx, r->p, cJSON_IsTrue(node) ? TERM_TRUE : TERM_FALSE, 0, place);
    case JSON_NUMBER: return read_numeral(r, node, place);
    case JSON_OBJECT: return read_object(r, node, place);
    case JSON_ARRAY:
    case JSON_NUMBERS: bad(r, place, "An application is {\"app\": [f, a, b]}.", "An array is no term.");
    default: bad(r, place, NULL, "null is no term.");
    }
}

void syntax_json_context(Cx *cx, Program *p, Json *json, JsonNode context) {
    Reading r = {cx, p, json};
    if (json_kind(context) != JSON_OBJECT)
        cx_fail(cx, ERR_parse_error, AT_NOWHERE, "For example {\"x\": \"2\", \"f\": \"!(2 -o 2)\"}.",
                "The context is an object: a type for each name.");
    for (JsonNode at = context->child; at; at = at->next) {
        const char *key = arena_strndup(&cx->arena, at->string, strlen(at->string));
        uint32_t place = place_add(cx, p, (Place){.kind = PLACE_CONTEXT, .key = key});
        bool smooth;
        if (!sym_is_name(key, strlen(key)))
            cx_fail(cx, ERR_parse_error, AT(AT_PLACE, place), name_hint, "\"%.40s\" is not a name.", key);
        if (json_kind(at) != JSON_STRING) bad(&r, place, "For example \"2 -o 2\" or \"!N\".", "A type is a string.");
        const Type *type = syntax_type(cx, at->valuestring, strlen(at->valuestring), &smooth, AT(AT_PLACE, place));
        if (term_context(cx, p, sym_intern(cx, key, strlen(key)), type, smooth, place) == TERM_NONE)
            cx_fail(cx, ERR_parse_error, AT(AT_PLACE, place), NULL, "The context names `%s` twice.", key);
    }
}

void syntax_json_term(Cx *cx, Program *p, Json *json, JsonNode term) {
    Reading r = {cx, p, json};
    read_term(&r, term, place_add(cx, p, (Place){.kind = PLACE_ROOT}));
}
