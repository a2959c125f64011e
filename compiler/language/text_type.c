#include "compiler/language/text_type.h"
#include "compiler/language/syntax.h"
#include "schema/limits.h"

/* What waits for the type that is being read: a parenthesis to be closed, or an arrow for its codomain. */
typedef struct {
    bool paren;
    bool bang;        /* `!` stood before it */
    uint32_t begin;   /* of the parenthesis or the domain, the `!` excluded */
    uint32_t end;     /* of the domain */
    uint32_t bang_at;
    const Type *dom;
} Pending;

typedef struct {
    Lexer *lx;
    Pending *stack;
    uint32_t depth, room, parens;
} TypeReader;

static const char shapes[] = "The types are 2, N, N[k], R[d,...], A -o B and !A -o B.";

static void push(TypeReader *r, Pending pending) {
    if (r->depth == r->room) {
        r->room = r->room ? r->room * 2 : 16;
        r->stack = arena_grow(&r->lx->cx->arena, r->stack, r->depth, r->room, sizeof *r->stack);
    }
    r->stack[r->depth++] = pending;
}

static uint64_t read_extent(Lexer *lx, const char *what) {
    Token token = lx->token;
    if (token.kind != TOK_NUMBER) lex_fail(lx, shapes, what);
    uint64_t value = lex_number(lx, token);
    if (value == 0)
        cx_fail(lx->cx, ERR_parse_error, lex_at(lx, token.begin, token.end), NULL, "Bounds and extents are at least 1.");
    lex_next(lx);
    return value;
}

static const Type *read_real(Lexer *lx) {
    uint64_t dims[LIMIT_TYPE_RANK];
    size_t rank = 0;
    lex_expect(lx, TOK_LBRACKET, "R has its extents behind it: R[28,28].");
    do {
        if (rank == LIMIT_TYPE_RANK)
            cx_fail(lx->cx, ERR_too_large, lex_at(lx, lx->token.begin, lx->token.end), NULL,
                    "R takes at most %d extents.", LIMIT_TYPE_RANK);
        dims[rank++] = read_extent(lx, "an extent");
    } while (lex_take(lx, TOK_COMMA));
    lex_expect(lx, TOK_RBRACKET, "Extents are separated by commas: R[28,28].");
    return type_real(lx->cx, dims, rank);
}

static const Type *read_nat(Lexer *lx) {
    uint64_t bound = 0;
    if (lex_take(lx, TOK_LBRACKET)) {
        bound = read_extent(lx, "a bound");
        lex_expect(lx, TOK_RBRACKET, "N takes one bound: N[10].");
    }
    return type_nat(lx->cx, bound);
}

static const Type *read_primary(Lexer *lx) {
    Token token = lx->token;
    char c = lx->source[token.begin]; /* the source ends in a NUL */
    if (token.end - token.begin == 1 && (c == '2' || c == 'N' || c == 'R')) {
        lex_next(lx);
        return c == '2' ? type_bool(lx->cx) : c == 'N' ? read_nat(lx) : read_real(lx);
    }
    lex_fail(lx, shapes, "a type");
}

/* `!` and opening parentheses up to the first primary type. */
static Pending read_operand(TypeReader *r) {
    Lexer *lx = r->lx;
    for (;;) {
        Pending p = {0};
        p.bang_at = lx->token.begin;
        p.bang = lex_take(lx, TOK_BANG);
        if (p.bang && lx->token.kind == TOK_BANG) lex_fail(lx, "One `!` is enough.", "a type");
        p.begin = lx->token.begin;
        if (lx->token.kind != TOK_LPAREN) {
            p.dom = read_primary(lx);
            p.end = lx->last_end;
            return p;
        }
        if (++r->parens > LIMIT_TEXT_DEPTH)
            cx_fail(lx->cx, ERR_too_large, lex_at(lx, p.begin, p.begin + 1), NULL,
                    "The text nests more than %d deep.", LIMIT_TEXT_DEPTH);
        lex_next(lx);
        p.paren = true;
        push(r, p);
    }
}

/* An operand that no arrow follows ends its chain of arrows: folds them, up to the parenthesis around them or the bottom. */
static Pending fold(TypeReader *r, Pending last) {
    Lexer *lx = r->lx;
    while (r->depth && !r->stack[r->depth - 1].paren) {
        Pending arrow = r->stack[--r->depth];
        At at = arrow.bang ? AT_NOWHERE : lx->at;
        if ((!arrow.bang && !arrow.dom->vector) || arrow.dom->depth >= LIMIT_TYPE_DEPTH) at = lex_at(lx, arrow.begin, arrow.end);
        last.dom = type_arrow(lx->cx, arrow.bang, arrow.dom, last.dom, at);
        last.begin = arrow.begin;
    }
    return last;
}

static void refuse_bang(Lexer *lx, const Pending *p) {
    cx_fail(lx->cx, ERR_parse_error, lex_at(lx, p->bang_at, p->bang_at + 1),
            "Write `!A -o B` for a smooth function of A; `!A` alone can only be the type of a parameter "
            "or of a context variable.",
            "`!` stands only before the domain of an arrow and before the type of a variable.");
}

const Type *text_type_read(Lexer *lx, bool *smooth) {
    TypeReader r = {.lx = lx};
    if (smooth) *smooth = false;
    for (;;) {
        Pending p = read_operand(&r);
        while (lx->token.kind != TOK_LOLLI) {
            if (p.bang && (r.depth || !smooth)) refuse_bang(lx, &p);
            if (p.bang) *smooth = true;
            p = fold(&r, p);
            if (!r.depth) return p.dom;
            lex_expect(lx, TOK_RPAREN, lx->token.kind == TOK_END ? "A parenthesis is still open." : NULL);
            Pending paren = r.stack[--r.depth];
            r.parens--;
            p = (Pending){.bang = paren.bang, .bang_at = paren.bang_at, .begin = paren.begin, .end = lx->last_end, .dom = p.dom};
        }
        lex_next(lx);
        push(&r, p);
    }
}

const Type *syntax_type(Cx *cx, const char *text, size_t len, bool *smooth, At place) {
    Lexer lx;
    lex_init(&lx, cx, NULL, place, arena_strndup(&cx->arena, text, len), len);
    const Type *type = text_type_read(&lx, smooth);
    if (lx.token.kind != TOK_END) lex_fail(&lx, shapes, "`-o` or the end of the type");
    return type;
}
