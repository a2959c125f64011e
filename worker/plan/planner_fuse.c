/* Neighbouring nodes as one step, where nobody else wants what passes between them: a convolution with its bias and relu, x̄ of a
 * convolution with the cut and the relu before it; and gradients of max pools as peaks (kernels/peaks.c).
 *
 * Results are those of the nodes one by one, but for a convolution's bias, to which it adds instead of adding the bias. */
#include "schema/graph/ops.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"
#include <string.h>

#define PEAKS_PLACES ((size_t)1 << 20) /* of a plane: rows and columns are exact as floats */
enum { PEAKS_SPARE = 4 };              /* from so many places a peak on, sums over peaks are shorter */

static const GNode *node(const Planner *b, uint32_t i) { return &b->g->nodes[i]; }
static uint32_t input(const Planner *b, uint32_t i, uint32_t k) { return node_ins(b->g, node(b, i))[k]; }
static bool is_relu(const Planner *b, uint32_t i, Op op) {
    return node(b, i)->op == op && node_attrs(b->g, node(b, i))[0] == FUNCTION_relu;
}

/* Made only for its one reader. */
static bool between(const Planner *b, uint32_t i) {
    const NodeInfo *info = &b->nodes[i];
    return info->uses == 1 && info->batched && !info->sum && !info->absorbed;
}

/* The [O] behind a bias that was broadcast over all places of y. */
static bool find_bias(const Planner *b, uint32_t i, const GNode *y, uint32_t *bias) {
    const uint32_t *out = node_dims(b->g, y);
    while (node(b, i)->op == OP_reshape) i = input(b, i, 0);
    const GNode *n = node(b, i);
    if (n->op != OP_broadcast || node_attrs(b->g, n)[0] != 1 || n->rank != 2) return false;
    const uint32_t *dims = node_dims(b->g, n);
    *bias = input(b, i, 0);
    return dims[0] == out[0] && dims[1] == out[1] * out[2] && !b->nodes[*bias].batched;
}

/* A node that is not made after all; neither is what only it read. */
static void drop(Planner *b, uint32_t i) {
    while (--b->nodes[i].uses == 0) {
        b->nodes[i].needed = false;
        if (node(b, i)->op != OP_reshape && node(b, i)->op != OP_broadcast) return;
        i = input(b, i, 0);
    }
}

/* conv2d alone or with its bias, as `i`. */
static bool find_conv(Planner *b, uint32_t i, NodeInfo *maker) {
    if (node(b, i)->op == OP_conv2d) {
        maker->conv = i + 1;
        return true;
    }
    for (uint32_t k = 0; node(b, i)->op == OP_add && k < 2; k++) {
        uint32_t conv = input(b, i, k), wide = input(b, i, 1 - k), bias;
        if (node(b, conv)->op != OP_conv2d || !between(b, conv) || !find_bias(b, wide, node(b, conv), &bias)) continue;
        maker->conv = conv + 1;
        maker->bias = bias + 1;
        b->nodes[conv].absorbed = true;
        b->nodes[bias].uses++; /* stays, whatever becomes of its broadcast */
        drop(b, wide);
        return true;
    }
    return false;
}

/* conv2d_dx as `i`, or a pad that only cuts its result. */
static bool find_dx(Planner *b, uint32_t i, NodeInfo *maker) {
    uint32_t dx = i;
    if (node(b, i)->op == OP_pad) {
        const int64_t *by = node_attrs(b->g, node(b, i));
        dx = input(b, i, 0);
        if (by[0] > 0 || by[1] > 0 || by[2] > 0 || by[3] > 0 || node(b, dx)->op != OP_conv2d_dx || !between(b, dx)) return false;
        maker->crop = i + 1;
        b->nodes[dx].absorbed = true;
    }
    if (node(b, dx)->op != OP_conv2d_dx) return false;
    maker->conv = dx + 1;
    return true;
}

static void fuse(Planner *b, uint32_t i) {
    NodeInfo *info = &b->nodes[i];
    if (is_relu(b, i, OP_map) && between(b, input(b, i, 0)) && find_conv(b, input(b, i, 0), info)) {
        info->relu = true;
        b->nodes[input(b, i, 0)].absorbed = true;
    } else if (node(b, i)->op == OP_add) {
        find_conv(b, i, info);
    } else if (is_relu(b, i, OP_map_vjp) && planner_skips(b->g, node(b, i), 0)) {
        uint32_t c = input(b, i, 2), y = input(b, i, 1);
        if (!between(b, c) || !b->nodes[y].batched || !find_dx(b, c, info)) return;
        info->mask = y + 1;
        b->nodes[c].absorbed = true;
    } else if (node(b, i)->op == OP_pad) {
        find_dx(b, i, info);
    }
}

/* ---- peaks ---- */

/* The max_pool2d_vjp behind a node whose elements are zero but at its peaks: the node itself, or the one behind the relu of the pool's input.
 * Its max_pool2d is made as well. */
