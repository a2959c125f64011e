#include "tests/fuzz/programs.h"
#include "compiler/language/canon.h"
#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/language/interp.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/optimise.h"
#include "compiler/language/syntax.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <string.h>

enum { NAT_LIMIT = 64, CASES = 16, STEPS = 100000 };
#define COMPILE_BYTES ((size_t)64 << 20)
#define SMALL 1e5 /* elements and multiply-adds of a graph that is evaluated */

void programs_cx(Cx *cx) {
    cx_init(cx);
    cx->nat_limit = NAT_LIMIT;
    cx->arena.cap = COMPILE_BYTES;
}

/* ---- reading a request ---- */

typedef struct {
    JsonNode term, context, nat;
} Body;
typedef struct {
    uint64_t dim;
    int overflow;
} Policy;

Program *programs_of_json(Cx *cx, Json *json, Program **made) {
    static const char *const policies[] = {"exact", "drop", "saturate", NULL};
    static const Field body_fields[] = {{"term", FIELD_NODE, offsetof(Body, term), true, NULL},
                                        {"context", FIELD_NODE, offsetof(Body, context), false, NULL},
                                        {"nat", FIELD_NODE, offsetof(Body, nat), false, NULL},
                                        {NULL, 0, 0, false, NULL}};
    static const Field nat_fields[] = {{"dim", FIELD_UINT, offsetof(Policy, dim), false, NULL},
                                       {"overflow", FIELD_ENUM, offsetof(Policy, overflow), false, policies},
                                       {NULL, 0, 0, false, NULL}};
    Err err = {0};
    Body body = {0};
    Policy policy = {.dim = NAT_DEFAULT.dim};
    if (!json_decode(json->root, "", body_fields, &body, &err)) return NULL;
    if (body.nat && !json_decode(body.nat, "/nat", nat_fields, &policy, &err)) return NULL;
    if (!policy.dim) return NULL; /* refused before a compile, as in server/programs/frontend.c */
    *made = program_new(cx, (Nat){policy.dim, (NatPolicy)policy.overflow});
    if (body.context) syntax_json_context(cx, *made, json, body.context);
    syntax_json_term(cx, *made, json, body.term);
    return *made;
}

/* ---- diagnostics ---- */

void programs_show(const Cx *cx, const Program *p) {
    fuzz_require(cx->diag.code > ERR_NONE && cx->diag.code < ERR_COUNT && cx->diag.message, "a failure has a code and a message");
    fuzz_require(cx->diag.code != ERR_internal && cx->diag.code != ERR_compiler_mismatch, "a program causes no internal error");
    Buf out;
    buf_init(&out);
    syntax_render(&out, cx, p, &cx->diag);
    fuzz_require(!out.failed && out.len > 0, "a diagnostic can be shown");
    buf_release(&out);
    if (!p) return;
    free(syntax_locate(p, cx->diag.at).pointer);
    free(syntax_locate(p, cx->diag.other).pointer);
}

/* ---- identity ---- */

typedef struct {
    Cx cx;
    const unsigned char *bytes;
    size_t len;
} Canonical;

static void require_same(Canonical *again, const Canonical *was, const char *what) {
    if (again->cx.diag.code == ERR_too_large) return; /* one spelling may take more memory than another */
    if (again->cx.diag.code) fprintf(stderr, "%s: %s\n", err_name(again->cx.diag.code), again->cx.diag.message);
    fuzz_require(!again->cx.diag.code && again->len == was->len && !memcmp(again->bytes, was->bytes, was->len), what);
}

static void check_canon(const Canonical *was, const Program *p) {
    Canonical again = {0};
    programs_cx(&again.cx);
    CX_TRY(&again.cx) {
        Program *q = canon_read(&again.cx, was->bytes, was->len);
        fuzz_require(q->nnodes == p->nnodes && q->nbinders == p->nbinders && q->context == p->context, "canonical bytes keep the indices");
        check_program(&again.cx, q);
        again.bytes = canon_write(&again.cx, q, &again.len);
    }
    require_same(&again, was, "canonical bytes read back to themselves");
    cx_release(&again.cx);
}

static void put_context(Buf *out, const Cx *cx, const Program *p, bool json) {
    for (uint32_t b = 0; b < p->context; b++) {
        const Binder *binder = &p->binders[b];
        if (b) buf_putc(out, ',');
        buf_printf(out, json ? "\"%s\":\"%s" : "%s:%s", sym_name(cx, binder->name), binder->smooth ? "!(" : "");
        type_print(out, binder->type);
        if (binder->smooth) buf_putc(out, ')');
        if (json) buf_putc(out, '"');
    }
}

