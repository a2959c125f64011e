/* The two spellings of programs, the printer, and how errors are located and shown. */
#include "compiler/language/syntax.h"
#include "schema/limits.h"
#include "tests/support/gen.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One reading of one program, with what became of it. */
typedef struct {
    Cx cx;
    Program *p;
    Json json;
    bool own_context;
} Reading;

static void read_text_n(Reading *r, const char *text, size_t len) {
    *r = (Reading){0};
    cx_init(&r->cx);
    CX_TRY(&r->cx) {
        r->p = program_new(&r->cx, NAT_DEFAULT);
        r->own_context = syntax_text(&r->cx, r->p, text, len);
    }
}

static void read_text(Reading *r, const char *text) { read_text_n(r, text, strlen(text)); }

static void read_json(Reading *r, const char *term, const char *context) {
    *r = (Reading){0};
    cx_init(&r->cx);
    Buf body;
    Err err = {0};
    buf_init(&body);
    buf_printf(&body, "{\"term\":%s,\"context\":%s}", term, context);
    if (!json_parse(&r->json, (char *)body.data, body.len, &err)) fail_msg("%s: %s", term, err.message);
    buf_release(&body);
    CX_TRY(&r->cx) {
        r->p = program_new(&r->cx, NAT_DEFAULT);
        syntax_json_context(&r->cx, r->p, &r->json, json_get(r->json.root, "context"));
        syntax_json_term(&r->cx, r->p, &r->json, json_get(r->json.root, "term"));
    }
}

static void done(Reading *r) {
    cx_release(&r->cx);
    json_release(&r->json);
}

static void must(const Reading *r, const char *what) {
    if (r->cx.diag.code) fail_msg("%.300s: %s: %s", what, err_name(r->cx.diag.code), r->cx.diag.message);
}

static char *printed(const Reading *r, void (*print)(Buf *, const Cx *, const Program *)) {
    Buf out;
    buf_init(&out);
    print(&out, &r->cx, r->p);
    return buf_take(&out, NULL);
}

/* Two programs, perhaps of two Cx, as trees: same nodes, binders by index, names and types. */
static bool same_program(const Reading *a, const Reading *b) {
    if (a->p->nnodes != b->p->nnodes || a->p->nbinders != b->p->nbinders || a->p->context != b->p->context) return false;
    for (uint32_t i = 0; i < a->p->nnodes; i++) {
        const TermNode *m = &a->p->nodes[i], *n = &b->p->nodes[i];
        if (m->kind != n->kind || memcmp(m->kid, n->kid, sizeof m->kid) || m->nat != n->nat || m->binder != n->binder) return false;
        if (m->kind == TERM_VAR && strcmp(sym_name(&a->cx, m->name), sym_name(&b->cx, n->name))) return false;
    }
    for (uint32_t i = 0; i < a->p->nbinders; i++) {
        const Binder *m = &a->p->binders[i], *n = &b->p->binders[i];
        if (m->kind != n->kind || m->smooth != n->smooth || m->owner != n->owner || m->source != n->source || !m->type != !n->type) return false;
        if (strcmp(sym_name(&a->cx, m->name), sym_name(&b->cx, n->name))) return false;
        Buf s, t;
        buf_init(&s);
        buf_init(&t);
        if (m->type) type_print(&s, m->type), type_print(&t, n->type);
        bool equal = strcmp(buf_text(&s), buf_text(&t)) == 0;
        buf_release(&s);
        buf_release(&t);
        if (!equal) return false;
    }
    return true;
}

static void prints_as(const char *source, const char *expected) {
    Reading r;
    read_text(&r, source);
    must(&r, source);
    char *text = printed(&r, syntax_print);
    assert_string_equal(text, expected);
    free(text);
    done(&r);
}

