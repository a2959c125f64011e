#include "schema/formats/elements.h"
#include <stdint.h>
#include <string.h>

typedef void Convert(const unsigned char *from, size_t stride, size_t n, bool swap, unsigned char *to);

static uint8_t swap8(uint8_t v) { return v; }
static uint16_t swap16(uint16_t v) { return __builtin_bswap16(v); }
static uint32_t swap32(uint32_t v) { return __builtin_bswap32(v); }
static uint64_t swap64(uint64_t v) { return __builtin_bswap64(v); }

/* IEEE 754 binary16 to binary32, as bits: exact, NaNs with their payload. */
static uint32_t f32_of_f16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f, fraction = (uint32_t)(half & 0x3ff) << 13;
    if (exponent == 0x1f) return sign | 0x7f800000 | fraction;
    if (exponent) return sign | (exponent + 127 - 15) << 23 | fraction;
    if (!fraction) return sign;
    /* subnormal: shifted until the leading bit stands where it is implied */
    for (exponent = 127 - 14; !(fraction & 0x800000); exponent--) fraction <<= 1;
    return sign | exponent << 23 | (fraction & 0x7fffff);
}

/* Converts elements of `bits` bits, read into the variable v of type From, to the expression `is` of type To. */
#define CONVERT(name, bits, From, To, is)                                                                        \
    static void name(const unsigned char *from, size_t stride, size_t n, bool swap, unsigned char *to) {         \
        for (size_t i = 0; i < n; i++, from += stride, to += sizeof(To)) {                                       \
            uint##bits##_t raw;                                                                                  \
            memcpy(&raw, from, sizeof raw);                                                                      \
            const From v = (From)(swap ? swap##bits(raw) : raw);                                                 \
            const To x = (To)(is);                                                                               \
            memcpy(to, &x, sizeof x);                                                                            \
        }                                                                                                        \
    }

/* What is only copied. */
CONVERT(copy8, 8, uint8_t, uint8_t, v)
CONVERT(copy32, 32, uint32_t, uint32_t, v)
CONVERT(copy64, 64, uint64_t, uint64_t, v)
CONVERT(widen_i8, 8, int8_t, int64_t, v)
CONVERT(widen_u16, 16, uint16_t, int64_t, v)
CONVERT(widen_i16, 16, int16_t, int64_t, v)
CONVERT(widen_u32, 32, uint32_t, int64_t, v)
CONVERT(widen_i32, 32, int32_t, int64_t, v)
CONVERT(widen_f16, 16, uint16_t, uint32_t, f32_of_f16(v))
CONVERT(widen_bf16, 16, uint16_t, uint32_t, (uint32_t)v << 16)

static const struct {
    const char *name;
    uint8_t width;
    DType dtype;
    Convert *convert;
} types[ELEMENT_COUNT] = {
    [ELEMENT_BOOL] = {"bool", 1, DT_BOOL, copy8},   [ELEMENT_U8] = {"u8", 1, DT_U8, copy8},         [ELEMENT_I8] = {"i8", 1, DT_I64, widen_i8},
    [ELEMENT_U16] = {"u16", 2, DT_I64, widen_u16},  [ELEMENT_I16] = {"i16", 2, DT_I64, widen_i16},  [ELEMENT_U32] = {"u32", 4, DT_I64, widen_u32},
    [ELEMENT_I32] = {"i32", 4, DT_I64, widen_i32},  [ELEMENT_U64] = {"u64", 8, DT_I64, copy64},     [ELEMENT_I64] = {"i64", 8, DT_I64, copy64},
    [ELEMENT_F16] = {"f16", 2, DT_F32, widen_f16},  [ELEMENT_BF16] = {"bf16", 2, DT_F32, widen_bf16},
    [ELEMENT_F32] = {"f32", 4, DT_F32, copy32},     [ELEMENT_F64] = {"f64", 8, DT_F64, copy64},
};

size_t element_width(ElementType type) { return types[type].width; }
DType element_dtype(ElementType type) { return types[type].dtype; }
const char *element_name(ElementType type) { return types[type].name; }

ElementType element_of_dtype(DType dtype) {
    static const ElementType own[DT_COUNT] = {[DT_F32] = ELEMENT_F32, [DT_F64] = ELEMENT_F64, [DT_I64] = ELEMENT_I64, [DT_U8] = ELEMENT_U8,
                                              [DT_BOOL] = ELEMENT_BOOL};
    return own[dtype];
}

void elements_convert(ElementType type, bool big_endian, const unsigned char *from, size_t stride, size_t n, unsigned char *to) {
    types[type].convert(from, stride, n, big_endian, to);
}

/* Whole pieces are looked at without a branch. */
size_t elements_beyond_f32(const void *doubles, size_t n) {
    enum { PIECE = 64 };
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t count = n - at < PIECE ? n - at : PIECE;
        double v[PIECE];
        int found = 0;
        memcpy(v, (const char *)doubles + at * sizeof *v, count * sizeof *v);
        for (size_t i = 0; i < count; i++) found |= element_beyond_f32(v[i]);
        for (size_t i = 0; found && i < count; i++)
            if (element_beyond_f32(v[i])) return at + i;
    }
    return n;
}
