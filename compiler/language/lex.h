/* Tokens of the text syntax (language.md §2). Internal to the text readers.
 *
 * A Lexer is a value: copying it is looking ahead. Errors fail the Cx with parse_error. */
#ifndef CAJAL_LEX_H
#define CAJAL_LEX_H
#include "compiler/language/term.h"

typedef enum {
    TOK_END, TOK_NAME, TOK_NUMBER, TOK_TRUE, TOK_FALSE, TOK_SUCC, TOK_IF, TOK_THEN, TOK_ELSE, TOK_LET, TOK_IN, TOK_ITER,
    TOK_LAMBDA, TOK_DOT, TOK_COLON, TOK_COMMA, TOK_BANG, TOK_EQUALS, TOK_BAR, TOK_TURNSTILE, TOK_ARROW, TOK_LOLLI,
    TOK_LPAREN, TOK_RPAREN, TOK_LBRACE, TOK_RBRACE, TOK_LBRACKET, TOK_RBRACKET
} TokenKind;

typedef struct {
    TokenKind kind;
    uint32_t begin, end; /* bytes of the source */
} Token;

typedef struct {
    Cx *cx;
    Program *places; /* gets the places of errors and nodes; NULL: everything is at `at` */
    At at;
    const char *source;
    uint32_t len;
    Token token;       /* the current one */
    uint32_t last_end; /* where the one before ended */
} Lexer;

/* Reads the first token. too_large when len does not fit a place. */
void lex_init(Lexer *lx, Cx *cx, Program *places, At at, const char *source, size_t len);
void lex_next(Lexer *lx);
/* Goes past a name or a mark or keyword of this kind, or fails with "Expected …, found …". */
Token lex_expect(Lexer *lx, TokenKind kind, const char *hint);
bool lex_take(Lexer *lx, TokenKind kind);

uint32_t lex_place(Lexer *lx, uint32_t begin, uint32_t end); /* places only */
At lex_at(Lexer *lx, uint32_t begin, uint32_t end);
/* The current token as messages name it: "`then`", "the end". In the arena. */
const char *lex_found(Lexer *lx);
/* parse_error at the current token: "Expected <what>, found <token>." */
_Noreturn void lex_fail(Lexer *lx, const char *hint, const char *what);
Sym lex_name(Lexer *lx, Token name);
/* A number token's value; nat_bound_exceeded beyond LIMIT_NUMERAL. */
uint64_t lex_number(Lexer *lx, Token number);
#endif
