/* Template, part of others: exp, log, tanh and erf on vectors of REAL, accurate to a few units in the last place. */
#include "worker/kernels/vector.h"

/* 1/k! */
static const double K(inverse_factorial)[] = {1, 1, 1 / 2., 1 / 6., 1 / 24., 1 / 120., 1 / 720., 1 / 5040., 1 / 40320., 1 / 362880.,
                                              1 / 3628800., 1 / 39916800., 1 / 479001600., 1 / 6227020800.};

/* x = n·log 2 + r with |r| <= log(2)/2: e^r − 1 by its Taylor series, 2ⁿ in *power. |n| must be an exponent's. */
INLINE K(Vector) K(exp_split)(K(Vector) x, K(Vector) *power) {
    const REAL magic = REAL_OF(0x1.8p23, 0x1.8p52); /* added, it leaves the nearest integer in the last bits */
    const int terms = SINGLE ? 7 : 13, mantissa = SINGLE ? 23 : 52;
    K(Vector) shifted = x * (REAL)0x1.71547652b82fep0 + magic, n = shifted - magic;
    K(Vector) r = x - n * REAL_OF(0x1.62e4p-1, 0x1.62e42fefa38p-1) - n * REAL_OF(0x1.7f7d1cf79abcap-20, 0x1.ef35793c7673p-45);
    K(Vector) p = K(set)((REAL)K(inverse_factorial)[terms]);
    for (int k = terms - 1; k > 0; k--) p = p * r + (REAL)K(inverse_factorial)[k];
    const K(Word) one = SINGLE ? (K(Word))0x3f800000 : (K(Word))0x3ff0000000000000;
    *power = (K(Vector))(((K(Bits))shifted << mantissa) + one);
    return p * r;
}

/* 0 below the smallest normal number, and e^x for no larger x than there are results: callers have none. */
INLINE K(Vector) K(exp)(K(Vector) x) {
    const K(Vector) least = K(set)(REAL_OF(-87.3, -708.3)), most = K(set)(REAL_OF(88.3, 709.4));
    K(Vector) power, p = K(exp_split)(K(select)(x > most, most, K(select)(x < least, least, x)), &power);
    return K(select)(x < least, K(set)(0), power * p + power);
}

/* log x for x >= 0; of 0, something below −100. x = 2ᵉ·m with √½ < m <= √2, log m = 2·artanh(s), s = (m−1)/(m+1). */
INLINE K(Vector) K(log)(K(Vector) x) {
    const int mantissa = SINGLE ? 23 : 52, terms = SINGLE ? 4 : 10;
    const K(Word) fraction = ((K(Word))1 << mantissa) - 1, one = SINGLE ? (K(Word))0x3f800000 : (K(Word))0x3ff0000000000000,
                  biased = SINGLE ? (K(Word))0x4b000000 : (K(Word))0x4330000000000000; /* 2²³, 2⁵²: an integer below it joins the last bits */
    const REAL small = REAL_OF(0x1p-126, 0x1p-1022), scale = REAL_OF(0x1p23, 0x1p52);
    K(Mask) tiny = x < small;
    K(Bits) bits = (K(Bits))K(select)(tiny, x * scale, x) << 1 >> 1; /* −0 is 0 */
    K(Vector) e = (K(Vector))((bits >> mantissa) | biased) - (scale + REAL_OF(127, 1023));
    K(Vector) m = (K(Vector))((bits & fraction) | one);
    K(Mask) large = m > (REAL)1.4142135623730951;
    m = K(select)(large, m * (REAL)0.5, m);
    e = e + K(select)(large, K(set)(1), K(set)(0)) - K(select)(tiny, K(set)((REAL)mantissa), K(set)(0));
    K(Vector) s = (m - 1) / (m + 1), square = s * s, p = K(set)((REAL)(1.0 / (2 * terms + 1)));
    for (int k = terms - 1; k > 0; k--) p = p * square + (REAL)(1.0 / (2 * k + 1));
    K(Vector) y = e * REAL_OF(0x1.62e4p-1, 0x1.62e42fefa38p-1) +
                  (2 * s + (2 * s * square * p + e * REAL_OF(0x1.7f7d1cf79abcap-20, 0x1.ef35793c7673p-45)));
    return K(select)(x <= REAL_OF(FLT_MAX, DBL_MAX), y, x);
}

