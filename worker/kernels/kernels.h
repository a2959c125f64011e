/* The kernels: one function a family and dtype, called by plan steps.
 *
 * Each family is one file, compiled for float and double from one template: K(name) is name_f32 or name_f64, REAL the type.
 * A kernel finds its operands in x->at and its extents in the step; batched operands have x->rows rows, shared ones one.
 * Forward kernels overwrite; `sum` and `contract_sum` add when x->again says so, `accumulate` always.
 * NaN and infinity go through every product as IEEE says: nothing is skipped because it is zero. */
#ifndef CAJAL_KERNELS_H
#define CAJAL_KERNELS_H
#include "worker/exec.h"

/* KERNEL(name): fill: zeros, ones at src + i·stride; slide: along an axis; copy: to one or to all rows; sum: over rows;
 * accumulate: onto a bound value; contract_sum: summed over rows; load, store: to and from outside. */
#define KERNELS(KERNEL) \
    KERNEL(fill) KERNEL(slide) KERNEL(permute) KERNEL(copy) KERNEL(load) KERNEL(store) KERNEL(add) KERNEL(if) KERNEL(sum) \
    KERNEL(accumulate) KERNEL(contract) KERNEL(contract_sum) KERNEL(iter) KERNEL(iter_vjp)

#define KERNEL(name) \
    void kernel_##name##_f32(Exec *x, const Step *step); \
    void kernel_##name##_f64(Exec *x, const Step *step);
KERNELS(KERNEL)
#undef KERNEL

/* The kernel of a plan's dtype. */
#define KERNEL_OF(plan, name) ((plan)->f64 ? kernel_##name##_f64 : kernel_##name##_f32)
#endif
