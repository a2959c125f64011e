/* Types in the text syntax, read from a running lexer. Internal to the text readers. */
#ifndef CAJAL_TEXT_TYPE_H
#define CAJAL_TEXT_TYPE_H
#include "compiler/language/lex.h"

/* ["!"] type; *smooth says whether the `!` was there. With smooth NULL it is refused.
 * Ends before the first token that is no type's. */
const Type *text_type_read(Lexer *lx, bool *smooth);
#endif
