/* Plans: a graph turned into an array of kernel calls with settled operands, once for a batch class, dtype and set of outputs.
 *
 * A *value* is what a step reads or writes: `size` elements, either shared (one copy) or batched (one a row). All values of a
 * run lie in one slab of two regions: shared values at `offset`, batched ones at `offset` × tile rows behind them; so one plan
 * serves every number of rows.
 * Steps stand in three phases, each in topological order: ONCE (what is the same for all tiles; in a step graph: for all
 * iterations), EACH (a tile; an iteration), AFTER (what needs sums over all tiles). Values are placed by their lifetimes over
 * that order.
 * Ownership: a Plan refers to its Graph, which must outlive it; it owns its sub-plans. Read-only once made.
 * Errors: plan_new returns NULL and sets the err: not_tabulable (a network that was not linked), too_large, internal (out of
 * memory). */
#ifndef CAJAL_PLAN_H
#define CAJAL_PLAN_H
#include "schema/graph/graph.h"
#include "schema/errors.h"
#include "worker/kernels/conv_shape.h"

#define VALUE_NONE UINT32_MAX

/* Which variant of the kernels. */
#ifdef __x86_64__
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;
#else
typedef enum { ISA_BASE, ISA_COUNT } Isa;
#endif

typedef struct Exec Exec;
typedef struct Step Step;
typedef struct Plan Plan;
typedef void (*Kernel)(Exec *x, const Step *step);

typedef enum {
    HOME_SLAB,  /* at `offset` of its region */
    HOME_CONST, /* at `offset` of the plan's constants */
    HOME_BOUND, /* where the iteration that runs this step graph says */
} Home;

typedef struct {
    size_t size; /* elements a row */
    bool batched;
    bool once, sum; /* one for all threads: settled before the tiles, or gathered by them; a sum over rows, one a thread */
    uint8_t home;
    size_t offset; /* elements; in the batched region elements a row */
} PlanValue;

/* What a kernel knows beyond its operands; one kind a kernel family. */
typedef struct {
    size_t G, M, N, K; /* extents of labels in all three, in a and out, in b and out, in a and b */
    bool ta, tb;       /* a is [G,K,M] rather than [G,M,K]; b is [G,N,K] rather than [G,K,N]; out is [G,M,N] */
} ContractDetail;

typedef struct {
    uint32_t rank;
    size_t *dims, *strides; /* of the output's axes: extents, and strides in the input */
} PermuteDetail;

typedef struct {
    uint32_t count, comp; /* a value, a state */
    size_t outer, k;      /* count is [outer, k] */
} Readout;

typedef struct {
    Plan *plan;
    uint32_t shared, rows; /* scratch values holding the sub-plan's two regions */
    size_t table;          /* its pointers stand at this place behind the plan's own */
} SubPlan;

typedef struct {
    uint32_t ncomps, ncaps, nreads;
    size_t steps; /* iterations to run: the largest k, less one */
    bool state_batched;
    uint32_t *bases, *states; /* values: ncomps bases; ncomps × 2 states, taken in turn */
    uint32_t *captures;
    size_t *sizes; /* of the states */
    Readout *reads;
    size_t now; /* the states' places in this iteration: ncomps pointers behind the plan's own */
    SubPlan step;
} IterDetail;

typedef struct {
    uint32_t count, base, cotangent, ncaps, *captures; /* values read */
    size_t outer, k, size;                             /* count is [outer, k], the state [size] */
    bool state_batched, batched;                       /* batched: something is, and so are the cotangents */
    size_t segment;                                    /* states kept at a time; k, or fewer when memory is short */
    uint32_t states, marks;                            /* a segment's states, each rows × size; the first of each, VALUE_NONE for one */
    uint32_t adjoint[2];                               /* the state's cotangent, taken in turn */
    uint32_t count_bar, base_bar, *capture_bar, result; /* parts; VALUE_NONE when nobody asks */
    bool *capture_sum;                                 /* the part is summed over rows (and tiles) on the way */
    size_t *capture_size;
    SubPlan step, vjp;
} IterVjpDetail;

/* A function of schema/graph/functions.def and its parameters. */
typedef struct {
    uint32_t function;
    double p, q;
} MapDetail;

/* pad and pooling: `planes` images [H,W] -> [Ho,Wo]. Padding above and to the left; may be negative (pad: cuts). */
typedef struct {
    size_t planes, H, W, Ho, Wo;
    size_t kh, kw, sh, sw; /* pooling: window and stride */
    int64_t top, left;
    double value;          /* pad: what is put in */
} WindowDetail;

typedef struct {
    ConvShape shape;
    bool turned;                    /* conv2d_dx: w is that of the convolution whose x̄ this is */
    size_t peaks;                   /* ȳ is so many peaks an output at most (kernels/peaks.c); 0: it is whole */
    bool bias, mask, relu;          /* in[2] is a bias or a mask; the end of the step (kernels/conv_image.h) */
    uint32_t scratch, sums, packed; /* values; packed: where a row's own kernels go, VALUE_NONE when in[1] is packed already */
} ConvDetail;

