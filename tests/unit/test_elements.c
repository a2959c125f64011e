/* How numbers lie in files: every element type in each byte order, order of axes and rank becomes what it should, whole and in ranges, whatever the
 * alignment; held against a reading of one element at a time. */
#include "schema/formats/bulk.h"
#include "schema/formats/idx.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "tests/support/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The number that the bytes of one little-endian element are: integers apart, exactly. */
static double real_of(ElementType type, uint64_t raw) {
    float f;
    double d;
    uint32_t word = (uint32_t)raw;
    switch (type) {
    case ELEMENT_F16: {
        const int exponent = (int)(raw >> 10 & 31), fraction = (int)(raw & 1023);
        const double sign = raw & 0x8000 ? -1 : 1;
        if (exponent == 31) return fraction ? NAN : sign * INFINITY;
        return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
    }
    case ELEMENT_BF16: word <<= 16; /* fall through */
    case ELEMENT_F32: memcpy(&f, &word, sizeof f); return f;
    default: memcpy(&d, &raw, sizeof d); return d;
    }
}

static int64_t integer_of(ElementType type, uint64_t raw) {
    switch (type) {
    case ELEMENT_I8: return (int8_t)raw;
    case ELEMENT_I16: return (int16_t)raw;
    case ELEMENT_I32: return (int32_t)raw;
    default: return (int64_t)raw;
    }
}

/* One converted element is what `raw` says. */
static void check_one(const BulkTensor *t, uint64_t raw, const unsigned char *got) {
    float f;
    double d;
    int64_t i;
    switch (t->dtype) {
    case DT_F32:
    case DT_F64: {
        const double want = real_of(t->element, raw);
        if (t->dtype == DT_F32) memcpy(&f, got, sizeof f), d = f;
        else memcpy(&d, got, sizeof d);
        if (!(isnan(want) ? isnan(d) : d == want && signbit(d) == signbit(want))) fail_msg("%s %llx: %g instead of %g", element_name(t->element),
                                                                                           (unsigned long long)raw, d, want);
        return;
    }
    case DT_I64:
        memcpy(&i, got, sizeof i);
        if (i != integer_of(t->element, raw)) fail_msg("%s %llx: %lld", element_name(t->element), (unsigned long long)raw, (long long)i);
        return;
    default: assert_int_equal(*got, raw);
    }
}

/* Where the element of the row-major number `i` lies, in elements. */
static size_t place_of(const BulkTensor *t, bool fortran, size_t i) {
    size_t index[LIMIT_TENSOR_RANK], at = 0;
    if (!fortran) return i;
    for (size_t k = t->rank; k--; i /= t->shape[k]) index[k] = i % t->shape[k];
    for (size_t k = t->rank; k--;) at = at * t->shape[k] + index[k];
    return at;
}

static uint64_t random_raw(Rng *r, ElementType type) {
    const size_t width = element_width(type);
    uint64_t raw = rng_next(r) & (width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1);
    if (type == ELEMENT_BOOL) raw &= 1;
    if (type == ELEMENT_U64) raw &= INT64_MAX;
    return raw;
}

