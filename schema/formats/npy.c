/* The npy format, versions 1 to 3 (numpy.lib.format): magic, header length, a Python dict literal, the data. */
#include "schema/formats/bulk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const descrs[DT_COUNT] = {[DT_F32] = "<f4", [DT_F64] = "<f8", [DT_I64] = "<i8", [DT_U8] = "|u1", [DT_BOOL] = "|b1"};
static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

typedef struct {
    const char *at, *end;
} NpyScan;

static bool bad(Err *err, const char *what) { return err_set(err, ERR_bad_tensor, "The npy header %s.", what); }

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

/* A quoted string, without escapes. */
static bool take_string(NpyScan *s, char *out, size_t room) {
    skip(s);
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"')) return false;
    char quote = *s->at++;
    size_t n = 0;
    while (s->at < s->end && *s->at != quote && n + 1 < room) out[n++] = *s->at++;
    out[n] = 0;
    if (s->at == s->end || *s->at != quote) return false;
    s->at++;
    return true;
}

static bool take_size(NpyScan *s, size_t *out) {
    skip(s);
    const char *start = s->at;
    for (*out = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        if (__builtin_mul_overflow(*out, (size_t)10, out) || __builtin_add_overflow(*out, (size_t)(*s->at - '0'), out)) return false;
    return s->at > start;
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

static bool read_dict(NpyScan *s, BulkTensor *t, char descr[16], bool *fortran) {
    unsigned seen = 0;
    if (!take(s, "{")) return false;
    while (!take(s, "}")) {
        char key[24];
        if (!take_string(s, key, sizeof key) || !take(s, ":")) return false;
        unsigned bit = strcmp(key, "descr") == 0 ? 1 : strcmp(key, "fortran_order") == 0 ? 2 : strcmp(key, "shape") == 0 ? 4 : 0;
        if (!bit || (seen & bit)) return false;
        seen |= bit;
        bool ok = bit == 1 ? take_string(s, descr, 16) : bit == 4 ? take_shape(s, t) : (*fortran = take(s, "True")) || take(s, "False");
        if (!ok) return false;
        if (!take(s, ",")) {
            if (!take(s, "}")) return false;
            break;
        }
    }
    skip(s);
    return seen == 7 && s->at == s->end;
}

static bool read_header(NpyScan *s, BulkTensor *t, Err *err) {
    char descr[16] = "";
    bool fortran = false;
    size_t d = 0;
    if (!read_dict(s, t, descr, &fortran)) return bad(err, "is no dict of descr, fortran_order and shape");
    if (*descr == '=') *descr = '<';
    while (d < DT_COUNT && strcmp(descrs[d], descr) != 0) d++;
    if (d == DT_COUNT) return bad(err, "names a dtype that is none of <f4, <f8, <i8, |u1, |b1");
    if (fortran && t->rank > 1) return bad(err, "says fortran_order; only row-major arrays are taken");
    t->dtype = (DType)d;
    t->count = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count)) return bad(err, "has a shape that overflows");
    if (__builtin_mul_overflow(t->count, dtype_size(t->dtype), &t->bytes)) return bad(err, "has a shape that overflows");
    return true;
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
    if (len - r.at != t.bytes) return bad(err, "has a shape that does not fit the data's length");
    out->items = malloc(sizeof t);
    t.name = strdup("args.0");
    if (!out->items || !t.name) {
        free(t.name);
        free(out->items);
        *out = (Bulk){0};
        return err_set(err, ERR_internal, "Memory is short.");
    }
    out->items[out->n++] = t;
    return true;
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
