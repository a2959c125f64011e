/* Fields of messages as tables, and the one put and get that follow a table: what wire_msg.c and wire_train.c are made of.
 *
 * Strings of bytes point into the frame. get marks the reader failed when an integer is beyond its field's largest value. */
#ifndef CAJAL_WIRE_FIELDS_H
#define CAJAL_WIRE_FIELDS_H
#include "schema/base/buf.h"
#include "schema/protocol/wire.h"

typedef enum { WIRE_U8, WIRE_U16, WIRE_U32, WIRE_U64, WIRE_BOOL, WIRE_F64, WIRE_BYTES, WIRE_END } FieldType;
typedef struct {
    FieldType type;
    size_t at, len_at; /* offsets; len_at for bytes */
    uint64_t max;      /* of an integer */
} WireField;

#define U(bits, T, field, max_) {WIRE_U##bits, offsetof(T, field), 0, max_}
#define FLAG(T, field) {WIRE_BOOL, offsetof(T, field), 0, 1}
#define REAL(T, field) {WIRE_F64, offsetof(T, field), 0, 0}
#define BYTES(T, field) {WIRE_BYTES, offsetof(T, field), offsetof(T, field##_len), 0}
#define INLINE(T, field) {WIRE_BYTES, offsetof(T, field), offsetof(T, inline_len), 0}
#define END {WIRE_END, 0, 0, 0}

void wire_put_fields(Buf *out, const WireField *fields, const void *message);
void wire_get_fields(Reader *in, const WireField *fields, void *message);
/* A message that is nothing but its fields. */
bool wire_get_all(const Frame *frame, FrameType type, const WireField *fields, void *message, size_t size);
#endif
