#include "compiler/optimise.h"
#include "compiler/region.h"

/* root [n] applied to table [n, m] -> dims: Σ_i root[i]·table[i,j] */
static uint32_t put_matrix(Rewrite *rw, uint32_t root, const double *table, size_t n, const Dims *dims) {
    size_t m = dims_product(dims);
    Dims in = {.rank = 1, .at = {(uint32_t)n}}, square = {.rank = 2, .at = {(uint32_t)n, (uint32_t)m}}, out = {.rank = 1, .at = {(uint32_t)m}};
    uint32_t matrix = region_put_constant(rw, table, &square), node = rewrite_reshape(rw, root, &in);
    switch (rw->to->nodes[matrix].op) {
    case OP_zero: return rewrite_node(rw, OP_zero, NULL, 0, dims, NULL, 0);
    case OP_eye: return rewrite_reshape(rw, node, dims);
    default: break;
    }
    const int64_t labels[] = {1, 2, 1, 0, 0, 1, 1};
    return rewrite_reshape(rw, rewrite_node(rw, OP_contract, (uint32_t[]){node, matrix}, 2, &out, labels, 7), dims);
}

/* Small tables are looked at even where they would be no gain: they may be the identity, or zero, which cost nothing. */
enum { SMALL_TABLE = 1024 };

static bool is_free(const double *table, size_t n, size_t m) {
    bool zero = true, eye = n == m;
    for (size_t i = 0; i < n * m; i++) {
        zero = zero && table[i] == 0;
        eye = eye && table[i] == (i / m == i % m ? 1.0 : 0.0);
    }
    return zero || eye;
}

/* A node nobody outside its region reads disappears with the region; the others are replaced where a table is cheaper. */
static uint32_t collapse_node(Rewrite *rw, Regions *r, uint32_t node) {
    const Graph *g = r->g;
    uint32_t root = r->root[node];
    Dims dims = dims_of(g, node);
    if (!r->boundary[node] || root == node || !r->saving[node]) return rewrite_copy(rw, node);
    size_t size = g->nodes[node].size, rows = root == ROOT_NONE ? 1 : g->nodes[root].size;
    double cells = (double)size * (double)rows;
    bool gains = root == ROOT_NONE || REGION_CALL + cells < r->saving[node];
    if (!gains && cells > SMALL_TABLE) return rewrite_copy(rw, node);
    const double *table = region_table(rw->cx, r, node, OPTIMISE_CELLS);
    if (!table || (!gains && !is_free(table, rows, size))) return rewrite_copy(rw, node);
    return root == ROOT_NONE ? region_put_constant(rw, table, &dims) : put_matrix(rw, rw->moved[root], table, rows, &dims);
}

Graph *optimise_collapse(Cx *cx, const Graph *g) {
    Regions *r = region_find(cx, g, OPTIMISE_WORK);
    Rewrite *rw = rewrite_new(cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) rw->moved[i] = collapse_node(rw, r, i);
    return rewrite_finish(rw);
}
