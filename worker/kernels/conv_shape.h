/* Convolutions of one image: what is computed, and how the kernels of conv.c go about it.
 *
 * y[o,r,q] = Σ over c,i,j of w[o,c,i,j] · x̂[c, r·down_h + i, q·down_w + j], with x̂ the image, its pixels up_h and up_w apart and zeros between,
 * below `top` rows and right of `left` columns of zeros (fewer than none: cut), with zeros on the other sides. One form for the op and for
 * its derivative in x: conv2d has up = 1; conv2d_dx is the convolution of ȳ with the turned kernels, and has down = 1. */
#ifndef CAJAL_CONV_SHAPE_H
#define CAJAL_CONV_SHAPE_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t C, H, W, O, kh, kw, OH, OW; /* x [C,H,W], w [O,C,kh,kw], y [O,OH,OW] */
    size_t up_h, up_w, down_h, down_w;
    ptrdiff_t top, left;
} ConvShape;

/* An op's attributes. */
typedef struct {
    size_t sh, sw, ph, pw;
} ConvStride;

ConvShape conv_shape(size_t C, size_t H, size_t W, size_t O, size_t kh, size_t kw, ConvStride s);
/* Of x̄, given the shape of the op it comes from: C and O change places. */
ConvShape conv_shape_dx(const ConvShape *f);

/* Elements, float or double, SIZE_MAX when they do not fit a size_t: scratch of conv_image and of conv_dw_image; w packed; w's gradient while
 * it adds up. Whatever the instruction set. */
size_t conv_scratch(const ConvShape *s);
size_t conv_packed(const ConvShape *s);
size_t conv_dw_scratch(const ConvShape *s);
size_t conv_dw_sums(const ConvShape *s);
/* The same for peaks: scratch; w packed, or its gradient while it adds up. */
size_t conv_peaks_scratch(const ConvShape *s);
size_t conv_peaks_packed(const ConvShape *s);
/* Of an output's peaks, of which there are n at most: how many there are, then row, column and value of each. */
static inline size_t conv_peaks_room(size_t n) { return 1 + 3 * n; }

enum {
    CONV_LANES = 16,      /* of the longest vector */
    CONV_LINES = 14,      /* output rows at a time where there is one output */
    CONV_SLACK = 64,      /* elements behind a scratch: whole vectors are read and written over the ends of rows */
    CONV_BAND = 1 << 17   /* elements of the copies made at a time: they stay in the second cache */
};

/* An image as the kernels of conv_image read it: for each channel, each row modulo down_h (`phases` of them) and each column j of the kernel
 * a copy [band + more rows, OW] of what that column meets, one output row below the other, so that lanes run over all of a band's
 * outputs, whatever their width. */
typedef struct {
    bool lines;           /* no copies, only padding: there is one output, at stride 1, and lanes run along its rows */
    size_t band;          /* output rows at a time */
    size_t phases, copy;  /* copies a channel and j; elements of a copy */
    size_t height, pitch; /* of the padded channel they are made from */
} ConvPack;
ConvPack conv_pack_of(const ConvShape *s);
#endif
