/* Writes seed inputs for the fuzz targets: seeds FOLDER < LINES
 *
 * A line is a conformance vector (tests/conformance). Of each program that is small: its body for `json`, its text for `text`, its
 * canonical bytes for `canon`, its graph, VJP and JVP for `graph`, and frames with them for `wire`. Files are named by line. */
#include "compiler/language/canon.h"
#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/language/syntax.h"
#include "schema/protocol/wire.h"
#include "tests/fuzz/programs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 1500 }; /* bytes of a seed */

typedef struct {
    const char *folder;
    unsigned line;
} Seeds;

static void put(const Seeds *s, const char *target, const char *kind, const Buf *bytes) {
    char path[500];
    if (bytes->failed || bytes->len > SMALL) return;
    snprintf(path, sizeof path, "%s/%s/%s%u", s->folder, target, kind, s->line);
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(bytes->data, 1, bytes->len, out) == bytes->len;
    if (!out || fclose(out) || !ok) fprintf(stderr, "%s cannot be written\n", path);
}

/* The line's own spelling; json.h would cut its arrays of numbers out. */
static void put_body(const Seeds *s, const char *line) {
    static const char *const keys[] = {"term", "context", "nat"};
    cJSON *root = cJSON_Parse(line);
    Buf out;
    buf_init(&out);
    for (int i = 0; i < 3; i++) {
        const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, keys[i]);
        char *text = node ? cJSON_PrintUnformatted(node) : NULL;
        if (text) buf_printf(&out, "%s\"%s\":%s", i ? "," : "{", keys[i], text);
        free(text);
    }
    buf_putc(&out, '}');
    put(s, "json", "body", &out);
    buf_release(&out);
    cJSON_Delete(root);
}

static void put_text(const Seeds *s, const Cx *cx, const Program *p) {
    Buf out;
    buf_init(&out);
    buf_printf(&out, "-- nat: %llu %s\n", (unsigned long long)p->nat.dim, nat_policy_name(p->nat.overflow));
    for (uint32_t b = 0; b < p->context; b++) {
        buf_printf(&out, "%s%s : %s", b ? ", " : "", sym_name(cx, p->binders[b].name), p->binders[b].smooth ? "!(" : "");
        type_print(&out, p->binders[b].type);
        buf_puts(&out, p->binders[b].smooth ? ")" : "");
    }
    buf_puts(&out, p->context ? " |- " : "");
    syntax_print(&out, cx, p);
    put(s, "text", "text", &out);
    buf_release(&out);
}

static void put_frame(const Seeds *s, FrameType type, const char *kind, const Buf *body) {
    Buf out;
    buf_init(&out);
    buf_u8(&out, (uint8_t)type);
    buf_put(&out, body->data, body->len);
    put(s, "wire", kind, &out);
    buf_release(&out);
}

static void put_graph(const Seeds *s, const char *kind, const Graph *g) {
    Buf file, body;
    buf_init(&file);
    buf_init(&body);
    if (graph_write(g, &file)) {
        put(s, "graph", kind, &file);
        wire_put_built(&body, &(BuiltMsg){.graph = file.data, .graph_len = file.len, .ninputs = 1, .macs = 4, .cases = 2});
        put_frame(s, FRAME_built, kind, &body);
    }
    buf_release(&file);
    buf_release(&body);
}

static void put_canon(const Seeds *s, Cx *cx, const Program *p) {
    Buf bytes = {0}, body;
    bytes.data = (unsigned char *)canon_write(cx, p, &bytes.len);
    put(s, "canon", "program", &bytes);
    buf_init(&body);
    wire_put_build(&body, &(BuildMsg){.program = bytes.data, .program_len = bytes.len, .nargs = WIRE_ALL_ARGS, .verify = true, .nat_limit = 64});
    put_frame(s, FRAME_build, "build", &body);
    buf_release(&body);
}

static void put_compiled(const Seeds *s, Cx *cx, const Program *p) {
    Signature sig;
    const Checked *checked = check_program(cx, p);
    put_canon(s, cx, p);
    Graph *g = compile_lower(cx, p, checked, UINT32_MAX, &sig);
    put_graph(s, "lowered", g);
    Graph *vjp = derive_graph_vjp(cx, g);
    put_graph(s, "vjp", vjp);
    graph_free(vjp);
    Graph *jvp = derive_graph_jvp(cx, g);
    put_graph(s, "jvp", jvp);
    graph_free(jvp);
    graph_free(g);
}

static void seed(const Seeds *s, const char *line, size_t len) {
    Json json;
    Err err = {0};
    Cx cx;
    if (!json_parse(&json, line, len, &err)) return;
    put_body(s, line);
    for (const char *const *key = (const char *const[]){"name", "type", "inputs", "args", "output", "cotangent", "grads", "sized", "code", NULL}; *key; key++)
        cJSON_DeleteItemFromObject(json.root, *key);
    programs_cx(&cx);
    CX_TRY(&cx) {
        Program *p = NULL;
        if (programs_of_json(&cx, &json, &p)) {
            put_text(s, &cx, p);
            put_compiled(s, &cx, p);
        }
    }
    cx_release(&cx);
    json_release(&json);
}

int main(int argc, char **argv) {
    Seeds s = {.folder = argc > 1 ? argv[1] : "."};
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, stdin)) > 0;) {
        s.line++;
        seed(&s, line, (size_t)n);
    }
    free(line);
    return 0;
}
