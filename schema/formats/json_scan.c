#include "schema/formats/json_scan.h"
#include "schema/formats/json_hint.h"
#include "schema/formats/number.h"
#include "schema/formats/utf8.h"
#include "schema/limits.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cJSON reads at most 63 bytes of a number. */
enum { LONGEST_NUMBER = 60 };

/* An open array or object. */
typedef struct {
    size_t begin;      /* in the text */
    size_t out, spans, values; /* what was written, cut out and counted when it began: taken back when all of it is cut out */
    bool array;
    bool numbers;      /* an array, and so far every leaf a number or one of the three strings */
    bool number;       /* and at least one a number */
} JsonLevel;

typedef enum { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_MORE } Want;

typedef struct {
    JsonSpans *spans;
    const char *begin, *at, *end;
    Buf *out;
    Err *err;
    Want want;
    size_t depth, values; /* values: tree nodes so far */
    JsonLevel levels[LIMIT_JSON_DEPTH];
} JsonScan;

static bool bad(JsonScan *s, const char *where, const char *what) {
    return err_set(s->err, ERR_bad_json, "The body is not acceptable JSON: %s at byte %zu.", what,
                   (size_t)(where - s->begin));
}

/* The same, with what may have been meant. */
static bool bad_hinted(JsonScan *s, const char *where, const char *what, const char *hint) {
    if (!*hint) return bad(s, where, what);
    return err_set(s->err, ERR_bad_json, "The body is not acceptable JSON: %s at byte %zu; %s.", what, (size_t)(where - s->begin), hint);
}

static bool no_memory(Err *err) { return err_set(err, ERR_too_large, "There is not enough memory to read this body."); }

static JsonLevel *top(JsonScan *s) { return s->depth ? &s->levels[s->depth - 1] : NULL; }

/* The closing bracket at s->at stands behind a comma that would be right without it. */
static bool comma_too_many(JsonScan *s) {
    const JsonLevel *in = top(s);
    return in && ((s->want == WANT_KEY && *s->at == '}') || (s->want == WANT_VALUE && in->array && *s->at == ']'));
}

static bool unexpected(JsonScan *s) {
    static const char *const wanted[] = {"a value", "a value or `]`", "a key in double quotes", "a key in double quotes or `}`",
                                         "`,`"};
    const char *want = wanted[s->want];
    char what[200], name[JSON_HINT_ROOM], hint[JSON_HINT_ROOM];
    json_hint(s->at, s->end, s->at < s->end && comma_too_many(s), name, hint);
    if (s->want == WANT_MORE) want = !s->depth ? "the end" : s->levels[s->depth - 1].array ? "`,` or `]`" : "`,` or `}`";
    if (s->at == s->end) snprintf(what, sizeof what, "it ends where %s should be,", want);
    else if (*name) snprintf(what, sizeof what, "%s where %s should be", name, want);
    else if (*s->at > ' ' && *s->at < 0x7F) snprintf(what, sizeof what, "`%c` where %s should be", *s->at, want);
    else snprintf(what, sizeof what, "the byte 0x%02X where %s should be", (unsigned char)*s->at, want);
    return bad_hinted(s, s->at, what, hint);
}

bool json_span_add(JsonSpans *spans, JsonSpan span, char marker[JSON_CUT_ROOM]) {
    if (spans->n == spans->room) {
        size_t room = spans->room ? spans->room * 2 : 16, bytes;
        JsonSpan *items = __builtin_mul_overflow(room, sizeof *items, &bytes) ? NULL : realloc(spans->items, bytes);
        if (!items) return false;
        spans->items = items;
        spans->room = room;
    }
    snprintf(marker, JSON_CUT_ROOM, "%c%zu", JSON_CUT, spans->n);
    spans->items[spans->n++] = span;
    return true;
}

const JsonSpan *json_span_of(const JsonSpans *spans, const char *marker) { return &spans->items[strtoull(marker + 1, NULL, 10)]; }

