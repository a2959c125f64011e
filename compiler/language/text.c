/* Programs as text (syntax.h): a machine with a stack of what is begun, so that depth costs no C stack. */
#include "compiler/language/syntax.h"
#include "compiler/language/text_type.h"
#include "schema/limits.h"

typedef enum {
    IN_PAREN,
    IN_APP, /* a: the function so far, TERM_NONE before the first atom */
    IN_SUCC,
    IN_FUN, /* binder */
    IN_BE,  /* a, b: the name's bytes */
    IN_LET, /* binder */
    IN_COND,
    IN_THEN, /* a: the condition */
    IN_ELSE, /* b: the then branch */
    IN_BASE,
    IN_STEP, /* binder */
    IN_COUNT /* a: the step */
} FrameKind;

typedef struct {
    FrameKind kind;
    uint32_t begin; /* of the construct, in the source */
    uint32_t a, b, binder;
} TextFrame;

/* What is read next, or what was just read: an atom or a whole term, then in node, begin, end. */
typedef enum { WANT_TERM, WANT_ATOM, HAVE_ATOM, HAVE_TERM, DONE } State;

typedef struct {
    Lexer lx;
    Cx *cx;
    Program *p;
    TextFrame *stack;
    uint32_t depth, room;
    uint32_t brackets, scopes; /* open parentheses and braces; open functions, lets and ifs: each at most LIMIT_TEXT_DEPTH */
    State state;
    uint32_t node, begin, end;
} Parser;

static const char iter_shape[] = "An iteration is written iter {base | y -> step} (count), the count in parentheses.";

static bool is_bracket(FrameKind kind) { return kind == IN_PAREN || kind >= IN_BASE; }

static TextFrame *top(Parser *ps) { return ps->depth ? &ps->stack[ps->depth - 1] : NULL; }

static TextFrame *push(Parser *ps, FrameKind kind, uint32_t begin) {
    uint32_t *nesting = is_bracket(kind) ? &ps->brackets : &ps->scopes;
    if (kind != IN_APP && kind != IN_SUCC && ++*nesting > LIMIT_TEXT_DEPTH)
        cx_fail(ps->cx, ERR_too_large, lex_at(&ps->lx, begin, ps->lx.token.end), NULL,
                "The text nests more than %d deep.", LIMIT_TEXT_DEPTH);
    if (ps->depth == ps->room) {
        ps->room = ps->room ? ps->room * 2 : 64;
        ps->stack = arena_grow(&ps->cx->arena, ps->stack, ps->depth, ps->room, sizeof *ps->stack);
    }
    ps->stack[ps->depth] = (TextFrame){kind, begin, TERM_NONE, TERM_NONE, TERM_NONE};
    return &ps->stack[ps->depth++];
}

static TextFrame pop(Parser *ps) {
    TextFrame frame = ps->stack[--ps->depth];
    if (is_bracket(frame.kind)) ps->brackets--;
    else if (frame.kind != IN_APP && frame.kind != IN_SUCC) ps->scopes--;
    return frame;
}

static void have(Parser *ps, State state, uint32_t node, uint32_t begin, uint32_t end) {
    ps->state = state;
    ps->node = node;
    ps->begin = begin;
    ps->end = end;
}

static uint32_t place(Parser *ps, uint32_t begin, uint32_t end) { return lex_place(&ps->lx, begin, end); }

/* A binder is placed at its name. */
static uint32_t bind(Parser *ps, BinderKind kind, Token name, const Type *type, bool smooth, uint32_t source) {
    return term_bind(ps->cx, ps->p, kind, lex_name(&ps->lx, name), type, smooth, source, place(ps, name.begin, name.end));
}

static bool starts_atom(TokenKind kind) {
    return kind == TOK_NAME || kind == TOK_NUMBER || kind == TOK_TRUE || kind == TOK_FALSE ||
           kind == TOK_LPAREN || kind == TOK_ITER;
}

/* name ":" ["!"] type, as parameter or in the context. Returns the name. */
static Token read_typed(Parser *ps, const Type **type, bool *smooth) {
    Token name = lex_expect(&ps->lx, TOK_NAME, NULL);
    lex_expect(&ps->lx, TOK_COLON, "A parameter has a type: \\x:2. e");
    *type = text_type_read(&ps->lx, smooth);
    return name;
}

/* One or more binders and the dot; each is a function of its own. */
static void read_function(Parser *ps) {
    Lexer *lx = &ps->lx;
    uint32_t begin = lx->token.begin;
    lex_next(lx);
    do {
        uint32_t first = lx->token.begin;
        const Type *type;
        bool smooth, paren = lex_take(lx, TOK_LPAREN);
        Token name = read_typed(ps, &type, &smooth);
        if (paren) lex_expect(lx, TOK_RPAREN, "The parenthesis before the parameter is still open.");
        TextFrame *frame = push(ps, IN_FUN, begin == UINT32_MAX ? first : begin);
        frame->binder = bind(ps, BINDER_FUN, name, type, smooth, TERM_NONE);
        begin = UINT32_MAX; /* the second function begins at its binder */
    } while (lx->token.kind == TOK_LPAREN || lx->token.kind == TOK_NAME);
    lex_expect(lx, TOK_DOT, "A function is written \\x:A. e, several parameters \\(x:A) (y:B). e");
}

