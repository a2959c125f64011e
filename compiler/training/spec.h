/* A run's specification (training.md) decoded: pure data, no look at the program, the data or the shapes (link.h does that).
 *
 * spec_read (spec_read.h) makes one. Numbers are finite, extents positive and at most LIMIT_SPACE.
 * Ownership: a Spec owns its Json and arena; nodes and strings live until spec_release. Read-only once read, but for json_items, which
 * opens nodes of its Json. */
#ifndef CAJAL_SPEC_H
#define CAJAL_SPEC_H
#include "schema/formats/json.h"
#include "schema/base/arena.h"
#include "schema/limits.h"
#include "schema/protocol/wire.h"

/* ---- networks ---- */

/* schema/graph/layers.def */
typedef enum {
#define LAYER(name, ...) LAYER_##name,
#include "schema/graph/layers.def"
#undef LAYER
    LAYER_COUNT
} LayerKind;
const char *layer_name(LayerKind kind);

enum { LAYER_PARAMS = 10, LAYER_RANK = 8 };
/* A layer with its parameters, as numbers; booleans are 0 and 1. They are read into `param` in the order of the layer's row, a pair taking two
 * places, and found by their names: layer->conv2d.stride[0] is the vertical one. */
typedef struct {
    LayerKind kind;
    union {
        double param[LAYER_PARAMS];
#define UINT(name, ...) double name;
#define PAIR(name, ...) double name[2];
#define REAL(name, ...) double name;
#define FLAG(name, ...) double name;
#define EXTENTS
#define LAYER(layer, check, shape, emit, parameters) struct { parameters } layer;
#include "schema/graph/layers.def"
#undef LAYER
#undef EXTENTS
#undef FLAG
#undef REAL
#undef PAIR
#undef UINT
    };
    uint32_t rank;               /* EXTENTS */
    uint32_t dims[LAYER_RANK];
    const char *pointer;         /* its place in the specification */
} SpecLayer;
#define LAYER(layer, ...) _Static_assert(sizeof(((SpecLayer *)0)->layer) <= sizeof(double[LAYER_PARAMS]), "room for the parameters of " #layer);
#include "schema/graph/layers.def"
#undef LAYER

/* One value of a network: layers, one after the other, applied to what `of` names (conv2d_by, the only layer of two inputs, is its value's
 * only layer). Its weights are nets.<net>.<layer index>.weight and .bias, in the long form nets.<net>.<value>.<layer index>.weight. */
typedef struct {
    const char *name;            /* NULL in the short form {"layers": …} */
    const char **of;             /* inputs of the network or earlier values */
    uint32_t nof;
    const uint32_t *from;        /* each of `of` as a number: input i, or ninputs + value i */
    SpecLayer *layers;
    uint32_t nlayers;
    const char *pointer;
} SpecValue;

typedef struct {
    const char *name;
    const char **inputs;         /* the short form has one, named "" */
    uint32_t ninputs;
    SpecValue *values;
    uint32_t nvalues;
    uint32_t out;                /* as in SpecValue.from */
    bool train;
    const char *from_run, *from_name; /* NULL: initialised; else weights <from_name>.<rest> of that run; from_name "nets.<name>" when not given */
    const char *pointer;
} SpecNet;

/* ---- what a context variable is bound to ---- */

typedef enum { BIND_COLUMN, BIND_CONSTANT, BIND_WEIGHTS, BIND_NET, BIND_NET_FUNCTION } BindKind;
typedef enum { INIT_KAIMING, INIT_ZEROS, INIT_ONES, INIT_NORMAL, INIT_COUNT } InitKind;
typedef struct {
    const char *variable;
    BindKind kind;
    const char *column;          /* COLUMN */
    JsonNode constant;           /* CONSTANT: a value as in /eval */
    InitKind init;               /* WEIGHTS */
    double deviation;            /* NORMAL */
    const char *from_run, *from_name; /* WEIGHTS: NULL: initialised; from_name "bind.<variable>" when not given */
    bool train;
    uint32_t net;                /* NET, NET_FUNCTION: index into nets */
    const char **of;             /* NET: other bindings, else columns; as many as the network has inputs */
    const char **of_pointers;    /* the place of each */
    const uint32_t *from;        /* which: index into binds, UINT32_MAX = a column */
    uint32_t nof;
    const char *pointer;
} SpecBind;

/* ---- training ---- */

typedef struct {
    const char *name;
    double scale, shift;         /* used as x·scale + shift */
    const char *pointer;
} SpecColumn;

typedef enum { LOSS_L1, LOSS_MSE, LOSS_CROSS_ENTROPY, LOSS_NLL, LOSS_BCE, LOSS_COUNT } LossKind;
typedef enum { OPTIMIZER_SGD, OPTIMIZER_ADAM, OPTIMIZER_ADAMW, OPTIMIZER_COUNT } OptimizerKind;
typedef enum { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_COSINE, SCHEDULE_WARMUP, SCHEDULE_COUNT } ScheduleKind;
typedef enum { METRIC_LOSS, METRIC_PSNR, METRIC_ACCURACY, METRIC_MAE, METRIC_COUNT } MetricKind;
/* NULL at the end */
extern const char *const loss_names[], *const optimizer_names[], *const schedule_names[], *const metric_names[], *const init_names[];

typedef struct {
    OptimizerKind kind;          /* parameters and defaults as PyTorch's of the same name */
    double lr, momentum, dampening, beta1, beta2, eps, weight_decay;
    bool nesterov;
} SpecOptimizer;

typedef struct {
    ScheduleKind kind;           /* lr(step), by steps: */
    uint64_t every, warmup, over; /* STEP: times gamma every `every`; COSINE: to lr_min over `over` steps (0, not given: all that are left); WARMUP:
                                   * linearly from 0 over `warmup`, then constant (also before STEP and COSINE, which begin behind it) */
    double gamma, lr_min;
} SpecSchedule;

typedef struct Spec {
    Json json;
    Arena arena;
    const char *name;            /* "" when none was given */
    const char *source;          /* the program: source, term or program (a hash); context, nat as in /compile */
    const char *program;
    JsonNode term, context, nat;
    SpecNet *nets;
    uint32_t nnets;
    SpecBind *binds;             /* sorted by variable */
    uint32_t nbinds;
    const uint32_t *order;       /* binds in an order in which what a binding is made of comes before it */
    const char *train_data, *test_data; /* test: NULL when there is none */
    SpecColumn *columns;         /* those with a scale or shift, sorted by name */
    uint32_t ncolumns;
    LossKind loss;
    const char *target;          /* a column */
    SpecOptimizer optimizer;
    SpecSchedule schedule;
    double clip_norm;            /* 0: none */
    uint64_t batch_size, epochs, steps, seed; /* exactly one of epochs and steps is not 0 */
    uint64_t evaluate_every, evaluate_rows;   /* every 0: never; rows 0: all */
    bool metrics[METRIC_COUNT];
    uint64_t checkpoint_every, checkpoint_keep; /* every 0: the first and the last only; keep: how many besides these */
    bool skip_nonfinite;
    DType dtype;                 /* DT_F32 (default) or DT_F64 */
} Spec;

void spec_release(Spec *spec);   /* harmless on a zeroed one */
/* scale 1, shift 0 when the column has none. */
SpecColumn spec_column(const Spec *spec, const char *name);
/* Calls back for each earlier run that weights come from. */
void spec_each_run(const Spec *spec, void (*run)(void *arg, const char *id, const char *pointer), void *arg);
#endif
