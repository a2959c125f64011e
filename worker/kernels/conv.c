/* Convolutions, as direct sums in registers. Forward and dx: a block of outputs o by some vectors of places, one multiply-add each for
 * every kernel element, over copies of the image in which no lane is idle (conv_shape.h), or, for one output, over its padded rows; dw: a
 * block of kernel elements, summed over all places. A result's elements are sums in one order, whatever the block. */
#include "worker/kernels/conv_image.h"
#include <string.h>

enum { /* of the largest block: */
    CONV_ROWS = 8,
    CONV_VECTORS = 8,
    CONV_SUMS = 24,
    CONV_LINE_ROWS = 7,
    CONV_DW_SUMS = 24,
    CONV_DW_COLUMNS = 5
};

/* For each c, i, j of a kernel where in the copies it meets the first place. */
static void conv_where(const ConvShape *s, const ConvPack *p, uint32_t *where) {
    for (size_t c = 0; c < s->C; c++)
        for (size_t i = 0; i < s->kh; i++) {
            size_t at = (c * p->phases + i % p->phases) * s->kw * p->copy + i / p->phases * s->OW;
            for (size_t j = 0; j < s->kw; j++, at += p->copy) *where++ = (uint32_t)at;
        }
}

#define KERNEL_TEMPLATE "worker/kernels/conv.h"
#include "worker/kernels/variants.h"