static void check_tensor(Rng *r, ElementType type, bool big_endian, bool fortran, size_t rank) {
    BulkTensor t = {.name = (char *)"x", .element = type, .big_endian = big_endian, .fortran = fortran, .rank = rank};
    for (size_t k = 0; k < rank; k++) t.shape[k] = 1 + rng_below(r, 6);
    assert_true(bulk_measure(&t));
    const size_t width = element_width(type), size = dtype_size(t.dtype), skew = rng_below(r, 8);
    uint64_t *raw = malloc(t.count * sizeof *raw);
    unsigned char *file = malloc(t.bytes + skew), *data = file + skew, *out = malloc(t.count * size + 1) , *to = out + 1;
    Err err = {0};
    for (size_t i = 0; i < t.count; i++) {
        raw[i] = random_raw(r, type);
        unsigned char *at = data + place_of(&t, fortran, i) * width;
        for (size_t b = 0; b < width; b++) at[big_endian ? width - 1 - b : b] = (unsigned char)(raw[i] >> 8 * b);
    }
    assert_true(bulk_fits(&t, data, &err));
    bulk_convert(&t, data, 0, t.count, to);
    for (size_t i = 0; i < t.count; i++) check_one(&t, raw[i], to + i * size);
    const bool as_it_is = memcmp(data, to, t.bytes < t.count * size ? t.bytes : t.count * size) == 0 && width == size;
    if (bulk_plain(&t)) assert_true(as_it_is);
    for (int round = 0; round < 4; round++) {
        const size_t first = rng_below(r, (uint32_t)t.count), n = rng_below(r, (uint32_t)(t.count - first) + 1);
        memset(to, 0xAA, t.count * size);
        bulk_convert(&t, data, first, n, to);
        for (size_t i = 0; i < n; i++) check_one(&t, raw[first + i], to + i * size);
        for (size_t b = n * size; b < t.count * size; b++) assert_int_equal(to[b], 0xAA);
    }
    free(raw);
    free(file);
    free(out);
}

static void test_every_layout(void **state) {
    (void)state;
    Rng r = rng_new("layouts");
    for (int type = 0; type < ELEMENT_COUNT; type++)
        for (int layout = 0; layout < 4; layout++)
            for (size_t rank = 0; rank < 6; rank++)
                for (int round = 0; round < 4; round++) check_tensor(&r, (ElementType)type, layout & 1, layout & 2, rank);
}

/* Every one of the 65,536 there are. */
static void test_all_halves(void **state) {
    (void)state;
    for (int type = ELEMENT_F16; type <= ELEMENT_BF16; type++) {
        const BulkTensor t = {.element = (ElementType)type, .dtype = DT_F32};
        for (uint32_t raw = 0; raw < 65536; raw++) {
            const unsigned char file[2] = {(unsigned char)raw, (unsigned char)(raw >> 8)};
            unsigned char out[4];
            elements_convert((ElementType)type, false, file, 2, 1, out);
            check_one(&t, raw, out);
        }
    }
}

/* Bytes are used where they lie exactly when they are as the service has them. */
static void test_plain(void **state) {
    (void)state;
    static const bool own[ELEMENT_COUNT] = {[ELEMENT_BOOL] = true, [ELEMENT_U8] = true, [ELEMENT_I64] = true, [ELEMENT_F32] = true, [ELEMENT_F64] = true};
    for (int type = 0; type < ELEMENT_COUNT; type++) {
        const bool bytes = element_width((ElementType)type) == 1;
        for (int layout = 0; layout < 4; layout++) {
            BulkTensor t = {.element = (ElementType)type, .big_endian = layout & 1, .fortran = layout & 2, .rank = 3, .shape = {2, 1, 3}};
            assert_true(bulk_measure(&t));
            assert_int_equal(bulk_plain(&t), own[type] && (bytes || !(layout & 1)) && !(layout & 2));
            /* one long axis, or none: the two orders are the same */
            t = (BulkTensor){.element = (ElementType)type, .fortran = true, .rank = 3, .shape = {1, 5, 1}};
            assert_true(bulk_measure(&t));
            assert_int_equal(bulk_plain(&t), own[type]);
        }
    }
    for (int dtype = 0; dtype < DT_COUNT; dtype++) assert_int_equal(element_dtype(element_of_dtype((DType)dtype)), dtype);
}

