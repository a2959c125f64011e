#include "compiler/language/term.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

const char *nat_policy_name(NatPolicy policy) {
    static const char *const names[] = {"exact", "drop", "saturate"};
    return names[policy];
}

Program *program_new(Cx *cx, Nat nat) {
    Program *p = ARENA_NEW(&cx->arena, Program);
    p->nat = nat;
    return p;
}

/* Doubles *array when it is full. */
#define GROW(cx, array, count, room) \
    do { \
        if ((count) == (room)) { \
            uint32_t room_ = (room) ? (room) * 2 : 32; \
            (array) = arena_grow(&(cx)->arena, (array), (count), room_, sizeof *(array)); \
            (room) = room_; \
        } \
    } while (0)

uint32_t place_add(Cx *cx, Program *p, Place place) {
    GROW(cx, p->places, p->nplaces, p->places_room);
    p->places[p->nplaces] = place;
    return p->nplaces++;
}

static void scope_reach(Cx *cx, Program *p, Sym name) {
    if (name < p->scope_room) return;
    uint32_t room = p->scope_room ? p->scope_room : 32;
    while (room <= name) room *= 2;
    p->scope = arena_grow(&cx->arena, p->scope, p->scope_room, room, sizeof *p->scope);
    for (uint32_t i = p->scope_room; i < room; i++) p->scope[i] = TERM_NONE;
    p->scope_room = room;
}

uint32_t term_bind(Cx *cx, Program *p, BinderKind kind, Sym name, const Type *type, bool smooth, uint32_t source,
                   uint32_t place) {
    GROW(cx, p->shadowed, p->nbinders, p->shadowed_room);
    GROW(cx, p->binders, p->nbinders, p->binders_room);
    scope_reach(cx, p, name);
    uint32_t b = p->nbinders++;
    p->binders[b] = (Binder){.kind = kind, .smooth = smooth, .name = name, .type = type, .owner = TERM_NONE,
                             .source = source, .place = place};
    p->shadowed[b] = p->scope[name];
    p->scope[name] = b;
    return b;
}

void term_unbind(Program *p, uint32_t binder) { p->scope[p->binders[binder].name] = p->shadowed[binder]; }

static uint32_t add(Cx *cx, Program *p, TermNode node) {
    if (p->nnodes >= LIMIT_TERM_NODES)
        cx_fail(cx, ERR_too_large, AT(AT_PLACE, node.place), NULL, "The program has more than %d nodes.", LIMIT_TERM_NODES);
    GROW(cx, p->nodes, p->nnodes, p->nodes_room);
    p->nodes[p->nnodes] = node;
    return p->nnodes++;
}

static TermNode blank(TermKind kind, uint32_t place) {
    return (TermNode){.kind = kind, .kid = {TERM_NONE, TERM_NONE, TERM_NONE}, .binder = TERM_NONE, .place = place};
}

static uint32_t add_parent(Cx *cx, Program *p, TermKind kind, uint32_t place, uint32_t a, uint32_t b, uint32_t c,
                           uint32_t binder) {
    return add(cx, p, (TermNode){.kind = kind, .kid = {a, b, c}, .binder = binder, .place = place});
}

uint32_t term_var(Cx *cx, Program *p, Sym name, uint32_t place) {
    scope_reach(cx, p, name);
    TermNode node = blank(TERM_VAR, place);
    node.binder = p->scope[name];
    node.name = name;
    return add(cx, p, node);
}

uint32_t term_var_of(Cx *cx, Program *p, uint32_t binder, uint32_t place) {
    TermNode node = blank(TERM_VAR, place);
    node.binder = binder;
    node.name = p->binders[binder].name;
    return add(cx, p, node);
}

uint32_t term_const(Cx *cx, Program *p, TermKind kind, uint64_t nat, uint32_t place) {
    TermNode node = blank(kind, place);
    node.nat = nat;
    return add(cx, p, node);
}

uint32_t term_succ(Cx *cx, Program *p, uint32_t arg, uint32_t place) {
    return add_parent(cx, p, TERM_SUCC, place, arg, TERM_NONE, TERM_NONE, TERM_NONE);
}

