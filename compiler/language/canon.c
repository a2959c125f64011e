#include "compiler/language/canon.h"
#include "compiler/language/levels.h"
#include "schema/limits.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* schema/canonical.md */
static const char magic[4] = {'C', 'J', 'L', 'P'};
enum { TYPE_TAG_BOOL, TYPE_TAG_NAT, TYPE_TAG_REAL, TYPE_TAG_LIN, TYPE_TAG_SMOOTH };
enum { TAG_BOUND, TAG_CONTEXT, TAG_TRUE, TAG_FALSE, TAG_NAT, TAG_SUCC, TAG_IF, TAG_FUN, TAG_APP, TAG_ITER, TAG_LET, TAG_COUNT };

/* ---- writing ---- */

void canon_put_type(Buf *out, const Type *type) {
    for (; type_is_arrow(type); type = type->cod) {
        buf_u8(out, type->kind == TYPE_SMOOTH ? TYPE_TAG_SMOOTH : TYPE_TAG_LIN);
        canon_put_type(out, type->dom);
    }
    switch (type->kind) {
    case TYPE_BOOL: buf_u8(out, TYPE_TAG_BOOL); break;
    case TYPE_NAT:
        buf_u8(out, TYPE_TAG_NAT);
        buf_varint(out, type->bound);
        break;
    default:
        buf_u8(out, TYPE_TAG_REAL);
        buf_varint(out, type->rank);
        for (int i = 0; i < type->rank; i++) buf_varint(out, type->dims[i]);
    }
}

typedef struct {
    uint32_t node, depth; /* variables in scope */
} Todo;

static uint8_t put_node(Buf *out, const Program *p, const uint32_t *levels, Todo at) {
    static const uint8_t tags[TERM_KINDS] = {
        [TERM_VAR] = TAG_BOUND, [TERM_TRUE] = TAG_TRUE, [TERM_FALSE] = TAG_FALSE, [TERM_NAT] = TAG_NAT,   [TERM_SUCC] = TAG_SUCC,
        [TERM_IF] = TAG_IF,     [TERM_FUN] = TAG_FUN,   [TERM_APP] = TAG_APP,     [TERM_ITER] = TAG_ITER, [TERM_LET] = TAG_LET};
    const TermNode *t = &p->nodes[at.node];
    const Binder *b = t->binder == TERM_NONE ? NULL : &p->binders[t->binder];
    bool free_variable = t->kind == TERM_VAR && b->kind == BINDER_CONTEXT;
    uint8_t tag = free_variable ? TAG_CONTEXT : tags[t->kind];
    buf_u8(out, tag);
    if (tag == TAG_CONTEXT) buf_varint(out, levels[t->binder]);
    if (tag == TAG_BOUND) buf_varint(out, at.depth - 1 - levels[t->binder]);
    if (tag == TAG_NAT) buf_varint(out, t->nat);
    if (tag == TAG_FUN) {
        buf_u8(out, b->smooth);
        canon_put_type(out, b->type);
    }
    return tag;
}

static void put_term(Buf *out, const Program *p, const uint32_t *levels, Todo *stack) {
    size_t n = 0;
    stack[n++] = (Todo){program_root(p), p->context};
    while (n) {
        Todo at = stack[--n];
        const TermNode *t = &p->nodes[at.node];
        uint8_t tag = put_node(out, p, levels, at);
        uint32_t scope = tag == TAG_FUN ? 0 : tag == TAG_LET || tag == TAG_ITER ? 1 : 3;
        for (uint32_t k = 3; k-- > 0;)
            if (t->kid[k] != TERM_NONE) stack[n++] = (Todo){t->kid[k], at.depth + (k == scope)};
    }
}

static void put_head(Buf *out, const Cx *cx, const Program *p, const uint32_t *inputs) {
    buf_put(out, magic, sizeof magic);
    buf_varint(out, CANON_VERSION);
    buf_u8(out, (uint8_t)p->nat.overflow);
    buf_varint(out, p->nat.dim);
    buf_varint(out, p->context);
    for (uint32_t i = 0; i < p->context; i++) {
        const Binder *b = &p->binders[inputs[i]];
        const char *name = sym_name(cx, b->name);
        buf_bytes(out, name, strlen(name));
        buf_u8(out, b->smooth);
        canon_put_type(out, b->type);
    }
}

/* Moves the buffer's bytes to the arena. The arena must not unwind past the buffer. */
static const unsigned char *settle(Cx *cx, Buf *out, size_t *len) {
    jmp_buf *unwind = cx->arena.on_fail;
    cx->arena.on_fail = NULL;
    unsigned char *bytes = out->failed ? NULL : arena_alloc(&cx->arena, out->len);
    cx->arena.on_fail = unwind;
    if (bytes) memcpy(bytes, out->data, out->len);
    *len = out->len;
    buf_release(out);
    if (!bytes) cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL, "The program's canonical form needs more memory than there is.");
    return bytes;
}

