/* The order of contractions. A tree of contractions whose inner results nobody else reads is one sum over products of its leaves; it is done in
 * the order in which a row costs least.
 *
 * Which operands will be shared by all rows and which are batched is not known here: any slot may be either. A row's cost decides, so the worst
 * case, everything batched, never gets dearer; (A·B)·x becomes A·(B·x), which with A and B shared by many rows costs up to twice as much as A·B
 * multiplied out once, and with few rows far less. Where nothing is gained all stays as the program says it, and no order needs a larger space
 * than there was. Of orders that cost about the same, one that takes a large operand as it lies is better than one that has to move it first.
 * AxisList that a reshape splits or joins are followed as their parts, *atoms*, so that tables of functions of several arguments take part. */
#include "compiler/passes/optimise.h"
#include <math.h>
#include <string.h>

enum { LEAVES = 6, ATOMS = 48, NODES = 4 * LEAVES };

/* An axis: an atom, or others joined, the first outermost. */
typedef struct {
    size_t extent;
    uint32_t parts, part[LIMIT_GRAPH_RANK];
} Axis;

typedef struct {
    uint32_t n, at[LIMIT_GRAPH_RANK]; /* axes */
} AxisList;

typedef struct {
    uint32_t node;
    AxisList axes;
} TreeLeaf;

/* A tree cut off where it has LEAVES leaves. */
typedef struct {
    const Graph *g;
    const uint32_t *readers;
    TreeLeaf leaf[LEAVES];
    AxisList out;
    uint32_t leaves, naxes, inner[NODES], ninner; /* inner: the nodes the leaves do not read any more, the root excluded */
    Axis axis[ATOMS];
    double cost;
    size_t largest; /* space */
} Tree;

/* ---- growing the tree ---- */

static const GNode *node_at(const Tree *t, uint32_t node) { return &t->g->nodes[node]; }

/* UINT32_MAX: too many. */
static uint32_t new_axis(Tree *t, size_t extent) {
    if (t->naxes == ATOMS) return UINT32_MAX;
    t->axis[t->naxes] = (Axis){.extent = extent};
    return t->naxes++;
}

static bool join(Tree *t, const uint32_t *axes, uint32_t n, uint32_t *joined) {
    size_t extent = 1;
    for (uint32_t i = 0; i < n; i++) extent *= t->axis[axes[i]].extent;
    if ((*joined = new_axis(t, extent)) == UINT32_MAX) return false;
    t->axis[*joined].parts = n;
    memcpy(t->axis[*joined].part, axes, n * sizeof *axes);
    return true;
}

/* Splits an axis, or finds it split in the same way. */
static bool split(Tree *t, uint32_t axis, const uint32_t *extents, uint32_t n, uint32_t *parts) {
    if (t->axis[axis].parts) {
        if (t->axis[axis].parts != n) return false;
        memcpy(parts, t->axis[axis].part, n * sizeof *parts);
        for (uint32_t i = 0; i < n; i++)
            if (t->axis[parts[i]].extent != extents[i]) return false;
        return true;
    }
    for (uint32_t i = 0; i < n; i++)
        if ((parts[i] = new_axis(t, extents[i])) == UINT32_MAX) return false;
    t->axis[axis].parts = n;
    memcpy(t->axis[axis].part, parts, n * sizeof *parts);
    return true;
}

/* The axes of a reshape's input, from those of its result: groups of equal size correspond, one axis to one or more either way. */
static bool through_reshape(Tree *t, uint32_t node, const AxisList *axes, AxisList *in) {
    const GNode *x = node_at(t, node_ins(t->g, node_at(t, node))[0]);
    const uint32_t *dims = node_dims(t->g, x);
    uint32_t i = 0, k = 0;
    while (i < axes->n && k < x->rank) {
        uint32_t first = i, from = k;
        size_t a = t->axis[axes->at[i++]].extent, b = dims[k++];
        while (a != b) {
            if (a < b ? i == axes->n : k == x->rank) return false;
            if (a < b) a *= t->axis[axes->at[i++]].extent;
            else b *= dims[k++];
        }
        if (i - first > 1 && k - from > 1) return false;
        if (k - from > 1 ? !split(t, axes->at[first], dims + from, k - from, in->at + from)
                         : i - first > 1 && !join(t, axes->at + first, i - first, in->at + from))
            return false;
        if (i - first == 1 && k - from == 1) in->at[from] = axes->at[first];
    }
    in->n = x->rank;
    return i == axes->n && k == x->rank;
}

