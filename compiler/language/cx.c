#include "compiler/language/cx.h"
#include "schema/limits.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct SymTable {
    const char **names;
    uint32_t *hashes;
    uint32_t count, room;
    Sym *slots; /* open addressing, sym + 1 */
    uint32_t nslots;
};

void cx_init(Cx *cx) {
    *cx = (Cx){.nat_limit = LIMIT_NAT_SIZE};
    arena_init(&cx->arena, LIMIT_COMPILE_BYTES);
}

void cx_release(Cx *cx) { arena_release(&cx->arena); }

struct CxCleanup {
    CxCleanup *next;
    void *object;
    void (*release)(void *object);
};

bool cx_enter(Cx *cx) {
    cx->diag = (Diag){0};
    cx->cleanups = NULL;
    cx->arena.on_fail = &cx->unwind;
    return true;
}

void cx_leave(Cx *cx) { cx->arena.on_fail = NULL; }

void cx_unwound(Cx *cx) {
    cx->arena.on_fail = NULL;
    for (CxCleanup *c = cx->cleanups; c; c = c->next) c->release(c->object);
    cx->cleanups = NULL;
    if (cx->diag.code == ERR_NONE)
        cx->diag = (Diag){.code = ERR_too_large, .message = "Compiling this program needs more memory than one compilation may take."};
}

void cx_guard(Cx *cx, void *object, void (*release)(void *object)) {
    jmp_buf *on_fail = cx->arena.on_fail;
    cx->arena.on_fail = NULL; /* the object must not be lost between its making and its guard */
    CxCleanup *c = ARENA_NEW(&cx->arena, CxCleanup);
    cx->arena.on_fail = on_fail;
    if (!c) {
        release(object);
        longjmp(cx->unwind, 1);
    }
    *c = (CxCleanup){.next = cx->cleanups, .object = object, .release = release};
    cx->cleanups = c;
}

void cx_keep(Cx *cx, void *object) {
    for (CxCleanup **at = &cx->cleanups; *at; at = &(*at)->next) {
        if ((*at)->object != object) continue;
        *at = (*at)->next;
        return;
    }
}

/* What messages quote, between backticks, is cut where it grows long: a name may have megabytes. */
static void shorten_quotes(char *text) {
    enum { SHOWN = 120 };
    char *to = text;
    bool quoted = false;
    for (char *at = text; *at;) {
        char *end = at + strcspn(at, "`");
        size_t n = (size_t)(end - at);
        const bool cut = quoted && n > SHOWN + strlen("…");
        if (cut) {
            n = SHOWN;
            while (((unsigned char)at[n] & 0xC0) == 0x80) n--;
        }
        memmove(to, at, n);
        to += n;
        if (cut) to = stpcpy(to, "…");
        if (*end) *to++ = *end++;
        quoted = !quoted;
        at = end;
    }
    *to = 0;
}

static char *format_in_arena(Cx *cx, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = arena_alloc(&cx->arena, (size_t)(n < 0 ? 0 : n) + 1);
    if (n >= 0) vsnprintf(text, (size_t)n + 1, format, again);
    shorten_quotes(text);
    va_end(again);
    return text;
}

char *cx_printf(Cx *cx, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = format_in_arena(cx, format, args);
    va_end(args);
    return text;
}

static _Noreturn void fail(Cx *cx, ErrCode code, At at, At other, const char *hint, const char *format, va_list args) {
    Diag diag = {.code = code, .at = at, .other = other, .hint = hint};
    diag.message = format_in_arena(cx, format, args);
    cx->diag = diag;
    longjmp(cx->unwind, 1);
}

void cx_fail(Cx *cx, ErrCode code, At at, const char *hint, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(cx, code, at, AT_NOWHERE, hint, format, args);
}

void cx_fail2(Cx *cx, ErrCode code, At at, At other, const char *hint, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(cx, code, at, other, hint, format, args);
}

static uint32_t hash_name(const char *name, size_t len) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++) h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h;
}

static void sym_slots_grow(Cx *cx, SymTable *t) {
    t->nslots = t->nslots ? t->nslots * 2 : 64;
    t->slots = ARENA_ARRAY(&cx->arena, Sym, t->nslots);
    for (Sym s = 0; s < t->count; s++) {
        uint32_t i = t->hashes[s] & (t->nslots - 1);
        while (t->slots[i]) i = (i + 1) & (t->nslots - 1);
        t->slots[i] = s + 1;
    }
}

Sym sym_intern(Cx *cx, const char *name, size_t len) {
    if (!cx->syms) cx->syms = ARENA_NEW(&cx->arena, SymTable);
    SymTable *t = cx->syms;
    if (t->count * 2 >= t->nslots) sym_slots_grow(cx, t);
    uint32_t hash = hash_name(name, len), i = hash & (t->nslots - 1);
    for (; t->slots[i]; i = (i + 1) & (t->nslots - 1)) {
        Sym s = t->slots[i] - 1;
        if (t->hashes[s] == hash && strncmp(t->names[s], name, len) == 0 && !t->names[s][len]) return s;
    }
    if (t->count == t->room) {
        uint32_t room = t->room ? t->room * 2 : 32;
        t->names = arena_grow(&cx->arena, t->names, t->count, room, sizeof *t->names);
        t->hashes = arena_grow(&cx->arena, t->hashes, t->count, room, sizeof *t->hashes);
        t->room = room;
    }
    t->names[t->count] = arena_strndup(&cx->arena, name, len);
    t->hashes[t->count] = hash;
    t->slots[i] = t->count + 1;
    return t->count++;
}

const char *sym_name(const Cx *cx, Sym sym) { return cx->syms->names[sym]; }

bool sym_is_name(const char *name, size_t len) {
    static const char *const keywords[] = {"true", "false", "tt", "ff", "succ", "if", "then", "else", "let", "in", "iter"};
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '\''))) return false;
    }
    for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
        if (strlen(keywords[k]) == len && memcmp(keywords[k], name, len) == 0) return false;
    return len > 0;
}
