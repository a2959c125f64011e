/* The context of one compilation: memory, names, limits, and the one diagnostic it may end in.
 *
 * Ownership: a Cx owns an arena; all types, terms and diagnostics made with it die in cx_release. Not shared between threads.
 * Errors: anything below a CX_TRY may call cx_fail; the stack unwinds to the CX_TRY, and cx->diag says what happened.
 * A used-up arena unwinds likewise, as too_large. Code between holds no resource but the arena's and those under cx_guard.
 *
 *     CX_TRY(cx) { program = parse_text(cx, …); check(cx, program); }
 *     if (cx->diag.code) …report…
 */
#ifndef CAJAL_CX_H
#define CAJAL_CX_H
#include "schema/base/arena.h"
#include "schema/errors.h"
#include <stdbool.h>
#include <stdint.h>

/* Where a diagnostic points: nothing, a node or a binder of the term, or a place (term.h) of its own. */
typedef enum { AT_NOTHING, AT_NODE, AT_BINDER, AT_PLACE } AtKind;
typedef struct {
    AtKind kind;
    uint32_t index;
} At;
#define AT(kind_, index_) ((At){.kind = (kind_), .index = (index_)})
#define AT_NOWHERE AT(AT_NOTHING, 0)

typedef struct {
    ErrCode code; /* ERR_NONE: no diagnostic */
    At at, other; /* other: the second place of linear_reused */
    const char *message; /* one sentence: what is wrong */
    const char *hint;    /* one sentence: what to do; NULL when there is nothing to say */
} Diag;

typedef struct CxCleanup CxCleanup;
typedef uint32_t Sym; /* an interned name */
typedef struct SymTable SymTable;
typedef struct TypeTable TypeTable;

typedef struct Cx {
    Arena arena;
    Diag diag;
    jmp_buf unwind;
    CxCleanup *cleanups;
    SymTable *syms;
    TypeTable *types;
    uint64_t nat_limit; /* largest size of a natural (language.md §6) */
} Cx;

void cx_init(Cx *cx); /* with the limits of schema/limits.h */
void cx_release(Cx *cx);

/* Runs the block that follows; not nested. */
#define CX_TRY(cx) \
    for (bool cx_once_ = cx_enter(cx); cx_once_; cx_once_ = false, cx_leave(cx)) \
        if (setjmp((cx)->unwind)) { cx_unwound(cx); break; } else
bool cx_enter(Cx *cx);
void cx_leave(Cx *cx);
void cx_unwound(Cx *cx);
/* What is not the arena's: release(object) is called when the Cx fails before cx_keep(object). */
void cx_guard(Cx *cx, void *object, void (*release)(void *object));
void cx_keep(Cx *cx, void *object);

/* Ends the compilation with a diagnostic; hint may be NULL. The message is printf's. */
_Noreturn void cx_fail(Cx *cx, ErrCode code, At at, const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
_Noreturn void cx_fail2(Cx *cx, ErrCode code, At at, At other, const char *hint, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* printf into the arena */
char *cx_printf(Cx *cx, const char *format, ...) __attribute__((format(printf, 2, 3)));

Sym sym_intern(Cx *cx, const char *name, size_t len);
const char *sym_name(const Cx *cx, Sym sym);
/* A legal variable name: language.md §2, keywords excluded. */
bool sym_is_name(const char *name, size_t len);
#endif
