/* Shape rules that many ops share, layers among them. */
#include "schema/graph/ops_rules.h"

/* Any dims: those the node says. */
const char *shape_own(const Graph *g, const GNode *n, Shape *out) {
    copy(out, own_view(g, n));
    return NULL;
}

/* All inputs and the result have the same dims. */
const char *shape_alike(const Graph *g, const GNode *n, Shape *out) {
    copy(out, input_view(g, n, 0));
    for (uint32_t i = 1; i < n->nin; i++)
        if (!same_dims(input_view(g, n, i), input_view(g, n, 0))) return "inputs differ in dims";
    return NULL;
}

/* Without the axis that attribute 0 says. */
const char *shape_without_axis(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    const uint32_t axis = attr(g, n, 0);
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, x.dims + axis + 1, x.rank - axis - 1);
    return NULL;
}

/* With a new axis there, of the node's extent. */
const char *shape_with_axis(const Graph *g, const GNode *n, Shape *out) {
    const View x = input_view(g, n, 0);
    const uint32_t axis = attr(g, n, 0);
    out->rank = 0;
    push(out, x.dims, axis);
    push(out, node_dims(g, n) + axis, 1);
    return push(out, x.dims + axis, x.rank - axis) ? NULL : BAD_RANK;
}