static bool find_pool(const Planner *b, uint32_t i, uint32_t *back) {
    *back = i;
    if (is_relu(b, i, OP_map_vjp) && planner_skips(b->g, node(b, i), 0)) {
        *back = input(b, i, 2);
        if (node(b, *back)->op != OP_max_pool2d_vjp || !between(b, *back) || input(b, *back, 0) != input(b, i, 1)) return false;
    }
    const GNode *n = node(b, *back);
    if (n->op != OP_max_pool2d_vjp || n->rank != 3) return false;
    uint32_t pool = b->nodes[input(b, *back, 0)].pooled;
    if (!pool || memcmp(node_attrs(b->g, n), node_attrs(b->g, node(b, pool - 1)), n->nattr * sizeof(int64_t))) return false;
    const uint32_t *x = node_dims(b->g, n), *y = node_dims(b->g, node(b, pool - 1));
    size_t places = (size_t)x[1] * x[2];
    return b->nodes[pool - 1].batched && b->nodes[input(b, *back, 1)].batched && places <= PEAKS_PLACES &&
           (size_t)y[1] * y[2] <= places / PEAKS_SPARE;
}

/* Whether reader r can do with the peaks of its input k. */
static bool takes_peaks(const Planner *b, uint32_t r, uint32_t k) {
    const GNode *n = node(b, r);
    const NodeInfo *info = &b->nodes[r];
    if (info->under) { /* its sum over all places is wanted, and over the batch */
        const GNode *sum = node(b, info->under - 1);
        return info->sum && sum->rank == 1 && node_attrs(b->g, sum)[0] == 1;
    }
    if (k > 0 || (n->op != OP_conv2d_dx && n->op != OP_conv2d_dw)) return false;
    const int64_t *attrs = node_attrs(b->g, n);
    if (attrs[0] != 1 || attrs[1] != 1) return false;
    return n->op == OP_conv2d_dw ? info->sum > 0 && b->nodes[input(b, r, 1)].batched : !b->nodes[input(b, r, 1)].batched;
}

static void find_peaks(Planner *b) {
    const Graph *g = b->g;
    for (uint32_t o = 0; o < g->noutputs; o++)
        if (b->spec->wanted[o]) b->nodes[g->outputs[o].node].whole = true;
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (b->nodes[i].needed && node(b, i)->op == OP_max_pool2d) b->nodes[input(b, i, 0)].pooled = i + 1;
    for (uint32_t i = g->nnodes; i-- > 0;) {
        const GNode *n = node(b, i);
        NodeInfo *info = &b->nodes[i];
        uint32_t back;
        if (!info->needed || !info->batched) continue;
        for (uint32_t k = 0; k < planner_reads(b, i); k++)
            if (!planner_skips(g, n, k) && !takes_peaks(b, i, k)) b->nodes[node_ins(g, n)[k]].whole = true;
        if (info->whole || info->absorbed || info->sum || info->conv || !find_pool(b, i, &back)) continue;
        info->peaks = b->nodes[input(b, back, 0)].pooled;
        b->nodes[info->peaks - 1].places = true;
        if (back != i) b->nodes[back].absorbed = true;
    }
}

void planner_fuse(Planner *b) {
    for (uint32_t i = b->g->nnodes; i-- > 0;) {
        const NodeInfo *info = &b->nodes[i];
        if (info->needed && info->batched && !info->absorbed && !info->sum) fuse(b, i);
    }
    find_peaks(b);
}

static uint32_t make_places(Planner *b, uint32_t i) {
    const PlanNode m = planner_node_of(b, i);
    WindowDetail *d = planner_pool_window(&m);
    size_t windows = node(b, i)->size;
    uint32_t v = planner_value(b, windows, true, HOME_SLAB, PHASE_ONCE), place = planner_value(b, 2 * windows, true, HOME_SLAB, PHASE_ONCE);
    if (!planner_ok(b)) return 0;
    d->places = place;
    planner_work(b, true, (double)windows * (double)d->kh * (double)d->kw);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, max_pool_places), .op = OP_max_pool2d, .out = v, .in = {b->nodes[input(b, i, 0)].value},
                           .window = d},
                 &(StepUse){.nin = 1, .writes = &place, .nwrites = 1});
    return v;
}

/* The node is a max_pool2d_vjp or, behind one, relu's map_vjp. */
static uint32_t make_peaks(Planner *b, uint32_t i) {
    uint32_t pool = b->nodes[i].peaks - 1, y = b->nodes[pool].value;
    bool relu = node(b, i)->op == OP_map_vjp;
    uint32_t back = relu ? input(b, i, 2) : i, c = b->nodes[input(b, back, 1)].value;
    size_t windows = node(b, pool)->size, planes = node_dims(b->g, node(b, pool))[0];
    uint32_t v = planner_value(b, planes * conv_peaks_room(windows / planes), true, HOME_SLAB, PHASE_ONCE);
    planner_work(b, true, 3 * (double)windows);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, peaks), .op = node(b, i)->op, .out = v, .in = {y, y + 1, c},
                           .peaks = {planes, windows / planes, relu}},
                 &(StepUse){.nin = 3});
    return v;
}

uint32_t planner_fused(Planner *b, uint32_t i) {
    const NodeInfo *info = &b->nodes[i];
    if (info->conv) return planner_conv(b, info->conv - 1, &(ConvUse){.maker = info, .into = VALUE_NONE});
    return info->places ? make_places(b, i) : make_peaks(b, i);
}
