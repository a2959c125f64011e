/* The safetensors format: u64 header length, a JSON header, the data (github.com/huggingface/safetensors). */
#ifndef CAJAL_SAFETENSORS_H
#define CAJAL_SAFETENSORS_H
#include "schema/base/buf.h"
#include "schema/formats/bulk.h"

/* The header's key that is no tensor's name. */
#define SAFETENSORS_METADATA "__metadata__"

/* The first bytes are a header's length that fits the body, and the beginning of JSON's object. */
bool safetensors_is(const unsigned char *body, size_t len);
/* As bulk.h says of readers. */
bool safetensors_read(const unsigned char *body, size_t len, Bulk *out, Err *err);
/* A text of the header's __metadata__ into out[0..room); false when the body is none, has no such key, or the text is too long. */
bool safetensors_note(const unsigned char *body, size_t len, const char *key, char *out, size_t room);

/* Appends what stands before the data, which are in the tensors' dtype. They follow each other in the order given; of a tensor, only name, dtype,
 * rank, shape and bytes are looked at. */
void safetensors_put_header(Buf *out, const BulkTensor *tensors, size_t n);
typedef struct {
    const char *key, *value;
} BulkNote;
/* The same with __metadata__. */
void safetensors_put_noted(Buf *out, const BulkTensor *tensors, size_t n, const BulkNote *notes, size_t nnotes);
#endif
