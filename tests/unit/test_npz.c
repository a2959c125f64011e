/* npz: archives read as their directory says, and everything refused that says two things, hides, overlaps or would grow beyond what is allowed;
 * files known by their first bytes. */
#include "schema/formats/npy.h"
#include "schema/formats/sniff.h"
#include "server/data/npz.h"
#include "tests/support/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

/* ---- archives, with whatever is to be wrong ---- */

typedef struct {
    const char *name;
    Buf data;           /* unpacked */
    bool deflated, behind, zip64; /* sizes behind the data; or in a zip64 field of the own header */
} Member;

typedef struct {
    size_t local[4], data[4], central[4], end; /* where the parts of the archive begin */
} Places;

static Member npy_member(const char *name, size_t rows, bool deflated) {
    Member m = {.name = name, .deflated = deflated};
    npy_put_header(&m.data, DT_F32, &rows, 1);
    for (size_t i = 0; i < rows; i++) {
        const float v = (float)i / 2;
        buf_put(&m.data, &v, sizeof v);
    }
    return m;
}

static void put_deflated(Buf *out, const Buf *data) {
    unsigned char room[8192];
    z_stream z = {.next_in = data->data, .avail_in = (uInt)data->len, .next_out = room, .avail_out = sizeof room};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_put(out, room, sizeof room - z.avail_out);
    deflateEnd(&z);
}

/* What stands in both headers from the flags on. */
static void put_common(Buf *out, const Member *m, uint32_t crc, uint32_t packed, uint32_t size, uint16_t extra) {
    buf_u16(out, m->behind ? 8 : 0);
    buf_u16(out, m->deflated ? 8 : 0);
    buf_u32(out, 0x00210000);
    buf_u32(out, crc);
    buf_u32(out, packed);
    buf_u32(out, size);
    buf_u16(out, (uint16_t)strlen(m->name));
    buf_u16(out, extra);
}

static void put_zip(Buf *out, const Member *members, size_t n, Places *p) {
    uint32_t packed[4], crc[4];
    buf_init(out);
    for (size_t i = 0; i < n; i++) {
        const Member *m = &members[i];
        Buf data = {0};
        if (m->deflated) put_deflated(&data, &m->data);
        else buf_put(&data, m->data.data, m->data.len);
        packed[i] = (uint32_t)data.len;
        crc[i] = (uint32_t)crc32_z(0, m->data.data, m->data.len);
        p->local[i] = out->len;
        buf_u32(out, 0x04034b50);
        buf_u16(out, 20);
        const bool away = m->behind || m->zip64;
        put_common(out, m, m->behind ? 0 : crc[i], m->zip64 ? UINT32_MAX : away ? 0 : packed[i], m->zip64 ? UINT32_MAX : away ? 0 : (uint32_t)m->data.len,
                   m->zip64 ? 20 : 0);
        buf_puts(out, m->name);
        if (m->zip64) buf_u16(out, 1), buf_u16(out, 16), buf_u64(out, m->data.len), buf_u64(out, packed[i]);
        p->data[i] = out->len;
        buf_put(out, data.data, data.len);
        if (m->behind) buf_u32(out, 0x08074b50), buf_u32(out, crc[i]), buf_u32(out, packed[i]), buf_u32(out, (uint32_t)m->data.len);
        buf_release(&data);
    }
    const size_t directory = out->len;
    for (size_t i = 0; i < n; i++) {
        p->central[i] = out->len;
        buf_u32(out, 0x02014b50);
        buf_u32(out, 20 | 20 << 16);
        put_common(out, &members[i], crc[i], packed[i], (uint32_t)members[i].data.len, 0);
        buf_u16(out, 0), buf_u16(out, 0), buf_u16(out, 0), buf_u32(out, 0);
        buf_u32(out, (uint32_t)p->local[i]);
        buf_puts(out, members[i].name);
    }
    p->end = out->len;
    buf_u32(out, 0x06054b50);
    buf_u32(out, 0);
    buf_u16(out, (uint16_t)n), buf_u16(out, (uint16_t)n);
    buf_u32(out, (uint32_t)(p->end - directory));
    buf_u32(out, (uint32_t)directory);
    buf_u16(out, 0);
}

