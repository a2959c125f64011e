/* Types, hash-consed: equal types of one Cx are one pointer.
 *
 * A sized type is a type whose every N carries a bound. Equality of the language ignores bounds: compare `erased`.
 * Types reach deep only to the right (through cod); nesting in domains is capped by LIMIT_TYPE_DEPTH, so recursion into
 * dom with a loop over cod is safe.
 * Errors: constructors fail the Cx with not_a_vector or too_large where they say so. */
#ifndef CAJAL_TYPE_H
#define CAJAL_TYPE_H
#include "compiler/language/cx.h"
#include "schema/base/buf.h"

typedef enum { TYPE_BOOL, TYPE_NAT, TYPE_REAL, TYPE_LIN, TYPE_SMOOTH } TypeKind;

typedef struct Type Type;
struct Type {
    TypeKind kind;
    uint8_t rank;        /* REAL */
    bool vector;         /* no smooth arrow inside */
    bool has_nat;        /* some N inside */
    bool sized;          /* every N inside has a bound */
    uint32_t depth;      /* nesting in domains */
    uint64_t bound;      /* NAT; 0 = none */
    const uint64_t *dims; /* REAL: extents */
    const Type *dom, *cod; /* LIN: dom -o cod, SMOOTH: !dom -o cod */
    const Type *erased;  /* the same without bounds */
    size_t dim;          /* of a sized vector type: elements; SIZE_MAX when it does not fit or is not sized or no vector */
    uint32_t id;         /* dense, in order of making */
    uint32_t hash;
};

const Type *type_bool(Cx *cx);
const Type *type_nat(Cx *cx, uint64_t bound); /* bound 0: none */
/* rank in 1..LIMIT_TYPE_RANK, extents at least 1 (the caller's check, it knows the place). */
const Type *type_real(Cx *cx, const uint64_t *dims, size_t rank);
/* `at` is the place blamed. not_a_vector when a linear domain is no vector type; too_large when nested too deep. */
const Type *type_arrow(Cx *cx, bool smooth, const Type *dom, const Type *cod, At at);

static inline bool type_equal(const Type *a, const Type *b) { return a->erased == b->erased; }
static inline bool type_is_arrow(const Type *t) { return t->kind >= TYPE_LIN; }

/* The sized type: every N without a bound gets `size`; with `force`, every N does. */
const Type *type_with_size(Cx *cx, const Type *type, uint64_t size, bool force);

/* a ≤ b for sized types of one erased type (language.md §6): b stands where a value of a is wanted to grow into. */
bool type_fits(const Type *a, const Type *b);
/* Least upper bound: larger codomains, smaller domains. Both sized, of one erased type. */
const Type *type_join(Cx *cx, const Type *a, const Type *b);
/* Greatest lower bound. */
const Type *type_meet(Cx *cx, const Type *a, const Type *b);

/* A type like a and b (of one erased type) with each N's bound replaced by fn(ctx, a's, b's, is it in a domain), left to right. */
typedef uint64_t (*TypeBoundFn)(void *ctx, uint64_t a, uint64_t b, bool contra);
const Type *type_zip(Cx *cx, const Type *a, const Type *b, TypeBoundFn fn, void *ctx);

/* The text syntax, `!2 -o N[3] -o R[2,2]`. */
void type_print(Buf *out, const Type *type);
const char *type_text(Cx *cx, const Type *type); /* in the arena */

/* The shape of a sized vector type's tensor (api.md, Evaluate): at most LIMIT_TYPE_RANK extents; returns the rank.
 * An extent that does not fit is SIZE_MAX. */
size_t type_shape(const Type *type, size_t shape[]);
#endif
