#include "schema/base/buf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(Buf *b) { *b = (Buf){0}; }

void buf_release(Buf *b) {
    free(b->data);
    *b = (Buf){.cap = b->cap};
}

void buf_clear(Buf *b) {
    b->len = 0;
    b->failed = false;
}

bool buf_reserve(Buf *b, size_t more) {
    size_t need;
    if (b->failed) return false;
    if (__builtin_add_overflow(b->len, more, &need) || (b->cap && need > b->cap)) {
        b->failed = true;
        return false;
    }
    if (need <= b->room) return true;
    size_t room = b->room ? b->room : 64;
    while (room < need && !__builtin_mul_overflow(room, 2, &room)) {}
    if (room < need) room = need;
    unsigned char *p = realloc(b->data, room);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->room = room;
    return true;
}

void buf_put(Buf *b, const void *bytes, size_t len) {
    if (!len || !buf_reserve(b, len)) return;
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void buf_puts(Buf *b, const char *text) { buf_put(b, text, strlen(text)); }
void buf_putc(Buf *b, char c) { buf_put(b, &c, 1); }

void buf_vprintf(Buf *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    size_t room = b->failed ? 0 : b->room - b->len;
    int n = vsnprintf(room ? (char *)b->data + b->len : NULL, room, format, args);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        if ((size_t)n >= room) vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(Buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    buf_vprintf(b, format, args);
    va_end(args);
}

void buf_decimal(Buf *b, uint64_t v) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    buf_put(b, digits + at, sizeof digits - at);
}

const char *buf_text(Buf *b) {
    if (!buf_reserve(b, 1)) return "";
    b->data[b->len] = 0;
    return (const char *)b->data;
}

void buf_trim(Buf *b) {
    unsigned char *p = b->len && b->len < b->room ? realloc(b->data, b->len) : NULL;
    if (!p) return;
    b->data = p;
    b->room = b->len;
}

char *buf_take(Buf *b, size_t *len) {
    buf_text(b);
    char *p = b->failed ? NULL : (char *)b->data;
    if (p) {
        if (len) *len = b->len;
        b->len++;
        buf_trim(b);
        p = (char *)b->data;
        b->data = NULL;
    }
    buf_release(b);
    return p;
}

static void put_le(Buf *b, uint64_t v, int bytes) {
    unsigned char raw[8];
    for (int i = 0; i < bytes; i++) raw[i] = (unsigned char)(v >> (8 * i));
    buf_put(b, raw, (size_t)bytes);
}

void buf_u8(Buf *b, uint8_t v) { put_le(b, v, 1); }
void buf_u16(Buf *b, uint16_t v) { put_le(b, v, 2); }
void buf_u32(Buf *b, uint32_t v) { put_le(b, v, 4); }
void buf_u64(Buf *b, uint64_t v) { put_le(b, v, 8); }

void buf_varint(Buf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) buf_u8(b, (uint8_t)(v | 0x80));
    buf_u8(b, (uint8_t)v);
}

void buf_bytes(Buf *b, const void *bytes, size_t len) {
    buf_varint(b, len);
    buf_put(b, bytes, len);
}

Reader reader_of(const void *data, size_t len) { return (Reader){.data = data, .len = len}; }

const unsigned char *read_raw(Reader *r, size_t len) {
    if (r->failed || len > r->len - r->at) {
        r->failed = true;
        return NULL;
    }
    const unsigned char *p = r->data + r->at;
    r->at += len;
    return p;
}

static uint64_t get_le(Reader *r, size_t bytes) {
    const unsigned char *p = read_raw(r, bytes);
    uint64_t v = 0;
    for (size_t i = 0; p && i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t read_u8(Reader *r) { return (uint8_t)get_le(r, 1); }
uint16_t read_u16(Reader *r) { return (uint16_t)get_le(r, 2); }
uint32_t read_u32(Reader *r) { return (uint32_t)get_le(r, 4); }
uint64_t read_u64(Reader *r) { return get_le(r, 8); }

uint64_t read_varint(Reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (r->failed || (shift == 63 && byte > 1) || (shift && byte == 0)) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    r->failed = true;
    return 0;
}

uint64_t read_count(Reader *r, uint64_t max) {
    uint64_t v = read_varint(r);
    if (v <= max) return v;
    r->failed = true;
    return 0;
}

const unsigned char *read_bytes(Reader *r, size_t *len) {
    *len = (size_t)read_varint(r);
    const unsigned char *p = r->failed ? NULL : read_raw(r, *len);
    if (!p) *len = 0;
    return p;
}

bool reader_done(const Reader *r) { return !r->failed && r->at == r->len; }
