/* Writing JSON (json.h). */
#include "schema/formats/json.h"
#include "schema/formats/number.h"
#include "schema/formats/utf8.h"
#include <math.h>
#include <string.h>

void json_put_string(Buf *out, const char *text) { json_put_string_n(out, text, strlen(text)); }

void json_put_string_n(Buf *out, const char *text, size_t len) {
    static const char short_escapes[] = "btn\0fr"; /* for 8 .. 13 */
    const char *end = text + len;
    buf_putc(out, '"');
    for (const char *at = text; at < end;) {
        unsigned char c = (unsigned char)*at;
        size_t n = c < 0x80 ? 1 : utf8_step(at, end);
        if (c == '"' || c == '\\') buf_printf(out, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11) buf_printf(out, "\\%c", short_escapes[c - 8]);
        else if (c < 0x20) buf_printf(out, "\\u%04x", c);
        else if (n) buf_put(out, at, n);
        else buf_puts(out, "\uFFFD"); /* a message cut inside a character must not spoil the answer */
        at += n ? n : 1;
    }
    buf_putc(out, '"');
}

static bool put_special(Buf *out, double v) {
    if (isfinite(v)) return false;
    buf_puts(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    return true;
}

void json_put_double(Buf *out, double v) {
    if (put_special(out, v) || !buf_reserve(out, NUMBER_ROOM)) return;
    out->len += number_print((char *)out->data + out->len, v);
}

void json_put_float(Buf *out, float v) {
    if (put_special(out, (double)v) || !buf_reserve(out, NUMBER_ROOM)) return;
    out->len += number_print_float((char *)out->data + out->len, v);
}

/* As deep as rank. Returns where the data goes on. */
static size_t put_axes(Buf *out, const void *data, size_t at, bool f64, const size_t *shape, size_t rank) {
    if (rank == 0) {
        if (f64) json_put_double(out, ((const double *)data)[at]);
        else json_put_float(out, ((const float *)data)[at]);
        return at + 1;
    }
    buf_putc(out, '[');
    for (size_t i = 0; i < shape[0] && !out->failed; i++) {
        if (i) buf_putc(out, ',');
        at = put_axes(out, data, at, f64, shape + 1, rank - 1);
    }
    buf_putc(out, ']');
    return at;
}

void json_put_tensor(Buf *out, const void *data, bool f64, const size_t *shape, size_t rank) {
    put_axes(out, data, 0, f64, shape, rank);
}