static void check_text(const Canonical *was, const Cx *cx, const Program *p) {
    Canonical again = {0};
    Buf text;
    buf_init(&text);
    put_context(&text, cx, p, false);
    if (p->context) buf_puts(&text, " |- ");
    syntax_print(&text, cx, p);
    programs_cx(&again.cx);
    CX_TRY(&again.cx) {
        Program *q = program_new(&again.cx, p->nat);
        fuzz_require(syntax_text(&again.cx, q, (char *)text.data, text.len) == (p->context > 0), "a context is seen");
        check_program(&again.cx, q);
        again.bytes = canon_write(&again.cx, q, &again.len);
    }
    require_same(&again, was, "printed text reads back to the same program");
    cx_release(&again.cx);
    buf_release(&text);
}

static void check_json(const Canonical *was, const Cx *cx, const Program *p) {
    Canonical again = {0};
    Json json;
    Err err = {0};
    Buf text;
    buf_init(&text);
    buf_printf(&text, "{\"nat\":{\"dim\":%llu,\"overflow\":\"%s\"},\"context\":{", (unsigned long long)p->nat.dim, nat_policy_name(p->nat.overflow));
    put_context(&text, cx, p, true);
    buf_puts(&text, "},\"term\":");
    syntax_print_json(&text, cx, p);
    buf_putc(&text, '}');
    bool ok = json_parse(&json, (char *)text.data, text.len, &err);
    buf_release(&text);
    fuzz_require(ok || err.code == ERR_too_large, "printed JSON is JSON"); /* text may nest deeper than JSON */
    if (!ok) return;
    programs_cx(&again.cx);
    CX_TRY(&again.cx) {
        Program *q = NULL;
        fuzz_require(programs_of_json(&again.cx, &json, &q), "printed JSON is a request");
        check_program(&again.cx, q);
        again.bytes = canon_write(&again.cx, q, &again.len);
    }
    require_same(&again, was, "printed JSON reads back to the same program");
    cx_release(&again.cx);
    json_release(&json);
}

/* ---- graphs ---- */

void programs_check_graph(const Graph *g) {
    char why[300] = "";
    Buf file, again, shown;
    buf_init(&file);
    buf_init(&again);
    buf_init(&shown);
    if (!graph_verify(g, why, sizeof why)) fprintf(stderr, "%s\n", why);
    fuzz_require(!*why, "the graph verifies");
    fuzz_require(graph_write(g, &file), "the graph has a file form");
    Graph *read = graph_read(file.data, file.len, why, sizeof why);
    fuzz_require(read, "the graph's file form reads back");
    fuzz_require(graph_write(read, &again) && again.len == file.len && !memcmp(again.data, file.data, file.len), "a graph has one file form");
    graph_json(&shown, g);
    graph_dot(&shown, g);
    fuzz_require(!shown.failed, "the graph prints");
    graph_free(read);
    buf_release(&file);
    buf_release(&again);
    buf_release(&shown);
}

typedef struct {
    Cx *cx;
    Program *program;
    Checked *checked;
    Signature sig;
    Graph *graph;
    Graph *optimised;
    double **vectors; /* by slot */
    double *want;
} Subject;

static const Type *slot_type(const Subject *s, uint32_t slot) {
    const Slot *at = &s->graph->slots[slot];
    return at->role == SLOT_INPUT ? s->sig.inputs[at->index] : s->sig.args[at->index];
}

static bool is_discrete(const Type *type) {
    for (; type_is_arrow(type); type = type->cod)
        if (!is_discrete(type->dom)) return false;
    return type->kind != TYPE_REAL;
}

/* Small, and all inputs are basis vectors the interpreter knows. */
static bool comparable(const Subject *s) {
    const GraphStats stats = graph_stats(s->graph);
    if (stats.macs > SMALL || stats.bytes > SMALL || s->graph->nslots != s->sig.ninputs + s->sig.nargs) return false;
    for (uint32_t i = 0; i < s->graph->nslots; i++)
        if (s->graph->slots[i].role == SLOT_NETWORK || !is_discrete(slot_type(s, i))) return false;
    return true;
}