uint32_t term_if(Cx *cx, Program *p, uint32_t cond, uint32_t then, uint32_t otherwise, uint32_t place) {
    return add_parent(cx, p, TERM_IF, place, cond, then, otherwise, TERM_NONE);
}

uint32_t term_app(Cx *cx, Program *p, uint32_t function, uint32_t argument, uint32_t place) {
    return add_parent(cx, p, TERM_APP, place, function, argument, TERM_NONE, TERM_NONE);
}

uint32_t term_fun(Cx *cx, Program *p, uint32_t binder, uint32_t body, uint32_t place) {
    term_unbind(p, binder);
    uint32_t n = add_parent(cx, p, TERM_FUN, place, body, TERM_NONE, TERM_NONE, binder);
    return p->binders[binder].owner = n;
}

uint32_t term_let(Cx *cx, Program *p, uint32_t binder, uint32_t in, uint32_t place) {
    term_unbind(p, binder);
    uint32_t n = add_parent(cx, p, TERM_LET, place, p->binders[binder].source, in, TERM_NONE, binder);
    return p->binders[binder].owner = n;
}

uint32_t term_iter(Cx *cx, Program *p, uint32_t binder, uint32_t step, uint32_t count, uint32_t place) {
    uint32_t n = add_parent(cx, p, TERM_ITER, place, p->binders[binder].source, step, count, binder);
    return p->binders[binder].owner = n;
}

uint32_t term_context(Cx *cx, Program *p, Sym name, const Type *type, bool smooth, uint32_t place) {
    scope_reach(cx, p, name);
    if (p->scope[name] != TERM_NONE) return TERM_NONE;
    p->context++;
    return term_bind(cx, p, BINDER_CONTEXT, name, type, smooth, TERM_NONE, place);
}

typedef struct {
    const char *name;
    uint32_t binder;
} Input;

static int by_name(const void *a, const void *b) { return strcmp(((const Input *)a)->name, ((const Input *)b)->name); }

const uint32_t *program_inputs(Cx *cx, const Program *p) {
    Input *inputs = ARENA_ARRAY(&cx->arena, Input, p->context);
    uint32_t *order = ARENA_ARRAY(&cx->arena, uint32_t, p->context);
    for (uint32_t b = 0; b < p->context; b++) inputs[b] = (Input){sym_name(cx, p->binders[b].name), b};
    if (p->context) qsort(inputs, p->context, sizeof *inputs, by_name);
    for (uint32_t i = 0; i < p->context; i++) order[i] = inputs[i].binder;
    return order;
}

const Place *program_place(const Program *p, At at) {
    uint32_t place = TERM_NONE;
    switch (at.kind) {
    case AT_NOTHING: break;
    case AT_NODE: place = at.index < p->nnodes ? p->nodes[at.index].place : TERM_NONE; break;
    case AT_BINDER: place = at.index < p->nbinders ? p->binders[at.index].place : TERM_NONE; break;
    case AT_PLACE: place = at.index; break;
    }
    return place < p->nplaces ? &p->places[place] : NULL;
}

static void put_segment(Buf *out, const char *key) {
    buf_putc(out, '/');
    for (; *key; key++) {
        if (*key == '~') buf_puts(out, "~0");
        else if (*key == '/') buf_puts(out, "~1");
        else buf_putc(out, *key);
    }
}

void place_pointer(Buf *out, const Program *p, const Place *place) {
    /* A JSON body nests at most LIMIT_JSON_DEPTH, so its chain of places does too. */
    const Place *chain[LIMIT_JSON_DEPTH + 2];
    size_t n = 0;
    while (n < LIMIT_JSON_DEPTH + 2 && (place->kind == PLACE_KEY || place->kind == PLACE_INDEX)) {
        chain[n++] = place;
        place = &p->places[place->a];
    }
    if (p->within) buf_printf(out, "%s%s", p->within, place->kind == PLACE_CONTEXT ? "" : "/term");
    if (place->kind == PLACE_CONTEXT) {
        buf_puts(out, "/context");
        put_segment(out, place->key);
    }
    while (n--) {
        if (chain[n]->kind == PLACE_KEY) put_segment(out, chain[n]->key);
        else buf_printf(out, "/%u", chain[n]->b);
    }
}
