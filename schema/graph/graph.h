/* Neuron graphs: a topologically ordered array of nodes (schema/graph/ops.def says what each op means, ops.h reads that table).
 *
 * A node's inputs come before it. Nodes are hash-consed: graph_add returns an equal node that is already there.
 * Sub-graphs (the step of an iteration) see nothing of the outer graph but their slots.
 * Ownership: a Graph owns its arrays and sub-graphs; graph_free releases all. Not shared while being built; afterwards read-only.
 * Errors: building beyond a limit or out of memory sets graph->failed (sticky) and returns node 0; graph_verify and graph_read say what is wrong. */
#ifndef CAJAL_GRAPH_H
#define CAJAL_GRAPH_H
#include "schema/base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
#define OP(name, ...) OP_##name,
#include "schema/graph/ops.def"
#undef OP
    OP_COUNT
} Op;

/* Names a build's op table: worker and daemon must have the same, and stored graphs too. */
uint64_t op_table_hash(void);

typedef enum { SHIFT_EXACT, SHIFT_DROP, SHIFT_SATURATE } ShiftMode;

/* What an outside tensor is to the program. INPUT i: context variable i in order of name; ARG i; the cotangent of the output; tangents;
 * in steps: component i of the state, capture i; in linked graphs (compiler/training/link.h): column i of the data, weight i. */
typedef enum {
    SLOT_INPUT, SLOT_ARG, SLOT_COTANGENT, SLOT_TANGENT_INPUT, SLOT_TANGENT_ARG, SLOT_STATE, SLOT_CAPTURE, SLOT_NETWORK,
    SLOT_COLUMN, SLOT_WEIGHT, SLOT_ROLES
} SlotRole;
typedef struct {
    SlotRole role;
    uint32_t index;
    size_t size; /* elements, flat; 0 for NETWORK */
} Slot;

typedef enum {
    OUT_VALUE, OUT_GRAD_INPUT, OUT_GRAD_ARG, OUT_TANGENT, OUT_STATE, OUT_CAPTURE, OUT_LOSS, OUT_BOUND, OUT_GRAD_WEIGHT, OUT_ROLES
} OutRole;
typedef struct {
    OutRole role;
    uint32_t index;
    uint32_t node;
} Output;

typedef struct Graph Graph;
typedef struct {
    Op op;
    uint32_t nin, in;     /* graph->ins[in .. in+nin) */
    uint32_t rank, dims;  /* graph->dims[dims .. dims+rank) */
    uint32_t nattr, attr; /* graph->attrs[attr ..) */
    uint32_t nsub, sub;   /* graph->subs[sub ..) */
    size_t size;          /* product of dims */
} GNode;

struct Graph {
    GNode *nodes;
    uint32_t nnodes, nodes_room;
    uint32_t *ins;
    uint32_t nins, ins_room;
    uint32_t *dims;
    uint32_t ndims, dims_room;
    int64_t *attrs;
    uint32_t nattrs, attrs_room;
    double *consts;
    size_t nconsts, consts_room;
    Graph **subs;
    uint32_t nsubs, subs_room;
    Slot *slots;
    uint32_t nslots, slots_room;
    bool slots_mixed; /* not in order of role and index: graph_slot has to search */
    Output *outputs;
    uint32_t noutputs, outputs_room;
    uint32_t *buckets; /* hash-consing; node + 1 */
    uint32_t nbuckets;
    uint32_t inside; /* nodes of all sub-graphs */
    uint32_t depth;  /* steps within steps; 0: no sub-graphs */
    bool failed;
};

Graph *graph_new(void);
Graph *graph_copy(const Graph *g); /* sub-graphs too; NULL: out of memory */
void graph_free(Graph *g);

uint32_t graph_slot(Graph *g, SlotRole role, uint32_t index, size_t size); /* equal ones are one */
void graph_copy_slots(Graph *g, const Graph *from); /* to a graph that has none yet */
void graph_output(Graph *g, OutRole role, uint32_t index, uint32_t node);

typedef struct {
    Op op;
    const uint32_t *ins;
    uint32_t nin;
    const uint32_t *dims;
    uint32_t rank;
    const int64_t *attrs;
    uint32_t nattr;
    Graph *const *subs; /* taken over, also on failure; a sub-graph belongs to one node */
    uint32_t nsub;
} NodeSpec;
/* Adds (or finds) a node. The caller gives the dims; graph_verify recomputes them by the op's shape rule. */
uint32_t graph_add(Graph *g, const NodeSpec *spec);
uint32_t graph_const(Graph *g, const double *data, const uint32_t *dims, uint32_t rank);

/* Product of dims; false when there are too many axes, one is empty, or the space is over LIMIT_SPACE. */
bool dims_size(const uint32_t *dims, uint32_t rank, size_t *size);

static inline const uint32_t *node_ins(const Graph *g, const GNode *n) { return g->ins + n->in; }
static inline const uint32_t *node_dims(const Graph *g, const GNode *n) { return g->dims + n->dims; }
static inline const int64_t *node_attrs(const Graph *g, const GNode *n) { return g->attrs + n->attr; }

/* Checks order, arity, attributes, spaces (recomputed by shape rule), slots, outputs, sub-graphs, limits. False: `why` names the node. */
bool graph_verify(const Graph *g, char *why, size_t room);

/* The file form: magic "CJGR", version, op table hash, contents, and a BLAKE2b-128 of all before. graph_read verifies everything;
 * NULL with `why` otherwise. */
bool graph_write(const Graph *g, Buf *out);
Graph *graph_read(const void *bytes, size_t len, char *why, size_t room);

/* What a node or a graph costs a row (schema/graph/graph_cost.c, a rule an op); an iteration's step is counted count-size times. What a plan adds of
 * its own (loading, storing, packing, other layouts, sums over the batch) is not in it. */
typedef struct {
    double macs;  /* multiply-adds */
    double moved; /* elements written where nothing is multiplied */
    double calls; /* of kernels */
} Cost;
Cost op_cost(const Graph *g, const GNode *n);
Cost graph_cost(const Graph *g);
enum { COST_CALL = 8 }; /* a row's share of a kernel call, in multiply-adds */
static inline double cost_total(Cost c) { return c.macs + c.moved + COST_CALL * c.calls; }

typedef struct {
    uint64_t neurons, weights, recurrent; /* nodes, constant elements, iter nodes; sub-graphs included */
    double macs;                          /* multiply-adds a row; an iteration's step counted count-size times */
    double bytes;                         /* elements of all spaces a row, the same way */
} GraphStats;
GraphStats graph_stats(const Graph *g);

/* Appends {"nodes":[{"id","op","space","in",…}],"outputs":[…]} */
void graph_json(Buf *out, const Graph *g);
/* Graphviz */
void graph_dot(Buf *out, const Graph *g);
#endif