size_t json_special(const char *at, const char *end, double *value) {
    static const struct {
        const char *text;
        double value;
    } specials[] = {{"\"NaN\"", NAN}, {"\"Infinity\"", INFINITY}, {"\"-Infinity\"", -INFINITY}};
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        size_t n = strlen(specials[i].text);
        if ((size_t)(end - at) < n || memcmp(at, specials[i].text, n)) continue;
        *value = specials[i].value;
        return n;
    }
    return 0;
}

static int hex4(const char *at, const char *end) {
    int v = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i], lower = (char)(c | 0x20);
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* The escape at s->at, a backslash. */
static bool scan_escape(JsonScan *s) {
    const char *begin = s->at;
    if (s->end - s->at < 2 || !strchr("\"\\/bfnrtu", s->at[1]) || !s->at[1]) return bad(s, begin, "an unknown escape");
    s->at += 2;
    if (begin[1] != 'u') return true;
    int code = hex4(s->at, s->end);
    if (code < 0) return bad(s, begin, "a \\u escape without four hexadecimal digits");
    if (code == 0) return bad(s, begin, "a NUL");
    s->at += 4;
    if (code < 0xD800 || code > 0xDFFF) return true;
    int low = s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u' ? hex4(s->at + 2, s->end) : -1;
    if (code > 0xDBFF || low < 0xDC00 || low > 0xDFFF) return bad(s, begin, "half of a surrogate pair");
    s->at += 6;
    return true;
}

/* ASCII that stands for itself in a string. */
static bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

/* The string at s->at, a quote; copied as it is. */
static bool scan_string(JsonScan *s) {
    const char *begin = s->at++;
    for (;;) {
        while (s->at < s->end && is_plain((unsigned char)*s->at)) s->at++;
        if (s->at == s->end) return bad(s, begin, "a string without an end");
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') break;
        if (c == '\\') {
            if (!scan_escape(s)) return false;
        } else if (c < 0x20) {
            return bad(s, s->at, c ? "an unescaped control character in a string" : "a NUL");
        } else {
            size_t n = utf8_step(s->at, s->end);
            if (!n) return bad(s, s->at, "invalid UTF-8");
            s->at += n;
        }
    }
    s->at++;
    buf_put(s->out, begin, (size_t)(s->at - begin));
    return true;
}

static bool scan_number(JsonScan *s) {
    Decimal d;
    const char *begin = s->at, *end = number_scan(s->at, s->end, &d);
    if (!end) {
        char name[JSON_HINT_ROOM], hint[JSON_HINT_ROOM];
        json_hint(begin, s->end, false, name, hint);
        return bad_hinted(s, begin, "a malformed number", hint);
    }
    size_t len = (size_t)(end - begin);
    s->at = end;
    if (number_rounds_to_integer(&d)) {
        buf_putc(s->out, '"');
        buf_putc(s->out, (char)JSON_ROUNDED);
        buf_put(s->out, begin, len);
        buf_putc(s->out, '"');
        return true;
    }
    bool large = len > LONGEST_NUMBER;
    if (large || d.exponent > 280) {
        double v = number_value(&d);
        if (!isfinite(v)) return bad(s, begin, "a number beyond the range of doubles");
        char text[NUMBER_ROOM];
        if (large) buf_put(s->out, text, number_print(text, v));
    }
    if (!large) buf_put(s->out, begin, len);
    return true;
}

/* Replaces what was written of the array by a marker: unless an array around it will be cut out too, it is a maximal one. */
static bool cut_out(JsonScan *s, const JsonLevel *level) {
    char marker[JSON_CUT_ROOM];
    s->out->len = level->out;
    s->spans->n = level->spans;
    s->values = level->values;
    JsonSpan span = {level->begin, (size_t)(s->at - s->begin) - level->begin};
    if (!json_span_add(s->spans, span, marker)) return no_memory(s->err);
    buf_putc(s->out, '"');
    buf_puts(s->out, marker);
    buf_putc(s->out, '"');
    return true;
}

