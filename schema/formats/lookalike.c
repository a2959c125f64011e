#include "schema/formats/lookalike.h"
#include "schema/formats/utf8.h"
#include <stdint.h>
#include <stdio.h>

#define NOTHING "take it out"
#define SPACE "put a space there"
#define BREAK "put a line break there"
#define PUT(c) "put `" c "` there"

/* Ascending; first to last are called and replaced alike. */
static const struct {
    uint32_t first, last;
    const char *name, *instead;
} rows[] = {
    {0x0085, 0x0085, "a next-line character", BREAK},
    {0x00A0, 0x00A0, "a no-break space", SPACE},
    {0x00AB, 0x00AB, "an angle quote", PUT("\"")},
    {0x00AD, 0x00AD, "a soft hyphen", NOTHING},
    {0x00B4, 0x00B4, "an acute accent", PUT("'")},
    {0x00BB, 0x00BB, "an angle quote", PUT("\"")},
    {0x037E, 0x037E, "a Greek question mark", PUT(";")},
    {0x0430, 0x0430, "a Cyrillic letter", PUT("a")},
    {0x0435, 0x0435, "a Cyrillic letter", PUT("e")},
    {0x043E, 0x043E, "a Cyrillic letter", PUT("o")},
    {0x0440, 0x0440, "a Cyrillic letter", PUT("p")},
    {0x0441, 0x0441, "a Cyrillic letter", PUT("c")},
    {0x0443, 0x0443, "a Cyrillic letter", PUT("y")},
    {0x0445, 0x0445, "a Cyrillic letter", PUT("x")},
    {0x0455, 0x0455, "a Cyrillic letter", PUT("s")},
    {0x0456, 0x0456, "a Cyrillic letter", PUT("i")},
    {0x0458, 0x0458, "a Cyrillic letter", PUT("j")},
    {0x060C, 0x060C, "an Arabic comma", PUT(",")},
    {0x061C, 0x061C, "a direction mark", NOTHING},
    {0x1680, 0x1680, "a space of another width", SPACE},
    {0x2000, 0x200A, "a space of another width", SPACE},
    {0x200B, 0x200B, "a zero-width space", NOTHING},
    {0x200C, 0x200D, "a zero-width joiner", NOTHING},
    {0x200E, 0x200F, "a direction mark", NOTHING},
    {0x2010, 0x2015, "a dash", PUT("-")},
    {0x2018, 0x201B, "a curly quote", PUT("'")},
    {0x201C, 0x201F, "a curly quote", PUT("\"")},
    {0x2028, 0x2029, "a line separator", BREAK},
    {0x202A, 0x202E, "a direction mark", NOTHING},
    {0x202F, 0x202F, "a narrow no-break space", SPACE},
    {0x2032, 0x2032, "a prime", PUT("'")},
    {0x2033, 0x2033, "a double prime", PUT("\"")},
    {0x205F, 0x205F, "a space of another width", SPACE},
    {0x2060, 0x2060, "a word joiner", NOTHING},
    {0x2066, 0x2069, "a direction mark", NOTHING},
    {0x2212, 0x2212, "a minus sign", PUT("-")},
    {0x2223, 0x2223, "a divides sign", PUT("|")},
    {0x2236, 0x2236, "a ratio sign", PUT(":")},
    {0x3000, 0x3000, "an ideographic space", SPACE},
    {0x3001, 0x3001, "an ideographic comma", PUT(",")},
    {0xFEFF, 0xFEFF, "a byte order mark", NOTHING},
};
enum { NROWS = sizeof rows / sizeof *rows };
enum { WIDE_FIRST = 0xFF01, WIDE_LAST = 0xFF5E, WIDE_OF = 0xFEE0 }; /* full-width forms stand as ASCII does */

static uint32_t code_point(const char *at, size_t len) {
    const unsigned char *s = (const unsigned char *)at;
    uint32_t code = len == 1 ? s[0] : s[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) code = code << 6 | (s[i] & 0x3F);
    return code;
}

bool lookalike_find(const char *at, const char *end, Lookalike *out) {
    const size_t len = utf8_step(at, end);
    if (len < 2) return false;
    const uint32_t code = code_point(at, len);
    if (code >= WIDE_FIRST && code <= WIDE_LAST) {
        snprintf(out->what, sizeof out->what, "U+%04X, a full-width form", (unsigned)code);
        snprintf(out->instead, sizeof out->instead, "put `%c` there", (int)(code - WIDE_OF));
        return true;
    }
    for (size_t i = 0; i < NROWS; i++) {
        if (code < rows[i].first || code > rows[i].last) continue;
        snprintf(out->what, sizeof out->what, "U+%04X, %s", (unsigned)code, rows[i].name);
        snprintf(out->instead, sizeof out->instead, "%s", rows[i].instead);
        return true;
    }
    return false;
}
