/* How single numbers lie in a file, whatever the format, and which DType they become in the service.
 *
 * unsigned bytes stay U8; all other integers become I64; f16, bf16 and f32 become F32; f64 stays F64; booleans stay BOOL. Each of these keeps the
 * value exactly, but for u64 from 2^63 on, which bulk_fits refuses. */
#ifndef CAJAL_ELEMENTS_H
#define CAJAL_ELEMENTS_H
#include "schema/formats/dtype.h"
#include <stdbool.h>

typedef enum {
    ELEMENT_BOOL, ELEMENT_U8, ELEMENT_I8, ELEMENT_U16, ELEMENT_I16, ELEMENT_U32, ELEMENT_I32, ELEMENT_U64, ELEMENT_I64,
    ELEMENT_F16, ELEMENT_BF16, ELEMENT_F32, ELEMENT_F64, ELEMENT_COUNT
} ElementType;

/* Bytes of one in the file. */
size_t element_width(ElementType type);
/* What it becomes. */
DType element_dtype(ElementType type);
/* The element type that a DType's own bytes are. */
ElementType element_of_dtype(DType dtype);
/* For messages: "bool", "u8", …, "bf16". */
const char *element_name(ElementType type);

/* n elements, the first at `from` and each `stride` bytes behind the one before, as n of element_dtype(type) one behind the other, little-endian.
 * Neither side need be aligned. */
void elements_convert(ElementType type, bool big_endian, const unsigned char *from, size_t stride, size_t n, unsigned char *to);
/* Finite, and infinite as an f32: from half a place above FLT_MAX on. */
static inline bool element_beyond_f32(double v) { return __builtin_fabs(v) >= 0x1.ffffffp127 && __builtin_fabs(v) <= __DBL_MAX__; }
/* The first of n doubles that is finite, and infinite as an f32; n: there is none. They need not be aligned. */
size_t elements_beyond_f32(const void *doubles, size_t n);
#endif