/* Operands r: registers, s: scalars; d: a register. In the letters' order d = r + r, … */
typedef enum {
    TAPE_SET,     /* s */
    TAPE_ADD_RR,
    TAPE_ADD_SR,
    TAPE_MUL_RR,
    TAPE_MUL_SR,
    TAPE_FMA_RRR, /* a·b + c */
    TAPE_FMA_RRS,
    TAPE_FMA_SRR,
    TAPE_FMA_SRS,
    TAPE_FMA_SSR
} TapeOp;

typedef struct {
    TapeOp op;
    uint32_t d, a, b, c;
} TapeInstr;

typedef enum { SCALAR_CONST, SCALAR_VALUE, SCALAR_ADD, SCALAR_MUL, SCALAR_FMA } ScalarOp;

/* Scalars: a, b, c; VALUE: a value, an element. */
typedef struct {
    ScalarOp op;
    uint32_t a, b, c;
    double number;
} TapeScalar;

/* Registers to and from outside: register[i] is element[i] of a row. */
typedef struct {
    uint32_t at; /* slot, output, or value that sums up rows */
    bool sum;
    uint32_t n, *element, *reg;
} TapePort;

/* A tape (tape.h): the same code for blocks of `lanes` rows, the last one padded. */
typedef struct {
    uint32_t lanes, nregs, nscalars, ncode, nloads, nstores;
    uint32_t scalars_at, regs_at; /* values */
    TapeScalar *scalars;
    TapeInstr *code;
    TapePort *loads, *stores;
} TapeDetail;

struct Step {
    Kernel run;
    Op op; /* the node it comes from, for people */
    uint32_t out, in[3];
    bool out_batched, in_batched[3];
    size_t outer, inner, nin, nout; /* slide: [outer,nin,inner] -> [outer,nout,inner]; softmax, spread, total: [outer,nin,inner];
                                       others: elements a row in `inner` */
    size_t src, dst, count, stride; /* slide, fill; load and store: the slot or output in src; softmax: of the logarithm, dst: transposed */
    bool keep;                      /* slide: the last place keeps itself */
    bool more;                      /* sums over rows: not the first step of its sum */
    ContractDetail *contract;
    PermuteDetail *permute;
    IterDetail *iter;
    IterVjpDetail *vjp;
    const TapeDetail *tape;
    const MapDetail *map;
    const WindowDetail *window;
    const ConvDetail *conv;
};

/* Of a step graph: bound by its iteration to where the result shall go, so nothing is copied. */
typedef struct {
    uint32_t value; /* VALUE_NONE: not asked for */
    bool batched;
} PlanOutput;

typedef enum { PHASE_ONCE, PHASE_EACH, PHASE_AFTER, PHASES } Phase;

struct Plan {
    const Graph *graph;
    bool f64, is_step;
    size_t rows; /* PlanSpec */
    Isa isa;
    bool blas;        /* tiles call BLAS */
    bool single_tile; /* a batched value needs a sum over the batch: all rows at once, and such sums are complete in EACH */
    PlanValue *values;
    uint32_t nvalues;
    Step *steps;
    uint32_t nsteps, phase_at[PHASES + 1]; /* steps [phase_at[p], phase_at[p+1]) */
    uint32_t *slot_values;                 /* by slot; VALUE_NONE when not needed */
    PlanOutput *outputs;                   /* by output */
    float *consts32;                       /* f32: the graph's constants, converted once */
    void **owned;                          /* details of steps */
    size_t nowned;
    Plan **subs;
    size_t nsubs;
    size_t shared_size, row_size; /* elements: the shared region, and a row of the batched one */
    size_t table;                 /* pointers a run needs, sub-plans' included */
    double macs_shared, macs_row;
};

#define PLAN_KEEP_BYTES ((size_t)192 << 10) /* of a row: 128 rows of it are 24 MiB */

typedef struct {
    const Graph *graph;
    bool f64;
    const bool *batched; /* by slot */
    const bool *wanted;  /* by output */
    size_t rows;         /* training: every run has so many; 0: any number, and a row's bits do not depend on it */
    Isa isa_below;       /* 0: the best this CPU has; else a lesser one (tests) */
    bool no_tape;        /* ordinary steps whatever the size (tests) */
    size_t keep_bytes;   /* 0: PLAN_KEEP_BYTES; a row's states of a recurrence beyond it are recomputed by segments (tests) */
    bool is_step;
    /* step graphs, by output: */
    const bool *out_batched; /* the form the iteration wants it in */
    const bool *adds;        /* added to what the iteration binds */
    const bool *sums;        /* summed over rows before; then not batched */
} PlanSpec;

Plan *plan_new(const PlanSpec *spec, Err *err);
void plan_free(Plan *plan);
static inline size_t plan_element(const Plan *plan) { return plan->f64 ? sizeof(double) : sizeof(float); }
#endif
