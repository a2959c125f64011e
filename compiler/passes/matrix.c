#include "compiler/passes/matrix.h"
#include <string.h>

/* ---- finding structure ---- */

static double block_cost(size_t n, size_t m, size_t outer, size_t rows, size_t columns) {
    double cost = COST_CALL + (double)outer * (double)rows * (double)columns;
    if (rows < n) cost += COST_CALL + (double)outer * (double)rows;
    if (columns < m) cost += COST_CALL + (double)outer * (double)m;
    return cost;
}

/* The smallest block outside of which all is zero, as far as cutting it out pays. */
static void find_block(Matrix *x, size_t outer) {
    size_t first_row = x->n, end_row = 0, first_column = x->m, end_column = 0;
    for (size_t i = 0; i < x->n; i++)
        for (size_t j = 0; j < x->m; j++) {
            if (x->cells[i * x->m + j] == 0) continue;
            if (i < first_row) first_row = i;
            if (j < first_column) first_column = j;
            if (i >= end_row) end_row = i + 1;
            if (j >= end_column) end_column = j + 1;
        }
    size_t rows = end_row - first_row, columns = end_column - first_column;
    *x = (Matrix){x->cells, x->n, x->m, MATRIX_DENSE, 0, 0, x->n, 0, x->m};
    double best = block_cost(x->n, x->m, outer, x->n, x->m);
    for (int cut = 1; cut <= 3; cut++) {
        size_t r = cut & 1 ? rows : x->n, c = cut & 2 ? columns : x->m;
        double cost = block_cost(x->n, x->m, outer, r, c);
        if (cost >= best) continue;
        best = cost;
        x->row = cut & 1 ? first_row : 0;
        x->rows = r;
        x->column = cut & 2 ? first_column : 0;
        x->columns = c;
    }
}

Matrix matrix_of(const double *cells, size_t n, size_t m, size_t outer) {
    Matrix x = {.cells = cells, .n = n, .m = m, .kind = MATRIX_ZERO};
    bool diagonal = true, ones = true;
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < m; j++) {
            double v = cells[i * m + j];
            if (v == 0) continue;
            if (!found++) x.by = (int64_t)j - (int64_t)i;
            diagonal = diagonal && (int64_t)j - (int64_t)i == x.by;
            ones = ones && v == 1;
        }
    int64_t first = x.by < 0 ? -x.by : 0, last = (int64_t)m - x.by < (int64_t)n ? (int64_t)m - x.by : (int64_t)n;
    if (!found) return x;
    if (diagonal && ones && (int64_t)found == last - first) x.kind = x.by == 0 && n == m ? MATRIX_EYE : MATRIX_SLIDE;
    else if (diagonal && x.by == 0 && n == m) x.kind = MATRIX_DIAGONAL;
    else find_block(&x, outer);
    return x;
}

double matrix_cost(const Matrix *x, size_t outer) {
    switch (x->kind) {
    case MATRIX_ZERO: case MATRIX_EYE: return 0;
    case MATRIX_SLIDE: case MATRIX_DIAGONAL: return COST_CALL + (double)outer * (double)x->m;
    default: return block_cost(x->n, x->m, outer, x->rows, x->columns);
    }
}

/* ---- emitting ---- */

/* [outer, n], or [n] */
static Dims many(size_t outer, size_t n) {
    if (outer == 1) return (Dims){.rank = 1, .at = {(uint32_t)n}};
    return (Dims){.rank = 2, .at = {(uint32_t)outer, (uint32_t)n}};
}

static uint32_t put_diagonal(Rewrite *rw, uint32_t x, size_t outer, const Matrix *matrix) {
    static const int64_t plain[] = {1, 1, 1, 0, 0, 0}, with_outer[] = {2, 1, 2, 0, 1, 1, 0, 1};
    size_t n = matrix->n;
    double *entries = ARENA_ARRAY(&rw->cx->arena, double, n);
    for (size_t i = 0; i < n; i++) entries[i] = matrix->cells[i * n + i];
    Dims flat = many(1, n), out = many(outer, n);
    uint32_t ins[] = {x, matrix_constant(rw, entries, &flat)};
    return rewrite_node(rw, OP_contract, ins, 2, &out, outer == 1 ? plain : with_outer, outer == 1 ? 6 : 8);
}

