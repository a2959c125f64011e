#include "schema/protocol/wire_fields.h"
#include <string.h>

void wire_put_fields(Buf *out, const WireField *f, const void *message) {
    for (; f->type != WIRE_END; f++) {
        const unsigned char *at = (const unsigned char *)message + f->at;
        uint64_t bits;
        switch (f->type) {
        case WIRE_U8: buf_u8(out, *(const uint8_t *)at); break;
        case WIRE_U16: buf_u16(out, *(const uint16_t *)at); break;
        case WIRE_U32: buf_u32(out, *(const uint32_t *)at); break;
        case WIRE_U64: buf_u64(out, *(const uint64_t *)at); break;
        case WIRE_BOOL: buf_u8(out, *(const bool *)at); break;
        case WIRE_F64:
            memcpy(&bits, at, sizeof bits);
            buf_u64(out, bits);
            break;
        case WIRE_BYTES: {
            const void *bytes;
            memcpy(&bytes, at, sizeof bytes);
            buf_bytes(out, bytes, *(const size_t *)((const unsigned char *)message + f->len_at));
            break;
        }
        case WIRE_END: break;
        }
    }
}

static uint64_t get_uint(Reader *in, uint64_t value, uint64_t max) {
    if (value > max) in->failed = true;
    return in->failed ? 0 : value;
}

void wire_get_fields(Reader *in, const WireField *f, void *message) {
    for (; f->type != WIRE_END; f++) {
        unsigned char *at = (unsigned char *)message + f->at;
        uint64_t bits;
        switch (f->type) {
        case WIRE_U8: *(uint8_t *)at = (uint8_t)get_uint(in, read_u8(in), f->max); break;
        case WIRE_U16: *(uint16_t *)at = (uint16_t)get_uint(in, read_u16(in), f->max); break;
        case WIRE_U32: *(uint32_t *)at = (uint32_t)get_uint(in, read_u32(in), f->max); break;
        case WIRE_U64: *(uint64_t *)at = get_uint(in, read_u64(in), f->max); break;
        case WIRE_BOOL: *(bool *)at = get_uint(in, read_u8(in), f->max); break;
        case WIRE_F64:
            bits = read_u64(in);
            memcpy(at, &bits, sizeof bits);
            break;
        case WIRE_BYTES: {
            const void *bytes = read_bytes(in, (size_t *)((unsigned char *)message + f->len_at));
            memcpy(at, &bytes, sizeof bytes);
            break;
        }
        case WIRE_END: break;
        }
    }
}

bool wire_get_all(const Frame *frame, FrameType type, const WireField *fields, void *message, size_t size) {
    Reader in = reader_of(frame->body, frame->len);
    memset(message, 0, size);
    if (frame->type != type) return false;
    wire_get_fields(&in, fields, message);
    return reader_done(&in);
}
