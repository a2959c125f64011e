/* The optimizers' kernels: one pass over a piece of a weight, its gradient and its states. worker/train/train_optim.h says what optimizers make of
 * them. Arrays are lent, of the kernel's dtype. */
#ifndef CAJAL_OPTIM_WORK_H
#define CAJAL_OPTIM_WORK_H
#include "worker/kernels/kernels.h"

/* What a kernel does to `count` elements: d = g·scale + decay·w, then
 *   plain      w ← w − rate·d
 *   momentum   s0 ← keep0·s0 + take0·d;  w ← w − rate·(near·d + far·s0)
 *   adam       s0 ← keep0·s0 + take0·d;  s1 ← keep1·s1 + take1·d²;  w ← w·shrink − rate·s0 / (√s1/root + eps)
 *   squares    sum = Σ g², in double */
typedef struct {
    void *w, *s0, *s1;
    const void *g;
    size_t count;
    double scale, decay, rate;
    double keep0, take0, keep1, take1;
    double near, far;
    double shrink, root, eps;
    double sum;
} OptimWork;
typedef void (*OptimKernel)(OptimWork *work);
#define OPTIM_DECLARE(name, isa) \
    void optim_##name##_f32_##isa(OptimWork *work); \
    void optim_##name##_f64_##isa(OptimWork *work);
#define OPTIM(name) KERNEL_VARIANTS(OPTIM_DECLARE, name)
OPTIM(plain) OPTIM(momentum) OPTIM(adam) OPTIM(squares)
#undef OPTIM
#undef OPTIM_DECLARE
#endif
