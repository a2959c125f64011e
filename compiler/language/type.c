#include "compiler/language/type.h"
#include "schema/limits.h"
#include <string.h>

struct TypeTable {
    const Type **slots;
    uint32_t nslots, count;
};

static uint32_t mix(uint32_t h, uint64_t v) {
    h = (h ^ (uint32_t)v) * 0x9E3779B1u;
    h = (h ^ (uint32_t)(v >> 32)) * 0x85EBCA77u;
    return h ^ (h >> 15);
}

static uint32_t type_hash(const Type *t) {
    uint32_t h = mix(0, (uint64_t)t->kind);
    h = mix(h, t->bound);
    for (int i = 0; i < t->rank; i++) h = mix(h, t->dims[i]);
    if (t->dom) h = mix(mix(h, t->dom->id), t->cod->id);
    return h;
}

static bool same(const Type *a, const Type *b) {
    return a->hash == b->hash && a->kind == b->kind && a->bound == b->bound && a->rank == b->rank && a->dom == b->dom &&
           a->cod == b->cod && (!a->rank || memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) == 0);
}

static void table_grow(Cx *cx, TypeTable *t) {
    const Type **old = t->slots;
    uint32_t nold = t->nslots;
    t->nslots = nold ? nold * 2 : 64;
    t->slots = ARENA_ARRAY(&cx->arena, const Type *, t->nslots);
    for (uint32_t i = 0; i < nold; i++) {
        if (!old[i]) continue;
        uint32_t j = old[i]->hash & (t->nslots - 1);
        while (t->slots[j]) j = (j + 1) & (t->nslots - 1);
        t->slots[j] = old[i];
    }
}

/* The one Type equal to `probe`; fresh is set when it was just made (its derived fields are then the caller's to fill). */
static Type *intern(Cx *cx, Type probe, bool *fresh) {
    if (!cx->types) cx->types = ARENA_NEW(&cx->arena, TypeTable);
    TypeTable *t = cx->types;
    if (t->count * 2 >= t->nslots) table_grow(cx, t);
    probe.hash = type_hash(&probe);
    uint32_t i = probe.hash & (t->nslots - 1);
    for (; t->slots[i]; i = (i + 1) & (t->nslots - 1)) {
        if (!same(t->slots[i], &probe)) continue;
        *fresh = false;
        return (Type *)t->slots[i];
    }
    Type *made = ARENA_NEW(&cx->arena, Type);
    if (probe.rank) {
        uint64_t *dims = ARENA_ARRAY(&cx->arena, uint64_t, probe.rank);
        memcpy(dims, probe.dims, probe.rank * sizeof *dims);
        probe.dims = dims;
    }
    probe.id = t->count++;
    *made = probe;
    made->erased = made;
    t->slots[i] = made;
    *fresh = true;
    return made;
}

static size_t product(size_t a, size_t b) {
    size_t n;
    return a == SIZE_MAX || b == SIZE_MAX || __builtin_mul_overflow(a, b, &n) ? SIZE_MAX : n;
}

const Type *type_bool(Cx *cx) {
    bool fresh;
    return intern(cx, (Type){.kind = TYPE_BOOL, .vector = true, .sized = true, .dim = 2}, &fresh);
}

const Type *type_nat(Cx *cx, uint64_t bound) {
    bool fresh;
    Type *t = intern(cx, (Type){.kind = TYPE_NAT, .vector = true, .has_nat = true, .sized = bound != 0, .bound = bound,
                                .dim = bound ? (size_t)bound : SIZE_MAX}, &fresh);
    if (fresh && bound) t->erased = type_nat(cx, 0);
    return t;
}

const Type *type_real(Cx *cx, const uint64_t *dims, size_t rank) {
    bool fresh;
    size_t dim = 1;
    for (size_t i = 0; i < rank; i++) dim = product(dim, (size_t)dims[i]);
    return intern(cx, (Type){.kind = TYPE_REAL, .rank = (uint8_t)rank, .dims = dims, .vector = true, .sized = true, .dim = dim},
                  &fresh);
}

const Type *type_arrow(Cx *cx, bool smooth, const Type *dom, const Type *cod, At at) {
    if (!smooth && !dom->vector)
        cx_fail(cx, ERR_not_a_vector, at, "Mark the domain with `!`: smooth functions can only be passed to smooth functions.",
                "The domain of a linear arrow must be a vector type, and %s contains a smooth arrow.", type_text(cx, dom));
    uint32_t depth = dom->depth + 1 > cod->depth ? dom->depth + 1 : cod->depth;
    if (depth > LIMIT_TYPE_DEPTH)
        cx_fail(cx, ERR_too_large, at, NULL, "A type nests functions of functions more than %d deep.", LIMIT_TYPE_DEPTH);
    bool fresh;
    Type *t = intern(cx, (Type){.kind = smooth ? TYPE_SMOOTH : TYPE_LIN, .dom = dom, .cod = cod,
                                .vector = !smooth && cod->vector, .has_nat = dom->has_nat || cod->has_nat,
                                .sized = dom->sized && cod->sized, .depth = depth,
                                .dim = smooth ? SIZE_MAX : product(dom->dim, cod->dim)}, &fresh);
    if (fresh && (dom->erased != dom || cod->erased != cod)) t->erased = type_arrow(cx, smooth, dom->erased, cod->erased, at);
    return t;
}

