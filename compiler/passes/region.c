#include "compiler/passes/region.h"
#include "compiler/passes/naive.h"
#include "schema/graph/ops.h"
#include <stdlib.h>
#include <string.h>

static double node_cost(const Graph *g, uint32_t node) { return cost_total(op_cost(g, &g->nodes[node])); }

/* ---- roots ---- */

/* The root of a node that is no leaf, by the linear groups of its op's row: what varies must be one group with one root, and a constant in
 * that group must be zero, else the node is affine. */
static uint32_t root_of(const Graph *g, const uint32_t *root, uint32_t node) {
    const GNode *n = &g->nodes[node];
    const char *linear = op_row(n->op)->linear;
    uint32_t found = ROOT_NONE;
    char group = 0;
    for (uint32_t k = 0; k < n->nin; k++) {
        uint32_t r = root[node_ins(g, n)[k]];
        if (r == ROOT_NONE) continue;
        if (linear[0] < '1' || (group && (group != linear[k] || r != found))) return node;
        found = r;
        group = linear[k];
    }
    for (uint32_t k = 0; group && k < n->nin; k++) {
        uint32_t x = node_ins(g, n)[k];
        if (linear[k] == group && root[x] == ROOT_NONE && g->nodes[x].op != OP_zero) return node;
    }
    return op_row(n->op)->folds ? found : node;
}

Regions *region_find(Cx *cx, const Graph *g, double work) {
    Regions *r = ARENA_NEW(&cx->arena, Regions);
    const uint32_t *uses = rewrite_readers(cx, g);
    *r = (Regions){.g = g, .root = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes), .saving = ARENA_ARRAY(&cx->arena, double, g->nnodes),
                   .boundary = ARENA_ARRAY(&cx->arena, bool, g->nnodes), .budget = work};
    r->cone = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    r->stamps = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    r->moved = ARENA_ARRAY(&cx->arena, uint32_t, g->nnodes);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        r->root[i] = n->op == OP_input ? i : root_of(g, r->root, i);
        bool opaque = r->root[i] == i;
        if (!opaque) r->saving[i] = node_cost(g, i);
        for (uint32_t k = 0; k < n->nin; k++) {
            uint32_t x = node_ins(g, n)[k];
            bool inside = !opaque && r->root[x] == r->root[i] && x != r->root[i];
            if (!inside) r->boundary[x] = true;
            else if (uses[x] == 1) r->saving[i] += r->saving[x];
        }
    }
    for (uint32_t i = 0; i < g->noutputs; i++) r->boundary[g->outputs[i].node] = true;
    return r;
}

/* ---- running a region ---- */

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* All nodes from the root (included) to `node`, in order, into r->cone. */
static uint32_t find_cone(Regions *r, uint32_t node) {
    uint32_t n = 0, seen = ++r->stamp;
    r->cone[n++] = node;
    r->stamps[node] = seen;
    for (uint32_t at = 0; at < n; at++) {
        if (r->cone[at] == r->root[node]) continue;
        const GNode *x = &r->g->nodes[r->cone[at]];
        for (uint32_t k = 0; k < x->nin; k++) {
            uint32_t in = node_ins(r->g, x)[k];
            if (r->stamps[in] == seen) continue;
            r->stamps[in] = seen;
            r->cone[n++] = in;
        }
    }
    qsort(r->cone, n, sizeof *r->cone, ascending);
    return n;
}

/* The region as a graph of its own: root as its one input, node as its output. */
static Graph *extract(Cx *cx, Regions *r, uint32_t node, uint32_t ncone) {
    const Graph *g = r->g;
    Graph empty = {0};
    Rewrite *rw = rewrite_new(cx, &empty);
    rw->from = g;
    rw->moved = r->moved;
    for (uint32_t c = 0; c < ncone; c++) {
        uint32_t i = r->cone[c];
        if (i == r->root[node]) {
            Dims flat = {.rank = 1, .at = {(uint32_t)g->nodes[i].size}}, dims = dims_of(g, i);
            int64_t slot = graph_slot(rw->to, SLOT_STATE, 0, g->nodes[i].size);
            rw->moved[i] = rewrite_reshape(rw, rewrite_node(rw, OP_input, NULL, 0, &flat, &slot, 1), &dims);
        } else {
            rw->moved[i] = rewrite_copy(rw, i);
        }
    }
    graph_output(rw->to, OUT_VALUE, 0, rw->moved[node]);
    if (rw->to->failed) rewrite_no_memory(cx);
    return rw->to;
}

/* What running the cone on `rows` rows costs, its size included. */
static double cone_work(const Regions *r, uint32_t ncone, size_t rows) {
    double work = 0;
    for (uint32_t c = 0; c < ncone; c++) work += 1 + node_cost(r->g, r->cone[c]) + (double)r->g->nodes[r->cone[c]].size;
    return work * (double)rows;
}

/* A region calls no network, and its sizes are part of the work: the evaluator can only fail for want of memory. */
const double *region_table(Cx *cx, Regions *r, uint32_t node, size_t cells) {
    uint32_t root = r->root[node];
    size_t size = r->g->nodes[node].size, rows = root == ROOT_NONE ? 1 : r->g->nodes[root].size, all;
    if (r->budget <= 0 || __builtin_mul_overflow(size, rows, &all) || all > cells || rows > cells / rows) return NULL;
    uint32_t ncone = find_cone(r, node);
    double work = cone_work(r, ncone, rows);
    if (work > r->budget) {
        r->budget -= ncone; /* looking has its price too */
        return NULL;
    }
    r->budget -= work;
    Graph *region = extract(cx, r, node, ncone);
    double *basis = ARENA_ARRAY(&cx->arena, double, rows * rows);
    for (size_t i = 0; i < rows; i++) basis[i * rows + i] = 1;
    double *table = ARENA_ARRAY(&cx->arena, double, all); /* before there is a result to be lost */
    NaiveOutput out;
    if (!naive_eval(region, rows, &(NaiveInput){basis, root != ROOT_NONE}, &out)) rewrite_no_memory(cx);
    for (size_t i = 0; i < rows; i++) memcpy(table + i * size, out.data + (out.batched ? i * size : 0), size * sizeof *table);
    naive_release(&out, 1);
    graph_free(rewrite_give(cx, region));
    return table;
}