static void want_term(Parser *ps) {
    Lexer *lx = &ps->lx;
    uint32_t begin = lx->token.begin;
    switch (lx->token.kind) {
    case TOK_LAMBDA: read_function(ps); break;
    case TOK_LET: {
        lex_next(lx);
        Token name = lex_expect(lx, TOK_NAME, NULL);
        lex_expect(lx, TOK_EQUALS, "A let is written let x = e in e; it takes no type.");
        TextFrame *frame = push(ps, IN_BE, begin);
        frame->a = name.begin;
        frame->b = name.end;
        break;
    }
    case TOK_IF:
        lex_next(lx);
        push(ps, IN_COND, begin);
        break;
    case TOK_SUCC:
        lex_next(lx);
        push(ps, IN_SUCC, begin);
        ps->state = WANT_ATOM;
        break;
    default:
        if (!starts_atom(lx->token.kind)) lex_fail(lx, NULL, "a term");
        push(ps, IN_APP, begin);
        ps->state = WANT_ATOM;
    }
}

static void want_atom(Parser *ps) {
    Lexer *lx = &ps->lx;
    Token token = lx->token;
    uint32_t node;
    switch (token.kind) {
    case TOK_LPAREN:
        lex_next(lx);
        push(ps, IN_PAREN, token.begin);
        ps->state = WANT_TERM;
        return;
    case TOK_ITER:
        lex_next(lx);
        lex_expect(lx, TOK_LBRACE, iter_shape);
        push(ps, IN_BASE, token.begin);
        ps->state = WANT_TERM;
        return;
    case TOK_NAME: node = term_var(ps->cx, ps->p, lex_name(lx, token), place(ps, token.begin, token.end)); break;
    case TOK_TRUE:
    case TOK_FALSE:
        node = term_const(ps->cx, ps->p, token.kind == TOK_TRUE ? TERM_TRUE : TERM_FALSE, 0, place(ps, token.begin, token.end));
        break;
    case TOK_NUMBER: node = term_const(ps->cx, ps->p, TERM_NAT, lex_number(lx, token), place(ps, token.begin, token.end)); break;
    default: lex_fail(lx, "succ takes a name, a literal, an iteration or a term in parentheses.", "what succ is applied to");
    }
    lex_next(lx);
    have(ps, HAVE_ATOM, node, token.begin, token.end);
}

static _Noreturn void fail_argument(Parser *ps, const char *hint, const char *what) {
    const char *found = lex_found(&ps->lx);
    cx_fail(ps->cx, ERR_parse_error, lex_at(&ps->lx, ps->lx.token.begin, ps->lx.token.end), hint, "%s, found %s.", what, found);
}

static void have_atom(Parser *ps) {
    TokenKind next = ps->lx.token.kind;
    if (top(ps)->kind == IN_SUCC) {
        TextFrame succ = pop(ps);
        if (starts_atom(next))
            fail_argument(ps, "Write succ (f x) for the successor of an application.", "succ takes a single argument");
        have(ps, HAVE_TERM, term_succ(ps->cx, ps->p, ps->node, place(ps, succ.begin, ps->end)), succ.begin, ps->end);
        return;
    }
    TextFrame *app = top(ps);
    if (app->a == TERM_NONE) app->a = ps->node;
    else app->a = term_app(ps->cx, ps->p, app->a, ps->node, place(ps, app->begin, ps->end));
    if (next == TOK_SUCC || next == TOK_LAMBDA || next == TOK_LET || next == TOK_IF)
        fail_argument(ps, "Put it in parentheses.", "An argument must be a name, a literal, an iteration or in parentheses");
    if (starts_atom(next)) {
        ps->state = WANT_ATOM;
        return;
    }
    TextFrame done = pop(ps);
    have(ps, HAVE_TERM, done.a, done.begin, ps->end);
}

/* The closing bracket of a frame; at the end of the text the opening one is shown too. */
static void close_bracket(Parser *ps, const TextFrame *frame, TokenKind kind, uint32_t opened_len, const char *hint) {
    Lexer *lx = &ps->lx;
    if (lx->token.kind == TOK_END)
        cx_fail2(ps->cx, ERR_parse_error, lex_at(lx, lx->token.begin, lx->token.end),
                 lex_at(lx, frame->begin, frame->begin + opened_len), hint, "Expected `%s`, found the end.",
                 kind == TOK_RPAREN ? ")" : "}");
    lex_expect(lx, kind, hint);
}

static void bind_state(Parser *ps, TextFrame *iter) {
    Lexer *lx = &ps->lx;
    lex_expect(lx, TOK_BAR, iter_shape);
    Token name = lex_expect(lx, TOK_NAME, iter_shape);
    lex_expect(lx, TOK_ARROW, iter_shape);
    iter->kind = IN_STEP;
    iter->binder = bind(ps, BINDER_ITER, name, NULL, false, ps->node);
}

