/* A step: one kernel call with settled operands, and what each family of kernels is told beyond them.
 *
 * A *value* is what a step reads or writes, named by its number in the plan: `size` elements, either shared (one copy) or batched (one a row).
 * Sizes and places are in elements. Details that are pointed to are the plan's. */
#ifndef CAJAL_STEP_H
#define CAJAL_STEP_H
#include "schema/graph/ops.h"
#include "worker/kernels/conv_shape.h"

#define VALUE_NONE UINT32_MAX

typedef struct Exec Exec;
typedef struct Step Step;
typedef struct Plan Plan;
typedef void (*Kernel)(Exec *x, const Step *step);

/* ---- details ---- */

/* Ones at first, first + stride, …; zeros elsewhere. */
typedef struct {
    size_t first, count, stride;
} FillDetail;

/* [outer,nin,inner] -> [outer,nout,inner]: y[dst+j] = x[src+j], j < count, zero elsewhere; keep: the last place of x is added to that of y. */
typedef struct {
    size_t outer, inner, nin, nout, src, dst, count;
    bool keep;
} SlideDetail;

/* Along an axis; of broadcast the result's, else the input's. */
typedef struct {
    AxisView axis;
    bool flag[2]; /* the op's attributes behind the axis: of softmax log, transpose */
} AlongDetail;

/* peaks: of `planes` planes with so many pooling windows each; relu: behind the relu of the pool's input. */
typedef struct {
    size_t planes, windows;
    bool relu;
} PeaksDetail;

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
    uint32_t count_bar, base_bar, *capture_bar, result; /* what tuple_gets read; VALUE_NONE when nobody asks */
    bool *capture_sum;                                 /* the capture's cotangent is summed over rows (and tiles) on the way */
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
    uint32_t places;       /* max_pool_places: the value that gets them */
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

/* A tape (worker/plan/tape.h): the same code for blocks of `lanes` rows, the last one padded. */
typedef struct {
    uint32_t lanes, nregs, nscalars, ncode, nloads, nstores;
    uint32_t scalars_at, regs_at; /* values */
    TapeScalar *scalars;
    TapeInstr *code;
    TapePort *loads, *stores;
} TapeDetail;

/* ---- the step ---- */

struct Step {
    Kernel run;
    Op op; /* the node it comes from, for people */
    uint32_t out, in[3];
    bool out_batched, in_batched[3];
    bool more;   /* sums over rows: not the first step of its sum */
    size_t size; /* elements a row: of the operands of what goes element by element, of if's branches, of iter's result */
    union {      /* by the kernel: */
        FillDetail fill;
        SlideDetail slide;
        AlongDetail along; /* broadcast, sum, softmax and their derivatives, sum_batch_sum */
        PeaksDetail peaks; /* peaks; of peaks_sum `windows` is the most that a plane has */
        size_t conditions; /* if: how many each row has, [conditions,2] */
        size_t rows_before; /* gather: of the values gathered before this one */
        uint32_t port;     /* load: the slot; store: the output */
        const ContractDetail *contract;
        const PermuteDetail *permute;
        const IterDetail *iter;
        const IterVjpDetail *vjp;
        const TapeDetail *tape;
        const MapDetail *map;
        const WindowDetail *window;
        const ConvDetail *conv;
    };
};
#endif
