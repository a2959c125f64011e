/* The element types of tensors, wherever they stand: in files, in frames, in memory. */
#ifndef CAJAL_DTYPE_H
#define CAJAL_DTYPE_H
#include <stddef.h>

typedef enum { DT_F32, DT_F64, DT_I64, DT_U8, DT_BOOL, DT_COUNT } DType;

/* Bytes of an element. */
static inline size_t dtype_size(DType dtype) {
    static const size_t sizes[DT_COUNT] = {[DT_F32] = 4, [DT_F64] = 8, [DT_I64] = 8, [DT_U8] = 1, [DT_BOOL] = 1};
    return sizes[dtype];
}
#endif
