#include "schema/formats/number.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 Wide;

/* 5^27 is the last below 2^64: up to there one 128-bit operation scales exactly. */
enum { POWERS = 28, EXACT_POWERS = 23 };
static const uint64_t pow5[POWERS] = {
    1u, 5u, 25u, 125u, 625u, 3125u, 15625u, 78125u, 390625u, 1953125u, 9765625u, 48828125u, 244140625u, 1220703125u,
    6103515625u, 30517578125u, 152587890625u, 762939453125u, 3814697265625u, 19073486328125u, 95367431640625u,
    476837158203125u, 2384185791015625u, 11920928955078125u, 59604644775390625u, 298023223876953125u,
    1490116119384765625u, 7450580596923828125u};
static const double pow10_exact[EXACT_POWERS] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *scan_digits(const char *at, const char *end, bool fraction, Decimal *d) {
    for (; at < end && is_digit(*at); at++) {
        if (d->digits <= (UINT64_MAX - 9) / 10) {
            d->digits = d->digits * 10 + (uint64_t)(*at - '0');
            d->exponent -= fraction;
        } else {
            d->cut |= *at != '0';
            d->exponent += !fraction;
        }
    }
    return at;
}

static const char *scan_power(const char *at, const char *end, Decimal *d) {
    bool down = false;
    if (at < end && (*at == '+' || *at == '-')) down = *at++ == '-';
    if (at == end || !is_digit(*at)) return NULL;
    for (; at < end && is_digit(*at); at++)
        /* Far beyond any double, yet no number of digits can bring it back. */
        if (d->power < INT64_C(1000000000000000)) d->power = d->power * 10 + (*at - '0');
    if (down) d->power = -d->power;
    d->exponent += d->power;
    return at;
}

const char *number_scan(const char *at, const char *end, Decimal *out) {
    *out = (Decimal){.begin = at};
    if (at < end && *at == '-') out->negative = true, at++;
    if (at == end || !is_digit(*at)) return NULL;
    at = *at == '0' ? at + 1 : scan_digits(at, end, false, out);
    if (at < end && *at == '.') {
        const char *first = ++at;
        at = scan_digits(at, end, true, out);
        if (at == first) return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) at = scan_power(at + 1, end, out);
    out->end = at;
    return at;
}

/* n · 2^exponent to the nearest double; n's lowest bit may stand for lost ones when it has more than 54. */
static double round_wide(Wide n, int exponent) {
    uint64_t high = (uint64_t)(n >> 64);
    int bits = high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)n);
    if (bits <= 53) return ldexp((double)(uint64_t)n, exponent);
    int shift = bits - 53;
    uint64_t top = (uint64_t)(n >> shift);
    Wide rest = n & (((Wide)1 << shift) - 1), half = (Wide)1 << (shift - 1);
    if (rest > half || (rest == half && (top & 1))) top++;
    return ldexp((double)top, exponent + shift);
}

/* digits · 10^exponent, rounded once. digits > 0. */
static double scale(uint64_t digits, int64_t exponent) {
    if (digits <= (uint64_t)1 << 53 && exponent > -EXACT_POWERS && exponent < EXACT_POWERS)
        return exponent < 0 ? (double)digits / pow10_exact[-exponent] : (double)digits * pow10_exact[exponent];
    if (exponent > -POWERS && exponent < POWERS) {
        int e = (int)exponent;
        if (e >= 0) return round_wide((Wide)digits * pow5[e], e);
        int up = __builtin_clzll(digits);
        Wide n = (Wide)(digits << up) << 64, quotient = n / pow5[-e];
        if (quotient * pow5[-e] != n) quotient |= 1;
        return round_wide(quotient, e - up - 64);
    }
    /* No decimal point: what strtod reads does not depend on the locale. */
    char text[48];
    int clamped = exponent > 100000 ? 100000 : exponent < -100000 ? -100000 : (int)exponent;
    snprintf(text, sizeof text, "%llue%d", (unsigned long long)digits, clamped);
    return strtod(text, NULL);
}