static bool open_level(JsonScan *s, bool array) {
    if (s->depth == LIMIT_JSON_DEPTH)
        return err_set(s->err, ERR_too_large, "The body nests more than %d deep, at byte %zu.", LIMIT_JSON_DEPTH,
                       (size_t)(s->at - s->begin));
    s->levels[s->depth++] = (JsonLevel){.begin = (size_t)(s->at - s->begin), .out = s->out->len, .spans = s->spans->n, .values = s->values,
                                    .array = array, .numbers = array};
    buf_putc(s->out, *s->at++);
    s->want = array ? WANT_VALUE_OR_END : WANT_KEY_OR_END;
    return true;
}

static bool close_level(JsonScan *s) {
    JsonLevel closed = s->levels[--s->depth], *above = top(s);
    buf_putc(s->out, *s->at++);
    s->want = WANT_MORE;
    if (above) {
        above->numbers &= closed.numbers;
        above->number |= closed.number;
    }
    return closed.numbers && closed.number ? cut_out(s, &closed) : true;
}

static bool scan_word(JsonScan *s) {
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->at) < n || memcmp(s->at, words[i], n)) continue;
        buf_put(s->out, s->at, n);
        s->at += n;
        return true;
    }
    return unexpected(s);
}

static bool scan_value(JsonScan *s) {
    JsonLevel *in = top(s);
    double unused;
    char c = *s->at;
    s->values++;
    if (c == '[' || c == '{') return open_level(s, c == '[');
    bool number = c == '-' || (c >= '0' && c <= '9');
    if (in) {
        in->number |= number;
        in->numbers &= number || json_special(s->at, s->end, &unused);
    }
    if (!(number ? scan_number(s) : c == '"' ? scan_string(s) : scan_word(s))) return false;
    s->want = WANT_MORE;
    return true;
}

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
    return at;
}

static bool scan_key(JsonScan *s) {
    if (!scan_string(s)) return false;
    const char *key_end = s->at;
    s->at = skip_space(s->at, s->end);
    if (s->at == s->end || *s->at != ':') return bad(s, key_end, "a key without `:`");
    buf_putc(s->out, *s->at++);
    s->want = WANT_VALUE;
    return true;
}

static bool scan_token(JsonScan *s) {
    JsonLevel *in = top(s);
    char c = *s->at;
    switch (s->want) {
    case WANT_VALUE_OR_END:
        if (c == ']') return close_level(s);
        return scan_value(s);
    case WANT_VALUE: return scan_value(s);
    case WANT_KEY_OR_END:
        if (c == '}') return close_level(s);
        return c == '"' ? scan_key(s) : unexpected(s);
    case WANT_KEY: return c == '"' ? scan_key(s) : unexpected(s);
    case WANT_MORE:
        if (!in) return unexpected(s);
        if (c == (in->array ? ']' : '}')) return close_level(s);
        if (c != ',') return unexpected(s);
        buf_putc(s->out, c);
        s->at++;
        s->want = in->array ? WANT_VALUE : WANT_KEY;
    }
    return true;
}

/* UTF-8 does not need it, and editors on some systems write it (RFC 8259, 8.1, lets a reader pass over it). */
static const char *skip_byte_order_mark(const char *at, size_t len) { return len >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0 ? at + 3 : at; }

/* The stack of levels is the machine's: memory for it would cost a small body more than reading it. */
bool json_scan(const char *text, size_t len, JsonSpans *spans, Buf *out, Err *err) {
    JsonScan s;
    s.spans = spans;
    s.begin = text;
    s.at = skip_byte_order_mark(text, len);
    s.end = s.begin + len;
    s.out = out;
    s.err = err;
    s.want = WANT_VALUE;
    s.depth = s.values = 0;
    bool ok = true;
    for (; ok; ok = scan_token(&s)) {
        s.at = skip_space(s.at, s.end);
        if (s.at < s.end) continue;
        ok = (s.want == WANT_MORE && !s.depth) || unexpected(&s);
        break;
    }
    if (ok && s.values > LIMIT_JSON_VALUES)
        ok = err_set(err, ERR_too_large, "The body has more than %d values outside arrays of numbers.", LIMIT_JSON_VALUES);
    return ok && (!out->failed || no_memory(err));
}
