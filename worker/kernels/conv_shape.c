#include "worker/kernels/conv_shape.h"
#include <stdint.h>

ConvShape conv_shape(size_t C, size_t H, size_t W, size_t O, size_t kh, size_t kw, ConvStride s) {
    return (ConvShape){.C = C,
                       .H = H,
                       .W = W,
                       .O = O,
                       .kh = kh,
                       .kw = kw,
                       .OH = (H + 2 * s.ph - kh) / s.sh + 1,
                       .OW = (W + 2 * s.pw - kw) / s.sw + 1,
                       .up_h = 1,
                       .up_w = 1,
                       .down_h = s.sh,
                       .down_w = s.sw,
                       .top = (ptrdiff_t)s.ph,
                       .left = (ptrdiff_t)s.pw};
}

ConvShape conv_shape_dx(const ConvShape *f) {
    return (ConvShape){.C = f->O,
                       .H = f->OH,
                       .W = f->OW,
                       .O = f->C,
                       .kh = f->kh,
                       .kw = f->kw,
                       .OH = f->H,
                       .OW = f->W,
                       .up_h = f->down_h,
                       .up_w = f->down_w,
                       .down_h = 1,
                       .down_w = 1,
                       .top = (ptrdiff_t)f->kh - 1 - f->top,
                       .left = (ptrdiff_t)f->kw - 1 - f->left};
}

/* Sizes that stay SIZE_MAX once they are too large. */
static size_t times(size_t a, size_t b) { return __builtin_mul_overflow(a, b, &a) ? SIZE_MAX : a; }
static size_t plus(size_t a, size_t b) { return __builtin_add_overflow(a, b, &a) ? SIZE_MAX : a; }
static size_t whole(size_t n, size_t of) { return plus(n, of - 1) / of * of; }

ConvPack conv_pack_of(const ConvShape *s) {
    size_t row = times(times(s->C, s->kw), times(s->OW, s->down_h)), more = (s->kh - 1) / s->down_h;
    ConvPack p = {.band = s->OH, .lines = s->O == 1 && s->down_h == 1 && s->down_w == 1};
    if (!p.lines && times(row, s->OH + more) > CONV_BAND) {
        p.band = row < CONV_BAND ? CONV_BAND / row : 1;
        p.band = p.band > 2 * more ? p.band - more : more + 1;
        if (p.band > s->OH) p.band = s->OH;
    }
    p.phases = s->down_h < s->kh ? s->down_h : s->kh;
    p.height = (p.band - 1) * s->down_h + s->kh;
    p.pitch = (s->OW - 1) * s->down_w + s->kw;
    p.copy = times(p.band + more, s->OW);
    return p;
}

size_t conv_scratch(const ConvShape *s) {
    ConvPack p = conv_pack_of(s);
    if (p.lines) return plus(times(plus(times(s->C, p.height), CONV_LINES), p.pitch), CONV_SLACK);
    size_t copies = times(times(s->C, s->kw), times(p.phases, p.copy));
    return plus(plus(plus(times(p.height, p.pitch), copies), times(times(s->C, s->kh), s->kw)), CONV_SLACK);
}

size_t conv_packed(const ConvShape *s) { return times(times(s->O, s->C), times(s->kh, s->kw)); }

size_t conv_dw_scratch(const ConvShape *s) {
    size_t height = (s->OH - 1) * s->down_h + s->kh, pitch = (s->OW - 1) * s->down_w + s->kw;
    size_t y = times(whole(s->O, CONV_LANES), times(s->OH, s->OW));
    return plus(plus(y, times(s->C, times(height, pitch))), CONV_SLACK);
}

size_t conv_dw_sums(const ConvShape *s) {
    size_t by_o = times(times(whole(s->O, CONV_LANES), s->C), times(s->kh, s->kw));
    size_t by_j = times(times(s->O, s->C), times(s->kh, whole(s->kw, CONV_LANES)));
    return by_o > by_j ? by_o : by_j;
}

size_t conv_peaks_scratch(const ConvShape *s) {
    return plus(times(times(s->OH - 1 + s->kh, s->OW - 1 + s->kw), s->C), CONV_SLACK);
}

size_t conv_peaks_packed(const ConvShape *s) { return times(times(s->O, s->kh), whole(times(s->kw, s->C), CONV_LANES)); }
