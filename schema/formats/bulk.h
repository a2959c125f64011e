/* Tensors in binary bodies and files, as the readers of the formats (safetensors.h, npy.h, idx.h) find them.
 *
 * The readers are pure functions of the bytes: whatever these are, they return either tensors that lie wholly inside the body, without gaps or
 * overlaps, or a bad_tensor with the reason. Where the elements do not lie as the service has them (little-endian, row-major, in a DType) the
 * tensor says how they do, and bulk_convert makes them so.
 * Ownership: a Bulk owns its items and names (bulk_release); data stay in the body. */
#ifndef CAJAL_BULK_H
#define CAJAL_BULK_H
#include "schema/errors.h"
#include "schema/formats/elements.h"
#include "schema/limits.h"

typedef struct {
    char *name;
    DType dtype;             /* what the elements become, or are: element_dtype(element) */
    size_t rank, shape[LIMIT_TENSOR_RANK];
    size_t count;            /* product of shape */
    size_t offset, bytes;    /* in the body; count × element_width(element) */
    ElementType element;
    bool big_endian;         /* false where an element has one byte */
    bool fortran;            /* the first axis varies fastest; false where that is the same as row-major */
} BulkTensor;

typedef struct {
    BulkTensor *items;
    size_t n;
} Bulk;

void bulk_release(Bulk *bulk);
/* Readers: dtype, count and bytes from element, rank and shape, and the flags cleared where they mean nothing. False: a product overflows. */
bool bulk_measure(BulkTensor *tensor);
/* Readers: a Bulk of that one tensor, named "args.0". False when memory is short. */
bool bulk_single(const BulkTensor *tensor, Bulk *out, Err *err);

/* The bytes are the elements of dtype, little-endian and row-major: they can be used where they lie. */
bool bulk_plain(const BulkTensor *tensor);
/* All of the tensors are: what the service itself writes. False: bad_tensor, which says how another one is stored. */
bool bulk_all_plain(const Bulk *bulk, Err *err);
/* Every value has its place in dtype. False: a u64 from 2^63 on; bad_tensor. `data`: the tensor's bytes. */
bool bulk_fits(const BulkTensor *tensor, const unsigned char *data, Err *err);
/* Elements first to first + n, counted row-major, as n of dtype, little-endian. data: the tensor's bytes. Nothing need be aligned. */
void bulk_convert(const BulkTensor *tensor, const unsigned char *data, size_t first, size_t n, void *to);
#endif
