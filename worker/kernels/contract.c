/* Matrix products: contract and contract_sum. Large ones are BLAS's; small ones plain loops, as a call would cost more than
 * they do. */
#include "worker/kernels/kernels.h"
#include <cblas.h>
#include <limits.h>
#include <string.h>

enum { BLAS_FROM = 256 }; /* multiply-adds; measured with one thread: below, a call costs more than it saves */

/* c [m,n] = or += a [m,k] · b [k,n]; ta: a is stored [k,m], tb: b is stored [n,k]; ld: elements from one stored row to the next.
 */
typedef struct {
    bool ta, tb, add;
    size_t m, n, k, lda, ldb, ldc;
} Gemm;

static bool blas_deserved(const Gemm *p) {
    return p->m <= INT_MAX && p->n <= INT_MAX && p->k <= INT_MAX && p->lda <= INT_MAX && p->ldb <= INT_MAX && p->ldc <= INT_MAX &&
           (double)p->m * (double)p->n * (double)p->k >= BLAS_FROM;
}

#define KERNEL_TEMPLATE "worker/kernels/contract.h"
#include "worker/kernels/variants.h"