static void take(Tree *t, uint32_t node) {
    t->inner[t->ninner++] = node;
    t->cost += cost_total(op_cost(t->g, node_at(t, node)));
    if (node_at(t, node)->size > t->largest) t->largest = node_at(t, node)->size;
}

/* The operands' axes, from those of the result; summed axes are new. */
static bool operands(Tree *t, uint32_t node, const AxisList *out, TreeLeaf leaf[2]) {
    const GNode *n = node_at(t, node);
    const int64_t *a = node_attrs(t->g, n), *labels = a + 3, *result = labels + a[0] + a[1];
    uint32_t axis_of[256];
    memset(axis_of, 0xff, sizeof axis_of);
    for (uint32_t i = 0; i < out->n; i++) axis_of[result[i]] = out->at[i];
    for (int k = 0; k < 2; labels += a[k++]) {
        leaf[k].node = node_ins(t->g, n)[k];
        leaf[k].axes.n = (uint32_t)a[k];
        for (uint32_t i = 0; i < leaf[k].axes.n; i++) {
            uint32_t *axis = &axis_of[labels[i]];
            if (*axis == UINT32_MAX) *axis = new_axis(t, node_dims(t->g, node_at(t, leaf[k].node))[i]);
            if (*axis == UINT32_MAX) return false;
            leaf[k].axes.at[i] = *axis;
        }
    }
    return true;
}

/* The contraction a leaf is, through reshapes and permutations; false: none, or it must stay a leaf. */
static bool find_inner(Tree *t, const TreeLeaf *leaf, TreeLeaf *found, uint32_t *between, uint32_t *n) {
    *found = *leaf;
    *n = 0;
    for (;;) {
        const GNode *x = node_at(t, found->node);
        AxisList in = {.n = x->rank};
        if (t->readers[found->node] != 1) return false;
        if (x->op == OP_contract) return true;
        if ((x->op != OP_reshape && x->op != OP_permute) || *n == 2) return false;
        if (x->op == OP_permute)
            for (uint32_t k = 0; k < x->rank; k++) in.at[node_attrs(t->g, x)[k]] = found->axes.at[k];
        else if (!through_reshape(t, found->node, &found->axes, &in)) return false;
        between[(*n)++] = found->node;
        found->axes = in;
        found->node = node_ins(t->g, x)[0];
    }
}

/* A leaf that is a contraction becomes two. What was split or joined for a leaf that then stays does no harm. */
static bool expand(Tree *t, uint32_t i) {
    TreeLeaf inner, two[2];
    uint32_t between[2], n;
    if (!find_inner(t, &t->leaf[i], &inner, between, &n) || !operands(t, inner.node, &inner.axes, two)) return false;
    while (n) take(t, between[--n]);
    take(t, inner.node);
    t->leaf[i] = two[0];
    t->leaf[t->leaves++] = two[1];
    return true;
}

static bool grow(Tree *t, uint32_t root) {
    const GNode *n = node_at(t, root);
    t->out.n = n->rank;
    t->largest = n->size;
    t->cost = cost_total(op_cost(t->g, n));
    for (uint32_t i = 0; i < n->rank; i++)
        if ((t->out.at[i] = new_axis(t, node_dims(t->g, n)[i])) == UINT32_MAX) return false;
    if (!operands(t, root, &t->out, t->leaf)) return false;
    t->leaves = 2;
    for (uint32_t i = 0; i < t->leaves; i++)
        while (t->leaves < LEAVES && expand(t, i)) {}
    return true;
}

/* ---- the cheapest order ---- */

