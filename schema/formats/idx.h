/* The IDX format, MNIST's (yann.lecun.com/exdb/mnist): two zero bytes, the element type, the rank, that many extents as big-endian u32, then the
 * elements, big-endian and row-major.
 *
 * The reader is a pure function of the bytes: an array that lies wholly inside the body, or a bad_tensor with the reason. */
#ifndef CAJAL_IDX_H
#define CAJAL_IDX_H
#include "schema/formats/bulk.h"
#include "schema/limits.h"

typedef struct {
    DType dtype;           /* what the elements become: unsigned bytes U8, the other integers I64, reals F32 and F64 */
    size_t width;          /* bytes of an element in the body */
    size_t rank, shape[LIMIT_TENSOR_RANK]; /* rank at least 1 */
    size_t count, offset;  /* elements; where they begin */
} Idx;

/* The first bytes are those of an IDX file, and of no npy or safetensors that a reader would take. */
bool idx_is(const unsigned char *body, size_t len);
bool idx_read(const unsigned char *body, size_t len, Idx *out, Err *err);
/* n elements of the body as n of dtype, little-endian. `to` need not be aligned. */
void idx_convert(const Idx *idx, const unsigned char *from, size_t n, unsigned char *to);
#endif
