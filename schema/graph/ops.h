/* The shape rules: what space a node lives in, computed from its inputs and attributes (schema/graph/ops.def).
 *
 * Attributes come from files that may be damaged, so every one is range-checked here and nowhere else. */
#ifndef CAJAL_OPS_H
#define CAJAL_OPS_H
#include "schema/graph/graph.h"
#include "schema/limits.h"
#include <string.h>

enum { OP_LABELS = 256 }; /* a contract's labels are below this */

typedef struct {
    uint32_t rank, dims[LIMIT_GRAPH_RANK];
} Shape;

/* The dims a node must have. Returns NULL, or what is wrong with the node, a static string. The node's inputs are in order and its
 * sub-graphs verified (graph_verify's care). */
const char *op_shape(const Graph *g, const GNode *n, Shape *out);
/* Product of dims; false when there are too many axes, one is empty, or the space is over LIMIT_SPACE. */
bool dims_size(const uint32_t *dims, uint32_t rank, size_t *size);

/* The functions of `map` (schema/graph/functions.def). */
typedef enum {
#define FUNCTION(name, p0, p1) FUNCTION_##name,
#include "schema/graph/functions.def"
#undef FUNCTION
    FUNCTION_COUNT
} Function;
typedef struct {
    const char *name, *parameter[2]; /* "": none */
} FunctionRow;
const FunctionRow *function_row(Function f);

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

/* How many windows fit along an axis of extent n: (n + 2·pad − kernel) / stride + 1, rounded down; 0: none, or far too many. */
uint32_t window_extent(uint32_t n, uint32_t kernel, uint32_t stride, uint32_t pad);

/* Whether a part is the iteration's result, not a cotangent. */
bool op_is_result(const Graph *g, const GNode *part);
const char *slot_role_name(SlotRole role);
const char *out_role_name(OutRole role);
const char *shift_mode_name(ShiftMode mode);
#endif