static ErrCode collect(void *arg, const void *bytes, size_t len) {
    buf_put(arg, bytes, len);
    return ERR_NONE;
}

/* Reads it all; the message, or NULL. */
static const char *reads(const Buf *body, size_t most, Npz *npz, Buf *unpacked, Err *err) {
    *err = (Err){0};
    buf_init(unpacked);
    const bool ok = npz_unpack(npz, body->data, body->len, most, collect, unpacked, err) && npz_read(npz, body->data, unpacked->data, err);
    return ok ? NULL : err->message;
}

static void refused(const Buf *body, ErrCode code, const char *says) {
    Npz npz;
    Buf unpacked;
    Err err;
    const char *message = reads(body, 1 << 20, &npz, &unpacked, &err);
    if (!message) fail_msg("taken, and not \"%s\"", says);
    if (err.code != code || !strstr(message, says)) fail_msg("%s: %s; instead of %s: %s", err_name(err.code), message, err_name(code), says);
    npz_release(&npz);
    buf_release(&unpacked);
}

static void put16(Buf *b, size_t at, uint16_t v) { b->data[at] = (unsigned char)v, b->data[at + 1] = (unsigned char)(v >> 8); }
static void put32(Buf *b, size_t at, uint32_t v) { put16(b, at, (uint16_t)v), put16(b, at + 2, (uint16_t)(v >> 16)); }

enum { LOCAL_FLAGS = 6, LOCAL_METHOD = 8, LOCAL_CRC = 14, LOCAL_PACKED = 18, LOCAL_SIZE = 22, LOCAL_NAME_LEN = 26, LOCAL_NAME = 30 };
enum { CENTRAL_FLAGS = 8, CENTRAL_METHOD = 10, CENTRAL_CRC = 16, CENTRAL_PACKED = 20, CENTRAL_SIZE = 24, CENTRAL_NAME_LEN = 28, CENTRAL_DISK = 34,
       CENTRAL_AT = 42, CENTRAL_NAME = 46 };
enum { END_DISK = 4, END_HERE = 8, END_ALL = 10, END_SIZE = 12, END_AT = 16, END_COMMENT = 20 };

/* ---- tests ---- */

static void test_every_way_of_packing(void **state) {
    (void)state;
    for (int way = 0; way < 16; way++) {
        Member members[2] = {npy_member("x.npy", 700, way & 1), npy_member("deep.y.npy", 3, way & 2)};
        members[0].behind = way & 4;
        members[1].zip64 = way & 8;
        Buf body, unpacked;
        Places p;
        Npz npz;
        Err err;
        put_zip(&body, members, 2, &p);
        if (way == 5) { /* a comment of the archive */
            put16(&body, p.end + END_COMMENT, 5);
            buf_puts(&body, "hello");
        }
        assert_true(zip_is(body.data, body.len));
        const char *message = reads(&body, 1 << 20, &npz, &unpacked, &err);
        if (message) fail_msg("way %d: %s", way, message);
        assert_int_equal(npz.bulk.n, 2);
        assert_string_equal(npz.bulk.items[0].name, "x");
        assert_string_equal(npz.bulk.items[1].name, "deep.y");
        for (size_t i = 0; i < 2; i++) {
            const BulkTensor *t = &npz.bulk.items[i];
            assert_int_equal(t->shape[0], i ? 3 : 700);
            assert_memory_equal(npz.data[i], members[i].data.data, members[i].data.len);
            assert_int_equal(t->offset + t->bytes, members[i].data.len);
            /* what is not packed stays where it is */
            assert_int_equal(npz.data[i] >= body.data && npz.data[i] < body.data + body.len, !members[i].deflated);
            buf_release(&members[i].data);
        }
        npz_release(&npz);
        buf_release(&unpacked);
        buf_release(&body);
    }
}

