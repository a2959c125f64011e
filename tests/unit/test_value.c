/* Values as callers write them, against types: shapes, batches, shorter naturals, discrete values. */
#include "compiler/language/syntax.h"
#include "server/eval/value.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
    Cx cx;
    Json json;
    Value value;
    Err err;
} Reading;

static const Type *type_of(Cx *cx, const char *text) {
    const Type *volatile type = NULL;
    CX_TRY(cx) { type = syntax_type(cx, text, strlen(text), NULL, AT_NOWHERE); }
    assert_non_null(type);
    return type;
}

static bool reads_as(Reading *r, ValueForm form, const char *type, const char *json) {
    *r = (Reading){0};
    cx_init(&r->cx);
    assert_true(json_parse(&r->json, json, strlen(json), &r->err));
    return value_of_json(&r->json, r->json.root, type_of(&r->cx, type), form, "args.0", "/args/0", &r->value, &r->err);
}

static bool reads(Reading *r, const char *type, const char *json) { return reads_as(r, VALUE_PLAIN, type, json); }

static void done(Reading *r) {
    value_release(&r->value);
    json_release(&r->json);
    cx_release(&r->cx);
}

static void test_dense(void **state) {
    (void)state;
    static const struct {
        const char *type, *json;
        bool batched;
        size_t rows, cols;
    } cases[] = {
        {"2", "[0.2,0.8]", false, 1, 2},
        {"2", "[[1,0],[0,1],[1,1]]", true, 3, 2},
        {"2", "[[1,0]]", true, 1, 2},
        {"2", "[\"NaN\",\"-Infinity\"]", false, 1, 2},
        {"N[5]", "[1,2,3]", false, 1, 3},
        {"N[5]", "[[1],[2]]", true, 2, 1},
        {"R[2,3]", "[[1,2,3],[4,5,6]]", false, 1, 6},
        {"R[2,3]", "[[[1,2,3],[4,5,6]]]", true, 1, 6},
        {"2 -o N[4]", "[[1,2],[3,4],[5,6]]", false, 1, 6},
        /* the final codomain is N[3], what remains of the codomain is 2: whole multiples of two rows */
        {"2 -o 2 -o N[3]", "[[1,2],[3,4]]", false, 1, 4},
        {"2 -o 2 -o N[3]", "[[1,2],[3,4],[5,6],[7,8]]", false, 1, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r;
        if (!reads(&r, cases[i].type, cases[i].json)) fail_msg("%s : %s: %s", cases[i].json, cases[i].type, r.err.message);
        assert_int_equal(r.value.batched, cases[i].batched);
        assert_int_equal(r.value.rows, cases[i].rows);
        assert_int_equal(r.value.cols, cases[i].cols);
        assert_int_equal(r.value.discrete, 0);
        done(&r);
    }
}

static void test_discrete(void **state) {
    (void)state;
    Reading r;
    assert_true(reads(&r, "2", "true"));
    assert_int_equal(r.value.discrete, 2);
    assert_int_equal(*(const uint8_t *)r.value.data, 1);
    assert_false(r.value.batched);
    done(&r);
    assert_true(reads(&r, "N[7]", "6"));
    assert_int_equal(r.value.discrete, 1);
    assert_int_equal(*(const int64_t *)r.value.data, 6);
    done(&r);
    assert_true(reads(&r, "2", "{\"values\":[true,false,true]}"));
    assert_int_equal(r.value.rows, 3);
    assert_memory_equal(r.value.data, "\1\0\1", 3);
    done(&r);
    assert_true(reads(&r, "N[7]", "{\"values\":[3,1]}"));
    assert_true(r.value.batched);
    assert_int_equal(((const int64_t *)r.value.data)[1], 1);
    done(&r);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *type, *json;
        ErrCode code;
    } cases[] = {
        {"2", "[1,2,3]", ERR_shape_mismatch},       {"2", "[1]", ERR_shape_mismatch},
        {"2", "[[[1,2]]]", ERR_shape_mismatch},     {"N[3]", "[1,2,3,4]", ERR_shape_mismatch},
        {"R[2]", "[1]", ERR_shape_mismatch},        {"2 -o 2 -o N[3]", "[[1,2],[3,4],[5,6]]", ERR_shape_mismatch},
        {"N[3] -o 2", "[[1,2]]", ERR_shape_mismatch},
        {"2", "1", ERR_shape_mismatch},             {"N[3]", "true", ERR_shape_mismatch},
        {"R[2]", "true", ERR_shape_mismatch},       {"N[3]", "3", ERR_nat_bound_exceeded},
        {"N[3]", "-1", ERR_shape_mismatch},         {"N[3]", "0.5", ERR_shape_mismatch},
        {"N[3]", "0.99999999999999999999", ERR_shape_mismatch}, {"N[3]", "{\"values\":[1,0.99999999999999999999]}", ERR_shape_mismatch},
        {"N[3]", "{\"values\":[0,3]}", ERR_nat_bound_exceeded},
        {"2", "{\"values\":[]}", ERR_bad_tensor},   {"2", "{\"values\":[true,[1]]}", ERR_bad_tensor},
        {"2", "{\"value\":[true]}", ERR_bad_request}, {"2", "[]", ERR_bad_tensor},
        {"2", "[[],[]]", ERR_bad_tensor},           {"2", "[[1,2],[3]]", ERR_bad_tensor},
        {"2", "null", ERR_bad_request},             {"2", "\"true\"", ERR_bad_request},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r;
        if (reads(&r, cases[i].type, cases[i].json)) fail_msg("%s : %s was taken", cases[i].json, cases[i].type);
        if (r.err.code != cases[i].code) fail_msg("%s : %s: %s: %s", cases[i].json, cases[i].type, err_name(r.err.code), r.err.message);
        assert_true(strncmp(r.err.pointer, "/args/0", 7) == 0);
        done(&r);
    }
}

