#include "schema/formats/npy.h"
#include <stdio.h>
#include <string.h>

enum { LONGEST_DESCR = 15 };

static const char *const descrs[DT_COUNT] = {[DT_F32] = "<f4", [DT_F64] = "<f8", [DT_I64] = "<i8", [DT_U8] = "|u1", [DT_BOOL] = "|b1"};
static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

/* What a descr says behind its byte order. */
static const struct {
    const char *type;
    ElementType element;
} types[] = {{"b1", ELEMENT_BOOL}, {"u1", ELEMENT_U8},  {"i1", ELEMENT_I8},  {"u2", ELEMENT_U16}, {"i2", ELEMENT_I16}, {"u4", ELEMENT_U32},
             {"i4", ELEMENT_I32},  {"u8", ELEMENT_U64}, {"i8", ELEMENT_I64}, {"f2", ELEMENT_F16}, {"f4", ELEMENT_F32}, {"f8", ELEMENT_F64}};
enum { NTYPES = sizeof types / sizeof *types };

/* What other dtypes hold, by the letter behind the byte order. */
static const struct {
    char kind;
    const char *holds;
} untaken[] = {
    {'O', "Python objects, pickled"}, {'S', "byte strings"},    {'a', "byte strings"},    {'U', "strings"},
    {'c', "complex numbers; send real and imaginary parts as two arrays"},
    {'M', "dates; send them as integers"}, {'m', "time spans; send them as integers"},
    {'V', "records or raw bytes (as bfloat16 is in npy; safetensors have it)"},
};
enum { NUNTAKEN = sizeof untaken / sizeof *untaken };

#define TAKEN "booleans, integers of 8 to 64 bits and floats of 16 to 64 bits are taken"

typedef struct {
    const char *at, *end;
} NpyScan;

static bool bad(Err *err, const char *what) { return err_set(err, ERR_bad_tensor, "The npy header %s.", what); }

bool npy_is(const unsigned char *body, size_t len) { return len >= sizeof magic && memcmp(body, magic, sizeof magic) == 0; }

static void skip(NpyScan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r')) s->at++;
}

static bool take(NpyScan *s, const char *word) {
    skip(s);
    size_t n = strlen(word);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) return false;
    s->at += n;
    return true;
}

/* A quoted string, without escapes; Python 2 may have put a u before it. */
static bool take_string(NpyScan *s, char *out, size_t room) {
    skip(s);
    if (s->at < s->end && *s->at == 'u') s->at++;
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"')) return false;
    char quote = *s->at++;
    size_t n = 0;
    while (s->at < s->end && *s->at != quote && n + 1 < room) out[n++] = *s->at++;
    out[n] = 0;
    if (s->at == s->end || *s->at != quote) return false;
    s->at++;
    return true;
}

