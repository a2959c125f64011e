#include "tests/support/gen.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_VARS = 64, MANY_VARS = 10, LARGEST_DIM = 256 };

typedef struct {
    uint32_t binder;
    const Type *type;
} Var;
typedef struct {
    uint32_t n;
    Var v[MOST_VARS];
} Vars;

typedef struct {
    Cx *cx;
    Program *p;
    Rng rng;
    GenOptions options;
    const Type *real; /* the one real type in play; NULL: none */
    uint32_t names;
} Gen;

static const Type *random_vector(Cx *cx, Rng *rng, Nat nat, uint32_t depth) {
    uint32_t roll = rng_below(rng, 100);
    if (depth && roll < 25) {
        const Type *dom = random_vector(cx, rng, nat, depth - 1);
        return type_arrow(cx, false, dom, random_vector(cx, rng, nat, depth - 1), AT_NOWHERE);
    }
    if (roll < 65) return type_bool(cx);
    bool bounded = nat.overflow == NAT_EXACT && rng_chance(rng, 15);
    return type_nat(cx, bounded ? nat.dim + rng_below(rng, 4) : 0);
}

const Type *gen_type(Cx *cx, Rng *rng, Nat nat, uint32_t depth) {
    for (;; depth = depth ? depth - 1 : 0) {
        const Type *type = random_vector(cx, rng, nat, depth);
        if (type_with_size(cx, type, nat.dim, false)->dim <= LARGEST_DIM || !depth) return type;
    }
}

/* A type for a variable that may be anything: sometimes a smooth function or a real vector. */
static const Type *any_type(Gen *g, uint32_t depth) {
    const Type *type = gen_type(g->cx, &g->rng, g->options.nat, depth);
    if (g->real && rng_chance(&g->rng, 12)) return g->real;
    if (!depth || !rng_chance(&g->rng, 12)) return type;
    return type_arrow(g->cx, true, gen_type(g->cx, &g->rng, g->options.nat, depth - 1), type, AT_NOWHERE);
}

static bool names_one(const Gen *g, const Vars *vars, Sym name) {
    for (uint32_t i = 0; i < vars->n; i++)
        if (g->p->binders[vars->v[i].binder].name == name) return true;
    return false;
}

/* A name that hides nothing still needed; it may well hide something else. */
static Sym pick_name(Gen *g, const Vars *lin, const Vars *free) {
    static const char *const pool[] = {"x", "y", "z", "f", "g", "n", "m", "a'", "_b", "x1", "x2"};
    for (int tries = 0; tries < 4; tries++) {
        const char *name = pool[rng_below(&g->rng, sizeof pool / sizeof *pool)];
        Sym sym = sym_intern(g->cx, name, strlen(name));
        if (!names_one(g, lin, sym) && !names_one(g, free, sym)) return sym;
    }
    char name[24];
    int len = snprintf(name, sizeof name, "v%u", g->names++);
    return sym_intern(g->cx, name, (size_t)len);
}

static Var bind(Gen *g, BinderKind kind, const Type *type, bool smooth, uint32_t source, const Vars *lin, const Vars *free) {
    const Type *written = kind == BINDER_FUN ? type : NULL;
    return (Var){term_bind(g->cx, g->p, kind, pick_name(g, lin, free), written, smooth, source, TERM_NONE), type};
}

static Vars with(Vars vars, Var v) {
    assert(vars.n < MOST_VARS);
    vars.v[vars.n++] = v;
    return vars;
}

static Vars without(Vars vars, uint32_t i) {
    vars.v[i] = vars.v[--vars.n];
    return vars;
}

/* Moves about `percent` of the variables out of *from. */
static Vars split(Gen *g, Vars *from, uint32_t percent) {
    Vars out = {0};
    for (uint32_t i = from->n; i-- > 0;)
        if (rng_chance(&g->rng, percent)) {
            out = with(out, from->v[i]);
            *from = without(*from, i);
        }
    return out;
}

static uint32_t term(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size);