typedef struct {
    size_t part, at; /* which of Places' (as an index of size_t), and where in it */
    unsigned width;
    uint32_t value;
    ErrCode code;
    const char *says;
} Change;
#define LOCAL_OF(i) (offsetof(Places, local) / sizeof(size_t) + (i))
#define CENTRAL_OF(i) (offsetof(Places, central) / sizeof(size_t) + (i))
#define END_OF (offsetof(Places, end) / sizeof(size_t))

static void test_two_accounts_are_refused(void **state) {
    (void)state;
    static const Change changes[] = {
        {LOCAL_OF(0), 0, 4, 0, ERR_bad_tensor, "\"x.npy\" is not where the directory says"},
        {LOCAL_OF(1), LOCAL_METHOD, 2, 0, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_CRC, 4, 1, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_PACKED, 4, 1, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_SIZE, 4, 1, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_SIZE, 4, UINT32_MAX, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_FLAGS, 2, 1, ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_NAME, 1, 'z', ERR_bad_tensor, "something else than the directory"},
        {LOCAL_OF(1), LOCAL_NAME_LEN, 2, 65535, ERR_bad_tensor, "does not end before the directory"},
        {CENTRAL_OF(0), 0, 4, 0, ERR_bad_tensor, "something else in it"},
        {CENTRAL_OF(1), CENTRAL_FLAGS, 2, 1, ERR_bad_tensor, "\"y.npy\" is encrypted"},
        {CENTRAL_OF(1), CENTRAL_METHOD, 2, 12, ERR_bad_tensor, "neither deflate nor none"},
        {CENTRAL_OF(0), CENTRAL_SIZE, 4, 5, ERR_bad_tensor, "has two sizes"},
        {CENTRAL_OF(0), CENTRAL_SIZE, 4, UINT32_MAX, ERR_bad_tensor, "zip64"},
        {CENTRAL_OF(1), CENTRAL_PACKED, 4, 100000, ERR_bad_tensor, "does not end before the directory"},
        {CENTRAL_OF(1), CENTRAL_NAME_LEN, 2, 300, ERR_bad_tensor, "cut off"},
        {CENTRAL_OF(1), CENTRAL_NAME, 1, 0, ERR_bad_tensor, "NUL"},
        {CENTRAL_OF(1), CENTRAL_DISK, 2, 1, ERR_bad_tensor, "several parts"},
        {CENTRAL_OF(1), CENTRAL_AT, 4, 0, ERR_bad_tensor, "something else than the directory"},
        {CENTRAL_OF(1), CENTRAL_AT, 4, 0x7fffffff, ERR_bad_tensor, "is not where"},
        {END_OF, 0, 4, 0, ERR_bad_tensor, "no end record"},
        {END_OF, END_DISK, 2, 1, ERR_bad_tensor, "several parts"},
        {END_OF, END_HERE, 2, 1, ERR_bad_tensor, "several parts"},
        {END_OF, END_ALL, 2, 65535, ERR_bad_tensor, "zip64"},
        {END_OF, END_SIZE, 4, 1, ERR_bad_tensor, "before its end record"},
        {END_OF, END_AT, 4, 0, ERR_bad_tensor, "before its end record"},
        {END_OF, END_AT, 4, UINT32_MAX, ERR_bad_tensor, "zip64"},
        {END_OF, END_COMMENT, 2, 1, ERR_bad_tensor, "no end record"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const Change *c = &changes[i];
        Member members[2] = {npy_member("x.npy", 3, false), npy_member("y.npy", 3, true)};
        Buf body;
        union {
            Places named;
            size_t all[sizeof(Places) / sizeof(size_t)];
        } p;
        put_zip(&body, members, 2, &p.named);
        const size_t at = p.all[c->part] + c->at;
        if (c->width == 4) put32(&body, at, c->value);
        else if (c->width == 2) put16(&body, at, (uint16_t)c->value);
        else body.data[at] = (unsigned char)c->value;
        refused(&body, c->code, c->says);
        buf_release(&body);
        buf_release(&members[0].data);
        buf_release(&members[1].data);
    }
}

/* Both fewer and more than there are. */
static void test_counts(void **state) {
    (void)state;
    for (int n = 0; n < 4; n++) {
        Member members[2] = {npy_member("x.npy", 3, false), npy_member("y.npy", 3, true)};
        Buf body;
        Places p;
        put_zip(&body, members, 2, &p);
        put16(&body, p.end + END_HERE, (uint16_t)n);
        put16(&body, p.end + END_ALL, (uint16_t)n);
        if (n != 2) refused(&body, ERR_bad_tensor, n < 2 ? "longer than its members" : "something else in it");
        put16(&body, p.end + END_HERE, 257);
        put16(&body, p.end + END_ALL, 257);
        refused(&body, ERR_too_large, "at most 256 members");
        buf_release(&body);
        buf_release(&members[0].data);
        buf_release(&members[1].data);
    }
}

/* Two entries of the directory for the same bytes; and for bytes of which one's are the other's. */
static void test_overlaps(void **state) {
    (void)state;
    Member members[2] = {npy_member("x.npy", 3, false), npy_member("x.npy", 3, false)};
    Buf body;
    Places p;
    put_zip(&body, members, 2, &p);
    refused(&body, ERR_bad_tensor, "\"x.npy\" stands there twice");
    put32(&body, p.central[1] + CENTRAL_AT, 0);
    refused(&body, ERR_bad_tensor, "overlaps");
    buf_release(&body);

    /* the second archive lies in the data of a member of the first */
    Member inner = npy_member("y.npy", 3, false), outer = {.name = "x.npy"};
    Buf nested;
    Places q;
    put_zip(&nested, &inner, 1, &q);
    buf_put(&outer.data, nested.data, nested.len);
    put_zip(&body, (Member[]){outer, inner}, 2, &p);
    put32(&body, p.central[1] + CENTRAL_AT, (uint32_t)p.data[0]);
    refused(&body, ERR_bad_tensor, "\"y.npy\" overlaps");
    buf_release(&body);
    buf_release(&nested);
    buf_release(&outer.data);
    buf_release(&inner.data);
    for (int i = 0; i < 2; i++) buf_release(&members[i].data);
}

/* What the directory states is refused before anything is unpacked; what it does not, is found out at the first byte too much. */
static void test_bombs(void **state) {
    (void)state;
    Member members[1] = {npy_member("x.npy", 100000, true)};
    Buf body, unpacked;
    Places p;
    Npz npz;
    Err err;
    members[0].data.len = 0; /* of zeros alone */
    for (int i = 0; i < 400000; i++) buf_u8(&members[0].data, 0);
    put_zip(&body, members, 1, &p);
    assert_non_null(reads(&body, 399999, &npz, &unpacked, &err));
    assert_int_equal(err.code, ERR_body_too_large);
    assert_int_equal(unpacked.len, 0);
    npz_release(&npz);
    for (uint32_t size = 1000; size <= 500000; size += 499000) {
        put32(&body, p.central[0] + CENTRAL_SIZE, size);
        put32(&body, p.local[0] + LOCAL_SIZE, size);
        assert_non_null(reads(&body, 1 << 20, &npz, &unpacked, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        assert_non_null(strstr(err.message, "size and checksum"));
        assert_true(size > 1000 || unpacked.len <= 1000);
        npz_release(&npz);
        buf_release(&unpacked);
    }
    buf_release(&body);
    buf_release(&members[0].data);
}

static void test_damage(void **state) {
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        Member members[1] = {npy_member("x.npy", 100, deflated)};
        Buf body;
        Places p;
        put_zip(&body, members, 1, &p);
        body.data[p.central[0] - 3] ^= 0x10;
        refused(&body, ERR_bad_tensor, "\"x.npy\" is damaged");
        buf_release(&body);
        buf_release(&members[0].data);
    }
}

static void test_other_members(void **state) {
    (void)state;
    static const char *const names[] = {"archive/data.pkl", "x.npy/", "x", "", "x.NPY"};
    Places p;
    Buf body;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Member m = npy_member(names[i], 3, false);
        put_zip(&body, &m, 1, &p);
        refused(&body, ERR_bad_tensor, "is no .npy; of zip archives only npz");
        buf_release(&body);
        buf_release(&m.data);
    }
    Member m = {.name = "x.npy"};
    buf_puts(&m.data, "1,2,3\n");
    put_zip(&body, &m, 1, &p);
    refused(&body, ERR_bad_tensor, "The member \"x.npy\": The npy header");
    buf_release(&body);
    buf_release(&m.data);
}

static void test_mutations(void **state) {
    (void)state;
    Rng r = rng_new("npz mutations");
    for (int round = 0; round < 20000; round++) {
        Member members[2] = {npy_member("x.npy", 3, round & 1), npy_member("y.npy", 3, round & 2)};
        members[0].behind = round & 4;
        members[1].zip64 = round & 8;
        Buf body, unpacked;
        Places p;
        Npz npz;
        Err err;
        put_zip(&body, members, 2, &p);
        for (uint64_t n = 1 + rng_below(&r, 3); n--;) {
            const size_t at = rng_chance(&r, 70) ? p.central[0] + rng_below(&r, (uint32_t)(body.len - p.central[0])) : rng_below(&r, (uint32_t)body.len);
            body.data[at] = (unsigned char)(body.data[at] + (rng_chance(&r, 50) ? 1 : rng_below(&r, 256)));
        }
        if (rng_chance(&r, 20)) body.len = rng_below(&r, (uint32_t)body.len + 1);
        if (reads(&body, 1 << 16, &npz, &unpacked, &err)) assert_true(err.code == ERR_bad_tensor || err.code == ERR_body_too_large || err.code == ERR_too_large);
        assert_true(unpacked.len <= 1 << 16);
        npz_release(&npz);
        buf_release(&unpacked);
        buf_release(&body);
        for (int i = 0; i < 2; i++) buf_release(&members[i].data);
    }
}

static void test_sniff(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *what;
    } cases[] = {
        {"\x89HDF\r\n\x1a\n....", 12, "an HDF5 file"}, {"PK\3\4....", 8, "a zip archive"},   {"\x1f\x8b\x08", 3, "gzip data"},
        {"\x28\xb5\x2f\xfd..", 6, "zstd data"},       {"\xfd" "7zXZ\0", 6, "xz data"},          {"BZh91AY", 7, "bzip2 data"},
        {"PAR1\x15", 5, "a Parquet file"},            {"\x80\4\x95\0", 4, "a Python pickle"},   {"\x89PNG\r\n\x1a\n", 8, "a PNG image"},
        {"x,y\n1,2\n", 8, "a CSV file"},              {"x\ty\n1\t2\n", 8, "a CSV file"},        {"hello", 5, "a text"},
        {"hello, world", 12, "a text"},               {"{\"a\":1}", 7, "JSON"},                 {"<!DOCTYPE html>", 15, "HTML or XML"},
        {"\x93NUMPY\1", 7, "an npy file"},            {"\0\0\x08\1\0\0\0\1x", 9, "an IDX file"}, {"\2\0\0\0\0\0\0\0{}", 10, "a safetensors file"},
        {"", 0, NULL},                                {"\1\2\3\4", 4, NULL},                    {"\x89HDF\1", 5, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *what = sniff((const unsigned char *)cases[i].bytes, cases[i].len);
        if (!what != !cases[i].what || (what && strcmp(what, cases[i].what) != 0)) fail_msg("case %zu: %s", i, what ? what : "nothing");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_of_packing), cmocka_unit_test(test_two_accounts_are_refused), cmocka_unit_test(test_counts),
        cmocka_unit_test(test_overlaps),             cmocka_unit_test(test_bombs),                    cmocka_unit_test(test_damage),
        cmocka_unit_test(test_other_members),        cmocka_unit_test(test_mutations),                cmocka_unit_test(test_sniff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
