/* A growable byte buffer for output, and a bounded reader for input.
 *
 * Ownership: buf_release frees; buf_take hands the bytes to the caller (free()).
 * Errors are sticky: after a failed allocation or once `cap` (0 = none) is passed, `failed` is set and
 * appends do nothing. A Reader likewise: after a read past the end `failed` is set and reads give zero.
 * Integers are little-endian. */
#ifndef CAJAL_BUF_H
#define CAJAL_BUF_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    unsigned char *data;
    size_t len, room, cap;
    bool failed;
} Buf;

void buf_init(Buf *b);
void buf_release(Buf *b);
void buf_clear(Buf *b);
bool buf_reserve(Buf *b, size_t more);
void buf_put(Buf *b, const void *bytes, size_t len);
void buf_puts(Buf *b, const char *text);
void buf_putc(Buf *b, char c);
void buf_printf(Buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(Buf *b, const char *format, va_list args);
void buf_decimal(Buf *b, uint64_t v);
/* The text with a NUL behind it; "" when the buffer failed. Valid until the next append. */
const char *buf_text(Buf *b);
char *buf_take(Buf *b, size_t *len);
/* Gives back the room behind the bytes: for what is kept. buf_take does. */
void buf_trim(Buf *b);

void buf_u8(Buf *b, uint8_t v);
void buf_u16(Buf *b, uint16_t v);
void buf_u32(Buf *b, uint32_t v);
void buf_u64(Buf *b, uint64_t v);
/* LEB128: seven bits a byte, low ones first. */
void buf_varint(Buf *b, uint64_t v);
/* varint length, then the bytes */
void buf_bytes(Buf *b, const void *bytes, size_t len);

typedef struct {
    const unsigned char *data;
    size_t len, at;
    bool failed;
} Reader;

Reader reader_of(const void *data, size_t len);
uint8_t read_u8(Reader *r);
uint16_t read_u16(Reader *r);
uint32_t read_u32(Reader *r);
uint64_t read_u64(Reader *r);
/* Refuses encodings longer than needed, so that a value has one spelling. */
uint64_t read_varint(Reader *r);
/* A varint that must not exceed max. */
uint64_t read_count(Reader *r, uint64_t max);
/* Points into the data; NULL (and failed) when fewer than len bytes are left. */
const unsigned char *read_raw(Reader *r, size_t len);
/* varint length, then the bytes */
const unsigned char *read_bytes(Reader *r, size_t *len);
/* True when nothing failed and nothing is left over. */
bool reader_done(const Reader *r);
#endif
