/* Lowering, the inside: symbolic evaluation of a term to neurons, sizes settled on the way (language.md §5, §6).
 *
 * The machine: frames on an explicit stack, each a small state machine that pushes what it needs and reads `result` on its next
 * turn; neither deep terms nor deep inlining touch the C stack. Functions that push frames are named push_*; at their return
 * the answer is either in lower->result already or will be when the frames above the caller's are gone.
 *
 * Values: a vector is a node of a graph with *open axes*: a tabulated parameter is the identity matrix whose first axis stays open until
 * the function's result is there and is then closed into the table. Everything linear just carries open axes along.
 * Functions that need no table stay closures and are inlined where they are applied.
 *
 * Levels: level 0 is the program's graph, level n+1 the step of an iteration at level n. A node is put at the highest level among its
 * inputs, so what does not depend on the state leaves the step; what a step needs from below comes in through capture slots.
 *
 * Dry runs: sizes of iterations are found by running the step without emitting nodes (`dry` > 0): vectors then have a type only. */
#ifndef CAJAL_LOWER_H
#define CAJAL_LOWER_H
#include "compiler/language/check.h"
#include "schema/graph/graph.h"
#include <setjmp.h>

typedef struct {
    uint32_t level, node;
} Ref;

typedef enum { VAL_VEC, VAL_CLOSURE, VAL_CHOICE, VAL_BOUNDED, VAL_NETWORK } ValKind;

typedef struct Val Val;
typedef struct Env Env;
typedef struct Uses Uses;
struct Val {
    ValKind kind;
    const Type *type; /* VEC: sized; functions: as checked */
    union {
        struct { Ref ref; uint32_t naxes; const uint32_t *axes; } vec; /* node dims: [extents of axes…, type->dim] */
        struct { uint32_t fun; const Env *env; Uses *uses; } closure;
        struct { const Val *cond, *then, *otherwise; } choice;         /* a conditional between functions not tabulated */
        struct { const Val *inner; } bounded;                          /* inner, held to the bounds written in type */
        struct { uint32_t index, nargs; const Val *const *args; } network; /* input i, or number of inputs + argument; its arguments so far */
    };
};

/* Environments: a list with jump pointers, so that a variable is found by its binder's depth in logarithmic time. */
struct Env {
    const Env *below, *jump;
    const Val *val;
    uint32_t depth;
};

typedef enum {
    FRAME_NOTHING, /* of a term that needs no steps of its own, or that nobody has given any */
    FRAME_SUCC, FRAME_IF, FRAME_APP, FRAME_LET, FRAME_ITER, FRAME_CHOICE, FRAME_BOUNDED, FRAME_TABLE, FRAME_NETWORK, FRAME_TABULATE,
    FRAME_REMEMBER, FRAME_KINDS
} LowerFrameKind;

typedef struct IterState IterState;
typedef struct {
    LowerFrameKind kind;
    uint32_t phase, node; /* node: the term node evaluated or blamed */
    const Env *env;
    const Val *a, *b;
    const Type *type; /* TABULATE: the parameter's; REMEMBER: the argument's */
    uint32_t axis;
    IterState *iter;
} LowerFrame;

typedef struct {
    Ref source;
    uint32_t node; /* in the level that captures */
} Capture;

typedef struct {
    Graph *graph;
    Capture *captures;
    uint32_t ncaptures, captures_room;
    uint32_t **imported; /* by source level, by source node: node here + 1 */
    uint32_t *imported_room;
} Level;

typedef struct Lower {
    Cx *cx;
    const Program *p;
    const Checked *checked;
    const uint32_t *depth; /* by binder: its place in the environment (levels.h) */
    LowerFrame *stack;
    uint32_t top, room;
    const Val *result;
    Level *levels;
    uint32_t level, levels_room; /* the current one */
    uint64_t *axes;              /* extent by axis */
    uint32_t naxes, axes_room;
    uint32_t dry;
    uint64_t steps;
    jmp_buf retry;  /* where a failed trial goes on */
    uint32_t trial; /* index + 1 of the frame on trial, 0 = none */
} Lower;

/* lower_state.c: what all parts stand on */
const Env *lower_bind(Lower *lower, const Env *below, const Val *val);
const Val *lower_lookup(const Env *env, uint32_t depth);
LowerFrame *push_frame(Lower *lower, LowerFrameKind kind, uint32_t node);
void pop_frame(Lower *lower, const Val *result);
/* A failure that a trial (lower_iter.c) may catch: sizes. */
_Noreturn void lower_fail(Lower *lower, ErrCode code, uint32_t node, const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void fail_bound(Lower *lower, uint32_t node, uint64_t bound, uint64_t need, const char *what);
_Noreturn void fail_steps(Lower *lower, uint32_t node); /* beyond LIMIT_LOWER_STEPS */

/* lower_eval.c: the frames of terms and functions */
void push_eval(Lower *lower, uint32_t node, const Env *env);
void push_apply(Lower *lower, const Val *function, const Val *argument, uint32_t node);
/* A function becomes its table (a vector); vectors stay. */
void push_tabulate(Lower *lower, const Val *val, uint32_t node);
/* The sized type the parameter of a function has when it is tabulated. */
const Type *param_type(Lower *lower, const Val *function);
/* Holds a value to the bounds written in `annotation` (nat_bound_exceeded); a function that is no table is held to them when applied. */
const Val *val_admit(Lower *lower, const Val *val, const Type *annotation, uint32_t node);
/* One turn of a frame; any but FRAME_ITER. */
void step_eval(Lower *lower, LowerFrame *frame);

/* lower_vec.c: vectors; none of these runs the machine */
const Val *vec_slot(Lower *lower, SlotRole role, uint32_t index, const Type *type, uint32_t node);
const Val *vec_bool(Lower *lower, bool value);
const Val *vec_nat(Lower *lower, uint64_t value, uint32_t node);
const Val *vec_succ(Lower *lower, const Val *val, uint32_t node);
const Val *vec_if(Lower *lower, const Val *cond, const Val *then, const Val *otherwise);
const Val *vec_apply(Lower *lower, const Val *table, const Val *argument, uint32_t node);
/* A larger sized type around the same value; nat_bound_exceeded when it does not fit. */
const Val *vec_fit(Lower *lower, const Val *val, const Type *type, uint32_t node);
/* Any other extents: cut and zero-padded. */
const Val *vec_resize(Lower *lower, const Val *val, const Type *type);
/* The identity over a parameter's space, its first axis open. */
const Val *vec_param(Lower *lower, const Type *type, uint32_t *axis, uint32_t node);
/* Closes the axis: the table of the function whose result at the parameter's basis vectors `body` is. */
const Val *vec_close(Lower *lower, const Val *body, uint32_t axis, const Type *param, uint32_t node);
const Val *vec_call(Lower *lower, const Val *network, const Type *type, uint32_t node);
/* n₀ · base */
const Val *vec_first(Lower *lower, const Val *count, const Val *base);
/* The recurrent neuron; takes the step's graph over. */
const Val *vec_iter(Lower *lower, const Val *count, const Val *base, const Level *step);
/* The state inside the step just begun, with the axes of base. */
const Val *vec_state(Lower *lower, const Val *base);
/* Sets the step's output. */
void vec_step_output(Lower *lower, const Val *next, const Val *base);
void check_space(Lower *lower, const Type *type, uint32_t node);
/* A new graph that dies with the Cx's failure; whoever takes it over says cx_keep. */
Graph *level_graph(Lower *lower);

/* lower_iter.c: one turn of a FRAME_ITER */
void step_iter(Lower *lower, LowerFrame *frame);
#endif
