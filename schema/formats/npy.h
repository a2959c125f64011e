/* The npy format, versions 1 to 3 (numpy.lib.format): magic, header length, a Python dict literal, the data.
 *
 * All headers that numpy has written are read: of Python 2 (sizes like 3L), keys in any order, each byte order, Fortran order. */
#ifndef CAJAL_NPY_H
#define CAJAL_NPY_H
#include "schema/base/buf.h"
#include "schema/formats/bulk.h"

/* The first bytes are those of an npy file, and of no safetensors that a reader would take. */
bool npy_is(const unsigned char *body, size_t len);
/* As bulk.h says of readers; one tensor. */
bool npy_read(const unsigned char *body, size_t len, Bulk *out, Err *err);
/* Appends what stands before the data. */
void npy_put_header(Buf *out, DType dtype, const size_t *shape, size_t rank);
#endif
