/* Sums along an axis and back, padding. */
#include "worker/kernels/kernels.h"
#include <string.h>

/* Which j of [0, most) have 0 <= j·stride + by < n: [from, to). */
typedef struct {
    size_t from, to;
} Span;

static inline Span span_of(size_t most, size_t stride, int64_t by, size_t n) {
    size_t from = by < 0 ? ((size_t)-by + stride - 1) / stride : 0, to = 0;
    if (by < (int64_t)n) to = ((size_t)((int64_t)n - by) + stride - 1) / stride;
    if (to > most) to = most;
    return (Span){from < to ? from : to, to};
}

#define KERNEL_TEMPLATE "worker/kernels/layers.h"
#include "worker/kernels/variants.h"