typedef uint64_t Set; /* of axes that are atoms */
_Static_assert(ATOMS <= 64, "one bit an axis");

static void flatten(const Tree *t, uint32_t axis, AxisList *out) {
    if (!t->axis[axis].parts && out->n < LIMIT_GRAPH_RANK) out->at[out->n++] = axis;
    for (uint32_t i = 0; i < t->axis[axis].parts; i++) flatten(t, t->axis[axis].part[i], out); /* at most as deep as the tree */
}

static AxisList atoms_of(const Tree *t, const AxisList *axes) {
    AxisList out = {.n = 0};
    for (uint32_t i = 0; i < axes->n; i++) flatten(t, axes->at[i], &out);
    return out;
}

static Set set_of(const AxisList *atoms) {
    Set set = 0;
    for (uint32_t i = 0; i < atoms->n; i++) set |= (Set)1 << atoms->at[i];
    return set;
}

static double size_of(const Tree *t, Set set) {
    double size = 1;
    for (; set; set &= set - 1) size *= (double)t->axis[__builtin_ctzll(set)].extent;
    return size;
}

/* By set of leaves. */
typedef struct {
    Set kept[1 << LEAVES]; /* axes of its product: those the other leaves or the result have too */
    double cost[1 << LEAVES];
    uint32_t left[1 << LEAVES];
} TreeOrder;

static void find_kept(const Tree *t, TreeOrder *order) {
    Set has[LEAVES], out = set_of(&t->out);
    for (uint32_t i = 0; i < t->leaves; i++) has[i] = set_of(&t->leaf[i].axes);
    for (uint32_t s = 1; s < 1u << t->leaves; s++) {
        Set inside = 0, outside = out;
        for (uint32_t i = 0; i < t->leaves; i++) *(s >> i & 1 ? &inside : &outside) |= has[i];
        order->kept[s] = inside & outside;
    }
}

/* What an operand takes to become a matrix: a leaf has to be moved when its summed axes stand in several places among the others. What is made on the
 * way is made as it is wanted. */
static double moving(const Tree *t, const TreeOrder *order, uint32_t operand, uint32_t other) {
    if (operand & (operand - 1)) return 0;
    const AxisList *axes = &t->leaf[__builtin_ctz(operand)].axes;
    const Set kept = order->kept[operand | other], both = kept & order->kept[other];
    uint32_t runs = 0;
    bool last = false;
    for (uint32_t i = 0; i < axes->n; i++) {
        const Set axis = (Set)1 << axes->at[i];
        const bool summed = !(kept & axis);
        if (both & axis || t->axis[axes->at[i]].extent == 1) continue; /* a product for each of its places */
        runs += !runs || summed != last;
        last = summed;
    }
    return runs > 2 ? size_of(t, set_of(axes)) : 0;
}

static void find_order(const Tree *t, TreeOrder *order) {
    find_kept(t, order);
    for (uint32_t s = 1; s < 1u << t->leaves; s++) {
        order->cost[s] = (s & (s - 1)) ? INFINITY : 0;
        if (!(s & (s - 1)) || size_of(t, order->kept[s]) > (double)t->largest) continue;
        for (uint32_t left = (s - 1) & s; left > (s ^ left); left = (left - 1) & s) {
            double cost = order->cost[left] + order->cost[s ^ left] + COST_CALL + size_of(t, order->kept[left] | order->kept[s ^ left]) +
                          moving(t, order, left, s ^ left) + moving(t, order, s ^ left, left);
            if (cost >= order->cost[s]) continue;
            order->cost[s] = cost;
            order->left[s] = left;
        }
    }
}

/* ---- the pass ---- */

typedef struct {
    Tree tree;
    TreeOrder order;
} OrderedTree;

/* The axes of an operand as labels, into attrs and, when it is the result, its dims. */
static uint32_t put_labels(const AxisList *axes, int64_t *attrs, uint32_t at) {
    for (uint32_t i = 0; i < axes->n; i++) attrs[at++] = axes->at[i];
    return at;
}

