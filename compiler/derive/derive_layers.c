/* Derivatives of the ops that layers and losses are made of. */
#include "compiler/derive/derivation.h"

/* A node of the derivative with y's attributes, dims as input 0 of y has them. */
static uint32_t put_back(Derivation *d, uint32_t y, Op op, const uint32_t *ins, uint32_t nin) {
    const GNode *n = derive_node(d, y);
    Dims dims = derive_dims(d, y, 0);
    return rewrite_node(d->rw, op, ins, nin, &dims, node_attrs(d->from, n), n->nattr);
}

/* c·f′(x): a diagonal, its own transpose */
static uint32_t diagonal(Derivation *d, uint32_t y, uint32_t c) {
    return put_back(d, y, OP_map_vjp, (uint32_t[]){derive_primal(d, y, 0), d->rw->moved[y], c}, 3);
}
void vjp_map(Derivation *d, uint32_t y, uint32_t yb) { derive_give(d, y, 0, diagonal(d, y, yb)); }
uint32_t jvp_map(Derivation *d, uint32_t y) { return diagonal(d, y, derive_tangent(d, y, 0)); }

static uint32_t softmax_slope(Derivation *d, uint32_t y, uint32_t c, bool transpose) {
    Dims dims = dims_of(d->from, y);
    int64_t attrs[] = {derive_attr(d, y, 0), derive_attr(d, y, 1), transpose};
    return rewrite_node(d->rw, OP_softmax_vjp, (uint32_t[]){d->rw->moved[y], c}, 2, &dims, attrs, 3);
}
void vjp_softmax(Derivation *d, uint32_t y, uint32_t yb) { derive_give(d, y, 0, softmax_slope(d, y, yb, true)); }
uint32_t jvp_softmax(Derivation *d, uint32_t y) { return softmax_slope(d, y, derive_tangent(d, y, 0), false); }

/* What was padded is cut, what was cut gets zeros; what was put in is constant. */
void vjp_pad(Derivation *d, uint32_t y, uint32_t yb) {
    Dims dims = derive_dims(d, y, 0);
    int64_t back[5] = {0};
    for (uint32_t i = 0; i < 4; i++) back[i] = -derive_attr(d, y, i);
    derive_give(d, y, 0, rewrite_node(d->rw, OP_pad, &yb, 1, &dims, back, 5));
}
uint32_t jvp_pad(Derivation *d, uint32_t y) {
    Dims dims = dims_of(d->from, y);
    int64_t same[5] = {0};
    for (uint32_t i = 0; i < 4; i++) same[i] = derive_attr(d, y, i);
    return rewrite_node(d->rw, OP_pad, (uint32_t[]){derive_tangent(d, y, 0)}, 1, &dims, same, 5);
}

/* A selection by x: whose element is the largest of its window. */
void vjp_max_pool2d(Derivation *d, uint32_t y, uint32_t yb) {
    derive_give(d, y, 0, put_back(d, y, OP_max_pool2d_vjp, (uint32_t[]){derive_primal(d, y, 0), yb}, 2));
}
uint32_t jvp_max_pool2d(Derivation *d, uint32_t y) {
    const GNode *n = derive_node(d, y);
    Dims dims = dims_of(d->from, y);
    uint32_t ins[] = {derive_primal(d, y, 0), derive_tangent(d, y, 0)};
    return rewrite_node(d->rw, OP_max_pool2d_jvp, ins, 2, &dims, node_attrs(d->from, n), n->nattr);
}

void vjp_avg_pool2d(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_avg_pool2d_vjp); }
void vjp_avg_pool2d_vjp(Derivation *d, uint32_t y, uint32_t yb) { derive_give_transpose(d, y, yb, OP_avg_pool2d); }

/* <ȳ, x∗w> is trilinear: each of the three ops is what stands beside one of its arguments, so the derivative in another is again one of them. */
static void give_conv(Derivation *d, uint32_t y, uint32_t k, Op op, uint32_t a, uint32_t b) {
    const GNode *n = derive_node(d, y);
    if (!derive_wants(d, y, k)) return;
    Dims dims = derive_dims(d, y, k);
    derive_give(d, y, k, rewrite_node(d->rw, op, (uint32_t[]){a, b}, 2, &dims, node_attrs(d->from, n), n->nattr));
}
void vjp_conv2d(Derivation *d, uint32_t y, uint32_t yb) {
    give_conv(d, y, 0, OP_conv2d_dx, yb, derive_primal(d, y, 1));
    give_conv(d, y, 1, OP_conv2d_dw, yb, derive_primal(d, y, 0));
}
void vjp_conv2d_dx(Derivation *d, uint32_t y, uint32_t xb) {
    give_conv(d, y, 0, OP_conv2d, xb, derive_primal(d, y, 1));
    give_conv(d, y, 1, OP_conv2d_dw, derive_primal(d, y, 0), xb);
}
void vjp_conv2d_dw(Derivation *d, uint32_t y, uint32_t wb) {
    give_conv(d, y, 0, OP_conv2d, derive_primal(d, y, 1), wb);
    give_conv(d, y, 1, OP_conv2d_dx, derive_primal(d, y, 0), wb);
}
