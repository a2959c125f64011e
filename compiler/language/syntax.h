/* The two spellings of programs and the printer (language.md §2).
 *
 * Both readers build a Program in post-order (term.h) with places for every node and binder; both fail the Cx with parse_error (at the
 * exact place: AT_PLACE) or too_large. They check syntax only: unbound names are left to check.h.
 * No recursion on the input: text nests up to LIMIT_TEXT_DEPTH (too_large beyond), with an explicit stack. */
#ifndef CAJAL_SYNTAX_H
#define CAJAL_SYNTAX_H
#include "schema/formats/json.h"
#include "compiler/language/term.h"

/* The context as JSON: {"name": "type" or "!type", …}. Adds binders to p in the order given. */
void syntax_json_context(Cx *cx, Program *p, Json *json, JsonNode context);
/* The term as JSON. The context has been added before. */
void syntax_json_term(Cx *cx, Program *p, Json *json, JsonNode term);
/* A program as text: [context "|-"] term. Returns whether the text had its own context (the caller refuses two). The source is copied.
 * UTF-8 is checked by the caller; ⊸ ⊢ λ ↪ are accepted beside -o |- \ iter. */
bool syntax_text(Cx *cx, Program *p, const char *source, size_t len);
/* A type in the text syntax, the whole string; a leading ! sets *smooth (not allowed when smooth is NULL). place: what errors point at. */
const Type *syntax_type(Cx *cx, const char *text, size_t len, bool *smooth, At place);

/* Prints the term (no context) so that it parses to the same tree, with as few parentheses as the grammar allows. */
void syntax_print(Buf *out, const Cx *cx, const Program *p);
/* The same for the JSON spelling. */
void syntax_print_json(Buf *out, const Cx *cx, const Program *p);
/* One node's subterm, cut to about `max` bytes with "…", for messages and graph labels. */
void syntax_print_node(Buf *out, const Cx *cx, const Program *p, uint32_t node, size_t max);

/* How a diagnostic is shown to people and programs. Line and column from 1, columns in code points; 0 when the place is no text. */
typedef struct {
    unsigned line, column, end_column;
    char *pointer; /* JSON pointer, NULL for text; free() */
} Located;
Located syntax_locate(const Program *p, At at);
/* "error[linear_reused]: message\n --> 1:15\n  |\n1 | source line\n  |   ^^^ \n  = help: hint\n", with both places when there are two; for JSON the pointer
 * and the printed subterm in place of the source line. p may be NULL (no place). */
void syntax_render(Buf *out, const Cx *cx, const Program *p, const Diag *diag);
#endif
