/* The IDX format, MNIST's (yann.lecun.com/exdb/mnist): two zero bytes, the element type, the rank, that many extents as big-endian u32, then the
 * elements, big-endian and row-major. */
#ifndef CAJAL_IDX_H
#define CAJAL_IDX_H
#include "schema/formats/bulk.h"
#include "schema/limits.h"

/* The first bytes are those of an IDX file, and of no npy or safetensors that a reader would take. */
bool idx_is(const unsigned char *body, size_t len);
/* As bulk.h says of readers; one tensor, of rank at least 1. */
bool idx_read(const unsigned char *body, size_t len, Bulk *out, Err *err);
#endif
