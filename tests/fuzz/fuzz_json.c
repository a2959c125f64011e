/* Bodies of /compile: the strict JSON reader on any bytes, then {"term", "context", "nat"} as a program. */
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/programs.h"
#include <string.h>

/* A string written and read again is itself. */
static void check_string(const char *text) {
    Buf out;
    Json json;
    Err err = {0};
    buf_init(&out);
    json_put_string(&out, text);
    bool ok = json_parse(&json, (char *)out.data, out.len, &err);
    fuzz_require(ok && json_kind(json.root) == JSON_STRING && !strcmp(json.root->valuestring, text), "a written string reads back");
    json_release(&json);
    buf_release(&out);
}

/* Opens all that can be opened. Nodes nest at most LIMIT_JSON_DEPTH deep, opened ones included. */
static void walk(Json *json, JsonNode node) {
    Tensor tensor;
    Err err = {0};
    size_t n = 0;
    switch (json_kind(node)) {
    case JSON_STRING: check_string(node->valuestring); return;
    case JSON_OBJECT:
        for (JsonNode at = node->child; at; at = at->next) walk(json, at);
        return;
    case JSON_NUMBERS:
    case JSON_ARRAY:
        n = json_count(json, node);
        if (json_numbers(json, node, &tensor, &err)) tensor_release(&tensor);
        for (JsonNode at = json_items(json, node); at; at = at->next, n--) walk(json, at);
        fuzz_require(n == 0, "an array has as many items as it counts");
        return;
    default: return;
    }
}

static void check_request(Json *json) {
    Program *p = NULL;
    volatile bool read = false;
    Cx cx;
    programs_cx(&cx);
    CX_TRY(&cx) read = programs_of_json(&cx, json, &p);
    if (cx.diag.code) programs_show(&cx, p);
    else if (read) programs_check(&cx, p);
    cx_release(&cx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Json json;
    Err err = {0};
    if (!json_parse(&json, (const char *)data, size, &err)) {
        fuzz_require(err.code == ERR_bad_json || err.code == ERR_too_large, "a body that is no JSON is told so");
        return 0;
    }
    check_request(&json);
    walk(&json, json.root);
    json_release(&json);
    return 0;
}
