/* Convolution of one image, for every dtype and instruction set (kernels.h).
 *
 *   conv_pack         w [O,C,kh,kw] -> packed, for conv_image of its shape
 *   conv_pack_turned  w of a convolution -> packed, for conv_image of its conv_shape_dx
 *   conv_image        x [C,H,W] -> y [O,OH,OW], with an end
 *   conv_dw_image     adds x's and ȳ's part of w̄ to `sums`, zeroed before the first image
 *   conv_dw_finish    sums -> = or += w̄ [O,C,kh,kw]
 *
 * Where ȳ is zero but at n peaks an output at most, [O,conv_peaks_room(n)] (peaks.c; stride 1, all of `s` the convolution's own shape):
 *
 *   peaks_pack        w -> packed, for peaks_dx
 *   peaks_dx          peaks -> x̄ [C,H,W], zero where `mask`, of the same dims, is zero or less (NULL: nowhere)
 *   peaks_dw          adds x's and the peaks' part of w̄ to `sums`; peaks_dw_finish as conv_dw_finish
 *
 * `packed`, `sums` and `scratch` have the sizes of conv_shape.h. Nothing overlaps. */
#ifndef CAJAL_CONV_IMAGE_H
#define CAJAL_CONV_IMAGE_H
#include "worker/kernels/conv_shape.h"
#include "worker/kernels/kernels.h"

/* What becomes of y before it is written; reals of the variant, NULL: nothing. */
typedef struct {
    const void *bias; /* [O], added */
    const void *mask; /* [O,OH,OW]: zero where it is zero or less */
    bool relu;
} ConvEnd;

#define CONV_DECLARE(real, variant)                                                                                                        \
    void conv_pack_##variant(const ConvShape *s, const real *w, real *packed);                                                            \
    void conv_pack_turned_##variant(const ConvShape *s, const real *w, real *packed);                                                     \
    void conv_image_##variant(const ConvShape *s, const real *x, const real *packed, const ConvEnd *end, real *y, real *scratch);         \
    void conv_dw_image_##variant(const ConvShape *s, const real *x, const real *y, real *sums, real *scratch);                            \
    void conv_dw_finish_##variant(const ConvShape *s, const real *sums, real *w, bool add);                                               \
    void peaks_pack_##variant(const ConvShape *s, const real *w, real *packed);                                                           \
    void peaks_dx_##variant(const ConvShape *s, const real *peaks, size_t n, const real *packed, const real *mask, real *x, real *scratch); \
    void peaks_dw_##variant(const ConvShape *s, const real *x, const real *peaks, size_t n, real *sums, real *scratch);                   \
    void peaks_dw_finish_##variant(const ConvShape *s, const real *sums, real *w, bool add);
#define CONV_BOTH(name, isa) CONV_DECLARE(float, f32_##isa) CONV_DECLARE(double, f64_##isa)
KERNEL_VARIANTS(CONV_BOTH, conv)
#undef CONV_BOTH
#undef CONV_DECLARE
#endif