const unsigned char *canon_write(Cx *cx, const Program *p, size_t *len) {
    const uint32_t *inputs = program_inputs(cx, p), *levels = levels_of(cx, p);
    Todo *stack = ARENA_ARRAY(&cx->arena, Todo, p->nnodes);
    Buf out;
    buf_init(&out);
    put_head(&out, cx, p, inputs);
    put_term(&out, p, levels, stack);
    return settle(cx, &out, len);
}

void canon_hash(const unsigned char *bytes, size_t len, char out[CANON_HASH_TEXT]) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, bytes, len);
    memcpy(out, "sha256:", 7);
    sodium_bin2hex(out + 7, CANON_HASH_TEXT - 7, digest, sizeof digest);
}

/* ---- reading ---- */

static _Noreturn void damaged(Cx *cx, const Reader *in) {
    cx_fail(cx, ERR_internal, AT_NOWHERE, NULL, "The canonical form of a program is damaged near byte %zu.", in->at);
}

static void require(Cx *cx, const Reader *in, bool good) {
    if (in->failed || !good) damaged(cx, in);
}

static bool get_flag(Cx *cx, Reader *in) {
    uint8_t flag = read_u8(in);
    require(cx, in, flag <= 1);
    return flag;
}

static const Type *get_real(Cx *cx, Reader *in) {
    uint64_t dims[LIMIT_TYPE_RANK];
    uint64_t rank = read_count(in, LIMIT_TYPE_RANK);
    require(cx, in, rank >= 1);
    for (uint64_t i = 0; i < rank; i++) {
        dims[i] = read_count(in, LIMIT_NUMERAL);
        require(cx, in, dims[i] >= 1);
    }
    return type_real(cx, dims, (size_t)rank);
}

/* An arrow whose domain, or whose codomain (dom set), is being read. */
typedef struct {
    bool smooth;
    const Type *dom;
} OpenArrow;

static const Type *close_arrow(Cx *cx, const Reader *in, const OpenArrow *open, const Type *cod) {
    require(cx, in, (open->smooth || open->dom->vector) && open->dom->depth < LIMIT_TYPE_DEPTH);
    return type_arrow(cx, open->smooth, open->dom, cod, AT_NOWHERE);
}

const Type *canon_get_type(Cx *cx, Reader *in) {
    OpenArrow *open = NULL;
    size_t n = 0, room = 0;
    for (;;) {
        const Type *type;
        uint8_t tag = read_u8(in);
        require(cx, in, tag <= TYPE_TAG_SMOOTH);
        if (tag >= TYPE_TAG_LIN) {
            if (n == room) {
                room = room ? room * 2 : 8;
                open = arena_grow(&cx->arena, open, n, room, sizeof *open);
            }
            open[n++] = (OpenArrow){.smooth = tag == TYPE_TAG_SMOOTH};
            continue;
        }
        if (tag == TYPE_TAG_NAT) {
            uint64_t bound = read_count(in, LIMIT_NUMERAL);
            require(cx, in, true);
            type = type_nat(cx, bound);
        } else {
            type = tag == TYPE_TAG_BOOL ? type_bool(cx) : get_real(cx, in);
        }
        while (n && open[n - 1].dom) type = close_arrow(cx, in, &open[--n], type);
        if (!n) return type;
        open[n - 1].dom = type;
    }
}

/* A node whose children are being read. */
typedef struct {
    uint8_t tag, have, want;
    uint32_t kid[3], binder;
} OpenNode;

typedef struct {
    Cx *cx;
    Reader in;
    Program *p;
    OpenNode *open;
    size_t nopen, open_room;
    uint32_t *scope; /* bound variables in scope, innermost last; the context is not among them */
    uint32_t depth, scope_room;
    uint32_t names; /* x1 … so far */
} CanonReader;

static void get_context(CanonReader *r) {
    uint64_t count = read_count(&r->in, r->in.len); /* an entry takes more than a byte */
    const char *before = "";
    require(r->cx, &r->in, true);
    for (uint64_t i = 0; i < count; i++) {
        size_t len;
        const char *bytes = (const char *)read_bytes(&r->in, &len);
        require(r->cx, &r->in, sym_is_name(bytes, len));
        Sym sym = sym_intern(r->cx, bytes, len);
        const char *name = sym_name(r->cx, sym);
        require(r->cx, &r->in, strcmp(before, name) < 0);
        before = name;
        bool smooth = get_flag(r->cx, &r->in);
        term_context(r->cx, r->p, sym, canon_get_type(r->cx, &r->in), smooth, TERM_NONE);
    }
}

/* The next of x1, x2, … that is no context variable. Bound names are never reused, so what is in scope is the context's. */
static Sym next_name(CanonReader *r) {
    for (;;) {
        char text[16];
        int len = snprintf(text, sizeof text, "x%u", ++r->names);
        Sym sym = sym_intern(r->cx, text, (size_t)len);
        if (sym >= r->p->scope_room || r->p->scope[sym] == TERM_NONE) return sym;
    }
}

