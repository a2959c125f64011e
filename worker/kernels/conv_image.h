/* Convolution of one image, for every dtype and instruction set (kernels.h).
 *
 *   conv_pack         w [O,C,kh,kw] -> packed, for conv_image of its shape
 *   conv_pack_turned  w of a convolution -> packed, for conv_image of its conv_shape_dx
 *   conv_image        x [C,H,W] -> y [O,OH,OW], plus bias[o] (NULL: none), negative ones cut off with `relu`
 *   conv_dw_image     adds x's and ȳ's part of w̄ to `sums`, zeroed before the first image
 *   conv_dw_finish    sums -> = or += w̄ [O,C,kh,kw]
 *
 * `packed`, `sums` and `scratch` have the sizes of conv_shape.h. Nothing overlaps. */
#ifndef CAJAL_CONV_IMAGE_H
#define CAJAL_CONV_IMAGE_H
#include "worker/kernels/conv_shape.h"
#include "worker/kernels/kernels.h"

#define CONV_DECLARE(real, variant)                                                                                                        \
    void conv_pack_##variant(const ConvShape *s, const real *w, real *packed);                                                            \
    void conv_pack_turned_##variant(const ConvShape *s, const real *w, real *packed);                                                     \
    void conv_image_##variant(const ConvShape *s, const real *x, const real *packed, const real *bias, bool relu, real *y, real *scratch); \
    void conv_dw_image_##variant(const ConvShape *s, const real *x, const real *y, real *sums, real *scratch);                            \
    void conv_dw_finish_##variant(const ConvShape *s, const real *sums, real *w, bool add);
#define CONV_BOTH(name, isa) CONV_DECLARE(float, f32_##isa) CONV_DECLARE(double, f64_##isa)
KERNEL_VARIANTS(CONV_BOTH, conv)
#undef CONV_BOTH
#undef CONV_DECLARE
#endif