static uint32_t var(Gen *g, Var v) { return term_var_of(g->cx, g->p, v.binder, TERM_NONE); }
static uint32_t share(Gen *g, uint32_t *size) {
    uint32_t part = *size ? rng_below(&g->rng, *size) : 0;
    *size -= part;
    return part;
}

static uint32_t gen_fun(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    bool smooth = type->kind == TYPE_SMOOTH;
    Var x = bind(g, BINDER_FUN, type->dom, smooth, TERM_NONE, &lin, free);
    Vars more = smooth && free->n < MOST_VARS ? with(*free, x) : *free;
    uint32_t body = term(g, type->cod, smooth ? lin : with(lin, x), &more, size);
    return term_fun(g->cx, g->p, x.binder, body, TERM_NONE);
}

static uint32_t gen_if(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    Vars in_condition = split(g, &lin, 40);
    uint32_t half = share(g, &size);
    uint32_t condition = term(g, type_bool(g->cx), in_condition, free, half);
    uint32_t then = term(g, type, lin, free, size / 2);
    uint32_t otherwise = term(g, type, lin, free, size / 2);
    return term_if(g->cx, g->p, condition, then, otherwise, TERM_NONE);
}

/* let z = be in …, z used once; or, when be uses nothing linear, at least once. */
static uint32_t let_in(Gen *g, uint32_t be, const Type *be_type, const Type *type, Vars lin, const Vars *free, bool often,
                       uint32_t size) {
    Var z = bind(g, BINDER_LET, be_type, false, be, &lin, free);
    Vars more = often && free->n < MOST_VARS ? with(*free, z) : *free;
    uint32_t in = term(g, type, with(lin, z), &more, size);
    return term_let(g->cx, g->p, z.binder, in, TERM_NONE);
}

static uint32_t gen_let(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    const Type *be_type = any_type(g, 1);
    Vars in_be = split(g, &lin, 40);
    uint32_t be = term(g, be_type, in_be, free, share(g, &size));
    return let_in(g, be, be_type, type, lin, free, in_be.n == 0 && rng_chance(&g->rng, 60), size);
}

static uint32_t gen_redex(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    bool smooth = rng_chance(&g->rng, 30);
    const Type *dom = smooth ? any_type(g, 1) : gen_type(g->cx, &g->rng, g->options.nat, 1);
    Vars in_argument = {0};
    if (!smooth) in_argument = split(g, &lin, 40);
    uint32_t part = share(g, &size);
    uint32_t f = gen_fun(g, type_arrow(g->cx, smooth, dom, type, AT_NOWHERE), lin, free, size);
    return term_app(g->cx, g->p, f, term(g, dom, in_argument, free, part), TERM_NONE);
}

static uint32_t gen_iter(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    Vars in_count = split(g, &lin, 40), none = {0};
    uint32_t part = share(g, &size), third = share(g, &size);
    uint32_t base = term(g, type, lin, free, part);
    bool often = lin.n == 0 && free->n < MOST_VARS && rng_chance(&g->rng, 40);
    Var y = bind(g, BINDER_ITER, type, false, base, &none, free);
    Vars more = often ? with(*free, y) : *free;
    uint32_t step = term(g, type, with(none, y), &more, size);
    term_unbind(g->p, y.binder);
    uint32_t count = term(g, type_nat(g->cx, 0), in_count, free, third);
    return term_iter(g->cx, g->p, y.binder, step, count, TERM_NONE);
}

/* Uses up a boolean or natural in little space: iter {rest | y -> y} (count). */
static uint32_t spend(Gen *g, const Type *type, Var x, Vars rest, const Vars *free, uint32_t size) {
    uint32_t base = term(g, type, rest, free, size), count;
    Vars none = {0};
    Var y = bind(g, BINDER_ITER, type, false, base, &none, free);
    uint32_t step = var(g, y);
    term_unbind(g->p, y.binder);
    count = var(g, x);
    if (x.type->kind == TYPE_BOOL) {
        uint32_t one = term_const(g->cx, g->p, TERM_NAT, rng_below(&g->rng, 3), TERM_NONE);
        uint32_t other = term_const(g->cx, g->p, TERM_NAT, rng_below(&g->rng, 3), TERM_NONE);
        count = term_if(g->cx, g->p, count, one, other, TERM_NONE);
    }
    return term_iter(g->cx, g->p, y.binder, step, count, TERM_NONE);
}