static uint32_t bind(CanonReader *r, BinderKind kind, const Type *type, bool smooth, uint32_t source) {
    uint32_t b = term_bind(r->cx, r->p, kind, next_name(r), type, smooth, source, TERM_NONE);
    if (r->depth == r->scope_room) {
        uint32_t room = r->scope_room ? r->scope_room * 2 : 32;
        r->scope = arena_grow(&r->cx->arena, r->scope, r->depth, room, sizeof *r->scope);
        r->scope_room = room;
    }
    r->scope[r->depth++] = b;
    return b;
}

static void open_node(CanonReader *r, uint8_t tag) {
    static const uint8_t wants[TAG_COUNT] = {
        [TAG_SUCC] = 1, [TAG_IF] = 3, [TAG_FUN] = 1, [TAG_APP] = 2, [TAG_ITER] = 3, [TAG_LET] = 2};
    if (r->nopen == r->open_room) {
        size_t room = r->open_room ? r->open_room * 2 : 32;
        r->open = arena_grow(&r->cx->arena, r->open, r->nopen, room, sizeof *r->open);
        r->open_room = room;
    }
    OpenNode *o = &r->open[r->nopen++];
    *o = (OpenNode){.tag = tag, .want = wants[tag], .binder = TERM_NONE};
    if (tag == TAG_FUN) {
        bool smooth = get_flag(r->cx, &r->in);
        o->binder = bind(r, BINDER_FUN, canon_get_type(r->cx, &r->in), smooth, TERM_NONE);
    }
}

static uint32_t get_leaf(CanonReader *r, uint8_t tag) {
    uint64_t value = tag == TAG_TRUE || tag == TAG_FALSE ? 0 : read_varint(&r->in);
    switch (tag) {
    case TAG_BOUND:
        require(r->cx, &r->in, value < r->depth);
        return term_var_of(r->cx, r->p, r->scope[r->depth - 1 - value], TERM_NONE);
    case TAG_CONTEXT:
        require(r->cx, &r->in, value < r->p->context);
        return term_var_of(r->cx, r->p, (uint32_t)value, TERM_NONE);
    case TAG_NAT:
        require(r->cx, &r->in, value <= LIMIT_NUMERAL);
        return term_const(r->cx, r->p, TERM_NAT, value, TERM_NONE);
    default: return term_const(r->cx, r->p, tag == TAG_TRUE ? TERM_TRUE : TERM_FALSE, 0, TERM_NONE);
    }
}

/* All children are there. */
static uint32_t close_node(CanonReader *r, const OpenNode *o) {
    Cx *cx = r->cx;
    switch (o->tag) {
    case TAG_SUCC: return term_succ(cx, r->p, o->kid[0], TERM_NONE);
    case TAG_IF: return term_if(cx, r->p, o->kid[0], o->kid[1], o->kid[2], TERM_NONE);
    case TAG_APP: return term_app(cx, r->p, o->kid[0], o->kid[1], TERM_NONE);
    case TAG_ITER: return term_iter(cx, r->p, o->binder, o->kid[1], o->kid[2], TERM_NONE);
    case TAG_FUN: r->depth--; return term_fun(cx, r->p, o->binder, o->kid[0], TERM_NONE);
    default: r->depth--; return term_let(cx, r->p, o->binder, o->kid[1], TERM_NONE);
    }
}

/* Hands a complete node to its parent: scopes open and close between children as term.h says. */
static void take_child(CanonReader *r, OpenNode *o, uint32_t node) {
    o->kid[o->have++] = node;
    if (o->have == 1 && (o->tag == TAG_LET || o->tag == TAG_ITER))
        o->binder = bind(r, o->tag == TAG_LET ? BINDER_LET : BINDER_ITER, NULL, false, node);
    if (o->have == 2 && o->tag == TAG_ITER) {
        term_unbind(r->p, o->binder);
        r->depth--;
    }
}

static void get_term(CanonReader *r) {
    do {
        uint8_t tag = read_u8(&r->in);
        require(r->cx, &r->in, tag < TAG_COUNT && r->p->nnodes + r->nopen < LIMIT_TERM_NODES);
        if (tag >= TAG_SUCC) {
            open_node(r, tag);
            continue;
        }
        uint32_t node = get_leaf(r, tag);
        while (r->nopen) {
            OpenNode *o = &r->open[r->nopen - 1];
            take_child(r, o, node);
            if (o->have < o->want) break;
            node = close_node(r, o);
            r->nopen--;
        }
    } while (r->nopen);
}

Program *canon_read(Cx *cx, const unsigned char *bytes, size_t len) {
    CanonReader r = {.cx = cx, .in = reader_of(bytes, len)};
    const unsigned char *start = read_raw(&r.in, sizeof magic);
    require(cx, &r.in, start && memcmp(start, magic, sizeof magic) == 0);
    require(cx, &r.in, read_varint(&r.in) == CANON_VERSION);
    uint8_t policy = read_u8(&r.in);
    Nat nat = {.dim = read_count(&r.in, LIMIT_NUMERAL), .overflow = (NatPolicy)policy};
    require(cx, &r.in, policy <= NAT_SATURATE && nat.dim >= 1);
    r.p = program_new(cx, nat);
    get_context(&r);
    get_term(&r);
    require(cx, &r.in, reader_done(&r.in));
    return r.p;
}
