/* Template of convolve.c. A shared operand's row stride is 0. */

static void K(convolve_pack)(const ConvDetail *d, const REAL *w, REAL *packed) {
    if (d->peaks) K(peaks_pack)(&d->shape, w, packed);
    else if (d->turned) K(conv_pack_turned)(&d->shape, w, packed);
    else K(conv_pack)(&d->shape, w, packed);
}

/* w shared -> packed */
void K(kernel_conv_pack)(Exec *x, const Step *s) { K(convolve_pack)(s->conv, x->at[s->in[0]], x->at[s->out]); }

/* in[0]: images; in[1]: kernels, packed where they are shared; in[2]: the bias, or the mask of the result's dims */
void K(kernel_conv)(Exec *x, const Step *s) {
    const ConvDetail *d = s->conv;
    const ConvShape *f = &d->shape;
    const REAL *a = x->at[s->in[0]], *w = x->at[s->in[1]];
    REAL *packed = d->packed == VALUE_NONE ? NULL : x->at[d->packed];
    size_t rows = s->out_batched ? x->rows : 1, size = f->O * f->OH * f->OW;
    for (size_t r = 0; r < rows; r++) {
        ConvEnd end = {.bias = d->bias ? x->at[s->in[2]] : NULL, .mask = d->mask ? (REAL *)x->at[s->in[2]] + r * size : NULL, .relu = d->relu};
        if (packed) K(convolve_pack)(d, w, packed);
        K(conv_image)(f, a, packed ? packed : w, &end, (REAL *)x->at[s->out] + r * size, x->at[d->scratch]);
        if (s->in_batched[0]) a += f->C * f->H * f->W;
        if (s->in_batched[1]) w += f->O * f->C * f->kh * f->kw;
    }
}

/* in[0]: peaks; in[1]: kernels, packed; in[2]: the mask -> x̄ */
void K(kernel_conv_peaks)(Exec *x, const Step *s) {
    const ConvDetail *d = s->conv;
    const ConvShape *f = &d->shape;
    size_t size = f->C * f->H * f->W;
    for (size_t r = 0; r < x->rows; r++) {
        const REAL *mask = d->mask ? (REAL *)x->at[s->in[2]] + r * size : NULL;
        K(peaks_dx)(f, (REAL *)x->at[s->in[0]] + r * f->O * conv_peaks_room(d->peaks), d->peaks, x->at[s->in[1]], mask, (REAL *)x->at[s->out] + r * size,
                    x->at[d->scratch]);
    }
}

/* in[0]: ȳ, in[1]: x -> w̄, a row's own */
void K(kernel_conv_dw)(Exec *x, const Step *s) {
    const ConvDetail *d = s->conv;
    const ConvShape *f = &d->shape;
    const REAL *y = x->at[s->in[0]], *a = x->at[s->in[1]];
    REAL *w = x->at[s->out], *sums = x->at[d->sums];
    size_t rows = s->out_batched ? x->rows : 1;
    for (size_t r = 0; r < rows; r++, w += f->O * f->C * f->kh * f->kw) {
        memset(sums, 0, conv_dw_sums(f) * sizeof *sums);
        K(conv_dw_image)(f, a, y, sums, x->at[d->scratch]);
        K(conv_dw_finish)(f, sums, w, false);
        if (s->in_batched[0]) y += f->O * f->OH * f->OW;
        if (s->in_batched[1]) a += f->C * f->H * f->W;
    }
}

/* Both operands batched; summed over rows. in[0]: ȳ or its peaks. */
void K(kernel_conv_dw_sum)(Exec *x, const Step *s) {
    const ConvDetail *d = s->conv;
    const ConvShape *f = &d->shape;
    const REAL *y = x->at[s->in[0]], *a = x->at[s->in[1]];
    REAL *sums = x->at[d->sums], *w = x->at[s->out];
    bool add = x->again || s->more;
    memset(sums, 0, (d->peaks ? conv_peaks_packed(f) : conv_dw_sums(f)) * sizeof *sums);
    for (size_t r = 0; r < x->rows; r++, a += f->C * f->H * f->W) {
        if (d->peaks) K(peaks_dw)(f, a, y + r * f->O * conv_peaks_room(d->peaks), d->peaks, sums, x->at[d->scratch]);
        else K(conv_dw_image)(f, a, y + r * f->O * f->OH * f->OW, sums, x->at[d->scratch]);
    }
    if (d->peaks) K(peaks_dw_finish)(f, sums, w, add);
    else K(conv_dw_finish)(f, sums, w, add);
}
