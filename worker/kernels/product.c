/* Matrix products with a shared right operand: rows of a times b, b packed before (pack) into panels read from one end to the other
 * (Goto and van de Geijn 2008, without packing a).
 *
 * BLAS is not used here because its results for a row depend on how many rows there are. Elements of c are sums over k in order, one
 * fused multiply-add each, whatever block of rows they are computed in. */
#include "worker/kernels/kernels.h"
#include <string.h>

enum { PRODUCT_DEPTH = 256 }; /* of a panel: 128 × 256 bytes stay in the first cache while rows pass */

/* c [m,n] = a [m,k] · b; lda, ldc: elements from one row to the next; b [panels, k, stride]. */
typedef struct {
    size_t m, n, k, lda, ldc, stride;
} PanelProduct;

#define KERNEL_TEMPLATE "worker/kernels/product.h"
#include "worker/kernels/variants.h"
