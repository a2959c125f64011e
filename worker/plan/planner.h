/* Inside the planner: shared by plan.c (order, lifetimes), planner_ops.c, planner_contract.c, planner_iter.c,
 * planner_layers.c and planner_conv.c (a node to its steps), planner_sums.c (sums over the batch), planner_fuse.c (several nodes as one step).
 *
 * Everything fails by setting the err (sticky); functions then return harmless values, and plan_new gives up at the end. */
#ifndef CAJAL_PLANNER_H
#define CAJAL_PLANNER_H
#include "worker/plan/plan.h"

typedef struct {
    Phase phase;          /* from which on it is complete */
    bool sum, gathered;   /* added up, or put together, tile by tile: lives through all of EACH */
    uint32_t first, last; /* positions */
    uint32_t prepared;    /* step + 1: the last one that prepares it (planner_prepare); 0: none */
} Life;

/* What becomes of a step when all are there. */
typedef struct {
    Phase phase;
    uint32_t before; /* step + 1: the one before it that prepares the same value; 0: none */
} StepInfo;

typedef struct {
    uint32_t step, value;
} Touch;

/* A node as the planner sees it, before any step. */
typedef struct {
    bool needed, batched;
    bool late;                       /* a sum over the batch, or made from one: complete only after all tiles */
    bool taped;                      /* its elements are on the tape; no steps, no value */
    uint32_t sum;                    /* node + 1 of the sum over rows that this is a part of: then it has no value; 0: none */
    uint32_t uses;                   /* needed consumers, outputs included */
    uint32_t value;                  /* for iter_vjp the first of 3 + captures */
    bool *part_wanted, *part_summed; /* iter_vjp */
    /* made along with others (planner_fuse.c): */
    bool absorbed;              /* no steps, no value: a later node's step does it too */
    uint32_t conv, bias, mask;  /* node + 1: the convolution that this node's step is, with bias or mask; 0: none */
    uint32_t crop;              /* node + 1: the pad that cuts a conv2d_dx's result; 0: none */
    bool relu;                  /* and relu */
    bool whole;                 /* some reader wants all elements */
    uint32_t peaks;             /* node + 1: the max_pool2d at whose places this node's elements are, peaks its value; 0: none */
    uint32_t pooled;            /* node + 1: a max_pool2d of this node; 0: none */
    bool places;                /* of such: its step gives its places as well, in the value after its own */
    /* of the node that is summed (planner_sums.c): */
    uint32_t adds, rest;        /* the value that adds up, VALUE_NONE before its first part; what is added to it after the tiles */
    uint32_t parts, gather[2];  /* contracts among its parts; their operands, gathered */
    ContractDetail *gathered;   /* the product of these, K so far; NULL: none */
    size_t depth;               /* K of a part */
    uint32_t under;             /* of a part: node + 1 of the `sum` that it is summed by as well; 0: none */
} NodeInfo;

typedef struct Tape Tape;

typedef struct {
    const PlanSpec *spec;
    const Graph *g;
    Plan *plan;
    Err *err;
    NodeInfo *nodes;
    Life *lives;
    uint32_t values_room;
    StepInfo *infos; /* by step */
    uint32_t steps_room;
    Touch *touches;
    uint32_t ntouches, touches_room;
    Tape *tape; /* NULL: none */
    size_t gathered; /* elements, of all sums (planner_sums.c) */
} Planner;

/* Zeroed memory that lives as long as the plan; NULL sets the err. */
void *planner_alloc(Planner *b, size_t count, size_t size);
uint32_t planner_value(Planner *b, size_t size, bool batched, Home home, Phase phase);
static inline const PlanValue *planner_get(const Planner *b, uint32_t v) { return &b->plan->values[v]; }
static inline bool planner_ok(const Planner *b) { return b->err->code == ERR_NONE; }

/* What a step touches beside step->in[0..nin) and step->out; VALUE_NONE entries are skipped. */
typedef struct {
    uint32_t nin;
    const uint32_t *reads;
    uint32_t nreads;
    const uint32_t *writes; /* scratch and further results */
    uint32_t nwrites;
    bool sums; /* step->out adds up over tiles */
    Phase at_least;
} StepUse;
/* Adds a step; its phase and its results' follow from what it reads. */
void planner_step(Planner *b, Step step, const StepUse *use);
/* What a step makes of one shared value, its in[0], for whoever multiplies by it: made once, however often it is asked for. `same`: whether
 * another step with its kernel and its input does the same. The value, of `size` elements. */