static void test_bulk(void **state) {
    (void)state;
    static const unsigned char body[16] = {1, 0, 1, 2};
    static const struct {
        const char *type;
        BulkTensor tensor;
        ErrCode code;
        bool batched;
        size_t rows;
        unsigned discrete;
    } cases[] = {
        {"2", {.dtype = DT_F32, .rank = 1, .shape = {2}, .count = 2}, ERR_NONE, false, 1, 0},
        {"2", {.dtype = DT_F64, .rank = 2, .shape = {1, 2}, .count = 2}, ERR_NONE, true, 1, 0},
        {"2", {.dtype = DT_BOOL, .rank = 1, .shape = {3}, .count = 3}, ERR_NONE, true, 3, 2},
        {"2", {.dtype = DT_U8, .rank = 0, .count = 1}, ERR_NONE, false, 1, 2},
        {"N[3]", {.dtype = DT_U8, .rank = 1, .shape = {4}, .count = 4}, ERR_NONE, true, 4, 1},
        {"2", {.dtype = DT_U8, .rank = 1, .shape = {4}, .count = 4}, ERR_bad_tensor, false, 0, 0},
        {"N[2]", {.dtype = DT_U8, .rank = 1, .shape = {4}, .count = 4}, ERR_nat_bound_exceeded, false, 0, 0},
        {"N[2]", {.dtype = DT_BOOL, .rank = 0, .count = 1}, ERR_shape_mismatch, false, 0, 0},
        {"2", {.dtype = DT_U8, .rank = 2, .shape = {1, 2}, .count = 2}, ERR_bad_tensor, false, 0, 0},
        {"R[2]", {.dtype = DT_U8, .rank = 1, .shape = {2}, .count = 2}, ERR_shape_mismatch, false, 0, 0},
        {"2", {.dtype = DT_F32, .rank = 2, .shape = {0, 2}, .count = 0}, ERR_bad_tensor, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r = {0};
        BulkTensor tensor = cases[i].tensor;
        tensor.element = element_of_dtype(tensor.dtype);
        cx_init(&r.cx);
        bool ok = value_of_bulk(&tensor, body, type_of(&r.cx, cases[i].type), VALUE_PLAIN, "args.0", &r.value, &r.err);
        assert_int_equal(r.err.code, cases[i].code);
        assert_int_equal(ok, cases[i].code == ERR_NONE);
        if (ok) {
            assert_int_equal(r.value.batched, cases[i].batched);
            assert_int_equal(r.value.rows, cases[i].rows);
            assert_int_equal(r.value.discrete, cases[i].discrete);
            assert_ptr_equal(r.value.data, body);
        }
        done(&r);
    }
}

/* One number a row, as JSON. */
static void test_numbers(void **state) {
    (void)state;
    Reading r;
    assert_true(reads_as(&r, VALUE_NUMBERS, "N[7]", "[3,1]"));
    assert_true(r.value.discrete == 1 && r.value.batched && r.value.rows == 2 && ((const int64_t *)r.value.data)[0] == 3);
    done(&r);
    assert_true(reads_as(&r, VALUE_NUMBERS, "2", "1"));
    assert_true(r.value.discrete == 2 && !r.value.batched && *(const uint8_t *)r.value.data == 1);
    done(&r);
    assert_true(reads_as(&r, VALUE_NUMBERS, "R[1]", "[-2.5]"));
    assert_true(!r.value.discrete && r.value.batched && r.value.rows == 1 && *(const double *)r.value.data == -2.5);
    done(&r);
    assert_true(reads_as(&r, VALUE_NUMBERS, "R[1]", "[[1],[2]]"));
    assert_true(r.value.batched && r.value.rows == 2);
    done(&r);
    assert_false(reads_as(&r, VALUE_NUMBERS, "2", "[0,2]"));
    assert_int_equal(r.err.code, ERR_nat_bound_exceeded);
    done(&r);
    assert_false(reads_as(&r, VALUE_NUMBERS, "R[1]", "[]"));
    assert_int_equal(r.err.code, ERR_bad_tensor);
    done(&r);
}

/* Columns of any dtype. */
static void test_columns(void **state) {
    (void)state;
    static const unsigned char bytes[4] = {1, 0, 255, 2};
    static const int64_t wide[2] = {-3, 1};
    static const struct {
        const char *type;
        ValueForm form;
        BulkTensor tensor;
        ErrCode code;
        bool batched;
        size_t rows;
        double last;
    } cases[] = {
        {"R[2]", VALUE_COLUMN, {.dtype = DT_U8, .rank = 2, .shape = {2, 2}, .count = 4}, ERR_NONE, true, 2, 2},
        {"2", VALUE_COLUMN, {.dtype = DT_U8, .rank = 1, .shape = {2}, .count = 2}, ERR_NONE, false, 1, 0},
        {"R[2]", VALUE_COLUMN, {.dtype = DT_I64, .rank = 1, .shape = {2}, .count = 2}, ERR_NONE, false, 1, 1},
        {"R[1]", VALUE_NUMBERS, {.dtype = DT_I64, .rank = 1, .shape = {2}, .count = 2}, ERR_NONE, true, 2, 1},
        {"R[1]", VALUE_NUMBERS, {.dtype = DT_U8, .rank = 0, .count = 1}, ERR_NONE, false, 1, 1},
        {"R[2]", VALUE_COLUMN, {.dtype = DT_U8, .rank = 1, .shape = {3}, .count = 3}, ERR_shape_mismatch, false, 0, 0},
        {"N[3]", VALUE_NUMBERS, {.dtype = DT_F32, .rank = 1, .shape = {1}, .count = 1}, ERR_shape_mismatch, false, 0, 0},
        {"R[1]", VALUE_NUMBERS, {.dtype = DT_U8, .rank = 1, .shape = {0}, .count = 0}, ERR_bad_tensor, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r = {0};
        double out[4];
        const bool byte = cases[i].tensor.dtype != DT_I64;
        BulkTensor tensor = cases[i].tensor;
        tensor.element = element_of_dtype(tensor.dtype);
        cx_init(&r.cx);
        bool ok = value_of_bulk(&tensor, byte ? bytes : (const unsigned char *)wide, type_of(&r.cx, cases[i].type), cases[i].form, "columns.x",
                                &r.value, &r.err);
        assert_int_equal(r.err.code, cases[i].code);
        assert_int_equal(ok, cases[i].code == ERR_NONE);
        if (ok) {
            value_copy(&r.value, r.value.data, out);
            const size_t last = r.value.rows * r.value.cols - 1;
            assert_true(r.value.batched == cases[i].batched && r.value.rows == cases[i].rows && r.value.dtype == (byte ? DT_F32 : DT_F64));
            assert_true((byte ? ((const float *)(const void *)out)[last] : out[last]) == cases[i].last);
        }
        done(&r);
    }
}

/* Elements that do not lie as they are wanted: converted when they are copied. */
static void test_stored_otherwise(void **state) {
    (void)state;
    static const unsigned char big_i16[] = {0, 2, 0, 0, 0, 1}, halves[] = {0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44}, big_f32[] = {0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0};
    static const unsigned char minus[] = {0xff, 0xff}, far_u64[] = {0, 0, 0, 0, 0, 0, 0, 0x80};
    static const struct {
        const char *type;
        ValueForm form;
        BulkTensor tensor;
        const unsigned char *data;
        ErrCode code;
        uint8_t dtype;
        double values[4];
    } cases[] = {
        {"N[3]", VALUE_PLAIN, {.element = ELEMENT_I16, .big_endian = true, .rank = 1, .shape = {3}}, big_i16, ERR_NONE, DT_I64, {2, 0, 1}},
        {"N[2]", VALUE_PLAIN, {.element = ELEMENT_I16, .big_endian = true, .rank = 1, .shape = {3}}, big_i16, ERR_nat_bound_exceeded, 0, {0}},
        {"N[3]", VALUE_PLAIN, {.element = ELEMENT_I16, .rank = 0}, minus, ERR_bad_tensor, 0, {0}},
        {"R[2,2]", VALUE_PLAIN, {.element = ELEMENT_F16, .fortran = true, .rank = 2, .shape = {2, 2}}, halves, ERR_NONE, DT_F32, {1, 3, 2, 4}},
        {"R[2]", VALUE_PLAIN, {.element = ELEMENT_F32, .big_endian = true, .rank = 1, .shape = {2}}, big_f32, ERR_NONE, DT_F32, {1, -2}},
        {"R[3]", VALUE_COLUMN, {.element = ELEMENT_I16, .big_endian = true, .rank = 1, .shape = {3}}, big_i16, ERR_NONE, DT_F64, {2, 0, 1}},
        {"R[1]", VALUE_NUMBERS, {.element = ELEMENT_I16, .rank = 1, .shape = {1}}, minus, ERR_NONE, DT_F64, {-1}},
        {"R[1]", VALUE_COLUMN, {.element = ELEMENT_U64, .rank = 1, .shape = {1}}, far_u64, ERR_bad_tensor, 0, {0}},
        {"N[3]", VALUE_PLAIN, {.element = ELEMENT_U64, .rank = 1, .shape = {1}}, far_u64, ERR_bad_tensor, 0, {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Reading r = {0};
        BulkTensor tensor = cases[i].tensor;
        union {
            float f32[4];
            double f64[4];
            int64_t i64[4];
        } out;
        tensor.name = (char *)"x";
        assert_true(bulk_measure(&tensor));
        cx_init(&r.cx);
        const bool ok = value_of_bulk(&tensor, cases[i].data, type_of(&r.cx, cases[i].type), cases[i].form, "x", &r.value, &r.err);
        assert_int_equal(r.err.code, cases[i].code);
        if (ok) {
            assert_int_equal(r.value.dtype, cases[i].dtype);
            value_copy(&r.value, r.value.data, &out);
            for (size_t k = 0; k < r.value.rows * r.value.cols; k++)
                assert_true((cases[i].dtype == DT_F32 ? (double)out.f32[k] : cases[i].dtype == DT_F64 ? out.f64[k] : (double)out.i64[k]) == cases[i].values[k]);
        }
        done(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dense), cmocka_unit_test(test_discrete), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_bulk),  cmocka_unit_test(test_numbers),  cmocka_unit_test(test_columns),
                                       cmocka_unit_test(test_stored_otherwise)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