static void test_printing(void **state) {
    (void)state;
    static const char *const same[] = {
        "x", "true", "9007199254740992", "succ 0", "succ (succ x)", "succ (f x)", "f a b", "f (a b)", "f (succ x) true", "(\\x:2. x) true",
        "\\x:2. x", "\\x:2. \\y:!N[3]. f x y", "\\f:!(2 -o 2). f", "\\f:!2 -o 2. f", "\\f:!(!2 -o N) -o R[2,3]. f", "\\f:(2 -o 2) -o 2. f",
        "if a then b else c", "if if a then b else c then \\x:2. x else let y = 1 in y", "f (if a then b else c)", "(if a then b else c) d",
        "let x = \\y:2. y in x (let z = 1 in z)", "iter {0 | y -> succ y} (n)", "f iter {0 | y -> succ y} (n) x", "iter {a | y -> y} (1) x",
        "succ iter {0 | y -> succ y} (f 2)", "iter {\\x:2. x | f -> \\x:2. f x} (if c then 1 else 2)", "\\x:2. \\x:N. x", "f' _x A1"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) prints_as(same[i], same[i]);
    prints_as("((f) ((a)) (b))", "f a b");
    prints_as("(f a) b", "f a b");
    prints_as("tt ff", "true false");
    prints_as("\\(x:2) (y:!N). x", "\\x:2. \\y:!N. x");
    prints_as("\\x:2 y:!N. x", "\\x:2. \\y:!N. x");
    prints_as("λx : 2⊸2.x", "\\x:2 -o 2. x");
    prints_as("↪{0|y->y}(0)", "iter {0 | y -> y} (0)");
    prints_as("\\x:((2 -o (((2)) -o 2))). x", "\\x:2 -o 2 -o 2. x");
    prints_as("\\x:2-o2.0", "\\x:2 -o 2. 0");
    prints_as("-- a comment\nf --(\r\n\tx-- the end", "f x");
    prints_as("007", "7");
    prints_as("succ(x)", "succ x");
    prints_as("f : !(2 -o 2), b : 2 |- f b -- |- c", "f b");
    prints_as("f:!2-o 2,b:!N[4]⊢f b", "f b");
    prints_as("|- 1", "1");
}

static void test_contexts(void **state) {
    (void)state;
    Reading r;
    read_text(&r, "f : !(2 -o 2), g : !2 -o 2, n : !N |- x");
    must(&r, "context");
    assert_true(r.own_context && r.p->context == 3);
    assert_true(r.p->binders[0].smooth && r.p->binders[0].type->kind == TYPE_LIN);
    assert_true(!r.p->binders[1].smooth && r.p->binders[1].type->kind == TYPE_SMOOTH);
    assert_true(r.p->binders[2].smooth && r.p->binders[2].type->kind == TYPE_NAT);
    assert_int_equal(r.p->nodes[0].binder, TERM_NONE);
    done(&r);
    read_text(&r, "|- x");
    assert_true(!r.cx.diag.code && r.own_context);
    done(&r);
    read_text(&r, "x");
    assert_true(!r.cx.diag.code && !r.own_context);
    done(&r);
}

static void test_scopes(void **state) {
    (void)state;
    Reading r;
    /* The let's own name is not in scope in what it names, nor the state in the base and the count. */
    read_text(&r, "x : N |- let x = x in iter {x | x -> x} (x)");
    must(&r, "scopes");
    static const uint32_t binders[] = {0, 1, 2, 1};
    for (uint32_t i = 0, v = 0; i < r.p->nnodes; i++)
        if (r.p->nodes[i].kind == TERM_VAR) assert_int_equal(r.p->nodes[i].binder, binders[v++]);
    done(&r);
    read_json(&r, "{\"let\":\"x\",\"be\":\"x\",\"in\":{\"iter\":{\"count\":\"x\",\"step\":\"x\",\"var\":\"x\",\"base\":\"x\"}}}", "{\"x\":\"N\"}");
    must(&r, "scopes");
    for (uint32_t i = 0, v = 0; i < r.p->nnodes; i++)
        if (r.p->nodes[i].kind == TERM_VAR) assert_int_equal(r.p->nodes[i].binder, binders[v++]);
    done(&r);
}