static void bind_let(Parser *ps, TextFrame *let) {
    lex_expect(&ps->lx, TOK_IN, "A let is written let x = e in e.");
    let->kind = IN_LET;
    let->binder = bind(ps, BINDER_LET, (Token){TOK_NAME, let->a, let->b}, NULL, false, ps->node);
}

/* A term inside brackets is complete. */
static void have_bracketed(Parser *ps, TextFrame *frame) {
    Lexer *lx = &ps->lx;
    ps->state = WANT_TERM;
    switch (frame->kind) {
    case IN_BASE: bind_state(ps, frame); return;
    case IN_STEP:
        close_bracket(ps, frame, TOK_RBRACE, 4, iter_shape);
        term_unbind(ps->p, frame->binder);
        lex_expect(lx, TOK_LPAREN, iter_shape);
        frame->kind = IN_COUNT;
        frame->a = ps->node;
        return;
    case IN_COUNT:
        close_bracket(ps, frame, TOK_RPAREN, 4, iter_shape);
        ps->node = term_iter(ps->cx, ps->p, frame->binder, frame->a, ps->node, place(ps, frame->begin, lx->last_end));
        break;
    default: close_bracket(ps, frame, TOK_RPAREN, 1, NULL);
    }
    have(ps, HAVE_ATOM, ps->node, frame->begin, lx->last_end);
    pop(ps);
}

static void have_term(Parser *ps) {
    Lexer *lx = &ps->lx;
    TextFrame *frame = top(ps);
    if (!frame) {
        const char *hint = lx->token.kind == TOK_RPAREN ? "No parenthesis is open here."
                         : lx->token.kind == TOK_TURNSTILE || lx->token.kind == TOK_COLON
                             ? "A context stands at the very beginning and gives every name a type: x : 2, y : !N |- e" : NULL;
        if (lx->token.kind != TOK_END) lex_fail(lx, hint, "the end of the program");
        ps->state = DONE;
        return;
    }
    if (is_bracket(frame->kind)) {
        have_bracketed(ps, frame);
        return;
    }
    ps->state = WANT_TERM;
    switch (frame->kind) {
    case IN_BE: bind_let(ps, frame); return;
    case IN_COND:
    case IN_THEN: {
        static const char shape[] = "A conditional is written if c then a else b; it has both branches.";
        bool cond = frame->kind == IN_COND;
        lex_expect(lx, cond ? TOK_THEN : TOK_ELSE, shape);
        *(cond ? &frame->a : &frame->b) = ps->node;
        frame->kind = cond ? IN_THEN : IN_ELSE;
        return;
    }
    default: break;
    }
    TextFrame done = pop(ps);
    uint32_t at = place(ps, done.begin, ps->end);
    uint32_t node = done.kind == IN_FUN ? term_fun(ps->cx, ps->p, done.binder, ps->node, at)
                  : done.kind == IN_LET ? term_let(ps->cx, ps->p, done.binder, ps->node, at)
                                        : term_if(ps->cx, ps->p, done.a, done.b, ps->node, at);
    have(ps, HAVE_TERM, node, done.begin, ps->end);
}

/* [context "|-"]: no term begins with a name and a colon. */
static bool read_context(Parser *ps) {
    Lexer *lx = &ps->lx, ahead = *lx;
    if (lex_take(lx, TOK_TURNSTILE)) return true;
    if (lx->token.kind != TOK_NAME) return false;
    lex_next(&ahead);
    if (ahead.token.kind != TOK_COLON) return false;
    do {
        const Type *type;
        bool smooth;
        Token name = read_typed(ps, &type, &smooth);
        Sym sym = lex_name(lx, name);
        uint32_t at = place(ps, name.begin, name.end);
        if (term_context(ps->cx, ps->p, sym, type, smooth, at) == TERM_NONE)
            cx_fail(ps->cx, ERR_parse_error, AT(AT_PLACE, at), NULL, "The context names `%s` twice.", sym_name(ps->cx, sym));
    } while (lex_take(lx, TOK_COMMA));
    if (lx->token.kind != TOK_TURNSTILE) lex_fail(lx, "A context ends in `|-`: x : 2, y : !N |- e", "`,` or `|-`");
    lex_next(lx);
    return true;
}

bool syntax_text(Cx *cx, Program *p, const char *source, size_t len) {
    Parser ps = {.cx = cx, .p = p, .state = WANT_TERM};
    p->source = arena_strndup(&cx->arena, source, len);
    p->source_len = len;
    lex_init(&ps.lx, cx, p, AT_NOWHERE, p->source, len);
    bool own = read_context(&ps);
    for (;;) {
        switch (ps.state) {
        case WANT_TERM: want_term(&ps); break;
        case WANT_ATOM: want_atom(&ps); break;
        case HAVE_ATOM: have_atom(&ps); break;
        case HAVE_TERM: have_term(&ps); break;
        case DONE: return own;
        }
    }
}