static void interpret(Subject *s, const size_t *places) {
    Interp in = {.cx = s->cx, .program = s->program, .step_limit = STEPS};
    const InterpValue **inputs = ARENA_ARRAY(&s->cx->arena, const InterpValue *, s->sig.ninputs);
    const InterpValue **args = ARENA_ARRAY(&s->cx->arena, const InterpValue *, s->sig.nargs);
    for (uint32_t i = 0; i < s->graph->nslots; i++) {
        const Slot *slot = &s->graph->slots[i];
        *(slot->role == SLOT_INPUT ? &inputs[slot->index] : &args[slot->index]) = interp_basis(&in, slot_type(s, i), places[i]);
    }
    interp_vector(&in, interp_run(&in, inputs, args, s->sig.nargs), s->sig.output, s->want);
}

static void compare(Subject *s, size_t number) {
    const Graph *g = s->graph;
    size_t *places = calloc(g->nslots + (size_t)1, sizeof *places), rest = number * 7919;
    NaiveInput *inputs = calloc(g->nslots + (size_t)1, sizeof *inputs);
    NaiveOutput got;
    for (uint32_t i = 0; i < g->nslots; rest /= g->slots[i++].size) {
        memset(s->vectors[i], 0, g->slots[i].size * sizeof **s->vectors);
        s->vectors[i][places[i] = rest % g->slots[i].size] = 1;
        inputs[i].data = s->vectors[i];
    }
    CX_TRY(s->cx) interpret(s, places);
    if (s->cx->diag.code) {
        programs_show(s->cx, s->program);
    } else {
        fuzz_require(naive_eval(g, 1, inputs, &got), "a compiled graph evaluates");
        for (size_t i = 0; i < got.size; i++) fuzz_require(got.data[i] == s->want[i], "the neurons agree with the interpreter");
        naive_release(&got, 1);
        fuzz_require(naive_eval(s->optimised, 1, inputs, &got), "an optimised graph evaluates");
        for (size_t i = 0; i < got.size; i++) fuzz_require(fabs(got.data[i] - s->want[i]) < 1e-9, "optimised neurons agree with the interpreter");
        naive_release(&got, 1);
    }
    free(places);
    free(inputs);
}

static void check_meaning(Subject *s) {
    const Graph *g = s->graph;
    if (!comparable(s)) return;
    s->want = calloc(s->sig.output->dim, sizeof *s->want);
    s->vectors = calloc(g->nslots + (size_t)1, sizeof *s->vectors);
    for (uint32_t i = 0; i < g->nslots; i++) s->vectors[i] = calloc(g->slots[i].size, sizeof **s->vectors);
    for (size_t c = 0; c < (g->nslots ? CASES : 1) && !s->cx->diag.code; c++) compare(s, c);
    for (uint32_t i = 0; i < g->nslots; i++) free(s->vectors[i]);
    free(s->vectors);
    free(s->want);
}

/* A graph made from another, checked; NULL when there was no room for it. The caller's. */
static Graph *transform(Subject *s, Graph *(*pass)(Cx *, const Graph *), const Graph *g) {
    Graph *volatile made = NULL;
    CX_TRY(s->cx) made = pass(s->cx, g);
    if (s->cx->diag.code) programs_show(s->cx, s->program);
    else programs_check_graph(made);
    return made;
}

static void check_derivative(Subject *s, Graph *(*derive)(Cx *, const Graph *)) {
    Graph *derived = transform(s, derive, s->graph);
    if (derived) graph_free(transform(s, optimise_graph, derived));
    graph_free(derived);
}

static void check_compile(Subject *s) {
    CX_TRY(s->cx) s->graph = compile_lower(s->cx, s->program, s->checked, UINT32_MAX, &s->sig);
    if (s->cx->diag.code) {
        programs_show(s->cx, s->program);
        return;
    }
    fuzz_require(s->sig.type->sized && s->sig.output->dim <= s->graph->nodes[s->graph->outputs[0].node].size, "the signature is sized");
    programs_check_graph(s->graph);
    check_derivative(s, derive_graph_vjp);
    check_derivative(s, derive_graph_jvp);
    s->optimised = transform(s, optimise_graph, s->graph);
    if (s->optimised) check_meaning(s);
    graph_free(s->optimised);
    graph_free(s->graph);
}

void programs_check(Cx *cx, Program *p) {
    Subject s = {.cx = cx, .program = p};
    Canonical canonical = {0};
    CX_TRY(cx) {
        s.checked = check_program(cx, p);
        canonical.bytes = canon_write(cx, p, &canonical.len);
    }
    if (cx->diag.code) {
        programs_show(cx, p);
        return;
    }
    check_canon(&canonical, p);
    check_text(&canonical, cx, p);
    check_json(&canonical, cx, p);
    check_compile(&s);
}
