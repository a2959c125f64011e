#include "schema/formats/utf8.h"
#include <stdint.h>
#include <string.h>

size_t utf8_step(const char *at, const char *end) {
    const unsigned char *s = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    /* The second byte decides over the rest of what must not be. */
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

size_t utf8_count(const char *at, const char *end) {
    size_t n = 0;
    uint64_t eight; /* bytes, ASCII as most text is */
    for (; at < end; n++) {
        for (; end - at > (ptrdiff_t)sizeof eight; at += sizeof eight, n += sizeof eight) {
            memcpy(&eight, at, sizeof eight);
            if (eight & UINT64_C(0x8080808080808080)) break;
        }
        size_t step = utf8_step(at, end);
        at += step ? step : 1;
    }
    return n;
}