/* The network that makes a boolean of a real vector; always in the context when there are real vectors. */
static Var find_reader(const Gen *g, const Vars *free) {
    uint32_t i = 0;
    while (!(free->v[i].type->kind == TYPE_LIN && free->v[i].type->dom == g->real && free->v[i].type->cod->kind == TYPE_BOOL))
        i++;
    return free->v[i];
}

/* Uses up linear variable i. */
static uint32_t eliminate(Gen *g, const Type *type, Vars lin, uint32_t i, const Vars *free, uint32_t size) {
    Var x = lin.v[i];
    Vars rest = without(lin, i), none = {0};
    if (x.type->kind == TYPE_BOOL && (rest.n == 0 || (size > 4 * rest.n && rest.n < 4))) {
        uint32_t condition = var(g, x);
        uint32_t then = term(g, type, rest, free, size / 2), otherwise = term(g, type, rest, free, size / 2);
        return term_if(g->cx, g->p, condition, then, otherwise, TERM_NONE);
    }
    if (x.type->kind == TYPE_BOOL || x.type->kind == TYPE_NAT) {
        if (type->vector) return spend(g, type, x, rest, free, size);
        return gen_fun(g, type, lin, free, size); /* what is no vector type is an arrow */
    }
    if (x.type->kind == TYPE_REAL) {
        Var reader = find_reader(g, free);
        uint32_t f = var(g, reader);
        uint32_t be = term_app(g->cx, g->p, f, var(g, x), TERM_NONE);
        return let_in(g, be, reader.type->cod, type, rest, free, false, size);
    }
    Vars in_argument = x.type->kind == TYPE_LIN && size ? split(g, &rest, 40) : none;
    uint32_t f = var(g, x);
    uint32_t be = term_app(g->cx, g->p, f, term(g, x.type->dom, in_argument, free, share(g, &size)), TERM_NONE);
    if (rest.n == 0 && type_equal(x.type->cod, type)) return be;
    return let_in(g, be, x.type->cod, type, rest, free, false, size);
}

/* A smooth variable that is of the type or, applied once, gives it. TERM_NONE when the draw finds none. */
static uint32_t gen_free(Gen *g, const Type *type, const Vars *free, uint32_t size) {
    Vars none = {0};
    for (uint32_t tries = 0; tries < 2 * free->n; tries++) {
        Var v = free->v[rng_below(&g->rng, free->n)];
        if (type_equal(v.type, type)) return var(g, v);
        if (!size || !type_is_arrow(v.type) || !type_equal(v.type->cod, type)) continue;
        uint32_t f = var(g, v);
        return term_app(g->cx, g->p, f, term(g, v.type->dom, none, free, size - 1), TERM_NONE);
    }
    return TERM_NONE;
}

/* The shortest way to a term of this type. */
static uint32_t leaf(Gen *g, const Type *type, Vars lin, const Vars *free) {
    if (lin.n == 1 && type_equal(lin.v[0].type, type)) return var(g, lin.v[0]);
    if (type_is_arrow(type) && !(lin.n == 0 && rng_chance(&g->rng, 30))) return gen_fun(g, type, lin, free, 0);
    if (lin.n) return eliminate(g, type, lin, rng_below(&g->rng, lin.n), free, 0);
    if (type->kind == TYPE_REAL || rng_chance(&g->rng, 50)) {
        uint32_t node = gen_free(g, type, free, 0);
        if (node != TERM_NONE) return node;
    }
    switch (type->kind) {
    case TYPE_BOOL: return term_const(g->cx, g->p, rng_chance(&g->rng, 50) ? TERM_TRUE : TERM_FALSE, 0, TERM_NONE);
    case TYPE_NAT: return term_const(g->cx, g->p, TERM_NAT, rng_below(&g->rng, 4), TERM_NONE);
    case TYPE_REAL:
        for (uint32_t i = 0;; i++)
            if (free->v[i].type == type) return var(g, free->v[i]);
    default: return gen_fun(g, type, lin, free, 0);
    }
}

