/* Terms: one flat array in post-order, so that most passes are a loop and none needs the C stack.
 *
 * A node's children come before it; the last node is the root. Application is binary (`f a b` is two nodes); the node
 * order is that of evaluation: function, argument; condition, then, else; be, in; base, step, count. The canonical form
 * (canon.h) is read back into the same order, so a node's index means the same in daemon and worker.
 * Variables refer to binders by index. Binders are made on entering their scope: context first, in the order given.
 * Ownership: everything is in the Cx's arena. */
#ifndef CAJAL_TERM_H
#define CAJAL_TERM_H
#include "compiler/language/type.h"

#define TERM_NONE UINT32_MAX

typedef enum {
    TERM_VAR,  /* binder, name */
    TERM_TRUE,
    TERM_FALSE,
    TERM_NAT,  /* nat */
    TERM_SUCC, /* kid[0] */
    TERM_IF,   /* kid: condition, then, else */
    TERM_FUN,  /* binder; kid[0] = body */
    TERM_APP,  /* kid: function, argument */
    TERM_ITER, /* binder; kid: base, step, count */
    TERM_LET,  /* binder; kid: be, in */
    TERM_KINDS
} TermKind;

typedef struct {
    TermKind kind;
    uint32_t kid[3]; /* node indices, TERM_NONE where there is none */
    uint32_t binder; /* VAR: bound by (TERM_NONE: unbound); FUN, ITER, LET: the binder made */
    Sym name;        /* VAR */
    uint64_t nat;    /* NAT; at most LIMIT_NUMERAL */
    uint32_t place;  /* index into places, TERM_NONE when read from canonical form */
} TermNode;

/* How often a variable is used in its scope: not, once, any number of times (language.md §3). */
typedef enum { GRADE_ZERO, GRADE_ONE, GRADE_OMEGA } Grade;

typedef enum { BINDER_CONTEXT, BINDER_FUN, BINDER_LET, BINDER_ITER } BinderKind;

typedef struct {
    BinderKind kind;
    bool smooth;      /* CONTEXT, FUN: declared with ! */
    Sym name;
    const Type *type; /* CONTEXT, FUN: as written; LET, ITER: NULL until checked (check.h keeps it) */
    uint32_t owner;   /* the node that binds; TERM_NONE for CONTEXT (and while its scope is open) */
    uint32_t source;  /* LET: the node of `be`; ITER: of the base; else TERM_NONE */
    uint32_t place;
} Binder;

/* Where a node stands in what the client sent. */
typedef enum {
    PLACE_TEXT,    /* bytes [a, b) of the source */
    PLACE_ROOT,    /* JSON: the term itself, pointer "" */
    PLACE_KEY,     /* JSON: key `key` of place a */
    PLACE_INDEX,   /* JSON: element b of place a */
    PLACE_CONTEXT, /* JSON: entry `key` of the request's context, pointer "/context/…" */
} PlaceKind;
typedef struct {
    PlaceKind kind;
    uint32_t a, b;
    const char *key; /* NUL-terminated, unescaped */
} Place;

typedef enum { NAT_EXACT, NAT_DROP, NAT_SATURATE } NatPolicy;
typedef struct {
    uint64_t dim; /* size of a natural that nothing else bounds */
    NatPolicy overflow;
} Nat;
#define NAT_DEFAULT ((Nat){.dim = 10, .overflow = NAT_EXACT})
const char *nat_policy_name(NatPolicy policy); /* "exact" … */

typedef struct {
    Nat nat;
    uint32_t context; /* binders [0, context) are the context's */
    TermNode *nodes;
    uint32_t nnodes, nodes_room;
    Binder *binders;
    uint32_t nbinders, binders_room;
    Place *places;
    uint32_t nplaces, places_room;
    const char *source; /* the text the places refer to; NULL for JSON and canonical form */
    size_t source_len;
    const char *within; /* where in a request the program stands, a JSON Pointer; NULL: places of JSON are told from the term on */
    /* building */
    uint32_t *scope; /* by Sym: innermost binder in scope, TERM_NONE */
    uint32_t *shadowed; /* by binder: what its name meant before */
    uint32_t scope_room, shadowed_room;
} Program;

static inline uint32_t program_root(const Program *p) { return p->nnodes - 1; }

/* Building, in post-order. Every function that adds a node returns its index; nodes beyond LIMIT_TERM_NODES are too_large.
 *   fun:  b = term_bind(FUN, …);  body…;  term_fun(b, body)
 *   let:  be…;  b = term_bind(LET, …, be);  in…;  term_let(b, in)
 *   iter: base…;  b = term_bind(ITER, …, base);  step…;  term_unbind(b);  count…;  term_iter(b, step, count)
 * term_fun and term_let close the binder's scope themselves. */
Program *program_new(Cx *cx, Nat nat);
uint32_t place_add(Cx *cx, Program *p, Place place);
uint32_t term_bind(Cx *cx, Program *p, BinderKind kind, Sym name, const Type *type, bool smooth, uint32_t source,
                   uint32_t place);
void term_unbind(Program *p, uint32_t binder);
uint32_t term_var(Cx *cx, Program *p, Sym name, uint32_t place); /* resolves the name */
uint32_t term_var_of(Cx *cx, Program *p, uint32_t binder, uint32_t place);
uint32_t term_const(Cx *cx, Program *p, TermKind kind, uint64_t nat, uint32_t place); /* TRUE, FALSE, NAT */
uint32_t term_succ(Cx *cx, Program *p, uint32_t arg, uint32_t place);
uint32_t term_if(Cx *cx, Program *p, uint32_t cond, uint32_t then, uint32_t otherwise, uint32_t place);
uint32_t term_fun(Cx *cx, Program *p, uint32_t binder, uint32_t body, uint32_t place);
uint32_t term_app(Cx *cx, Program *p, uint32_t function, uint32_t argument, uint32_t place);
uint32_t term_let(Cx *cx, Program *p, uint32_t binder, uint32_t in, uint32_t place);
uint32_t term_iter(Cx *cx, Program *p, uint32_t binder, uint32_t step, uint32_t count, uint32_t place);

/* Adds a context variable; a name given twice is the caller's error to report (returns TERM_NONE then). */
uint32_t term_context(Cx *cx, Program *p, Sym name, const Type *type, bool smooth, uint32_t place);
/* Context binders' indices in order of name (bytewise). In the arena, `context` long. */
const uint32_t *program_inputs(Cx *cx, const Program *p);

/* The place an At of this program means, NULL when it has none. */
const Place *program_place(const Program *p, At at);
/* Appends the JSON Pointer (RFC 6901) of a JSON place. */
void place_pointer(Buf *out, const Program *p, const Place *place);
#endif