static void test_u64_must_fit(void **state) {
    (void)state;
    for (int big = 0; big < 2; big++) {
        unsigned char data[16] = {[7] = 0x7f};
        BulkTensor t = {.name = (char *)"labels", .element = ELEMENT_U64, .big_endian = big, .rank = 1, .shape = {2}};
        Err err = {0};
        assert_true(bulk_measure(&t));
        data[big ? 8 : 15] = 0x7f;
        assert_true(bulk_fits(&t, data, &err));
        data[big ? 8 : 15] = 0x80;
        assert_false(bulk_fits(&t, data, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        assert_string_equal(err.message, "\"labels\" holds the integer 9223372036854775808; integers become i64, which ends at 9223372036854775807.");
    }
}

static void test_measure_overflows(void **state) {
    (void)state;
    BulkTensor t = {.element = ELEMENT_F64, .rank = 2, .shape = {(size_t)1 << 31, (size_t)1 << 30}};
    assert_false(bulk_measure(&t));
    t = (BulkTensor){.element = ELEMENT_U8, .rank = 2, .shape = {(size_t)1 << 31, (size_t)1 << 30}};
    assert_true(bulk_measure(&t));
    t.shape[1] = (size_t)1 << 34;
    assert_false(bulk_measure(&t));
}

/* ---- the formats say how elements lie ---- */

typedef bool Read(const unsigned char *body, size_t len, Bulk *out, Err *err);

static void read_one(Read *read, const Buf *body, const BulkTensor *want) {
    Bulk bulk;
    Err err = {0};
    if (!read(body->data, body->len, &bulk, &err)) fail_msg("%s", err.message);
    const BulkTensor *t = bulk.items;
    assert_int_equal(bulk.n, 1);
    assert_int_equal(t->element, want->element);
    assert_int_equal(t->dtype, element_dtype(want->element));
    assert_int_equal(t->big_endian, want->big_endian);
    assert_int_equal(t->fortran, want->fortran);
    assert_int_equal(t->rank, want->rank);
    for (size_t i = 0; i < t->rank; i++) assert_int_equal(t->shape[i], want->shape[i]);
    assert_int_equal(t->offset + t->bytes, body->len);
    bulk_release(&bulk);
}

static void put_npy(Buf *out, int version, const char *dict, size_t bytes) {
    buf_init(out);
    buf_put(out, "\x93NUMPY", 6);
    buf_u8(out, (uint8_t)version);
    buf_u8(out, 0);
    if (version == 1) buf_u16(out, (uint16_t)strlen(dict));
    else buf_u32(out, (uint32_t)strlen(dict));
    buf_puts(out, dict);
    while (bytes--) buf_u8(out, 0);
}

static void test_npy_headers(void **state) {
    (void)state;
    static const struct {
        const char *dict;
        size_t bytes;
        BulkTensor want;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }", 24, {.element = ELEMENT_F32, .rank = 2, .shape = {2, 3}}},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, {.element = ELEMENT_F32, .big_endian = true, .rank = 2, .shape = {2, 3}}},
        {"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }", 48, {.element = ELEMENT_F64, .fortran = true, .rank = 2, .shape = {2, 3}}},
        {"{'descr': '<f8', 'fortran_order': True, 'shape': (6,), }", 48, {.element = ELEMENT_F64, .rank = 1, .shape = {6}}},
        {"{'descr': '>u1', 'fortran_order': False, 'shape': (), }", 1, {.element = ELEMENT_U8}},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", 2, {.element = ELEMENT_BOOL, .rank = 1, .shape = {2}}},
        {"{'descr': '=i2', 'fortran_order': False, 'shape': (2,), }", 4, {.element = ELEMENT_I16, .rank = 1, .shape = {2}}},
        {"{'descr': 'u4', 'fortran_order': False, 'shape': (2,), }", 8, {.element = ELEMENT_U32, .rank = 1, .shape = {2}}},
        {"{'descr': '|i8', 'fortran_order': False, 'shape': (1,), }", 8, {.element = ELEMENT_I64, .rank = 1, .shape = {1}}},
        {"{'shape': (4,), 'fortran_order': False, 'descr': '>f2'}", 8, {.element = ELEMENT_F16, .big_endian = true, .rank = 1, .shape = {4}}},
        {"{\"fortran_order\": False, \"descr\": \"<u8\", \"shape\": (0, 3)}\n", 0, {.element = ELEMENT_U64, .rank = 2, .shape = {0, 3}}},
        {"{u'descr': u'<i4', u'fortran_order': True, u'shape': (1L, 3L,), }   \n", 12, {.element = ELEMENT_I32, .rank = 2, .shape = {1, 3}}},
        {"{ 'descr' :'|i1' ,'fortran_order': False,'shape':(3) }", 3, {.element = ELEMENT_I8, .rank = 1, .shape = {3}}},
        {"{'descr': '>u2', 'fortran_order': True, 'shape': (2, 0), }", 0, {.element = ELEMENT_U16, .big_endian = true, .rank = 2, .shape = {2, 0}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int version = 1; version <= 3; version++) {
            Buf body;
            put_npy(&body, version, cases[i].dict, cases[i].bytes);
            assert_true(npy_is(body.data, body.len));
            read_one(npy_read, &body, &cases[i].want);
            buf_release(&body);
        }
}

static void test_npy_refusals(void **state) {
    (void)state;
    static const struct {
        const char *descr, *says;
    } cases[] = {
        {"'|O'", "dtype |O is of Python objects, pickled; booleans, integers of 8 to 64 bits and floats of 16 to 64 bits are taken."},
        {"'<U3'", "dtype <U3 is of strings;"},       {"'|S7'", "byte strings"},
        {"'<c16'", "complex numbers; send real and imaginary parts"},
        {"'<M8[ns]'", "dates; send them as integers"}, {"'<m8[us]'", "time spans"},
        {"[('a', '<f4'), ('b', '<i2', (3,))]", "records"}, {"'|V2'", "raw bytes (as bfloat16"},
        {"'<f16'", "dtype <f16 is not known"},       {"'<f3'", "not known"},
        {"''", "not known"},                         {"'<<f4'", "not known"},
        {"'<f40'", "not known"},                     {"'a very long name of a dtype'", "no dict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buf body;
        Bulk bulk;
        Err err = {0};
        char dict[160];
        snprintf(dict, sizeof dict, "{'descr': %s, 'fortran_order': False, 'shape': (0,), }", cases[i].descr);
        put_npy(&body, 1, dict, 0);
        assert_false(npy_read(body.data, body.len, &bulk, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: %s", cases[i].descr, err.message);
        buf_release(&body);
    }
}

static void test_safetensors_dtypes(void **state) {
    (void)state;
    static const char *const names[ELEMENT_COUNT] = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64"};
    for (int type = 0; type < ELEMENT_COUNT; type++) {
        const size_t bytes = 3 * element_width((ElementType)type);
        char header[160];
        Buf body;
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[3,1],\"data_offsets\":[0,%zu]}}", names[type], bytes);
        buf_init(&body);
        buf_u64(&body, strlen(header));
        buf_puts(&body, header);
        for (size_t i = 0; i < bytes; i++) buf_u8(&body, 0);
        read_one(safetensors_read, &body, &(BulkTensor){.element = (ElementType)type, .rank = 2, .shape = {3, 1}});
        Bulk bulk;
        Err err = {0};
        assert_true(safetensors_read(body.data, body.len, &bulk, &err));
        const bool own = element_of_dtype(element_dtype((ElementType)type)) == (ElementType)type;
        assert_int_equal(bulk_all_plain(&bulk, &err), own);
        if (!own) assert_non_null(strstr(err.message, element_name((ElementType)type)));
        bulk_release(&bulk);
        buf_release(&body);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layout),  cmocka_unit_test(test_all_halves),   cmocka_unit_test(test_plain),
        cmocka_unit_test(test_u64_must_fit),  cmocka_unit_test(test_measure_overflows), cmocka_unit_test(test_npy_headers),
        cmocka_unit_test(test_npy_refusals),  cmocka_unit_test(test_safetensors_dtypes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