static uint32_t put_dense(Rewrite *rw, uint32_t x, size_t outer, const Matrix *matrix) {
    static const int64_t plain[] = {1, 2, 1, 0, 0, 1, 1}, with_outer[] = {2, 2, 2, 2, 0, 0, 1, 2, 1};
    size_t rows = matrix->rows, columns = matrix->columns;
    uint32_t axis = outer > 1;
    double *block = ARENA_ARRAY(&rw->cx->arena, double, rows * columns); /* no larger than the cells */
    for (size_t i = 0; i < rows; i++)
        memcpy(block + i * columns, matrix->cells + (matrix->row + i) * matrix->m + matrix->column, columns * sizeof *block);
    Dims square = {.rank = 2, .at = {(uint32_t)rows, (uint32_t)columns}}, out = many(outer, columns);
    x = rewrite_slide(rw, x, axis, (uint32_t)rows, -(int64_t)matrix->row);
    uint32_t ins[] = {x, matrix_constant(rw, block, &square)};
    uint32_t made = rewrite_node(rw, OP_contract, ins, 2, &out, axis ? with_outer : plain, axis ? 9 : 7);
    return rewrite_slide(rw, made, axis, (uint32_t)matrix->m, (int64_t)matrix->column);
}

uint32_t matrix_apply(Rewrite *rw, uint32_t x, size_t outer, const Matrix *matrix, const Dims *dims) {
    Dims in = many(outer, matrix->n);
    if (matrix->kind == MATRIX_ZERO) return rewrite_node(rw, OP_zero, NULL, 0, dims, NULL, 0);
    uint32_t made = rewrite_reshape(rw, x, &in);
    if (matrix->kind == MATRIX_SLIDE) made = rewrite_slide(rw, made, outer > 1, (uint32_t)matrix->m, matrix->by);
    if (matrix->kind == MATRIX_DIAGONAL) made = put_diagonal(rw, made, outer, matrix);
    if (matrix->kind == MATRIX_DENSE) made = put_dense(rw, made, outer, matrix);
    return rewrite_reshape(rw, made, dims);
}

static bool is_eye(const double *data, const Dims *dims) {
    if (dims->rank != 2 || dims->at[0] != dims->at[1]) return false;
    size_t n = dims->at[0];
    for (size_t i = 0; i < n * n; i++)
        if (data[i] != (i % (n + 1) == 0 ? 1.0 : 0.0)) return false;
    return true;
}

uint32_t matrix_constant(Rewrite *rw, const double *data, const Dims *dims) {
    size_t size = dims_product(dims), ones = 0, others = 0;
    int64_t at = 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 1) ones++, at = (int64_t)i;
        else others += data[i] != 0;
    }
    if (!ones && !others) return rewrite_node(rw, OP_zero, NULL, 0, dims, NULL, 0);
    if (ones == 1 && !others) {
        Dims flat = {.rank = 1, .at = {(uint32_t)size}};
        return rewrite_reshape(rw, rewrite_node(rw, OP_onehot, NULL, 0, &flat, &at, 1), dims);
    }
    if (!others && is_eye(data, dims)) return rewrite_node(rw, OP_eye, NULL, 0, dims, NULL, 0);
    uint32_t node = graph_const(rw->to, data, dims->at, dims->rank);
    if (rw->to->failed) cx_fail(rw->cx, ERR_too_large, AT_NOWHERE, NULL, "The compiled program's constants are too large.");
    return node;
}

const double *matrix_values(Rewrite *rw, uint32_t node, size_t cells) {
    const Graph *g = rw->to;
    while (g->nodes[node].op == OP_reshape) node = node_ins(g, &g->nodes[node])[0];
    const GNode *n = &g->nodes[node];
    if (n->size > cells) return NULL;
    if (n->op == OP_const) return g->consts + node_attrs(g, n)[0];
    if (n->op != OP_zero && n->op != OP_onehot && n->op != OP_eye) return NULL;
    double *values = ARENA_ARRAY(&rw->cx->arena, double, n->size);
    if (n->op == OP_onehot) values[node_attrs(g, n)[0]] = 1;
    for (size_t i = 0, side = node_dims(g, n)[0]; n->op == OP_eye && i < side; i++) values[i * side + i] = 1;
    return values;
}