typedef bool (*StepSame)(const Step *a, const Step *b);
uint32_t planner_prepare(Planner *b, Step step, size_t size, StepSame same);
/* A value that adds up over tiles, among a step's further results. */
void planner_late(Planner *b, uint32_t value);
/* A value that the tiles fill, each its rows; all threads have the same one. */
void planner_gathered(Planner *b, uint32_t value);
/* `work`: multiply-adds, or elements moved where there are none, a row or once. */
void planner_work(Planner *b, bool batched, double work);

/* How many inputs of a needed node are needed: of y in a reduce only the batch matters; a tuple of which only the result is wanted needs no
 * cotangent. */
uint32_t planner_reads(const Planner *b, uint32_t node);

/* planner_ops.c */
void planner_node(Planner *b, uint32_t node);
/* Wanted outputs: stores, or for a step graph values for its iteration to bind. */
void planner_outputs(Planner *b);
/* A fresh copy, once a row when `batched`. */
uint32_t planner_copy(Planner *b, uint32_t value, bool batched, Phase at_least, Op op);
/* Axis i of the result is axis perm[i] of the value; the value itself when nothing moves in memory. */
uint32_t planner_permute(Planner *b, uint32_t value, const size_t *dims, uint32_t rank, const uint32_t *perm, Op op);

/* Takes a sub-plan over, NULL included. */
Plan *planner_own(Planner *b, Plan *sub);

/* planner_sums.c */
/* Which nodes are parts of sums over rows. */
void planner_sums_find(Planner *b);
/* Adds such a node to its sum. */
void planner_sums_add(Planner *b, uint32_t node);
/* A part of `top` that is the product of va [rows,K,M] and vb [rows,K,N]: true when it is put off. */
bool planner_sums_gather(Planner *b, NodeInfo *top, uint32_t va, uint32_t vb, const ContractDetail *d, Op op);
/* Sum of a value over rows: one shared copy, complete after all tiles. */
uint32_t planner_sum(Planner *b, uint32_t value, Op op);
/* The same for a node, which may have no value but be made as its sum. */
uint32_t planner_summed(Planner *b, uint32_t node);

/* planner_contract.c: the node's value; with `summed`, its sum over rows, added to top->adds where the layout allows it; VALUE_NONE when put
 * off. */
uint32_t planner_contract(Planner *b, uint32_t node, bool summed, NodeInfo *top);

/* planner_layers.c: the node's value. */
uint32_t planner_layer(Planner *b, uint32_t node);
/* Of a pooling op or its derivative; NULL sets the err. */
WindowDetail *planner_pool_window(Planner *b, uint32_t node);

/* planner_fuse.c */
/* Input k of the node is not read: relu's x, where its result is at hand. */
bool planner_skips(const Graph *g, const GNode *n, uint32_t k);
/* Which nodes are made along with others, once the sums are found. */
void planner_fuse(Planner *b);
/* The value of a node that is a convolution's step, peaks or a max_pool2d with places. */
uint32_t planner_fused(Planner *b, uint32_t node);
/* planner_conv.c: the same for convolutions. */
typedef struct {
    const NodeInfo *maker; /* the node whose step it is: its bias, mask and relu; NULL: the node itself */
    bool summed;           /* conv2d_dw: its sum over rows, */
    uint32_t into;         /* added to this unless it is VALUE_NONE */
} ConvUse;
uint32_t planner_conv(Planner *b, uint32_t node, const ConvUse *use);

/* planner_tape.c: gives the plan a tape when its batched part is small (tape.h); then the nodes on it are not planned otherwise. */
void planner_tape(Planner *b);
void planner_tape_finish(Planner *b);
static inline bool planner_on_tape(const NodeInfo *info) { return info->needed && info->batched && !info->late; }

/* planner_iter.c */
void planner_iter(Planner *b, uint32_t node);
void planner_iter_vjp(Planner *b, uint32_t node);
#endif