/* 12, or Python 2's 12L. */
static bool take_size(NpyScan *s, size_t *out) {
    skip(s);
    const char *start = s->at;
    for (*out = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        if (__builtin_mul_overflow(*out, (size_t)10, out) || __builtin_add_overflow(*out, (size_t)(*s->at - '0'), out)) return false;
    bool some = s->at > start;
    if (some && s->at < s->end && *s->at == 'L') s->at++;
    return some;
}

static bool take_shape(NpyScan *s, BulkTensor *t) {
    if (!take(s, "(")) return false;
    while (!take(s, ")")) {
        if (t->rank == LIMIT_TENSOR_RANK || !take_size(s, &t->shape[t->rank])) return false;
        t->rank++;
        if (take(s, ")")) break;
        if (!take(s, ",")) return false;
    }
    return true;
}

/* The descr of a record is a list: read over to its end, as "V". */
static bool take_record(NpyScan *s, char *descr) {
    size_t depth = 0;
    for (; s->at < s->end; s->at++) {
        depth += *s->at == '[' || *s->at == '(';
        if ((*s->at == ']' || *s->at == ')') && --depth == 0) {
            s->at++;
            strcpy(descr, "|V");
            return true;
        }
    }
    return false;
}

static bool take_descr(NpyScan *s, char *descr, size_t room) {
    skip(s);
    return s->at < s->end && *s->at == '[' ? take_record(s, descr) : take_string(s, descr, room);
}

static bool read_dict(NpyScan *s, BulkTensor *t, char descr[LONGEST_DESCR + 1]) {
    unsigned seen = 0;
    if (!take(s, "{")) return false;
    while (!take(s, "}")) {
        char key[24];
        if (!take_string(s, key, sizeof key) || !take(s, ":")) return false;
        unsigned bit = strcmp(key, "descr") == 0 ? 1 : strcmp(key, "fortran_order") == 0 ? 2 : strcmp(key, "shape") == 0 ? 4 : 0;
        if (!bit || (seen & bit)) return false;
        seen |= bit;
        bool ok = bit == 1   ? take_descr(s, descr, LONGEST_DESCR + 1)
                  : bit == 4 ? take_shape(s, t)
                             : (t->fortran = take(s, "True")) || take(s, "False");
        if (!ok) return false;
        if (!take(s, ",")) {
            if (!take(s, "}")) return false;
            break;
        }
    }
    skip(s);
    return seen == 7 && s->at == s->end;
}

/* Order and type. The machine's order (=, or none) is little-endian: who wrote the file on another machine's has said so. */
static bool read_descr(const char *descr, BulkTensor *t, Err *err) {
    const char *type = descr + (*descr && strchr("<>=|", *descr) ? 1 : 0);
    t->big_endian = *descr == '>';
    for (size_t i = 0; i < NTYPES; i++) {
        if (strcmp(types[i].type, type) != 0) continue;
        t->element = types[i].element;
        return true;
    }
    for (size_t i = 0; i < NUNTAKEN; i++)
        if (*type == untaken[i].kind) return err_set(err, ERR_bad_tensor, "The npy file's dtype %s is of %s; " TAKEN ".", descr, untaken[i].holds);
    return err_set(err, ERR_bad_tensor, "The npy file's dtype %s is not known; " TAKEN ".", descr);
}

static bool read_header(NpyScan *s, BulkTensor *t, Err *err) {
    char descr[LONGEST_DESCR + 1] = "";
    if (!read_dict(s, t, descr)) return bad(err, "is no dict of descr, fortran_order and shape");
    return read_descr(descr, t, err) && (bulk_measure(t) || bad(err, "has a shape that overflows"));
}

bool npy_read(const unsigned char *body, size_t len, Bulk *out, Err *err) {
    *out = (Bulk){0};
    Reader r = reader_of(body, len);
    const unsigned char *start = read_raw(&r, sizeof magic);
    uint8_t major = read_u8(&r), minor = read_u8(&r);
    size_t header_len = major == 1 ? read_u16(&r) : read_u32(&r);
    const unsigned char *header = read_raw(&r, header_len);
    if (!start || memcmp(start, magic, sizeof magic) != 0 || major < 1 || major > 3 || minor != 0 || !header)
        return bad(err, "is not that of an npy file of version 1, 2 or 3");
    BulkTensor t = {0};
    NpyScan scan = {(const char *)header, (const char *)header + header_len};
    if (!read_header(&scan, &t, err)) return false;
    t.offset = r.at;
    if (len - r.at == t.bytes) return bulk_single(&t, out, err);
    return err_set(err, ERR_bad_tensor, "The npy header has a shape that does not fit the data's length: it wants %zu bytes, and %zu are there.", t.bytes,
                   len - r.at);
}

void npy_put_header(Buf *out, DType dtype, const size_t *shape, size_t rank) {
    char dict[640];
    int n = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", descrs[dtype]);
    for (size_t i = 0; i < rank; i++) {
        const char *format = rank == 1 || i + 1 < rank ? "%zu, " : "%zu";
        n += snprintf(dict + n, sizeof dict - (size_t)n, format, shape[i]);
    }
    n += snprintf(dict + n, sizeof dict - (size_t)n, "), }");
    size_t pad = 63 - (10 + (size_t)n) % 64;
    buf_put(out, magic, sizeof magic);
    buf_u8(out, 1);
    buf_u8(out, 0);
    buf_u16(out, (uint16_t)((size_t)n + pad + 1));
    buf_put(out, dict, (size_t)n);
    for (size_t i = 0; i < pad; i++) buf_putc(out, ' ');
    buf_putc(out, '\n');
}
