/* Inside linking: what link_*.c, net*.c and loss.c share.
 *
 * Shapes are settled first, from the bindings (variables have types, columns have rows), which also makes the list of weights; then
 * nodes are emitted: the bindings' values, the program with its calls inlined, the loss. */
#ifndef CAJAL_LINK_INSIDE_H
#define CAJAL_LINK_INSIDE_H
#include "compiler/training/link.h"
#include "compiler/passes/rewrite.h"
#include "schema/graph/ops.h"

enum { LINK_NONE = UINT32_MAX };

/* A layer with the shapes it has in this run. */
typedef struct {
    Dims in, out;
    Dims by;                /* conv2d_by: the kernel */
    uint32_t weight, bias;  /* index into the list of weights, LINK_NONE */
} LayerPlan;

typedef struct {
    const SpecNet *spec;
    const char *first;      /* the binding that the shapes come from; NULL: none yet */
    Dims *values;           /* the inputs, then the values */
    LayerPlan **layers;     /* by value */
} NetPlan;

typedef struct {
    Cx *cx;
    const Spec *spec;
    const Program *p;
    const LinkData *train, *test;
    char *pointer;
    Linked *out;
    const uint32_t *inputs; /* by variable: its binder */
    uint32_t *bind_of;      /* by variable: its binding */
    uint32_t *variable_of;  /* by binding */
    uint32_t *own_weight;   /* by binding to weights, in the order they were found */
    NetPlan *nets;
    uint32_t slots_room, weights_room;
    uint32_t *weight_slot;  /* weights in the order they were found -> WEIGHT j */
} Link;

/* A graph under construction and, inside an iteration's step, how it reaches the weights outside. */
typedef struct LinkLevel LinkLevel;
struct LinkLevel {
    Link *link;
    Rewrite rw;             /* from: the program's graph, or a step's */
    LinkLevel *outer;       /* NULL: the program itself */
    uint32_t *weights;      /* by WEIGHT j: its flat node here + 1 */
    uint32_t *captured;     /* a step's: the nodes outside behind the captures that were added */
    uint32_t ncaptured, captured_room;
    uint32_t ncaptures;     /* of the step, the added ones included */
    const uint32_t *bound;  /* the program's: by variable, the node of its value, LINK_NONE */
};

_Noreturn void link_fail(Link *k, ErrCode code, const char *pointer, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* "[1,28,28]", in the arena */
const char *link_dims(Link *k, const Dims *dims);
/* The dims of a sized vector type's tensor. */
Dims link_shape(Link *k, const Type *type, const char *pointer);
/* Product of the dims; fails with too_large beyond LIMIT_SPACE. */
size_t link_size(Link *k, const Dims *dims, const char *pointer);

/* An input node, flat. */
uint32_t link_input(Rewrite *rw, SlotRole role, uint32_t index, size_t size);
/* [n] */
uint32_t link_const(Rewrite *rw, const double *data, size_t n);
/* `map`; a parameter that the function does not have is left out. */
uint32_t link_map(Rewrite *rw, uint32_t x, Function function, double p0, double p1);

/* link_columns.c: columns become slots; a column used twice must be used alike. */
/* As a variable of that type, called `what`, is bound to it. */
void link_column_typed(Link *k, const char *name, const Type *type, const char *what, const char *pointer);
/* As numbers; its dims ([1] for a number a row). */
Dims link_column_plain(Link *k, const char *name, const char *pointer);
/* The column of the train data; fails when there is none. */
const LinkColumn *link_column(Link *k, const char *name, const char *pointer);
bool link_is_integer(const LinkColumn *column);
/* For messages: "f32". */
const char *link_column_dtype(const LinkColumn *column);
Dims link_row(Link *k, const LinkColumn *column, const char *pointer); /* rank 0 for a number a row */
/* Sorts the slots and holds them against the test data and the scales; after it link_slot tells COLUMN i. */
void link_settle_columns(Link *k);
uint32_t link_slot(const Link *k, const char *name);

/* link_weights.c. Index in the order found; from: the binding's or net's (NULL: none), train. */
uint32_t link_weight_add(Link *k, const LinkWeight *weight, const char *pointer);
void link_settle_weights(Link *k);
/* The weight's node in its dims, found by the order found. */
uint32_t link_weight(LinkLevel *level, uint32_t weight);

/* net.c: shapes. inputs: one a network input. The output's dims. */
Dims net_plan(Link *k, NetPlan *net, const Dims *inputs, const char *pointer);
/* net_emit.c: nodes. inputs: nodes of the planned sizes; the result has the planned output's dims. */
uint32_t net_emit(LinkLevel *level, const NetPlan *net, const uint32_t *inputs);

/* loss.c. The target becomes a slot, held against the program's output; then the nodes: a number a row. */
void loss_target(Link *k);
uint32_t loss_emit(LinkLevel *level, uint32_t value, uint32_t target);

/* link_inline.c: the program's graph with its inputs and networks in place; the node of its value. */
uint32_t link_inline(LinkLevel *level);
#endif
