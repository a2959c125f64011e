/* broadcast and sum: an axis more, an axis less; pad. */
#include "worker/kernels/kernels.h"
#include <string.h>

/* Which j of [0, most) have 0 <= j − by < n: [from, to). */
typedef struct {
    size_t from, to;
} Span;

static inline Span span_of(size_t most, int64_t by, size_t n) {
    int64_t from = by > 0 ? by : 0, to = by + (int64_t)n;
    if (to > (int64_t)most) to = (int64_t)most;
    return to > from ? (Span){(size_t)from, (size_t)to} : (Span){0, 0};
}

#define KERNEL_TEMPLATE "worker/kernels/layers.h"
#include "worker/kernels/variants.h"
