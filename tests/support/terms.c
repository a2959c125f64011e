#include "tests/support/terms.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Cx *cx;
    Program *p;
    const char *at, *text;
} Terms;

static _Noreturn void wrong(const Terms *t, const char *what) {
    fprintf(stderr, "%s expected at \"%s\" in %s\n", what, t->at, t->text);
    abort();
}

static bool accept(Terms *t, const char *token) {
    while (*t->at == ' ') t->at++;
    size_t n = strlen(token);
    if (strncmp(t->at, token, n) != 0) return false;
    t->at += n;
    return true;
}

static void expect(Terms *t, const char *token) {
    if (!accept(t, token)) wrong(t, token);
}

/* The next word; its length is 0 before a parenthesis. */
static const char *word(Terms *t, size_t *len) {
    accept(t, "");
    const char *start = t->at;
    *len = strcspn(start, " ()[]");
    t->at += *len;
    return start;
}

static bool accept_word(Terms *t, const char *keyword) {
    const char *before = t->at;
    size_t len;
    const char *got = word(t, &len);
    if (len == strlen(keyword) && strncmp(got, keyword, len) == 0) return true;
    t->at = before;
    return false;
}

static Sym name(Terms *t) {
    size_t len;
    const char *got = word(t, &len);
    if (!sym_is_name(got, len)) wrong(t, "a name");
    return sym_intern(t->cx, got, len);
}

static uint64_t number(Terms *t) {
    char *end;
    uint64_t n = strtoull(t->at, &end, 10);
    if (end == t->at) wrong(t, "a number");
    t->at = end;
    return n;
}

static const Type *type(Terms *t) {
    if (accept(t, "(")) {
        bool smooth = accept(t, "!");
        const Type *dom = type(t);
        expect(t, "-o");
        const Type *cod = type(t);
        expect(t, ")");
        return type_arrow(t->cx, smooth, dom, cod, AT_NOWHERE);
    }
    if (accept(t, "2")) return type_bool(t->cx);
    if (accept(t, "R[")) {
        uint64_t dims[8];
        size_t rank = 0;
        do dims[rank++] = number(t);
        while (rank < 8 && accept(t, ","));
        expect(t, "]");
        return type_real(t->cx, dims, rank);
    }
    expect(t, "N");
    uint64_t bound = 0;
    if (*t->at == '[') {
        t->at++;
        bound = number(t);
        expect(t, "]");
    }
    return type_nat(t->cx, bound);
}

static uint32_t term(Terms *t);

static uint32_t binding(Terms *t) {
    Cx *cx = t->cx;
    uint32_t base, b, step;
    if (accept_word(t, "\\")) {
        bool smooth = accept(t, "!");
        Sym x = name(t);
        b = term_bind(cx, t->p, BINDER_FUN, x, type(t), smooth, TERM_NONE, TERM_NONE);
        return term_fun(cx, t->p, b, term(t), TERM_NONE);
    }
    if (accept_word(t, "let")) {
        Sym x = name(t);
        base = term(t);
        b = term_bind(cx, t->p, BINDER_LET, x, NULL, false, base, TERM_NONE);
        return term_let(cx, t->p, b, term(t), TERM_NONE);
    }
    if (!accept_word(t, "iter")) return TERM_NONE;
    base = term(t);
    b = term_bind(cx, t->p, BINDER_ITER, name(t), NULL, false, base, TERM_NONE);
    step = term(t);
    term_unbind(t->p, b);
    return term_iter(cx, t->p, b, step, term(t), TERM_NONE);
}

static uint32_t compound(Terms *t) {
    uint32_t node = binding(t), then;
    if (node != TERM_NONE) return node;
    if (accept_word(t, "succ")) return term_succ(t->cx, t->p, term(t), TERM_NONE);
    if (accept_word(t, "if")) {
        node = term(t);
        then = term(t);
        return term_if(t->cx, t->p, node, then, term(t), TERM_NONE);
    }
    node = term(t);
    while (accept(t, "") && *t->at != ')') node = term_app(t->cx, t->p, node, term(t), TERM_NONE);
    return node;
}

static uint32_t term(Terms *t) {
    if (accept(t, "(")) {
        uint32_t node = compound(t);
        expect(t, ")");
        return node;
    }
    if (accept_word(t, "true")) return term_const(t->cx, t->p, TERM_TRUE, 0, TERM_NONE);
    if (accept_word(t, "false")) return term_const(t->cx, t->p, TERM_FALSE, 0, TERM_NONE);
    if (*t->at >= '0' && *t->at <= '9') return term_const(t->cx, t->p, TERM_NAT, number(t), TERM_NONE);
    return term_var(t->cx, t->p, name(t), TERM_NONE);
}

Program *terms_read(Cx *cx, Nat nat, const char *text) {
    Terms t = {.cx = cx, .p = program_new(cx, nat), .at = text, .text = text};
    while (accept(&t, "[")) {
        bool smooth = accept(&t, "!");
        Sym x = name(&t);
        if (term_context(cx, t.p, x, type(&t), smooth, TERM_NONE) == TERM_NONE) wrong(&t, "another name");
        expect(&t, "]");
    }
    term(&t);
    if (*t.at) wrong(&t, "the end");
    return t.p;
}
