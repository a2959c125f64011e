/* Tensors in binary bodies: safetensors and npy, read and written.
 *
 * The readers are pure functions of the bytes: whatever these are, they return either tensors that lie wholly inside the body, in a
 * dtype of DType, little-endian, row-major, without gaps or overlaps, or a bad_tensor with the reason.
 * Ownership: a Bulk owns its items and names (bulk_release); data stay in the body. */
#ifndef CAJAL_BULK_H
#define CAJAL_BULK_H
#include "schema/formats/dtype.h"
#include "schema/formats/json.h"
#include "schema/limits.h"


typedef struct {
    char *name;
    DType dtype;
    size_t rank, shape[LIMIT_TENSOR_RANK];
    size_t count;         /* product of shape */
    size_t offset, bytes; /* in the body */
} BulkTensor;

typedef struct {
    BulkTensor *items;
    size_t n;
} Bulk;

bool safetensors_read(const unsigned char *body, size_t len, Bulk *out, Err *err);
/* The one tensor is named "args.0". */
bool npy_read(const unsigned char *body, size_t len, Bulk *out, Err *err);
void bulk_release(Bulk *bulk);

/* A text of the header's __metadata__ into out[0..room); false when the body is none, has no such key, or the text is too long. */
bool safetensors_note(const unsigned char *body, size_t len, const char *key, char *out, size_t room);

/* Appends what stands before the data. Tensors' data follow each other in the order given; offset is not looked at. */
void safetensors_put_header(Buf *out, const BulkTensor *tensors, size_t n);
typedef struct {
    const char *key, *value;
} BulkNote;
/* The same with __metadata__. */
void safetensors_put_noted(Buf *out, const BulkTensor *tensors, size_t n, const BulkNote *notes, size_t nnotes);
void npy_put_header(Buf *out, DType dtype, const size_t *shape, size_t rank);
#endif