static void test_two_spellings(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"\\x:2. if x then false else true", "{\"fun\":\"x\",\"type\":\"2\",\"body\":{\"if\":\"x\",\"then\":false,\"else\":true}}"},
        {"f 3 4", "{\"app\":[\"f\",3,4]}"},
        {"3 4", "{\"app\":[3,4]}"},
        {"(3 4) NaN (5 6)", "{\"app\":[3,4,\"NaN\",{\"app\":[5,6]}]}"},
        {"f a b", "{\"app\":[{\"app\":[\"f\",\"a\"]},\"b\"]}"},
        {"\\g:!(2 -o N[3]). let y = succ 1 in g y", "{\"in\":{\"app\":[\"g\",\"y\"]},\"be\":{\"succ\":1e0},\"let\":\"y\"}"},
        {"iter {0 | y -> succ y} (n)", "{\"iter\":{\"base\":0,\"var\":\"y\",\"step\":{\"succ\":\"y\"},\"count\":\"n\"}}"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        Reading a, b, c;
        char json[400];
        snprintf(json, sizeof json, i == 5 ? "{\"fun\":\"g\",\"type\":\"!(2 -o N[3])\",\"body\":%s}" : "%s", pairs[i][1]);
        read_text(&a, pairs[i][0]);
        read_json(&b, json, "{}");
        must(&a, pairs[i][0]);
        must(&b, pairs[i][1]);
        if (!same_program(&a, &b)) fail_msg("%s differs", pairs[i][0]);
        char *again = printed(&a, syntax_print_json);
        read_json(&c, again, "{}");
        must(&c, again);
        if (!same_program(&a, &c)) fail_msg("%s", again);
        free(again);
        done(&a);
        done(&b);
        done(&c);
    }
}

static void make_random(Reading *r, uint64_t seed, uint32_t size) {
    *r = (Reading){0};
    cx_init(&r->cx);
    CX_TRY(&r->cx) { r->p = gen_program(&r->cx, &(GenOptions){.seed = seed, .size = size, .nat = {.dim = 4}, .closed = true}); }
}

/* Random programs survive both printers. */
static void test_round_trip(void **state) {
    (void)state;
    uint64_t seed = rng_seed("syntax");
    for (uint64_t i = 0; i < 1500; i++) {
        Reading made, text, json;
        make_random(&made, seed + i, (uint32_t)(i % 80));
        must(&made, "generator");
        char *as_text = printed(&made, syntax_print), *as_json = printed(&made, syntax_print_json);
        read_text(&text, as_text);
        must(&text, as_text);
        read_json(&json, as_json, "{}");
        must(&json, as_json);
        char *again = printed(&text, syntax_print);
        if (!same_program(&made, &text)) fail_msg("seed %llu: %s", (unsigned long long)(seed + i), as_text);
        if (!same_program(&made, &json)) fail_msg("seed %llu: %s", (unsigned long long)(seed + i), as_json);
        assert_string_equal(as_text, again);
        free(as_text);
        free(as_json);
        free(again);
        done(&made);
        done(&text);
        done(&json);
    }
}

static void test_places(void **state) {
    (void)state;
    Reading r;
    const char *text = "f : 2 |-\n  if (f)\n  then iter {0 | y -> succ y} (2)\n  else λx:N. g x (x) ";
    read_text(&r, text);
    must(&r, text);
    static const char *const spans[] = {"f", "0", "y", "succ y", "2", "iter {0 | y -> succ y} (2)", "g", "x", "g x", "x", "g x (x)", "λx:N. g x (x)"};
    assert_int_equal(r.p->nnodes, sizeof spans / sizeof *spans + 1);
    for (uint32_t i = 0; i < r.p->nnodes - 1; i++) {
        const Place *place = program_place(r.p, AT(AT_NODE, i));
        assert_int_equal(place->b - place->a, strlen(spans[i]));
        assert_memory_equal(text + place->a, spans[i], strlen(spans[i]));
    }
    Located at = syntax_locate(r.p, AT(AT_NODE, 10)); /* columns count characters: λ is one */
    assert_true(at.line == 4 && at.column == 14 && at.end_column == 21 && !at.pointer);
    at = syntax_locate(r.p, AT(AT_NODE, program_root(r.p))); /* the first line of it */
    assert_true(at.line == 2 && at.column == 3 && at.end_column == 9);
    at = syntax_locate(r.p, AT(AT_BINDER, 1));
    assert_true(at.line == 3 && at.column == 18 && at.end_column == 19);
    at = syntax_locate(r.p, AT_NOWHERE);
    assert_true(at.line == 0 && !at.pointer);
    done(&r);
    read_json(&r, "{\"app\":[\"f\",{\"iter\":{\"base\":0,\"var\":\"y\",\"step\":\"y\",\"count\":{\"succ\":3}}}]}", "{\"f\":\"2\"}");
    must(&r, "json");
    static const char *const pointers[] = {"/app/0", "/app/1/iter/base", "/app/1/iter/step", "/app/1/iter/count/succ", "/app/1/iter/count", "/app/1", ""};
    for (uint32_t i = 0; i < r.p->nnodes; i++) {
        at = syntax_locate(r.p, AT(AT_NODE, i));
        assert_string_equal(at.pointer, pointers[i]);
        assert_int_equal(at.line, 0);
        free(at.pointer);
    }
    at = syntax_locate(r.p, AT(AT_BINDER, 0));
    assert_string_equal(at.pointer, "/context/f");
    free(at.pointer);
    at = syntax_locate(r.p, AT(AT_BINDER, 1));
    assert_string_equal(at.pointer, "/app/1/iter/var");
    free(at.pointer);
    static const char *const within[] = {"/program/term/app/0", "/program/context/f"};
    const At places[] = {AT(AT_NODE, 0), AT(AT_BINDER, 0)};
    r.p->within = "/program";
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        at = syntax_locate(r.p, places[i]);
        assert_string_equal(at.pointer, within[i]);
        free(at.pointer);
    }
    done(&r);
}

