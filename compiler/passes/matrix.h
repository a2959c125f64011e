/* Constant vectors and matrices as the cheapest ops that say them: structure stays structure (architecture.md).
 * Errors: too_large. */
#ifndef CAJAL_MATRIX_H
#define CAJAL_MATRIX_H
#include "compiler/passes/rewrite.h"

typedef enum {
    MATRIX_ZERO,
    MATRIX_EYE,
    MATRIX_SLIDE,    /* cells[i, i+by] = 1 wherever that is inside, 0 elsewhere */
    MATRIX_DIAGONAL, /* square */
    MATRIX_DENSE     /* a block of it, zeros around */
} MatrixKind;

/* y[j] = Σ_i x[i]·cells[i,j] */
typedef struct {
    const double *cells; /* [n, m], the caller's */
    size_t n, m;
    MatrixKind kind;
    int64_t by;                       /* slide */
    size_t row, rows, column, columns; /* dense: the block */
} Matrix;

/* outer: how many vectors it is applied to; that settles how much of the zeros around is worth cutting off. */
Matrix matrix_of(const double *cells, size_t n, size_t m, size_t outer);
/* By the cost model. */
double matrix_cost(const Matrix *matrix, size_t outer);
/* x, outer × n elements, to outer × m elements in these dims. */
uint32_t matrix_apply(Rewrite *rw, uint32_t x, size_t outer, const Matrix *matrix, const Dims *dims);

/* A constant: zero, onehot, eye or const. */
uint32_t matrix_constant(Rewrite *rw, const double *data, const Dims *dims);
/* The values of a constant leaf of the new graph: in the arena or in the graph; NULL when it is none, or of more than `cells`. */
const double *matrix_values(Rewrite *rw, uint32_t node, size_t cells);
#endif
