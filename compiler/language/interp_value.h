/* What interp.c works on, values and environments: immediates, and counted cells that are used again.
 *
 * An InterpValue pointer with low bits set is no pointer but holds a natural, a boolean or none in itself, so that iterating over
 * naturals takes no memory. The rest are cells, reference-counted: the language has no recursive values, so counting frees
 * everything, and memory is bounded by what is alive. An environment is a list with Myers' jump pointers (Inf. Proc. Lett. 17,
 * 1983): O(1) to extend and share, O(log n) to look up.
 * Ownership: functions named _new, _push and value_retain give a reference; _release takes one. Cells are in the Cx's arena. */
#ifndef CAJAL_INTERP_VALUE_H
#define CAJAL_INTERP_VALUE_H
#include "compiler/language/term.h"

enum { CELL_ENV, CELL_CLOSURE, CELL_BASIS, CELL_FREE };

typedef struct InterpValue InterpValue, Cell;
struct InterpValue {
    uint32_t refs;
    uint32_t kind : 2, info : 30; /* ENV: depth, from 1; CLOSURE: the FUN node */
    union {
        struct {
            const InterpValue *value;
            Cell *up, *jump; /* jump is somewhere above up, which keeps it alive */
        };
        struct {
            Cell *env; /* CLOSURE */
        };
        struct {
            const Type *type; /* BASIS: an arrow, sized */
            size_t index;
        };
        Cell *next; /* FREE */
    };
};

typedef struct {
    Cx *cx;
    Cell *spare;
    size_t bytes; /* taken from the arena, the machine's stack included */
} Heap;

/* Immediates */
static inline const InterpValue *value_nat(uint64_t n) { return (const InterpValue *)(uintptr_t)(n << 2 | 1); }
static inline const InterpValue *value_bool(bool b) { return (const InterpValue *)(uintptr_t)(b ? 6 : 2); }
static inline const InterpValue *value_none(void) { return (const InterpValue *)(uintptr_t)3; }
static inline bool value_is_cell(const InterpValue *v) { return ((uintptr_t)v & 3) == 0; }
static inline bool value_is_nat(const InterpValue *v) { return ((uintptr_t)v & 3) == 1; }
static inline uint64_t value_to_nat(const InterpValue *v) { return (uint64_t)(uintptr_t)v >> 2; }

static inline const InterpValue *value_retain(const InterpValue *v) {
    if (v && value_is_cell(v)) ((Cell *)v)->refs++;
    return v;
}
void cell_release(Heap *heap, const InterpValue *v); /* NULL and immediates: nothing */

/* Takes memory from the arena; too_large beyond LIMIT_INTERP_BYTES. */
void *heap_take(Heap *heap, size_t bytes);
const InterpValue *closure_new(Heap *heap, uint32_t node, Cell *env); /* takes env */
/* Basis vector `index` of a sized vector type. */
const InterpValue *basis_new(Heap *heap, const Type *type, size_t index);

/* NULL is the empty environment. Takes up and value. */
Cell *env_push(Heap *heap, Cell *up, const InterpValue *value);
/* The value bound at this level (levels.h); not retained. */
const InterpValue *env_at(const Cell *env, uint32_t level);
#endif
