/* Linking: program and networks become one neuron graph (training.md). Inlining of graphs: each `call` of a bound network, each input
 * bound to a network, constant, weights or column is replaced by nodes.
 *
 * Slots of a linked graph: COLUMN i (data as the network sees it: scaled; an integer column bound to 2 or N[k] is its basis vector), WEIGHT j.
 * Errors fail the Cx: the language's codes where the program is to blame (places in canonical terms, the pointer is ""), else bad_run,
 * shape_mismatch, type_mismatch, missing_input, unknown_input, too_large, with the place in the specification in `pointer`.
 * Ownership: everything but the graphs is the Cx's; link_run's graph is guarded by the Cx until rewrite_give, the others are the caller's. */
#ifndef CAJAL_LINK_H
#define CAJAL_LINK_H
#include "compiler/lower/compile.h"
#include "compiler/training/spec.h"

enum { LINK_POINTER = 200 }; /* room for a pointer, its NUL included */

/* A column of a data set: one row's shape; rank 0: a number a row. */
typedef struct {
    const char *name;
    DType dtype;
    uint32_t rank;
    size_t dims[LAYER_RANK];
} LinkColumn;
typedef struct {
    const LinkColumn *columns;
    uint32_t ncolumns;
    uint64_t rows;
} LinkData;

/* A column that the run uses, as a slot. */
typedef struct {
    const char *name;
    uint32_t column;             /* index into the train data's columns */
    uint32_t test_column;        /* and the test data's; UINT32_MAX without one */
    size_t size;                 /* of the slot */
    bool discrete;               /* an integer column as basis vectors: one value a row; N[k]: n is basis vector n; 2: 1 is true, (1, 0), 0 is false */
    const Type *type;            /* as /eval takes it: R[…] (a number a row: R[1]), 2 or N[k], or what it is bound to */
    double scale, shift;
    bool needed;                 /* by a binding; else only by the loss */
    bool probability;            /* the target of bce: once scaled, from 0 to 1 */
} LinkSlot;

typedef struct {
    const char *name;            /* "bind.f", "nets.counter.1.weight" */
    uint32_t rank, dims[LAYER_RANK];
    size_t size;
    InitKind init;               /* KAIMING: uniform in ±bound, bound = 1/√fan_in (a = √5); NORMAL: deviation = bound */
    double bound;
    bool train;
    const char *from_run, *from_name; /* NULL: initialised */
} LinkWeight;

typedef struct {
    const Type *output;          /* the program's value: a vector type, no function */
    LinkSlot *slots;             /* COLUMN i; sorted by column name */
    uint32_t nslots;
    uint32_t target;             /* which slot the loss compares with */
    LinkWeight *weights;         /* WEIGHT j; sorted by name; at least one is trained */
    uint32_t nweights;
    const Type **variables;      /* the program's context by name: the sized type of those that are vectors, else NULL */
    const char **names;          /* and their names */
    uint32_t nvariables;
    DType dtype;                 /* of the run */
    Graph *forward;              /* outputs: VALUE, LOSS (a number a row: the mean over the row's elements), BOUND v for each vector variable; guarded */
    double macs, bytes;          /* of a training step, a row: three times the forward pass's multiply-adds; all its values, twice */
} Linked;

/* test may be NULL. Batch size against rows, every shape across every link, dtype of columns, loss and metrics against output and target: all
 * here. The program may be given by its hash: spec->source and the like are not looked at. */
Linked *link_run(Cx *cx, const Spec *spec, const Program *p, const Checked *checked, const LinkData *train, const LinkData *test,
                 char pointer[LINK_POINTER]);

/* What one step computes: outputs LOSS, VALUE, GRAD_WEIGHT j for each trained weight: Σ over rows of cotangent · ∂loss/∂w, the cotangent
 * of LOSS in slot COTANGENT 0 (one number; 1/batch gives the mean). Iterations whose steps hold networks are unrolled while that fits the memory
 * (unroll.h), so that forward activations are kept. Optimised. */
Graph *link_train(Cx *cx, const Linked *linked, uint64_t batch);

/* The trained model as a program: weights are constants, slots INPUT i, one a needed column in order of name, outputs VALUE and BOUND v for those wanted
 * (wanted NULL: none); derived as asked for with respect to the inputs. `stored`: the inputs are columns as stored, scale and shift are
 * part of the graph. weights: by weight, in its dims. Optimised, the caller's. */
typedef struct {
    const double *const *weights;
    bool stored;
    const bool *wanted; /* by variable */
    Derive derive;
} LinkServe;
Graph *link_serve(Cx *cx, const Linked *linked, const LinkServe *serve);
#endif
