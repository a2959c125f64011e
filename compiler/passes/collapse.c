#include "compiler/passes/matrix.h"
#include "compiler/passes/optimise.h"
#include "compiler/passes/region.h"

/* Small tables are looked at even where they would be no gain as dense matrices: they may be structure, which costs less. */
enum { SMALL_TABLE = 1024 };

/* A node nobody outside its region reads disappears with the region; the others are replaced where a table is cheaper. */
static uint32_t collapse_node(Rewrite *rw, Regions *r, uint32_t node) {
    const Graph *g = r->g;
    uint32_t root = r->root[node];
    Dims dims = dims_of(g, node);
    if (!r->boundary[node] || root == node || !r->saving[node]) return rewrite_copy(rw, node);
    size_t size = g->nodes[node].size, rows = root == ROOT_NONE ? 1 : g->nodes[root].size;
    double cells = (double)size * (double)rows;
    bool gains = root == ROOT_NONE || COST_CALL + cells < r->saving[node];
    if (!gains && cells > SMALL_TABLE) return rewrite_copy(rw, node);
    const double *table = region_table(rw->cx, r, node, REGION_CELLS);
    if (!table) return rewrite_copy(rw, node);
    if (root == ROOT_NONE) return matrix_constant(rw, table, &dims);
    Matrix matrix = matrix_of(table, rows, size, 1);
    return matrix_cost(&matrix, 1) < r->saving[node] ? matrix_apply(rw, rw->moved[root], 1, &matrix, &dims) : rewrite_copy(rw, node);
}

Graph *optimise_collapse(Cx *cx, const Graph *g) {
    Regions *r = region_find(cx, g, REGION_WORK);
    Rewrite *rw = rewrite_new(cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) rw->moved[i] = collapse_node(rw, r, i);
    return rewrite_finish(rw);
}
