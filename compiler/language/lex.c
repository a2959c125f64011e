#include "compiler/language/lex.h"
#include "schema/formats/lookalike.h"
#include "schema/formats/utf8.h"
#include "schema/limits.h"
#include <string.h>

/* The longer of two that begin alike stands first. */
static const struct {
    const char *text;
    TokenKind kind;
} marks[] = {
    {"-o", TOK_LOLLI},   {"->", TOK_ARROW},   {"|-", TOK_TURNSTILE}, {"|", TOK_BAR},      {"\\", TOK_LAMBDA}, {".", TOK_DOT},
    {":", TOK_COLON},    {",", TOK_COMMA},    {"!", TOK_BANG},       {"=", TOK_EQUALS},   {"(", TOK_LPAREN},  {")", TOK_RPAREN},
    {"{", TOK_LBRACE},   {"}", TOK_RBRACE},   {"[", TOK_LBRACKET},   {"]", TOK_RBRACKET}, {"λ", TOK_LAMBDA},  {"↪", TOK_ITER},
    {"⊸", TOK_LOLLI},    {"⊢", TOK_TURNSTILE}};
static const struct {
    const char *text;
    TokenKind kind;
} keywords[] = {{"true", TOK_TRUE}, {"tt", TOK_TRUE}, {"false", TOK_FALSE}, {"ff", TOK_FALSE}, {"succ", TOK_SUCC}, {"if", TOK_IF},
                {"then", TOK_THEN}, {"else", TOK_ELSE}, {"let", TOK_LET}, {"in", TOK_IN}, {"iter", TOK_ITER}};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

uint32_t lex_place(Lexer *lx, uint32_t begin, uint32_t end) {
    return place_add(lx->cx, lx->places, (Place){.kind = PLACE_TEXT, .a = begin, .b = end});
}

At lex_at(Lexer *lx, uint32_t begin, uint32_t end) { return lx->places ? AT(AT_PLACE, lex_place(lx, begin, end)) : lx->at; }

static uint32_t skip_blank(const Lexer *lx, uint32_t i) {
    const char *s = lx->source;
    for (;; i++) {
        if (i + 1 < lx->len && s[i] == '-' && s[i + 1] == '-')
            while (i < lx->len && s[i] != '\n') i++;
        if (i >= lx->len || !(s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r')) return i;
    }
}

static TokenKind word_kind(const char *word, size_t len) {
    for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
        if (strlen(keywords[k].text) == len && memcmp(keywords[k].text, word, len) == 0) return keywords[k].kind;
    return TOK_NAME;
}

static _Noreturn void fail_character(Lexer *lx, uint32_t at) {
    const char *c = lx->source + at, *hint = NULL;
    size_t n = utf8_step(c, lx->source + lx->len);
    At where = lex_at(lx, at, at + (n ? (uint32_t)n : 1));
    if (*c == '-') hint = "`-o` is the linear arrow, `->` stands in iterations, `--` begins a comment.";
    if (*c == '>' || *c == '*' || *c == '+') hint = "There are no operators: naturals are built with succ and iter.";
    Lookalike found;
    if (lookalike_find(c, lx->source + lx->len, &found))
        cx_fail(lx->cx, ERR_parse_error, where, cx_printf(lx->cx, "Instead: %s.", found.instead),
                "The character %s, has no meaning here.", found.what);
    if (n == 0 || (unsigned char)*c < 0x20 || *c == 0x7F)
        cx_fail(lx->cx, ERR_parse_error, where, hint, "The byte 0x%02X has no meaning here.", (unsigned char)*c);
    cx_fail(lx->cx, ERR_parse_error, where, hint, "The character `%.*s` has no meaning here.", (int)n, c);
}

void lex_next(Lexer *lx) {
    const char *s = lx->source;
    lx->last_end = lx->token.end;
    uint32_t begin = skip_blank(lx, lx->token.end), end = begin;
    if (begin == lx->len) {
        lx->token = (Token){TOK_END, lx->last_end, lx->last_end}; /* people look behind the last token, not behind the blanks */
    } else if (is_letter(s[begin])) {
        while (end < lx->len && (is_letter(s[end]) || is_digit(s[end]) || s[end] == '\'')) end++;
        lx->token = (Token){word_kind(s + begin, end - begin), begin, end};
    } else if (is_digit(s[begin])) {
        while (end < lx->len && is_digit(s[end])) end++;
        lx->token = (Token){TOK_NUMBER, begin, end};
    } else {
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
            size_t n = strlen(marks[m].text);
            if (lx->len - begin < n || memcmp(marks[m].text, s + begin, n)) continue;
            lx->token = (Token){marks[m].kind, begin, begin + (uint32_t)n};
            return;
        }
        fail_character(lx, begin);
    }
}

void lex_init(Lexer *lx, Cx *cx, Program *places, At at, const char *source, size_t len) {
    if (len > UINT32_MAX - 8) cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL, "The text is longer than 4 GiB.");
    *lx = (Lexer){.cx = cx, .places = places, .at = at, .source = source, .len = (uint32_t)len};
    lex_next(lx);
}

const char *lex_found(Lexer *lx) {
    enum { SHOWN = 40 };
    uint32_t n = lx->token.end - lx->token.begin;
    if (lx->token.kind == TOK_END) return "the end";
    return cx_printf(lx->cx, "`%.*s%s`", (int)(n > SHOWN ? SHOWN : n), lx->source + lx->token.begin, n > SHOWN ? "…" : "");
}

void lex_fail(Lexer *lx, const char *hint, const char *what) {
    const char *found = lex_found(lx);
    cx_fail(lx->cx, ERR_parse_error, lex_at(lx, lx->token.begin, lx->token.end), hint, "Expected %s, found %s.", what, found);
}

bool lex_take(Lexer *lx, TokenKind kind) {
    if (lx->token.kind != kind) return false;
    lex_next(lx);
    return true;
}

static const char *kind_text(TokenKind kind) {
    for (size_t m = 0; m < sizeof marks / sizeof *marks; m++)
        if (marks[m].kind == kind) return marks[m].text;
    for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
        if (keywords[k].kind == kind) return keywords[k].text;
    return NULL;
}

Token lex_expect(Lexer *lx, TokenKind kind, const char *hint) {
    Token token = lx->token;
    if (token.kind != kind) {
        const char *text = kind_text(kind);
        bool keyword = token.kind >= TOK_TRUE && token.kind <= TOK_ITER;
        if (kind == TOK_NAME && keyword) hint = "This is a keyword: choose another name.";
        lex_fail(lx, hint, text ? cx_printf(lx->cx, "`%s`", text) : "a name");
    }
    lex_next(lx);
    return token;
}

Sym lex_name(Lexer *lx, Token name) { return sym_intern(lx->cx, lx->source + name.begin, name.end - name.begin); }

uint64_t lex_number(Lexer *lx, Token number) {
    uint64_t value = 0;
    for (uint32_t i = number.begin; i < number.end; i++) {
        value = value * 10 + (uint64_t)(lx->source[i] - '0');
        if (value > LIMIT_NUMERAL)
            cx_fail(lx->cx, ERR_nat_bound_exceeded, lex_at(lx, number.begin, number.end), NULL,
                    "This number is larger than 2^53, the largest there is a spelling for.");
    }
    return value;
}