/* log(1 + u), u >= 0: log(w)·u/(w − 1) undoes the rounding of w = 1 + u (Kahan; Goldberg 1991, theorem 4). */
INLINE K(Vector) K(log1p)(K(Vector) u) {
    K(Vector) w = 1 + u;
    return K(select)(w == 1, u, K(log)(w) * u / (w - 1));
}

/* t/(t + 2), t = e^2|x| − 1, with x's sign */
INLINE K(Vector) K(tanh)(K(Vector) x) {
    const K(Vector) zero = {0}, most = K(set)(20);
    K(Vector) size = K(select)(x < 0, -x, x), power;
    K(Vector) p = K(exp_split)(2 * K(select)(size > most, most, size), &power);
    K(Vector) t = power * p + (power - 1), y = t / (t + 2);
    return K(select)(x == zero, x, K(select)(x < 0, -y, y));
}

/* erf(x)/x on [0, 1] as a polynomial in x², and log(1 − erf(x)) from 1 to where erf is 1 as one in x: least squares reweighted to the smallest largest
 * error (Lawson 1961) of erf itself, 1e-9 and 1e-17. */
#if REAL_BYTES == 4
#define ERF_ONE 4
static const double K(erf_near)[] = {
    1.1283791657249704, -0.37612625812192313, 0.11283585011941469, -0.02685380622039241, 0.005188316833508076, -0.00080100983380070338,
    7.8535468825317224e-05};
static const double K(erf_far)[] = {
    -0.00034064912121130136, -1.1270928407801257, -0.63813859134909434, -0.10311233931509124, 0.021840819783251836, -0.0029483687307966496,
    0.00018645388902066654};
#else
#define ERF_ONE 6
static const double K(erf_near)[] = {
    1.1283791670955126, -0.37612638903183748, 0.11283791670954857, -0.026866170645072868, 0.0052239776247805982, -0.00085483269787271169,
    0.00012055331036360534, -1.4925593494196353e-05, 1.6460972617467063e-06, -1.6350023149233443e-07, 1.4657866173687959e-08,
    -1.1365614177288298e-09, 5.9451758831433968e-11};
static const double K(erf_far)[] = {
    -5.0315214799013658e-07, -1.1283740866415222, -0.63664364041341948, -0.102703406514478, 0.018990117912546862, 0.00041071025198113816,
    -0.0019160276700582539, 0.00077071005228393106, -0.00013509186383591675, -2.0246387206758544e-05, 2.281471352307617e-05,
    -8.6648254858407603e-06, 2.1351354506641214e-06, -3.732079544683363e-07, 4.6410758997145139e-08, -3.9331961427384271e-09,
    2.0443919452521343e-10, -4.9272128929468074e-12};
#endif

INLINE K(Vector) K(polynomial)(const double *c, int terms, K(Vector) x) {
    K(Vector) p = K(set)((REAL)c[terms - 1]);
    for (int k = terms - 2; k >= 0; k--) p = p * x + (REAL)c[k];
    return p;
}

INLINE K(Vector) K(erf)(K(Vector) x) {
    const K(Vector) most = K(set)(ERF_ONE);
    K(Vector) size = K(select)(x < 0, -x, x), near = x * K(polynomial)(K(erf_near), sizeof K(erf_near) / sizeof(double), x * x);
    K(Vector) a = K(select)(size > most, most, size);
    K(Vector) far = 1 - K(exp)(K(polynomial)(K(erf_far), sizeof K(erf_far) / sizeof(double), a));
    return K(select)(size > 1, K(select)(x < 0, -far, far), near);
}
#undef ERF_ONE
