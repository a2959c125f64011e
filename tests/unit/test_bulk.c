/* Binary tensors: what is written reads back, what is malformed is refused with a reason, and no bytes whatever lead outside the body. */
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "tests/support/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void put_le64(Buf *out, const char *json) {
    buf_u64(out, strlen(json));
    buf_puts(out, json);
}

static void test_safetensors_read_back(void **state) {
    (void)state;
    BulkTensor written[] = {{.name = "inputs.x", .dtype = DT_F64, .rank = 2, .shape = {2, 3}, .bytes = 48},
                            {.name = "args.0", .dtype = DT_F32, .rank = 0, .bytes = 4},
                            {.name = "a \"b\"", .dtype = DT_BOOL, .rank = 1, .shape = {5}, .bytes = 5}};
    unsigned char data[57] = {1, 2, 3};
    Buf out = {0};
    Bulk bulk;
    Err err = {0};
    safetensors_put_header(&out, written, 3);
    assert_int_equal(out.len % 8, 0);
    buf_put(&out, data, sizeof data);
    assert_true(safetensors_read(out.data, out.len, &bulk, &err));
    assert_int_equal(bulk.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(bulk.items[i].name, written[i].name);
        assert_int_equal(bulk.items[i].dtype, written[i].dtype);
        assert_int_equal(bulk.items[i].rank, written[i].rank);
        assert_int_equal(bulk.items[i].bytes, written[i].bytes);
    }
    assert_int_equal(bulk.items[0].shape[1], 3);
    assert_int_equal(bulk.items[1].offset, out.len - 9);
    bulk_release(&bulk);
    buf_release(&out);
}

static void test_npy_reads_back(void **state) {
    (void)state;
    const size_t shapes[3][3] = {{0}, {7}, {2, 3, 4}}, counts[3] = {1, 7, 24};
    for (size_t rank = 0; rank < 4; rank += rank ? 2 : 1) {
        size_t which = rank > 1 ? 2 : rank;
        unsigned char data[24 * 8] = {0};
        Buf out = {0};
        Bulk bulk;
        Err err = {0};
        npy_put_header(&out, DT_F64, shapes[which], rank);
        assert_int_equal(out.len % 64, 0);
        buf_put(&out, data, counts[which] * 8);
        assert_true(npy_read(out.data, out.len, &bulk, &err));
        assert_int_equal(bulk.items[0].rank, rank);
        assert_int_equal(bulk.items[0].count, counts[which]);
        bulk_release(&bulk);
        buf_release(&out);
    }
}

static void test_malformed_safetensors(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *reason;
    } cases[] = {
        {"[]", 0, "no JSON object"},
        {"{\"a\":1}", 0, "no proper dtype"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "none of the dtypes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 8, "beyond the data"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, "beyond the data"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "behind the last"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,0]}}", 0, "overflows"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4503599627370496,512],\"data_offsets\":[0,0]}}", 0, "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}}", 4, "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, "not two offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "no list"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "no proper dtype"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buf body = {0};
        Bulk bulk;
        Err err = {0};
        unsigned char data[8] = {0};
        put_le64(&body, cases[i].header);
        buf_put(&body, data, cases[i].data);
        assert_false(safetensors_read(body.data, body.len, &bulk, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        if (!strstr(err.message, cases[i].reason)) fail_msg("%s: %s", cases[i].header, err.message);
        buf_release(&body);
    }
}

static void test_header_lengths(void **state) {
    (void)state;
    const uint64_t lengths[] = {3, 1000, UINT64_MAX, (uint64_t)1 << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        Buf body = {0};
        Bulk bulk;
        Err err = {0};
        buf_u64(&body, lengths[i]);
        buf_puts(&body, "{}");
        assert_false(safetensors_read(body.data, body.len, &bulk, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        buf_release(&body);
    }
}

static void test_malformed_npy(void **state) {
    (void)state;
    static const struct {
        const char *dict;
        size_t data;
    } cases[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 3},  {"{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", 4},
        {"{'descr': '<f4', 'fortran_order': Truth, 'shape': (1, 1), }", 4}, {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,) ", 4},    {"{'descr': '<f4', 'fortran_order': False}", 4},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2)}", 0},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buf body = {0};
        Bulk bulk;
        Err err = {0};
        buf_put(&body, "\x93NUMPY\1\0", 8);
        buf_u16(&body, (uint16_t)strlen(cases[i].dict));
        buf_puts(&body, cases[i].dict);
        buf_put(&body, "\0\0\0\0", cases[i].data);
        if (npy_read(body.data, body.len, &bulk, &err)) fail_msg("taken: %s", cases[i].dict);
        assert_int_equal(err.code, ERR_bad_tensor);
        buf_release(&body);
    }
}

static void check_inside(const Bulk *bulk, size_t len) {
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        assert_true(t->offset <= len && t->bytes <= len - t->offset && t->rank <= LIMIT_TENSOR_RANK);
        assert_int_equal(t->bytes, t->count * element_width(t->element));
    }
}

static void test_mutations_stay_inside(void **state) {
    (void)state;
    Rng r = rng_new("mutations");
    const size_t shape[2] = {3, 2};
    const BulkTensor tensors[2] = {{.name = "args.0", .dtype = DT_F32, .rank = 2, .shape = {3, 2}, .bytes = 24},
                                   {.name = "b", .dtype = DT_U8, .rank = 1, .shape = {4}, .bytes = 4}};
    unsigned char data[28] = {0};
    for (int round = 0; round < 20000; round++) {
        bool npy = round % 2;
        Buf body = {0};
        if (npy) npy_put_header(&body, DT_F32, shape, 2);
        else safetensors_put_header(&body, tensors, 2);
        buf_put(&body, data, npy ? 24 : 28);
        for (uint64_t n = 1 + rng_below(&r, 4); n--;) {
            char c = "0123456789,[]{}\"'():"[rng_below(&r, 20)];
            body.data[rng_below(&r, (uint32_t)body.len)] = (unsigned char)(c ^ (rng_below(&r, 8) ? 0 : 0x80));
        }
        size_t len = rng_below(&r, 4) ? body.len : rng_below(&r, (uint32_t)body.len + 1);
        Bulk bulk;
        Err err = {0};
        bool ok = npy ? npy_read(body.data, len, &bulk, &err) : safetensors_read(body.data, len, &bulk, &err);
        if (ok) check_inside(&bulk, len);
        else assert_int_equal(err.code, ERR_bad_tensor);
        if (ok) bulk_release(&bulk);
        buf_release(&body);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_read_back), cmocka_unit_test(test_npy_reads_back), cmocka_unit_test(test_malformed_safetensors),
        cmocka_unit_test(test_header_lengths),        cmocka_unit_test(test_malformed_npy),  cmocka_unit_test(test_mutations_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
