/* Golden programs: tests/golden/NAME.cajal (text) or NAME.json (a /compile request) beside NAME.out, which holds the type, the graph as lowered
 * and as optimised (where that differs), its gradient when the first line is `-- gradient`, and, for closed programs, the value; or the diagnostic
 * exactly as it is printed. A first line `-- nat: DIM POLICY` sets the policy of a text.
 * CAJAL_GOLDEN=write writes the .out files anew: read the difference before committing it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/optimise.h"
#include "compiler/language/syntax.h"
#include "schema/limits.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/"

static char *read_file(const char *path, size_t *len) {
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    if (!in) return NULL;
    ssize_t n = getdelim(&text, &room, '\0', in);
    fclose(in);
    *len = n < 0 ? 0 : (size_t)n;
    if (n < 0) text[0] = '\0';
    return text;
}

static Nat nat_of(const char *policy, uint64_t dim) {
    return (Nat){dim, !strcmp(policy, "drop") ? NAT_DROP : !strcmp(policy, "saturate") ? NAT_SATURATE : NAT_EXACT};
}

/* The program of a file, inside a CX_TRY; *made is set before anything can fail, so that a diagnostic can show its place. */
static void read_program(Cx *cx, Json *json, const char *path, const char *text, size_t len, Program *volatile *made) {
    if (!strstr(path, ".json")) {
        unsigned long long dim = NAT_DEFAULT.dim;
        char policy[20] = "exact";
        sscanf(text, "-- nat: %llu %19s", &dim, policy);
        *made = program_new(cx, nat_of(policy, dim));
        syntax_text(cx, *made, text, len);
        return;
    }
    Err err = {0};
    if (!json_parse(json, text, len, &err)) fail_msg("%s: %s", path, err.message);
    JsonNode nat = json_get(json->root, "nat");
    *made = program_new(cx, nat ? nat_of(json_get(nat, "overflow")->valuestring, (uint64_t)json_get(nat, "dim")->valuedouble) : NAT_DEFAULT);
    if (json_get(json->root, "context")) syntax_json_context(cx, *made, json, json_get(json->root, "context"));
    syntax_json_term(cx, *made, json, json_get(json->root, "term"));
}

/* `unless`: the text of another graph; nothing is said when this one's is the same. */
static void put_graph(Buf *out, const char *name, const Graph *g, const Graph *unless) {
    Buf json, other;
    buf_init(&json);
    buf_init(&other);
    graph_json(&json, g);
    if (unless) graph_json(&other, unless);
    if (unless && !strcmp(buf_text(&json), buf_text(&other))) buf_clear(&json);
    else buf_printf(out, "%s ", name);
    for (const char *p = buf_text(&json); *p; p++) {
        if (!strncmp(p, "{\"id\"", 5) || !strncmp(p, "\"outputs\"", 9)) buf_puts(out, "\n  ");
        buf_putc(out, *p);
    }
    if (json.len) buf_putc(out, '\n');
    buf_release(&json);
    buf_release(&other);
}

static void put_value(Buf *out, const Graph *g, const Type *type) {
    size_t shape[LIMIT_TYPE_RANK], rank = type_shape(type, shape);
    NaiveOutput value;
    assert_true(naive_eval(g, 1, NULL, &value));
    buf_puts(out, "value ");
    json_put_tensor(out, value.data, true, shape, rank);
    buf_putc(out, '\n');
    naive_release(&value, 1);
}

static char *describe(const char *path) {
    size_t len;
    char *text = read_file(path, &len);
    Buf out;
    Json json = {0};
    Cx cx;
    Program *volatile shown = NULL;
    Graph *volatile graph = NULL, *volatile optimised = NULL, *volatile derived = NULL, *volatile gradient = NULL;
    buf_init(&out);
    cx_init(&cx);
    CX_TRY(&cx) {
        Signature sig;
        read_program(&cx, &json, path, text, len, &shown);
        const Program *p = shown;
        const Checked *checked = check_program(&cx, p);
        graph = compile_lower(&cx, p, checked, UINT32_MAX, &sig);
        buf_printf(&out, "type %s\ntext ", type_text(&cx, sig.type));
        syntax_print(&out, &cx, p);
        buf_putc(&out, '\n');
        put_graph(&out, "graph", graph, NULL);
        optimised = optimise_graph(&cx, graph);
        put_graph(&out, "optimised", optimised, graph);
        if (!strncmp(text, "-- gradient\n", 12)) {
            derived = derive_graph_vjp(&cx, optimised);
            gradient = optimise_graph(&cx, derived);
            put_graph(&out, "gradient", gradient, NULL);
        }
        if (sig.ninputs == 0 && sig.type->vector) {
            graph_free(graph);
            graph = compile_lower(&cx, p, checked, 0, &sig);
            put_value(&out, graph, sig.type);
        }
    }
    if (cx.diag.code) {
        buf_clear(&out);
        syntax_render(&out, &cx, shown, &cx.diag);
    }
    if (graph) graph_free(graph);
    if (optimised) graph_free(optimised);
    graph_free(derived);
    graph_free(gradient);
    json_release(&json);
    cx_release(&cx);
    free(text);
    return buf_take(&out, NULL);
}

static int is_program(const struct dirent *entry) { return strstr(entry->d_name, ".cajal") || strstr(entry->d_name, ".json"); }

static void test_golden(void **state) {
    (void)state;
    struct dirent **entries;
    int n = scandir(GOLDEN, &entries, is_program, alphasort), wrong = 0;
    bool write = getenv("CAJAL_GOLDEN") && !strcmp(getenv("CAJAL_GOLDEN"), "write");
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[400], out_path[400];
        snprintf(path, sizeof path, GOLDEN "%s", entries[i]->d_name);
        snprintf(out_path, sizeof out_path, GOLDEN "%.*s.out", (int)strcspn(entries[i]->d_name, "."), entries[i]->d_name);
        char *got = describe(path);
        size_t len;
        if (write) {
            FILE *out = fopen(out_path, "w");
            assert_non_null(out);
            fputs(got, out);
            fclose(out);
        }
        char *want = read_file(out_path, &len);
        if (!want || strcmp(got, want)) {
            print_error("%s differs from %s:\n%s\n", path, out_path, got);
            wrong++;
        }
        free(want);
        free(got);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