/* More than 19 digits: no double lies between two numbers that agree in the first 768 and both go on. */
enum { KEPT_DIGITS = 800 };
static double scale_long(const Decimal *d) {
    char text[KEPT_DIGITS + 32];
    size_t n = 0;
    int64_t exponent = d->power;
    bool fraction = false, more = false;
    for (const char *at = d->begin; at < d->end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') fraction = true;
        if (!is_digit(*at)) continue;
        if (n < KEPT_DIGITS) {
            if (n || *at != '0') text[n++] = *at;
            exponent -= fraction;
        } else {
            more |= *at != '0';
            exponent += !fraction;
        }
    }
    if (more) text[n++] = '1', exponent--;
    int clamped = exponent > 100000 ? 100000 : exponent < -100000 ? -100000 : (int)exponent;
    snprintf(text + n, sizeof text - n, "e%d", clamped);
    return strtod(text, NULL);
}

double number_value(const Decimal *d) {
    double v = d->digits == 0 ? 0 : d->cut ? scale_long(d) : scale(d->digits, d->exponent);
    return d->negative ? -v : v;
}

static uint64_t pow10_u64(int n) { return pow5[n] << n; }

/* The last power of ten below 2^64. */
enum { POWERS_U64 = 19 };

bool number_natural(const Decimal *d, uint64_t *out) {
    *out = d->digits;
    if (d->cut || (d->negative && d->digits)) return false; /* cut: beyond 2^64, or with a fraction */
    if (!d->digits || !d->exponent) return true;
    if (d->exponent > 0) return d->exponent <= POWERS_U64 && !__builtin_mul_overflow(d->digits, pow10_u64((int)d->exponent), out);
    if (d->exponent < -POWERS_U64 || d->digits % pow10_u64((int)-d->exponent)) return false;
    *out = d->digits / pow10_u64((int)-d->exponent);
    return true;
}

/* Most numbers have fewer digits than a double holds, or a fraction that no rounding takes away: they are told without looking for their double. */
bool number_rounds_to_integer(const Decimal *d) {
    if (d->digits <= (uint64_t)1 << 53 && d->exponent > -300) return false;
    if (d->exponent < 0 && d->exponent >= -POWERS_U64) {
        const uint64_t unit = pow10_u64((int)-d->exponent), rest = d->digits % unit;
        if ((rest < unit - rest ? rest : unit - rest) > d->digits >> 51) return false;
    }
    const double v = fabs(number_value(d));
    uint64_t n;
    Decimal magnitude = *d;
    magnitude.negative = false;
    return v == floor(v) && v <= 0x1p53 && !(number_natural(&magnitude, &n) && n == (uint64_t)v);
}

/* The nearest integer to m · 2^e · 10^k, which must be below 2^64; -POWERS < k < POWERS. */
static uint64_t scale_to_integer(uint64_t m, int e, int k) {
    if (k >= 0) {
        Wide n = (Wide)m * pow5[k];
        int shift = e + k;
        if (shift >= 0) return (uint64_t)(n << shift);
        return -shift > 127 ? 0 : (uint64_t)((n + ((Wide)1 << (-shift - 1))) >> -shift);
    }
    int shift = e + k;
    Wide n = shift > 0 ? (Wide)m << shift : m, by = shift < 0 ? (Wide)pow5[-k] << -shift : pow5[-k];
    return (uint64_t)((n + by / 2) / by);
}

/* A positive finite number and its decimal digits: digits · 10^(exponent - count + 1) */
typedef struct {
    uint64_t digits;
    int count, exponent;
} Digits;

