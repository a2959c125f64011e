/* Gradients of convolutions whose result was pooled: ȳ of a max pool is zero but at the largest element of each window, a peak: its row, its column and
 * the gradient there. So w̄ and x̄ are sums over peaks instead of over all places.
 *
 * Images lie with their channels innermost here: what a peak meets in one row of the kernel, [kw,C], is one piece of memory. */
#include "worker/kernels/conv_image.h"
#include <string.h>

enum { PEAK_ROWS = 5, PEAK_VECTORS = 3 }; /* of the largest block: rows of the kernel, vectors of each */

#define KERNEL_TEMPLATE "worker/kernels/peaks.h"
#include "worker/kernels/variants.h"