static uint32_t term(Gen *g, const Type *type, Vars lin, const Vars *free, uint32_t size) {
    if (size < 2 || lin.n > MANY_VARS) return leaf(g, type, lin, free);
    size--;
    if (type_is_arrow(type) && rng_chance(&g->rng, 55)) return gen_fun(g, type, lin, free, size);
    switch (rng_below(&g->rng, 9)) {
    case 0: return gen_if(g, type, lin, free, size);
    case 1: return gen_let(g, type, lin, free, size);
    case 2: return gen_redex(g, type, lin, free, size);
    case 3:
    case 4:
        if (type->vector) return gen_iter(g, type, lin, free, size);
        break;
    case 5:
    case 7:
        if (type->kind == TYPE_NAT) return term_succ(g->cx, g->p, term(g, type, lin, free, size), TERM_NONE);
        break;
    case 6:
        if (lin.n == 0) {
            uint32_t node = gen_free(g, type, free, size);
            if (node != TERM_NONE) return node;
        }
        break;
    default: break;
    }
    if (lin.n) return eliminate(g, type, lin, rng_below(&g->rng, lin.n), free, size);
    return rng_chance(&g->rng, 20) ? leaf(g, type, lin, free) : gen_let(g, type, lin, free, size);
}

static void add_input(Gen *g, const char *name, const Type *type, bool smooth, Vars *vars) {
    uint32_t b = term_context(g->cx, g->p, sym_intern(g->cx, name, strlen(name)), type, smooth, TERM_NONE);
    *vars = with(*vars, (Var){b, type});
}

static void gen_context(Gen *g, Vars *lin, Vars *free) {
    static const char *const names[] = {"w", "b", "x3", "A"}, *const smooth_names[] = {"h", "_s", "x1"};
    Cx *cx = g->cx;
    uint32_t linear = rng_below(&g->rng, 4), smooth = rng_below(&g->rng, 3);
    for (uint32_t i = 0; i < linear; i++) add_input(g, names[i], gen_type(cx, &g->rng, g->options.nat, 2), false, lin);
    for (uint32_t i = 0; i < smooth; i++) add_input(g, smooth_names[i], gen_type(cx, &g->rng, g->options.nat, 2), true, free);
    if (g->options.discrete) return;
    if (rng_chance(&g->rng, 50)) add_input(g, "net", type_arrow(cx, true, type_bool(cx), type_bool(cx), AT_NOWHERE), true, free);
    if (!rng_chance(&g->rng, 50)) return;
    g->real = type_real(cx, (uint64_t[]){2, 1 + rng_below(&g->rng, 2)}, 2);
    add_input(g, "r", g->real, true, free);
    add_input(g, "read", type_arrow(cx, false, g->real, type_bool(cx), AT_NOWHERE), true, free);
    if (rng_chance(&g->rng, 50)) add_input(g, "image", type_arrow(cx, true, g->real, g->real, AT_NOWHERE), true, free);
    if (rng_chance(&g->rng, 50)) add_input(g, "q", g->real, false, lin);
}

Program *gen_program(Cx *cx, const GenOptions *options) {
    Gen g = {.cx = cx, .p = program_new(cx, options->nat), .rng = {options->seed}, .options = *options};
    Vars lin = {0}, free = {0};
    if (!options->closed) gen_context(&g, &lin, &free);
    const Type *type = any_type(&g, 2);
    term(&g, type, lin, &free, options->size);
    return g.p;
}
