#include "schema/formats/idx.h"
#include <string.h>

enum { HEADER = 4, EXTENT = 4 };

static const struct {
    uint8_t code, width;
    DType dtype;
} types[] = {{0x08, 1, DT_U8}, {0x09, 1, DT_I64}, {0x0B, 2, DT_I64}, {0x0C, 4, DT_I64}, {0x0D, 4, DT_F32}, {0x0E, 8, DT_F64}};
enum { NTYPES = sizeof types / sizeof *types };

static bool bad(Err *err, const char *what) { return err_set(err, ERR_bad_tensor, "The IDX file %s.", what); }

/* As a safetensors header's length these bytes would be beyond LIMIT_JSON_BYTES. */
bool idx_is(const unsigned char *body, size_t len) { return len >= HEADER && !body[0] && !body[1] && body[2] >= 0x08 && body[2] <= 0x0E && body[3]; }

static uint64_t read_be(const unsigned char *from, size_t width) {
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) v = v << 8 | from[i];
    return v;
}

bool idx_read(const unsigned char *body, size_t len, Idx *out, Err *err) {
    size_t type = 0, bytes;
    *out = (Idx){0};
    if (!idx_is(body, len)) return bad(err, "does not begin as one");
    while (type < NTYPES && types[type].code != body[2]) type++;
    if (type == NTYPES) return bad(err, "has an element type that is none of 08, 09, 0B, 0C, 0D, 0E");
    out->dtype = types[type].dtype;
    out->width = types[type].width;
    out->rank = body[3];
    out->offset = HEADER + out->rank * EXTENT;
    if (out->rank > LIMIT_TENSOR_RANK) return bad(err, "has more than 18 axes");
    if (len < out->offset) return bad(err, "ends before its extents do");
    out->count = 1;
    for (size_t i = 0; i < out->rank; i++) {
        out->shape[i] = (size_t)read_be(body + HEADER + i * EXTENT, EXTENT);
        if (__builtin_mul_overflow(out->count, out->shape[i], &out->count)) return bad(err, "has a shape that overflows");
    }
    if (__builtin_mul_overflow(out->count, out->width, &bytes)) return bad(err, "has a shape that overflows");
    return len - out->offset == bytes || bad(err, "has a shape that does not fit the data's length");
}

/* The stored integers have eight bytes: the sign of a shorter one is spread over them. */
static uint64_t widened(const Idx *idx, uint64_t v) {
    if (idx->dtype != DT_I64) return v;
    uint64_t sign = (uint64_t)1 << (8 * idx->width - 1);
    return (v ^ sign) - sign;
}

void idx_convert(const Idx *idx, const unsigned char *from, size_t n, unsigned char *to) {
    size_t size = dtype_size(idx->dtype);
    if (idx->dtype == DT_U8) {
        memcpy(to, from, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v = widened(idx, read_be(from + i * idx->width, idx->width));
        for (size_t k = 0; k < size; k++) to[i * size + k] = (unsigned char)(v >> 8 * k);
    }
}