static Dims dims_by(const Tree *t, const AxisList *axes) {
    Dims dims = {.rank = axes->n};
    for (uint32_t i = 0; i < axes->n; i++) dims.at[i] = (uint32_t)t->axis[axes->at[i]].extent;
    return dims;
}

/* The product of a set of leaves, with its axes. Recursion is at most LEAVES deep. */
static uint32_t emit(Rewrite *rw, const OrderedTree *p, uint32_t set, AxisList *axes) {
    const Tree *t = &p->tree;
    if (!(set & (set - 1))) {
        const TreeLeaf *leaf = &t->leaf[__builtin_ctz(set)];
        *axes = leaf->axes;
        Dims dims = dims_by(t, axes);
        return rewrite_reshape(rw, rw->moved[leaf->node], &dims);
    }
    AxisList a, b, out = {.n = 0};
    uint32_t left = p->order.left[set], ins[] = {emit(rw, p, left, &a), emit(rw, p, set ^ left, &b)};
    Set kept = p->order.kept[set];
    for (uint32_t i = 0; i < a.n + b.n; i++) {
        uint32_t axis = i < a.n ? a.at[i] : b.at[i - a.n];
        if (kept >> axis & 1) out.at[out.n++] = axis;
        kept &= ~((Set)1 << axis);
    }
    if (set + 1 == 1u << t->leaves) out = t->out;
    int64_t attrs[3 + 3 * LIMIT_GRAPH_RANK] = {a.n, b.n, out.n};
    uint32_t n = put_labels(&out, attrs, put_labels(&b, attrs, put_labels(&a, attrs, 3)));
    rewrite_labels(attrs + 3, n - 3);
    Dims dims = dims_by(t, &out);
    *axes = out;
    return rewrite_node(rw, OP_contract, ins, 2, &dims, attrs, n);
}

enum { INNER = 1, GONE };

/* A cheaper order for the tree under root, or NULL. Its inner nodes are marked: they are no roots, and gone with a cheaper order. */
static const OrderedTree *find_plan(Cx *cx, const Graph *g, const uint32_t *readers, uint32_t root, uint8_t *inner) {
    OrderedTree p;
    Tree *t = &p.tree;
    *t = (Tree){.g = g, .readers = readers};
    if (!grow(t, root) || t->leaves < 3) return NULL;
    t->out = atoms_of(t, &t->out);
    for (uint32_t i = 0; i < t->leaves; i++) {
        t->leaf[i].axes = atoms_of(t, &t->leaf[i].axes);
        if (g->nodes[t->leaf[i].node].size > t->largest) t->largest = g->nodes[t->leaf[i].node].size;
    }
    find_order(t, &p.order);
    bool better = p.order.cost[(1u << t->leaves) - 1] < t->cost;
    for (uint32_t i = 0; i < t->ninner; i++) inner[t->inner[i]] = better ? GONE : INNER;
    if (!better) return NULL;
    OrderedTree *kept = ARENA_NEW(&cx->arena, OrderedTree);
    *kept = p;
    return kept;
}

Graph *optimise_contraction(Cx *cx, const Graph *g) {
    Rewrite *rw = rewrite_new(cx, g);
    const uint32_t *readers = rewrite_readers(cx, g);
    const OrderedTree **plans = ARENA_ARRAY(&cx->arena, const OrderedTree *, g->nnodes);
    uint8_t *inner = ARENA_ARRAY(&cx->arena, uint8_t, g->nnodes);
    for (uint32_t i = g->nnodes; i-- > 0;)
        if (g->nodes[i].op == OP_contract && !inner[i]) plans[i] = find_plan(cx, g, readers, i, inner);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        AxisList axes;
        Dims dims = dims_of(g, i);
        if (inner[i] == GONE) continue;
        rw->moved[i] = plans[i] ? rewrite_reshape(rw, emit(rw, plans[i], (1u << plans[i]->tree.leaves) - 1, &axes), &dims) : rewrite_copy(rw, i);
    }
    return rewrite_finish(rw);
}
