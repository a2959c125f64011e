/* The op table (ops.def) as data, and what several users of the ops need to know of them: shapes, windows, axes, iterations, batches.
 *
 * Attributes come from files that may be damaged: op_shape is the one place where every one of them is checked, by its kind and by the op's shape
 * rule. All others rely on a graph that graph_verify has passed. Rows are constants; nothing here is allocated. */
#ifndef CAJAL_OPS_H
#define CAJAL_OPS_H
#include "schema/graph/graph.h"
#include "schema/limits.h"
#include <string.h>

enum { OP_LABELS = 256 }; /* a contract's labels are below this */

/* ---- rows ---- */

/* The kinds of attributes. One integer where nothing else is said; a negative one is refused unless the kind allows it. */
typedef enum {
    ATTR_none,     /* the end of a row's list */
    ATTR_slot,     /* of the graph */
    ATTR_network,  /* a slot whose role is NETWORK */
    ATTR_values,   /* two: a place among the graph's constants, and how many: as many as the node has elements */
    ATTR_axis,     /* of input 0 */
    ATTR_new_axis, /* of the node, which has one axis more than input 0 */
    ATTR_at,       /* a place along the axis before it in the row */
    ATTR_index,    /* whose bound the shape rule knows */
    ATTR_mode,     /* ShiftMode */
    ATTR_flag,     /* 0 or 1 */
    ATTR_integer,  /* any, within what the shape rule says */
    ATTR_real,     /* a finite double's bits (attr_real) */
    ATTR_amount,   /* of padding; negative: of cutting */
    ATTR_extent,   /* of a window, stride or padding */
    ATTR_count,    /* of inputs */
    ATTR_function, /* three: a function of functions.def and its two parameters, reals; one that the function does not have is 0 */
    ATTR_perm,     /* one an axis of input 0: a permutation of these */
    ATTR_labels,   /* rank of x, of y and of the node, then a label an axis of each */
    ATTR_readouts  /* how many, then count and component of each */
} AttrKind;

typedef struct {
    AttrKind kind;
    const char *name;
    bool in_label; /* a drawing shows it */
} OpAttr;

typedef enum { FAMILY_constant, FAMILY_move, FAMILY_plain, FAMILY_layer, FAMILY_derivative } OpFamily;

enum { OP_ATTRS = 6 }; /* at most */

typedef struct {
    const char *name;
    int inputs;         /* -1: varies */
    const char *linear;
    uint32_t subs;
    bool folds;
    OpFamily family;
    OpAttr attrs[OP_ATTRS + 1];
} OpRow;
const OpRow *op_row(Op op);

/* The functions of `map`. */
typedef enum {
#define FUNCTION(name, ...) FUNCTION_##name,
#include "schema/graph/functions.def"
#undef FUNCTION
    FUNCTION_COUNT
} Function;
typedef struct {
    const char *name, *parameter[2]; /* "": none */
    bool slope_by_value;             /* f′(x) is computed from f(x) */
} FunctionRow;
const FunctionRow *function_row(Function f);

/* How many integers attribute `kind` takes, which begins at attrs[at]; UINT32_MAX: more than there are, or its own count is none. */
uint32_t attr_places(const Graph *g, const GNode *n, AttrKind kind, uint32_t at);

/* A real attribute is a double's bits. */
static inline double attr_real(int64_t bits) {
    double real;
    memcpy(&real, &bits, sizeof real);
    return real;
}
static inline int64_t attr_bits(double real) {
    int64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

/* ---- shapes ---- */

typedef struct {
    uint32_t rank, dims[LIMIT_GRAPH_RANK];
} Shape;

/* The dims a node must have. Returns NULL, or what is wrong with the node, a static string. The node's inputs are in order and its
 * sub-graphs verified (graph_verify's care). */
const char *op_shape(const Graph *g, const GNode *n, Shape *out);
/* How many windows fit along an axis of extent n: (n + 2·pad − kernel) / stride + 1, rounded down; 0: none, or far too many. */
uint32_t window_extent(uint32_t n, uint32_t kernel, uint32_t stride, uint32_t pad);

/* A tensor seen from one axis: [outer, extent, inner]. */
typedef struct {
    size_t outer, extent, inner;
} AxisView;
static inline AxisView axis_view(const uint32_t *dims, uint32_t rank, int64_t axis) {
    AxisView view = {1, dims[axis], 1};
    for (int64_t i = 0; i < rank; i++) {
        if (i < axis) view.outer *= dims[i];
        if (i > axis) view.inner *= dims[i];
    }
    return view;
}

/* ---- iterations ---- */

/* An iter's attributes; inputs: the counts, the components' bases, the captures. */
typedef struct {
    uint32_t counts, comps, captures, readouts;
    const int64_t *reads; /* count and component of each read-out */
} IterAttrs;
static inline IterAttrs op_iter(const Graph *g, const GNode *n) {
    const int64_t *a = node_attrs(g, n);
    return (IterAttrs){(uint32_t)a[0], (uint32_t)a[1], (uint32_t)a[2], (uint32_t)a[3], a + 4};
}
/* One state, read out by one count: what lowering makes, and all that most passes look at. */
static inline bool op_iter_is_plain(const Graph *g, const GNode *n) {
    const IterAttrs a = op_iter(g, n);
    return a.counts == 1 && a.comps == 1 && a.readouts == 1;
}
/* How many states an iter or iter_vjp reads: the last extent of its count. */
static inline uint32_t op_iter_states(const Graph *g, const GNode *n) {
    const GNode *count = &g->nodes[node_ins(g, n)[0]];
    return node_dims(g, count)[count->rank - 1];
}

/* ---- batches ---- */

/* The inputs that decide whether the node is batched: it is when one of them is. All of them; but of `batch_sum` only y, and of an iteration's
 * result that its VJP gives, what the iteration reads. Returns how many. */
uint32_t op_batched_by(const Graph *g, const GNode *n, const uint32_t **ins);
/* How many of the node's inputs are read for their numbers: not the y of `batch_sum`. */
uint32_t op_reads(const GNode *n);
/* Whether a tuple_get gives the iteration's result, not a cotangent. */
bool op_is_result(const Graph *g, const GNode *n);

const char *slot_role_name(SlotRole role);
const char *out_role_name(OutRole role);
const char *shift_mode_name(ShiftMode mode);
#endif