static void test_text_errors(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ErrCode code;
        unsigned line, column, end;
        const char *message;
    } cases[] = {
        {"", ERR_parse_error, 1, 1, 2, "Expected a term, found the end."},
        {"f x\n-- only\n", ERR_NONE, 0, 0, 0, ""},
        {"(f\n\n", ERR_parse_error, 1, 3, 4, "Expected `)`, found the end."},
        {"f x)", ERR_parse_error, 1, 4, 5, "Expected the end of the program, found `)`."},
        {"()", ERR_parse_error, 1, 2, 3, "Expected a term, found `)`."},
        {"let = 1 in 2", ERR_parse_error, 1, 5, 6, "Expected a name, found `=`."},
        {"let in = 1 in 2", ERR_parse_error, 1, 5, 7, "Expected a name, found `in`."},
        {"let x : 2 = 1 in 2", ERR_parse_error, 1, 7, 8, "Expected `=`, found `:`."},
        {"let x = 1", ERR_parse_error, 1, 10, 11, "Expected `in`, found the end."},
        {"if a then b", ERR_parse_error, 1, 12, 13, "Expected `else`, found the end."},
        {"if a else b", ERR_parse_error, 1, 6, 10, "Expected `then`, found `else`."},
        {"succ", ERR_parse_error, 1, 5, 6, "Expected what succ is applied to, found the end."},
        {"succ f x", ERR_parse_error, 1, 8, 9, "succ takes a single argument, found `x`."},
        {"succ succ x", ERR_parse_error, 1, 6, 10, "Expected what succ is applied to, found `succ`."},
        {"f succ x", ERR_parse_error, 1, 3, 7, "An argument must be a name, a literal, an iteration or in parentheses, found `succ`."},
        {"f \\x:2. x", ERR_parse_error, 1, 3, 4, "An argument must be a name, a literal, an iteration or in parentheses, found `\\`."},
        {"\\x. x", ERR_parse_error, 1, 3, 4, "Expected `:`, found `.`."},
        {"\\x:2 x", ERR_parse_error, 1, 7, 8, "Expected `:`, found the end."},
        {"\\(x:2. x", ERR_parse_error, 1, 6, 7, "Expected `)`, found `.`."},
        {"\\true:2. x", ERR_parse_error, 1, 2, 6, "Expected a name, found `true`."},
        {"\\x:3. x", ERR_parse_error, 1, 4, 5, "Expected a type, found `3`."},
        {"\\x:2 -o. x", ERR_parse_error, 1, 8, 9, "Expected a type, found `.`."},
        {"\\x:N[0]. x", ERR_parse_error, 1, 6, 7, "Bounds and extents are at least 1."},
        {"\\x:R. x", ERR_parse_error, 1, 5, 6, "Expected `[`, found `.`."},
        {"\\x:R[]. x", ERR_parse_error, 1, 6, 7, "Expected an extent, found `]`."},
        {"\\x:R[1,2;3]. x", ERR_parse_error, 1, 9, 10, "The character `;` has no meaning here."},
        {"\\x:(2 -o 2. x", ERR_parse_error, 1, 11, 12, "Expected `)`, found `.`."},
        {"\\x:2 -o !2. x", ERR_parse_error, 1, 9, 10, NULL},
        {"\\x:(!2) -o 2. x", ERR_parse_error, 1, 5, 6, NULL},
        {"\\x:!!2. x", ERR_parse_error, 1, 5, 6, "Expected a type, found `!`."},
        {"\\x:(!2 -o 2) -o 2. x", ERR_not_a_vector, 1, 4, 13, NULL},
        {"\\x:R[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]. x", ERR_too_large, 1, 38, 39, NULL},
        {"iter 0", ERR_parse_error, 1, 6, 7, "Expected `{`, found `0`."},
        {"iter {0, y -> y} (1)", ERR_parse_error, 1, 8, 9, "Expected `|`, found `,`."},
        {"iter {0 | 1 -> y} (1)", ERR_parse_error, 1, 11, 12, "Expected a name, found `1`."},
        {"iter {0 | y y} (1)", ERR_parse_error, 1, 13, 14, "Expected `->`, found `y`."},
        {"iter {0 | y -> y (1)", ERR_parse_error, 1, 21, 22, "Expected `}`, found the end."},
        {"iter {0 | y -> y} 1", ERR_parse_error, 1, 19, 20, "Expected `(`, found `1`."},
        {"iter {0 | y -> y} (1", ERR_parse_error, 1, 21, 22, "Expected `)`, found the end."},
        {"x : 2 x", ERR_parse_error, 1, 7, 8, "Expected `,` or `|-`, found `x`."},
        {"x : 2, |- x", ERR_parse_error, 1, 8, 10, "Expected a name, found `|-`."},
        {"x : 2, y : 2, x : N |- x", ERR_parse_error, 1, 15, 16, "The context names `x` twice."},
        {"f x |- x", ERR_parse_error, 1, 5, 7, "Expected the end of the program, found `|-`."},
        {"9007199254740993", ERR_nat_bound_exceeded, 1, 1, 17, NULL},
        {"succ 99999999999999999999999999", ERR_nat_bound_exceeded, 1, 6, 32, NULL},
        {"\\x:N[9007199254740993]. x", ERR_nat_bound_exceeded, 1, 6, 22, NULL},
        {"f - x", ERR_parse_error, 1, 3, 4, "The character `-` has no meaning here."},
        {"f\u00a0x", ERR_parse_error, 1, 2, 3, "The character U+00A0, a no-break space, has no meaning here."},
        {"f \u2212 x", ERR_parse_error, 1, 3, 4, "The character U+2212, a minus sign, has no meaning here."},
        {"f é", ERR_parse_error, 1, 3, 4, "The character `é` has no meaning here."},
        {"f \x01", ERR_parse_error, 1, 3, 4, "The byte 0x01 has no meaning here."},
        {"f \xff", ERR_parse_error, 1, 3, 4, "The byte 0xFF has no meaning here."}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r;
        read_text(&r, cases[i].text);
        if (r.cx.diag.code != cases[i].code) fail_msg("%s: %s", cases[i].text, err_name(r.cx.diag.code));
        if (cases[i].code) {
            Located at = syntax_locate(r.p, r.cx.diag.at);
            if (at.line != cases[i].line || at.column != cases[i].column || at.end_column != cases[i].end)
                fail_msg("%s: %s at %u:%u-%u", cases[i].text, r.cx.diag.message, at.line, at.column, at.end_column);
            if (cases[i].message) assert_string_equal(r.cx.diag.message, cases[i].message);
        }
        done(&r);
    }
    Reading r;
    read_text_n(&r, "f\0x", 3);
    assert_int_equal(r.cx.diag.code, ERR_parse_error);
    done(&r);
}

