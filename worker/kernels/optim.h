/* Template of optim.c; the formulas are in optim_work.h. Factors are rounded to the weights' type once, as PyTorch does. */

void K(optim_plain)(OptimWork *work) {
    REAL *restrict w = work->w;
    const REAL *restrict g = work->g;
    const REAL scale = (REAL)work->scale, decay = (REAL)work->decay, rate = (REAL)work->rate;
    for (size_t i = 0; i < work->count; i++) w[i] -= rate * (g[i] * scale + decay * w[i]);
}

void K(optim_momentum)(OptimWork *work) {
    REAL *restrict w = work->w, *restrict s = work->s0;
    const REAL *restrict g = work->g;
    const REAL scale = (REAL)work->scale, decay = (REAL)work->decay, rate = (REAL)work->rate;
    const REAL keep = (REAL)work->keep0, take = (REAL)work->take0, near = (REAL)work->near, far = (REAL)work->far;
    for (size_t i = 0; i < work->count; i++) {
        const REAL d = g[i] * scale + decay * w[i];
        s[i] = keep * s[i] + take * d;
        w[i] -= rate * (near * d + far * s[i]);
    }
}

void K(optim_adam)(OptimWork *work) {
    REAL *restrict w = work->w, *restrict m = work->s0, *restrict v = work->s1;
    const REAL *restrict g = work->g;
    const REAL scale = (REAL)work->scale, decay = (REAL)work->decay, rate = (REAL)work->rate, shrink = (REAL)work->shrink;
    const REAL keep0 = (REAL)work->keep0, take0 = (REAL)work->take0, keep1 = (REAL)work->keep1, take1 = (REAL)work->take1;
    const REAL root = (REAL)(1 / work->root), eps = (REAL)work->eps;
    for (size_t i = 0; i < work->count; i++) {
        const REAL d = g[i] * scale + decay * w[i];
        m[i] = keep0 * m[i] + take0 * d;
        v[i] = keep1 * v[i] + take1 * d * d;
        w[i] = w[i] * shrink - rate * m[i] / ((sizeof(REAL) == sizeof(float) ? (REAL)sqrtf((float)v[i]) : (REAL)sqrt((double)v[i])) * root + eps);
    }
}

/* LANES chains of additions, whatever the instruction set, joined in order. */
void K(optim_squares)(OptimWork *work) {
    const REAL *restrict g = work->g;
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= work->count; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += (double)g[i + l] * (double)g[i + l];
    for (size_t l = 0; i < work->count; i++, l++) lane[l] += (double)g[i] * (double)g[i];
    work->sum = 0;
    for (size_t l = 0; l < LANES; l++) work->sum += lane[l];
}
