/* The kernels: one function a family, dtype and instruction set, called by plan steps.
 *
 * Each family is one file, compiled from one template for every variant (variants.h): K(name) is the variant's name, REAL the type.
 * A kernel finds its operands in x->at and its extents in the step; batched operands have x->rows rows, shared ones one.
 * Forward kernels overwrite; `batch_sum` and `contract_sum` add when x->again says so, `accumulate` always.
 * A row's bits depend on nothing but the row: every element of a product is one chain of multiply-adds in the order of the summed
 * axis, however many rows there are (in products a row, whatever BLAS does with that shape); only sums over rows know of tiles.
 * NaN and infinity go through every product as IEEE says: nothing is skipped because it is zero, but where a max pool or the relu before it lets no
 * gradient through (peaks.c), and where a count does not take an iteration's state (iter.c). What language.md §5 wants besides is seen to afterwards
 * (worker/protocol/careful.h). */
#ifndef CAJAL_KERNELS_H
#define CAJAL_KERNELS_H
#include "worker/kernels/exec_state.h"

/* Kernels of the op table's STEPs: fill: zeros and ones; slide: along an axis; the others as the ops of that name. And those that
 * are no op's own: permute; copy: to one or to all rows; gather: rows of all tiles; load, store: to and from outside; batch_sum: over rows;
 * accumulate: onto a bound value; contract: both operands batched, or large and neither; pack, product: rows of a times a shared b;
 * contract_rows: the same as one product; contract_sum: summed over rows; tape: worker/plan/tape.h; sum_batch_sum: sum, summed over rows; max_pool_places:
 * max_pool, and where; peaks: ȳ there, and peaks_sum its sum; conv_pack: kernels for conv, which is conv2d and conv2d_dx, and for conv_peaks,
 * conv2d_dx of peaks; conv_dw_sum: summed over rows. */
#define KERNELS(KERNEL) \
    KERNEL(permute) KERNEL(copy) KERNEL(gather) KERNEL(load) KERNEL(store) KERNEL(batch_sum) KERNEL(accumulate) KERNEL(contract) KERNEL(pack) \
    KERNEL(product) KERNEL(contract_rows) KERNEL(contract_sum) KERNEL(tape_scalars) KERNEL(tape) KERNEL(sum_batch_sum) KERNEL(max_pool_places) \
    KERNEL(peaks) KERNEL(peaks_sum) KERNEL(conv_pack) KERNEL(conv) KERNEL(conv_peaks) KERNEL(conv_dw) KERNEL(conv_dw_sum)

#ifdef __x86_64__
#define KERNEL_VARIANTS(V, name) V(name, base) V(name, avx2) V(name, avx512)
#else
#define KERNEL_VARIANTS(V, name) V(name, base)
#endif

#define KERNEL_DECLARE(name, isa) \
    void kernel_##name##_f32_##isa(Exec *x, const Step *step); \
    void kernel_##name##_f64_##isa(Exec *x, const Step *step);
#define KERNEL(name) KERNEL_VARIANTS(KERNEL_DECLARE, name)
KERNELS(KERNEL)
#define STEP(rule, kernel) KERNEL(kernel)
#define STEPS(rule)
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, plan, ...) plan
#include "schema/graph/ops.def"
#undef OP
#undef STEPS
#undef STEP
#undef KERNEL
#undef KERNEL_DECLARE

/* The kernel of a plan's dtype and instruction set ; the variants stand in the order of Isa. */
#define KERNEL_BOTH(name, isa) kernel_##name##_f32_##isa, kernel_##name##_f64_##isa,
#define KERNEL_OF(plan, name) (((const Kernel[]){KERNEL_VARIANTS(KERNEL_BOTH, name)})[2 * (plan)->isa + (plan)->f64])

/* Columns of a packed panel, 128 bytes whatever the variant; elements of b packed, for each of G (product.h). */
static inline size_t kernel_panel(bool f64) { return f64 ? 16 : 32; }
static inline size_t kernel_packed(const ContractDetail *d, size_t panel) {
    return d->N < panel ? d->K * d->N + panel : (d->N + panel - 1) / panel * panel * d->K;
}
#endif