static void test_json_errors(void **state) {
    (void)state;
    static const struct {
        const char *term, *context;
        ErrCode code;
        const char *pointer;
    } cases[] = {
        {"null", "{}", ERR_parse_error, ""},
        {"[]", "{}", ERR_parse_error, ""},
        {"[1,2]", "{}", ERR_parse_error, ""},
        {"{}", "{}", ERR_parse_error, ""},
        {"\"true\"", "{}", ERR_parse_error, ""},
        {"\"\"", "{}", ERR_parse_error, ""},
        {"\"f x\"", "{}", ERR_parse_error, ""},
        {"-1", "{}", ERR_parse_error, ""},
        {"{\"succ\":1.5}", "{}", ERR_parse_error, "/succ"},
        {"{\"succ\":-0}", "{}", ERR_parse_error, "/succ"},
        {"{\"succ\":1e16}", "{}", ERR_nat_bound_exceeded, "/succ"},
        {"{\"succ\":0,\"extra\":1}", "{}", ERR_parse_error, ""},
        {"{\"succ\":{\"if\":true,\"then\":1}}", "{}", ERR_parse_error, "/succ"},
        {"{\"Succ\":0}", "{}", ERR_parse_error, ""},
        {"{\"app\":[\"f\"]}", "{}", ERR_parse_error, "/app"},
        {"{\"app\":[3]}", "{}", ERR_parse_error, "/app"},
        {"{\"app\":[]}", "{}", ERR_parse_error, "/app"},
        {"{\"app\":\"f\"}", "{}", ERR_parse_error, "/app"},
        {"{\"app\":[\"f\",1,[2]]}", "{}", ERR_parse_error, "/app/2"},
        {"{\"app\":[1,[2]]}", "{}", ERR_parse_error, "/app/1"},
        {"{\"app\":[1,-2]}", "{}", ERR_parse_error, "/app/1"},
        {"{\"fun\":\"x\",\"type\":\"3\",\"body\":\"x\"}", "{}", ERR_parse_error, "/type"},
        {"{\"fun\":\"x\",\"type\":2,\"body\":\"x\"}", "{}", ERR_parse_error, "/type"},
        {"{\"fun\":\"x\",\"type\":\"2 2\",\"body\":\"x\"}", "{}", ERR_parse_error, "/type"},
        {"{\"fun\":\"x\",\"type\":\"(!2 -o 2) -o 2\",\"body\":\"x\"}", "{}", ERR_not_a_vector, "/type"},
        {"{\"fun\":\"if\",\"type\":\"2\",\"body\":\"x\"}", "{}", ERR_parse_error, "/fun"},
        {"{\"fun\":7,\"type\":\"2\",\"body\":\"x\"}", "{}", ERR_parse_error, "/fun"},
        {"{\"fun\":\"x\",\"body\":\"x\"}", "{}", ERR_parse_error, ""},
        {"{\"iter\":[]}", "{}", ERR_parse_error, "/iter"},
        {"{\"iter\":{\"base\":0,\"var\":\"y\",\"step\":\"y\"}}", "{}", ERR_parse_error, "/iter"},
        {"{\"iter\":{\"base\":0,\"var\":\"0\",\"step\":\"y\",\"count\":1}}", "{}", ERR_parse_error, "/iter/var"},
        {"{\"let\":\"x\",\"be\":null,\"in\":\"x\"}", "{}", ERR_parse_error, "/be"},
        {"0", "{\"x\":3}", ERR_parse_error, "/context/x"},
        {"0", "{\"a/b~\":\"2\"}", ERR_parse_error, "/context/a~1b~0"},
        {"0", "{\"x\":\"2 -o\"}", ERR_parse_error, "/context/x"},
        {"0", "{\"x\":\"N[9007199254740993]\"}", ERR_nat_bound_exceeded, "/context/x"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r;
        read_json(&r, cases[i].term, cases[i].context);
        if (r.cx.diag.code != cases[i].code) fail_msg("%s: %s", cases[i].term, err_name(r.cx.diag.code));
        Located at = syntax_locate(r.p, r.cx.diag.at);
        if (!at.pointer || strcmp(at.pointer, cases[i].pointer)) fail_msg("%s: at %s", cases[i].term, at.pointer ? at.pointer : "nothing");
        free(at.pointer);
        done(&r);
    }
    Reading r;
    read_json(&r, "0", "[]");
    assert_int_equal(r.cx.diag.code, ERR_parse_error);
    done(&r);
}

static const Type *read_type(Cx *cx, const char *text, bool *smooth) {
    const Type *volatile type = NULL;
    CX_TRY(cx) { type = syntax_type(cx, text, strlen(text), smooth, AT_NOWHERE); }
    return type;
}

static void test_types(void **state) {
    (void)state;
    Cx cx;
    bool smooth = false;
    const Type *type;
    cx_init(&cx);
    type = read_type(&cx, "!(2 -o N[3])", &smooth);
    assert_true(!cx.diag.code && smooth && type->kind == TYPE_LIN);
    read_type(&cx, "!!R[2, 3] -o 2 ", &smooth);
    assert_int_equal(cx.diag.code, ERR_parse_error);
    type = read_type(&cx, " !R[2, 3] -o 2 ", &smooth);
    assert_true(!cx.diag.code && !smooth && type->kind == TYPE_SMOOTH);
    read_type(&cx, "!N", NULL);
    assert_int_equal(cx.diag.code, ERR_parse_error);
    cx_release(&cx);
}

/* `open` n times, the middle, `close` n times */
static char *nested(const char *open, const char *middle, const char *close, size_t n) {
    Buf out;
    buf_init(&out);
    for (size_t i = 0; i < n; i++) buf_puts(&out, open);
    buf_puts(&out, middle);
    for (size_t i = 0; i < n; i++) buf_puts(&out, close);
    return buf_take(&out, NULL);
}

static void test_depth(void **state) {
    (void)state;
    static const struct {
        const char *open, *middle, *close;
    } shapes[] = {{"(", "x", ")"}, {"succ (", "x", ")"}, {"\\x:2. ", "x", ""}, {"(\\x:2. ", "x", ")"}, {"if a then b else ", "x", ""},
                  {"let x = ", "1", " in x"}, {"f (", "x", ")"}, {"iter {", "0", " | y -> y} (1)"}, {"iter {0 | y -> y} (", "1", ")"}, {"\\x:((2)). (", "x", ")"}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t over = 0; over < 2; over++) {
            char *text = nested(shapes[i].open, shapes[i].middle, shapes[i].close, LIMIT_TEXT_DEPTH + over);
            Reading r;
            read_text(&r, text);
            if (r.cx.diag.code != (over ? ERR_too_large : ERR_NONE)) fail_msg("%s: %s", shapes[i].open, err_name(r.cx.diag.code));
            if (!over) {
                Reading again;
                char *back = printed(&r, syntax_print), *json = printed(&r, syntax_print_json);
                assert_non_null(json);
                read_text(&again, back);
                must(&again, shapes[i].open);
                assert_true(same_program(&r, &again));
                free(back);
                free(json);
                done(&again);
            }
            free(text);
            done(&r);
        }
}

static void test_type_depth(void **state) {
    (void)state;
    static const struct {
        const char *open, *close;
        size_t n;
        ErrCode code;
    } cases[] = {{"(", ")", LIMIT_TEXT_DEPTH, ERR_NONE}, {"(", ")", LIMIT_TEXT_DEPTH + 1, ERR_too_large},
                 {"(", " -o 2)", LIMIT_TYPE_DEPTH, ERR_NONE}, {"(", " -o 2)", LIMIT_TYPE_DEPTH + 1, ERR_too_large}, {"2 -o ", "", 300000, ERR_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *type = nested(cases[i].open, "2", cases[i].close, cases[i].n);
        bool smooth;
        Cx cx;
        cx_init(&cx);
        read_type(&cx, type, &smooth);
        if (cx.diag.code != cases[i].code) fail_msg("%s × %zu: %s", cases[i].open, cases[i].n, err_name(cx.diag.code));
        cx_release(&cx);
        free(type);
    }
}

static char *rendered(const Reading *r, const Diag *diag) {
    Buf out;
    buf_init(&out);
    syntax_render(&out, &r->cx, r->p, diag);
    return buf_take(&out, NULL);
}

static void renders_as(const Reading *r, const Diag *diag, const char *expected) {
    char *text = rendered(r, diag);
    assert_string_equal(text, expected);
    free(text);
}

static void test_rendering(void **state) {
    (void)state;
    Reading r;
    read_text(&r, "let x = 1 in\n\tλy:2. (x;");
    renders_as(&r, &r.cx.diag, "error[parse_error]: The character `;` has no meaning here.\n --> 2:10\n  |\n2 |     λy:2. (x;\n  |             ^\n");
    done(&r);
    read_text(&r, "f\n(g\n\n");
    renders_as(&r, &r.cx.diag, "error[parse_error]: Expected `)`, found the end.\n --> 2:3\n  |\n2 | (g\n  | ^ opened here\n  |   ^\n");
    done(&r);
}

static void test_rendering_two_places(void **state) {
    (void)state;
    Reading r;
    read_text(&r, "x : 2 |- f x x");
    must(&r, "two");
    Diag diag = {ERR_linear_reused, AT(AT_NODE, 3), AT(AT_NODE, 1), "Twice.", "Declare it with `!`."};
    renders_as(&r, &diag, "error[linear_reused]: Twice.\n --> 1:14\n  |\n1 | x : 2 |- f x x\n  |            ^ first use\n  |              ^ used again\n"
                          "  = help: Declare it with `!`.\n");
    done(&r);
    read_text(&r, "f\n x\n\n\n\n\n\n\n\nx");
    must(&r, "two");
    diag = (Diag){ERR_linear_reused, AT(AT_NODE, 3), AT(AT_NODE, 1), "Twice.", NULL};
    renders_as(&r, &diag, "error[linear_reused]: Twice.\n  --> 10:1\n   |\n 2 |  x\n   |  ^ first use\n  ...\n10 | x\n   | ^ used again\n");
    done(&r);
    read_json(&r, "{\"app\":[\"f\",\"x\",\"x\"]}", "{}");
    must(&r, "two");
    renders_as(&r, &diag, "error[linear_reused]: Twice.\n --> /app/1 (first use)\n  | x\n --> /app/2 (used again)\n  | x\n");
    diag = (Diag){ERR_type_mismatch, AT(AT_NODE, program_root(r.p)), AT_NOWHERE, "No.", NULL};
    renders_as(&r, &diag, "error[type_mismatch]: No.\n --> the whole term\n  | f x x\n");
    diag.at = AT_NOWHERE;
    renders_as(&r, &diag, "error[type_mismatch]: No.\n");
    Buf out;
    buf_init(&out);
    syntax_render(&out, &r.cx, NULL, &diag);
    assert_string_equal(buf_text(&out), "error[type_mismatch]: No.\n");
    buf_release(&out);
    done(&r);
}

static void test_rendering_long_lines(void **state) {
    (void)state;
    char *text = nested("f (", "λ", ")", 90000);
    Reading r;
    read_text(&r, text);
    assert_int_equal(r.cx.diag.code, ERR_parse_error);
    char *shown = rendered(&r, &r.cx.diag);
    assert_true(strlen(shown) < 700);
    assert_non_null(strstr(shown, " --> 1:270002\n"));
    /* The caret stands under the character behind λ. */
    const char *line = strstr(shown, "1 | "), *caret = strchr(line, '^'), *below = strchr(line, '\n') + 1, *lambda = strstr(line, "λ");
    assert_non_null(caret);
    assert_int_equal(caret - below, lambda - line + 1 - 2); /* … is three bytes, one character */
    free(shown);
    done(&r);
    free(text);
}

static void test_print_node_cut(void **state) {
    (void)state;
    Reading r;
    read_text(&r, "f (g aaaaaaaaaaaaaaaaaaaa) b");
    Buf out;
    buf_init(&out);
    syntax_print_node(&out, &r.cx, r.p, program_root(r.p), 10);
    assert_string_equal(buf_text(&out), "f (g aaaaa…");
    buf_clear(&out);
    syntax_print_node(&out, &r.cx, r.p, program_root(r.p), 100);
    assert_string_equal(buf_text(&out), "f (g aaaaaaaaaaaaaaaaaaaa) b");
    buf_release(&out);
    done(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printing),    cmocka_unit_test(test_contexts),    cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_two_spellings), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_places),
        cmocka_unit_test(test_text_errors), cmocka_unit_test(test_json_errors), cmocka_unit_test(test_types),
        cmocka_unit_test(test_depth),       cmocka_unit_test(test_type_depth),  cmocka_unit_test(test_rendering),
        cmocka_unit_test(test_rendering_two_places), cmocka_unit_test(test_rendering_long_lines), cmocka_unit_test(test_print_node_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
