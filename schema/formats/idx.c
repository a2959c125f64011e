#include "schema/formats/idx.h"
#include <stdint.h>

enum { HEADER = 4, EXTENT = 4 };

static const struct {
    uint8_t code;
    ElementType element;
} types[] = {{0x08, ELEMENT_U8}, {0x09, ELEMENT_I8}, {0x0B, ELEMENT_I16}, {0x0C, ELEMENT_I32}, {0x0D, ELEMENT_F32}, {0x0E, ELEMENT_F64}};
enum { NTYPES = sizeof types / sizeof *types };

static bool bad(Err *err, const char *what) { return err_set(err, ERR_bad_tensor, "The IDX file %s.", what); }

/* As a safetensors header's length these bytes would be beyond LIMIT_JSON_BYTES. */
bool idx_is(const unsigned char *body, size_t len) { return len >= HEADER && !body[0] && !body[1] && body[2] >= 0x08 && body[2] <= 0x0E && body[3]; }

static size_t read_extent(const unsigned char *from) {
    return (size_t)from[0] << 24 | (size_t)from[1] << 16 | (size_t)from[2] << 8 | from[3];
}

bool idx_read(const unsigned char *body, size_t len, Bulk *out, Err *err) {
    size_t type = 0;
    *out = (Bulk){0};
    if (!idx_is(body, len)) return bad(err, "does not begin as one");
    while (type < NTYPES && types[type].code != body[2]) type++;
    if (type == NTYPES) return bad(err, "has an element type that is none of 08, 09, 0B, 0C, 0D, 0E");
    BulkTensor t = {.element = types[type].element, .big_endian = true, .rank = body[3]};
    t.offset = HEADER + t.rank * EXTENT;
    if (t.rank > LIMIT_TENSOR_RANK) return bad(err, "has more than 18 axes");
    if (len < t.offset) return bad(err, "ends before its extents do");
    for (size_t i = 0; i < t.rank; i++) t.shape[i] = read_extent(body + HEADER + i * EXTENT);
    if (!bulk_measure(&t)) return bad(err, "has a shape that overflows");
    return len - t.offset == t.bytes ? bulk_single(&t, out, err) : bad(err, "has a shape that does not fit the data's length");
}