/* One side of a zip: the arrows' domains mapped first to last, then the end, then rebuilt from the right, so that long
 * arrows need no C stack; domains nest at most LIMIT_TYPE_DEPTH. */
static const Type *zip(Cx *cx, const Type *a, const Type *b, TypeBoundFn fn, void *ctx, bool contra) {
    if (!a->has_nat) return a;
    if (a->kind == TYPE_NAT) return type_nat(cx, fn(ctx, a->bound, b->bound, contra));
    size_t n = 0;
    for (const Type *t = a; type_is_arrow(t); t = t->cod) n++;
    const Type **doms = ARENA_ARRAY(&cx->arena, const Type *, n);
    bool *smooth = ARENA_ARRAY(&cx->arena, bool, n);
    n = 0;
    for (; type_is_arrow(a); a = a->cod, b = b->cod, n++) {
        doms[n] = zip(cx, a->dom, b->dom, fn, ctx, !contra);
        smooth[n] = a->kind == TYPE_SMOOTH;
    }
    const Type *made = a->kind == TYPE_NAT ? zip(cx, a, b, fn, ctx, contra) : a;
    while (n--) made = type_arrow(cx, smooth[n], doms[n], made, AT_NOWHERE);
    return made;
}

const Type *type_zip(Cx *cx, const Type *a, const Type *b, TypeBoundFn fn, void *ctx) { return zip(cx, a, b, fn, ctx, false); }

typedef struct {
    uint64_t size;
    bool force;
} Sizing;

static uint64_t sized_bound(void *ctx, uint64_t a, uint64_t b, bool contra) {
    (void)b, (void)contra;
    const Sizing *s = ctx;
    return a && !s->force ? a : s->size;
}

const Type *type_with_size(Cx *cx, const Type *type, uint64_t size, bool force) {
    if (type->sized && !force) return type;
    return type_zip(cx, type, type, sized_bound, &(Sizing){size, force});
}

bool type_fits(const Type *a, const Type *b) {
    for (; type_is_arrow(a); a = a->cod, b = b->cod)
        if (a == b) return true;
        else if (!type_fits(b->dom, a->dom)) return false;
    return a == b || (a->kind == TYPE_NAT && a->bound <= b->bound);
}

static uint64_t join_bound(void *ctx, uint64_t a, uint64_t b, bool contra) {
    (void)ctx;
    return (a > b) != contra ? a : b;
}

const Type *type_join(Cx *cx, const Type *a, const Type *b) { return a == b ? a : type_zip(cx, a, b, join_bound, NULL); }

static uint64_t meet_bound(void *ctx, uint64_t a, uint64_t b, bool contra) { return join_bound(ctx, a, b, !contra); }

const Type *type_meet(Cx *cx, const Type *a, const Type *b) { return a == b ? a : type_zip(cx, a, b, meet_bound, NULL); }

void type_print(Buf *out, const Type *type) {
    for (; type_is_arrow(type); type = type->cod) {
        if (type->kind == TYPE_SMOOTH) buf_putc(out, '!');
        if (type_is_arrow(type->dom)) {
            buf_putc(out, '(');
            type_print(out, type->dom);
            buf_putc(out, ')');
        } else {
            type_print(out, type->dom);
        }
        buf_puts(out, " -o ");
    }
    switch (type->kind) {
    case TYPE_BOOL: buf_putc(out, '2'); break;
    case TYPE_NAT:
        buf_putc(out, 'N');
        if (type->bound) buf_printf(out, "[%llu]", (unsigned long long)type->bound);
        break;
    default:
        buf_puts(out, "R[");
        for (int i = 0; i < type->rank; i++) buf_printf(out, i ? ",%llu" : "%llu", (unsigned long long)type->dims[i]);
        buf_putc(out, ']');
    }
}

const char *type_text(Cx *cx, const Type *type) {
    Buf out;
    buf_init(&out);
    type_print(&out, type);
    size_t len = out.failed ? 0 : out.len;
    char *text = cx->arena.used + len < cx->arena.cap ? arena_strndup(&cx->arena, (char *)out.data, len) : NULL;
    buf_release(&out);
    return text ? text : "";
}

size_t type_shape(const Type *type, size_t shape[]) {
    switch (type->kind) {
    case TYPE_REAL:
        for (int i = 0; i < type->rank; i++) shape[i] = (size_t)type->dims[i];
        return type->rank;
    case TYPE_LIN:
        shape[0] = type->cod->dim;
        shape[1] = type->dom->dim;
        return 2;
    default: shape[0] = type->dim; return 1;
    }
}