/* v rounded to `count` digits by our own arithmetic; false when v is too large or too small for that. */
static bool round_digits(double v, int count, Digits *out) {
    int e;
    uint64_t m = (uint64_t)ldexp(frexp(v, &e), 53);
    e -= 53;
    int log2 = e + 52, log10 = (log2 * 78913 >> 18) - (log2 < 0); /* floor(log2 · log10(2)), or one less */
    for (;; log10++) {
        int k = count - 1 - log10;
        if (k <= -POWERS || k >= POWERS) return false;
        uint64_t digits = scale_to_integer(m, e, k);
        *out = (Digits){digits, count, log10};
        if (digits < pow10_u64(count)) return true;
    }
}

static void round_digits_libc(double v, int count, Digits *out) {
    char text[64];
    snprintf(text, sizeof text, "%.*e", count - 1, v);
    *out = (Digits){.count = count};
    const char *at = text;
    /* What stands between the digits is the locale's point. */
    for (; *at != 'e'; at++)
        if (is_digit(*at)) out->digits = out->digits * 10 + (uint64_t)(*at - '0');
    out->exponent = atoi(at + 1);
}

static bool reads_back(const Digits *d, double v, bool is_float) {
    double got = scale(d->digits, d->exponent - d->count + 1);
    if (!is_float) return got == v;
    /* A double halfway between two floats that is not the number itself: readers by way of a double and others could differ. */
    uint64_t bits;
    memcpy(&bits, &got, sizeof bits);
    bool itself = d->exponent >= d->count - 1 && got < 0x1p53;
    return (float)got == (float)v && (itself || (bits & 0x1FFFFFFF) != 0x10000000);
}

static Digits shortest(double v, bool is_float) {
    const double normal = is_float ? 0x1p-126 : 0x1p-1022;
    int most = is_float ? 9 : 17, count = v < normal ? 1 : most - (is_float ? 3 : 2);
    Digits d = {0};
    for (; count <= most; count++) {
        if (!round_digits(v, count, &d)) round_digits_libc(v, count, &d);
        if (reads_back(&d, v, is_float)) break;
    }
    while (d.digits % 10 == 0) d.digits /= 10, d.count--;
    return d;
}

static size_t put_integer(char *out, uint64_t n) {
    char reversed[20];
    size_t len = 0;
    do reversed[len++] = (char)('0' + n % 10);
    while (n /= 10);
    for (size_t i = 0; i < len; i++) out[i] = reversed[len - 1 - i];
    return len;
}

static size_t lay_out(char *out, const Digits *d) {
    char digits[20];
    size_t count = put_integer(digits, d->digits), n = 0;
    int e = d->exponent;
    if (e < -5 || e > 16) {
        out[n++] = digits[0];
        if (count > 1) out[n++] = '.', memcpy(out + n, digits + 1, count - 1), n += count - 1;
        out[n++] = 'e';
        if (e < 0) out[n++] = '-';
        return n + put_integer(out + n, (uint64_t)abs(e));
    }
    if (e < 0) {
        out[n++] = '0', out[n++] = '.';
        for (int i = -1; i > e; i--) out[n++] = '0';
        memcpy(out + n, digits, count);
        return n + count;
    }
    for (size_t i = 0; i < count || i <= (size_t)e; i++) {
        if (i == (size_t)e + 1) out[n++] = '.';
        out[n++] = i < count ? digits[i] : '0';
    }
    return n;
}

static size_t print(char *out, double v, bool is_float) {
    size_t n = 0;
    if (signbit(v)) out[n++] = '-', v = -v;
    /* Below these every integer's own digits are the shortest. */
    if (v < (is_float ? 1e6 : 1e15) && v == (double)(uint64_t)v) return n + put_integer(out + n, (uint64_t)v);
    Digits d = shortest(v, is_float);
    return n + lay_out(out + n, &d);
}

size_t number_print(char out[NUMBER_ROOM], double v) { return print(out, v, false); }
size_t number_print_float(char out[NUMBER_ROOM], float v) { return print(out, (double)v, true); }
