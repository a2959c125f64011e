/* Inside the planner. planner.c has what adds values and steps; on it stand the rules (a node to its steps): planner_move.c, planner_layers.c,
 * planner_contract.c, planner_conv.c, planner_iter.c; planner_sum.c (values summed over rows) and planner_sums.c (nodes that are); planner_fuse.c
 * (several nodes as one step); planner_ops.c (the table of rules); the tape (planner_tape.c, tape.h); and on all of them plan_build.c (what is batched
 * and needed, order, lifetimes).
 *
 * Everything fails by setting the error (sticky); functions then return harmless values, and plan_new gives up at the end. */
#ifndef CAJAL_PLANNER_H
#define CAJAL_PLANNER_H
#include "worker/plan/plan.h"

/* When a value lives; what is known only at the end are the positions, in the steps' final order. */
typedef struct {
    Phase phase;          /* from which on it is complete */
    bool sum, gathered;   /* added up, or put together, tile by tile: lives through all of EACH */
    uint32_t first, last; /* positions of the first and the last step that touches it */
    uint32_t prepared;    /* step + 1: the last one that prepares it (planner_prepare); 0: none */
} Life;

/* What becomes of a step when all are there. */
typedef struct {
    Phase phase;
    uint32_t before; /* step + 1: the one before it that prepares the same value; 0: none */
} StepInfo;

/* The step reads or writes the value. */
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

/* A plan being made. */
typedef struct {
    const PlanSpec *spec;
    Plan *(*plan_step)(const PlanSpec *spec, Err *err); /* plan_new, which plans steps as it does graphs */
    const Graph *g;
    Plan *plan;
    Err *err;
    NodeInfo *nodes; /* by node */
    Life *lives;     /* by value */
    uint32_t values_room;
    StepInfo *infos; /* by step */
    uint32_t steps_room;
    Touch *touches;
    uint32_t ntouches, touches_room;
    Tape *tape; /* NULL: none */
    size_t gathered; /* elements, of all sums (planner_sums.c) */
} Planner;

/* Zeroed memory that lives as long as the plan; NULL sets the error. */
void *planner_alloc(Planner *b, size_t count, size_t size);
/* A new value, complete from `phase` on unless the step that makes it says otherwise. */
uint32_t planner_value(Planner *b, size_t size, bool batched, Home home, Phase phase);
static inline uint32_t planner_fresh(Planner *b, size_t size, bool batched) { return planner_value(b, size, batched, HOME_SLAB, PHASE_ONCE); }
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

/* How many inputs of a needed node are needed: as op_reads says, and a tuple of which only the result is wanted needs no
 * cotangent. */
uint32_t planner_reads(const Planner *b, uint32_t node);

/* Input k of the node is not read: relu's x, where its result is at hand. */
bool planner_skips(const Graph *g, const GNode *n, uint32_t k);
/* False, and the error is set: plan->subs and plan->nested have no room for one more. */
bool planner_room_for_sub(Planner *b);

/* A node on its way into the plan. */
typedef struct {
    Planner *b;
    uint32_t id;
    const GNode *n;
    const uint32_t *ins, *dims;
    const int64_t *attrs;
    bool batched;
    Kernel kernel; /* of its row's STEP */
} PlanNode;
static inline PlanNode planner_node_of(Planner *b, uint32_t i) {
    const GNode *n = &b->g->nodes[i];
    return (PlanNode){.b = b, .id = i, .n = n, .ins = node_ins(b->g, n), .dims = node_dims(b->g, n), .attrs = node_attrs(b->g, n),
                      .batched = b->nodes[i].batched};
}
static inline uint32_t planner_operand(const PlanNode *m, uint32_t k) { return m->b->nodes[m->ins[k]].value; }
static inline const GNode *planner_operand_node(const PlanNode *m, uint32_t k) { return &m->b->g->nodes[m->ins[k]]; }
static inline const uint32_t *planner_operand_dims(const PlanNode *m, uint32_t k) { return node_dims(m->b->g, planner_operand_node(m, k)); }

/* Rules, by the names in the op table: make_<rule> adds the node's steps, and gives its value. */
#define STEP(rule, kernel) uint32_t make_##rule(const PlanNode *m);
#define STEPS(rule) uint32_t make_##rule(const PlanNode *m);
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, ...) plan
#include "schema/graph/ops.def"
#undef OP
#undef STEPS
#undef STEP

/* planner_ops.c */
void planner_node(Planner *b, uint32_t node);
/* Wanted outputs: stores, or for a step graph values for its iteration to bind. */
void planner_outputs(Planner *b);

/* planner_move.c */
/* A fresh copy, once a row when `batched`. */
uint32_t planner_copy(Planner *b, uint32_t value, bool batched, Phase at_least, Op op);
/* Axis i of the result is axis perm[i] of the value; the value itself when nothing moves in memory. */
uint32_t planner_permute(Planner *b, uint32_t value, const size_t *dims, uint32_t rank, const uint32_t *perm, Op op);

/* planner_sum.c */
/* Sum of a value over rows: one shared copy, complete after all tiles. */
uint32_t planner_sum(Planner *b, uint32_t value, Op op);
/* The same, added to a sum that is there already; VALUE_NONE: to nothing. */
uint32_t planner_sum_into(Planner *b, uint32_t value, uint32_t into, Op op);
/* The node's value, summed over rows and along the axis of the node `sum`. */
uint32_t planner_sum_axis_into(Planner *b, uint32_t node, uint32_t sum, uint32_t into);
/* A part of `top` that is the product of va [rows,K,M] and vb [rows,K,N]: true when it is put off. */
bool planner_sum_gather(Planner *b, NodeInfo *top, uint32_t va, uint32_t vb, const ContractDetail *d, Op op);
/* Of two shared values. */
uint32_t planner_plus(Planner *b, uint32_t x, uint32_t y, Op op);

/* planner_sums.c */
/* Which nodes are parts of sums over rows. */
void planner_sums_find(Planner *b);
/* Adds such a node to its sum. */
void planner_sums_add(Planner *b, uint32_t node);
/* Sum of a node over rows, as planner_sum; the node may have no value but be made as its sum. */
uint32_t planner_summed(Planner *b, uint32_t node);

/* planner_contract.c: the node's value; with `summed`, its sum over rows, added to top->adds where the layout allows it; VALUE_NONE when put
 * off. */
uint32_t planner_contract(Planner *b, uint32_t node, bool summed, NodeInfo *top);

/* planner_layers.c: of a pooling op or its derivative; NULL sets the error. */
WindowDetail *planner_pool_window(const PlanNode *m);

/* planner_fuse.c */
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
#endif
