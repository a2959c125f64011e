/* Convolutions, as direct sums in registers. Forward and dx: a block of outputs o by some vectors of places, one multiply-add each for every kernel
 * element, over copies of the image in which no lane is idle (conv_shape.h); dw: a block of kernel elements, summed over all places. Elements
 * of the result are sums over c, i, j in order, one multiply-add each, whatever the block. */
#include "worker/kernels/conv_image.h"
#include <string.h>

enum { CONV_ROWS = 8, CONV_VECTORS = 8, CONV_LINE_ROWS = 7, CONV_DW_SUMS = 24, CONV_DW_COLUMNS = 5 }; /* of the largest block */

#define KERNEL_TEMPLATE "worker/kernels/conv.h"
#include "worker/kernels/variants.h"
