/* The canonical form and identity of a program (language.md §7). schema/canonical.md gives it byte by byte.
 *
 * α-equivalent programs and the two spellings of one program have the same bytes. Reading gives a Program whose node and binder indices
 * equal those of the program written (context binders sorted by name there), with bound variables named x1, x2, … and no places.
 * Errors: canon_read refuses anything canon_write would not have written (cx_fail internal): a damaged row is found here. */
#ifndef CAJAL_CANON_H
#define CAJAL_CANON_H
#include "compiler/language/term.h"

enum { CANON_VERSION = 1, CANON_HASH_TEXT = 7 + 64 + 1 };

/* The bytes go into cx's arena. The program is one that check_program accepted. */
const unsigned char *canon_write(Cx *cx, const Program *p, size_t *len);
Program *canon_read(Cx *cx, const unsigned char *bytes, size_t len);
/* "sha256:" and 64 hex digits, NUL-terminated. */
void canon_hash(const unsigned char *bytes, size_t len, char out[CANON_HASH_TEXT]);

/* Types alone, in the same encoding, for records and frames. */
void canon_put_type(Buf *out, const Type *type);
const Type *canon_get_type(Cx *cx, Reader *in);
#endif
