/* Template, part of others: vectors of REAL.
 *
 * All elements go through the same instructions, those of a last, partial vector too: an element's bits do not depend on where it stands. */
#include "worker/kernels/lanes.h"

typedef REAL K(Vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL K(Loose) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
/* Integers as long as REAL; of a comparison's vector 0 or −1. */
typedef __typeof__(__builtin_choose_expr(sizeof(REAL) == 4, (int32_t)0, (int64_t)0)) K(Int);
typedef __typeof__(__builtin_choose_expr(sizeof(REAL) == 4, (uint32_t)0, (uint64_t)0)) K(Word);
typedef K(Int) K(Mask) __attribute__((vector_size(VECTOR_BYTES)));
typedef K(Word) K(Bits) __attribute__((vector_size(VECTOR_BYTES)));

#define LANES (VECTOR_BYTES / sizeof(REAL))
#define SINGLE (sizeof(REAL) == 4)
#define INLINE static inline __attribute__((always_inline))
/* Each constant as the type wants it. */
#define REAL_OF(f32, f64) ((REAL)(SINGLE ? (f32) : (f64)))

/* The first `left` elements, zeros behind them. */
INLINE K(Vector) K(vector_load)(const REAL *x, size_t left) {
    K(Vector) v = {0};
    if (left >= LANES) return *(const K(Loose) *)x;
    memcpy(&v, x, left * sizeof *x);
    return v;
}
INLINE void K(vector_store)(REAL *y, size_t left, K(Vector) v) {
    if (left >= LANES) *(K(Loose) *)y = v;
    else memcpy(y, &v, left * sizeof *y);
}

INLINE K(Vector) K(select)(K(Mask) m, K(Vector) a, K(Vector) b) { return (K(Vector))((m & (K(Mask))a) | (~m & (K(Mask))b)); }
INLINE K(Vector) K(set)(REAL v) { return (K(Vector)){0} + v; }

/* LANES rows of a square become its columns. */
INLINE void K(transpose)(K(Vector) *a) {
    K(Vector) b[LANES];
    for (size_t n = 1; n < LANES; n *= 2) {
        UNROLL for (size_t i = 0; i < LANES / 2; i++) {
            b[2 * i] = INTERLEAVE_LOW(a[i], a[i + LANES / 2]);
            b[2 * i + 1] = INTERLEAVE_HIGH(a[i], a[i + LANES / 2]);
        }
        UNROLL for (size_t i = 0; i < LANES; i++) a[i] = b[i];
    }
}

/* Σ x: so many partial sums, put together in a fixed order. */
INLINE REAL K(sum_all)(const REAL *x, size_t n) {
    K(Vector) parts[4] = {{0}};
    size_t i = 0;
    for (; n - i >= 4 * LANES; i += 4 * LANES)
        for (int k = 0; k < 4; k++) parts[k] += *(const K(Loose) *)(x + i + (size_t)k * LANES);
    for (int k = 0; i < n; i += LANES, k++) parts[k] += K(vector_load)(x + i, n - i);
    K(Vector) all = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    REAL sum = 0;
    for (size_t k = 0; k < LANES; k++) sum += all[k];
    return sum;
}
