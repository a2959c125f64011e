/* Windows on the last two axes: the largest element, its derivatives, and the mean.
 *
 * Windows of one output row are looked at together, a strip of columns at a time: first down the columns, in vectors, then across. */
#include "worker/kernels/kernels.h"
#include <math.h>
#include <string.h>

enum {
    STRIP = 512,           /* columns, and windows, at a time */
    MOST_STRIDE = 8,       /* for vectors across */
    SLACK = 16 * MOST_STRIDE /* the columns of so many more windows as a vector has lanes */
};

/* A stretch of an axis: [from, to). */
typedef struct {
    size_t from, to;
} Range;

/* Where a window lies on an axis of n elements, cut at the edges. */
static inline Range range_of(size_t window, size_t stride, int64_t pad, size_t kernel, size_t n) {
    int64_t from = (int64_t)(window * stride) - pad, to = from + (int64_t)kernel;
    return (Range){from < 0 ? 0 : (size_t)from, to > (int64_t)n ? n : (size_t)to};
}
static inline Range rows_of(const WindowDetail *d, size_t i) { return range_of(i, d->sh, d->top, d->kh, d->H); }
static inline Range columns_of(const WindowDetail *d, size_t j) { return range_of(j, d->sw, d->left, d->kw, d->W); }

/* Windows j .. j+count of an output row, with all columns under them: at most STRIP of each, but for a lone window wider than that. */
typedef struct {
    size_t j, count;
    Range h, w;
} Strip;

static inline Strip strip_at(const WindowDetail *d, Range h, size_t j) {
    size_t room = d->kw > STRIP ? 1 : (STRIP - d->kw) / d->sw + 1, left = d->Wo - j;
    Strip s = {.j = j, .count = room < left ? room : left, .h = h};
    s.w = (Range){columns_of(d, j).from, columns_of(d, j + s.count - 1).to};
    return s;
}

/* All columns of a strip fit, and rows within it are exact as floats. */
static inline bool strip_narrow(const WindowDetail *d) { return d->kw <= STRIP && d->sw <= MOST_STRIDE && d->kh < (size_t)1 << 24; }

#define KERNEL_TEMPLATE "worker/kernels/pool.h"
#include "worker/kernels/variants.h"
