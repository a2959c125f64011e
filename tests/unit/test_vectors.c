/* The conformance vectors through the compiler alone: types, sizes, values and gradients by the naive evaluator. The same vectors run
 * through the whole service in tests/conformance.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/naive.h"
#include "compiler/language/syntax.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Cx cx;
    Json json;
    const char *name;
    Program *program;
    Checked *checked;
    Signature sig;
    Graph *graph, *vjp;
} Case;

static Nat read_nat(JsonNode row) {
    Nat nat = NAT_DEFAULT;
    JsonNode given = json_get(row, "nat");
    if (!given) return nat;
    if (json_get(given, "dim")) nat.dim = (uint64_t)json_get(given, "dim")->valuedouble;
    const char *overflow = json_get(given, "overflow") ? json_get(given, "overflow")->valuestring : "exact";
    nat.overflow = !strcmp(overflow, "drop") ? NAT_DROP : !strcmp(overflow, "saturate") ? NAT_SATURATE : NAT_EXACT;
    return nat;
}

/* Fills the case up to the gradient graph; the diagnostic, if any, is in c->cx.diag. */
static void open_case(Case *c, const char *line, bool lower) {
    memset(c, 0, sizeof *c);
    Err err = {0};
    if (!json_parse(&c->json, line, strlen(line), &err)) fail_msg("%s", err.message);
    JsonNode row = c->json.root, args = json_get(row, "args");
    c->name = json_get(row, "name")->valuestring;
    cx_init(&c->cx);
    CX_TRY(&c->cx) {
        c->program = program_new(&c->cx, read_nat(row));
        syntax_json_context(&c->cx, c->program, &c->json, json_get(row, "context"));
        syntax_json_term(&c->cx, c->program, &c->json, json_get(row, "term"));
        c->checked = check_program(&c->cx, c->program);
        if (lower) {
            c->graph = compile_lower(&c->cx, c->program, c->checked, args ? (uint32_t)json_count(&c->json, args) : UINT32_MAX, &c->sig);
            c->vjp = derive_graph_vjp(&c->cx, c->graph);
        }
    }
}

static void close_case(Case *c) {
    if (c->graph) graph_free(c->graph);
    if (c->vjp) graph_free(c->vjp);
    cx_release(&c->cx);
    json_release(&c->json);
}

/* A JSON value as a zero-padded vector. */
static double *vector(Case *c, JsonNode value, size_t size) {
    double *out = calloc(size + 1, sizeof *out);
    assert_non_null(out);
    if (json_kind(value) == JSON_BOOL) out[cJSON_IsTrue(value) ? 0 : 1] = 1;
    else if (json_kind(value) == JSON_NUMBER) out[(size_t)value->valuedouble] = 1;
    else {
        Tensor t;
        Err err = {0};
        if (!json_numbers(&c->json, value, &t, &err)) fail_msg("%s: %s", c->name, err.message);
        assert_true(t.count <= size);
        memcpy(out, t.data, t.count * sizeof *out);
        tensor_release(&t);
    }
    return out;
}

static JsonNode item(Case *c, JsonNode array, size_t index) {
    JsonNode node = json_items(&c->json, array);
    while (index--) node = node->next;
    return node;
}

static double **bind(Case *c, const Graph *g, NaiveInput *inputs) {
    JsonNode row = c->json.root;
    double **data = calloc(g->nslots + 1, sizeof *data);
    uint32_t *order = NULL;
    order = malloc((c->program->context + 1) * sizeof *order);
    CX_TRY(&c->cx) memcpy(order, program_inputs(&c->cx, c->program), c->program->context * sizeof *order);
    for (uint32_t i = 0; i < g->nslots; i++) {
        const Slot *slot = &g->slots[i];
        JsonNode value = NULL;
        if (slot->role == SLOT_INPUT)
            value = json_get(json_get(row, "inputs"), sym_name(&c->cx, c->program->binders[order[slot->index]].name));
        else if (slot->role == SLOT_ARG) value = item(c, json_get(row, "args"), slot->index);
        else value = json_get(row, "cotangent");
        assert_non_null(value);
        data[i] = vector(c, value, slot->size);
        inputs[i] = (NaiveInput){.data = data[i]};
    }
    free(order);
    return data;
}

static void expect_equal(Case *c, const char *what, const double *got, size_t size, JsonNode want) {
    double *expected = vector(c, want, size);
    for (size_t i = 0; i < size; i++)
        if (fabs(got[i] - expected[i]) > 1e-9 * (1 + fabs(expected[i])))
            fail_msg("%s: %s[%zu] is %g, not %g", c->name, what, i, got[i], expected[i]);
    free(expected);
}

static void check_outputs(Case *c, const Graph *g) {
    NaiveInput *inputs = calloc(g->nslots + 1, sizeof *inputs);
    NaiveOutput *outputs = calloc(g->noutputs + 1, sizeof *outputs);
    double **data = bind(c, g, inputs);
    JsonNode row = c->json.root, grads = json_get(row, "grads");
    assert_true(naive_eval(g, 1, inputs, outputs));
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->outputs[i];
        JsonNode want = json_get(json_get(row, "output"), "data");
        if (o->role == OUT_GRAD_ARG) want = item(c, json_get(grads, "args"), o->index);
        if (o->role == OUT_GRAD_INPUT) {
            uint32_t binder = 0;
            CX_TRY(&c->cx) binder = program_inputs(&c->cx, c->program)[o->index];
            want = json_get(json_get(grads, "inputs"), sym_name(&c->cx, c->program->binders[binder].name));
        }
        expect_equal(c, o->role == OUT_VALUE ? "output" : "gradient", outputs[i].data, outputs[i].size, want);
    }
    naive_release(outputs, g->noutputs);
    for (uint32_t i = 0; i < g->nslots; i++) free(data[i]);
    free(data);
    free(inputs);
    free(outputs);
}

static void check_accepted(const char *line) {
    Case c;
    char why[300];
    open_case(&c, line, true);
    JsonNode row = c.json.root;
    if (c.cx.diag.code) fail_msg("%s: %s: %s", c.name, err_name(c.cx.diag.code), c.cx.diag.message);
    CX_TRY(&c.cx) {
        assert_string_equal(type_text(&c.cx, c.checked->types[program_root(c.program)]), json_get(row, "type")->valuestring);
        JsonNode sized = json_get(row, "sized");
        if (sized && strcmp(type_text(&c.cx, c.sig.type), sized->valuestring))
            fail_msg("%s: size %s, not %s", c.name, type_text(&c.cx, c.sig.type), sized->valuestring);
    }
    if (!graph_verify(c.graph, why, sizeof why) || !graph_verify(c.vjp, why, sizeof why)) fail_msg("%s: %s", c.name, why);
    check_outputs(&c, c.graph);
    check_outputs(&c, c.vjp);
    close_case(&c);
}

static void check_refused(const char *line) {
    Case c;
    open_case(&c, line, true);
    JsonNode code = json_get(c.json.root, "code");
    assert_string_equal(err_name(c.cx.diag.code), code ? code->valuestring : "nat_bound_exceeded");
    close_case(&c);
}

static void for_lines(const char *file, void (*check)(const char *line)) {
    char path[200], *line = NULL;
    size_t room = 0, lines = 0;
    snprintf(path, sizeof path, "tests/conformance/%s", file);
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("%s cannot be read", path);
    for (; getline(&line, &room, in) > 0; lines++) check(line);
    free(line);
    fclose(in);
    assert_true(lines > 10);
}

static void test_accept(void **state) { (void)state; for_lines("accept.jsonl", check_accepted); }
static void test_reject(void **state) { (void)state; for_lines("reject.jsonl", check_refused); }
static void test_bounds(void **state) { (void)state; for_lines("bounds.jsonl", check_refused); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accept), cmocka_unit_test(test_reject), cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
