#include "schema/base/arena.h"
#include "schema/base/buf.h"
#include "schema/base/hash.h"
#include "schema/errors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_arena(void **state) {
    (void)state;
    Arena a;
    unsigned char *p[200];
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < 200; i++) {
        p[i] = arena_alloc(&a, i * 7);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        for (size_t j = 0; j < i * 7; j++) assert_int_equal(p[i][j], 0);
        memset(p[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i * 7; j++) assert_int_equal(p[i][j], i);
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    uint32_t *v = ARENA_ARRAY(&a, uint32_t, 2);
    v[0] = 7;
    v[1] = 8;
    uint32_t *w = arena_grow(&a, v, 2, 4, sizeof *v);
    assert_true(w[0] == 7 && w[1] == 8 && w[2] == 0 && w[3] == 0);
    arena_release(&a);
    assert_int_equal(a.used, 0);
}

/* What is kept is of the usual size, whatever was taken before. */
static void test_arena_reset(void **state) {
    (void)state;
    Arena a;
    arena_init(&a, 1 << 20);
    for (int round = 0; round < 3; round++) {
        assert_non_null(arena_alloc(&a, 100 << 10)); /* a block of its own, and the first */
        for (int i = 0; i < 100; i++) {
            unsigned char *p = arena_alloc(&a, 1000);
            for (size_t j = 0; j < 1000; j++) assert_int_equal(p[j], 0);
            memset(p, 1, 1000);
        }
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    assert_null(a.blocks); /* none was of the usual size */
    unsigned char *first = arena_alloc(&a, 8);
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 16), first);
    assert_non_null(arena_alloc(&a, (1 << 20) - 16)); /* the cap is counted anew */
    assert_null(arena_alloc(&a, 16));
    arena_release(&a);
}

static void test_arena_cap(void **state) {
    (void)state;
    Arena a;
    jmp_buf caught;
    arena_init(&a, 1000);
    assert_non_null(arena_alloc(&a, 900));
    assert_null(arena_alloc(&a, 200));
    assert_null(arena_array(&a, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 16));
    a.on_fail = &caught;
    if (!setjmp(caught)) {
        arena_alloc(&a, 200);
        fail_msg("did not unwind");
    }
    arena_release(&a);
    assert_ptr_equal(a.on_fail, &caught);
}

static void test_buf(void **state) {
    (void)state;
    Buf b;
    size_t len;
    buf_init(&b);
    assert_string_equal(buf_text(&b), "");
    buf_puts(&b, "one ");
    buf_printf(&b, "%d%c", 42, ' ');
    for (int i = 0; i < 1000; i++) buf_putc(&b, 'x');
    assert_int_equal(b.len, 4 + 3 + 1000);
    assert_memory_equal(buf_text(&b), "one 42 xxx", 10);
    char *text = buf_take(&b, &len);
    assert_int_equal(len, 1007);
    assert_int_equal(text[1007], 0);
    assert_null(b.data);
    free(text);
    b.cap = 10;
    buf_puts(&b, "12345678");
    buf_puts(&b, "abc");
    assert_true(b.failed);
    assert_int_equal(b.len, 8);
    buf_puts(&b, "a");
    assert_int_equal(b.len, 8); /* failing is sticky */
    assert_string_equal(buf_text(&b), "");
    assert_null(buf_take(&b, &len));
    buf_release(&b);
}

/* At every fill of the buffer: text that just fits, and that does not. */
static void test_printing(void **state) {
    (void)state;
    for (size_t before = 0; before < 140; before++) {
        Buf b;
        buf_init(&b);
        for (size_t i = 0; i < before; i++) buf_putc(&b, 'x');
        buf_printf(&b, "%s|%d", "some text of a certain length", 7);
        buf_decimal(&b, 0);
        buf_decimal(&b, UINT64_MAX);
        assert_string_equal(buf_text(&b) + before, "some text of a certain length|7018446744073709551615");
        buf_release(&b);
    }
}

static void test_numbers(void **state) {
    (void)state;
    const uint64_t values[] = {0, 1, 127, 128, 300, 1u << 14, UINT32_MAX, UINT64_MAX >> 1, UINT64_MAX};
    Buf b;
    buf_init(&b);
    buf_u8(&b, 200);
    buf_u16(&b, 0x1234);
    buf_u32(&b, 0xdeadbeef);
    buf_u64(&b, UINT64_C(0x0123456789abcdef));
    assert_int_equal(b.data[1], 0x34);
    for (size_t i = 0; i < 9; i++) buf_varint(&b, values[i]);
    buf_bytes(&b, "abc", 3);
    Reader r = reader_of(b.data, b.len);
    size_t len;
    assert_int_equal(read_u8(&r), 200);
    assert_int_equal(read_u16(&r), 0x1234);
    assert_int_equal(read_u32(&r), 0xdeadbeef);
    assert_true(read_u64(&r) == UINT64_C(0x0123456789abcdef));
    for (size_t i = 0; i < 9; i++) assert_true(read_varint(&r) == values[i]);
    assert_false(reader_done(&r));
    assert_memory_equal(read_bytes(&r, &len), "abc", 3);
    assert_int_equal(len, 3);
    assert_true(reader_done(&r));
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.failed);
    buf_release(&b);
}

static bool varint_fails(const char *bytes, size_t len) {
    Reader r = reader_of(bytes, len);
    read_varint(&r);
    return r.failed;
}

static void test_reader_refuses(void **state) {
    (void)state;
    assert_true(varint_fails("", 0));
    assert_true(varint_fails("\x80", 1));
    assert_true(varint_fails("\x80\x00", 2)); /* zero in two bytes */
    assert_false(varint_fails("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
    assert_true(varint_fails("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10)); /* 65 bits */
    Reader r = reader_of("\x05", 1);
    assert_int_equal(read_count(&r, 4), 0);
    assert_true(r.failed);
    r = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "abc", 13);
    size_t len = 1;
    assert_null(read_bytes(&r, &len)); /* claims 2^64-1 bytes */
    assert_int_equal(len, 0);
}

/* ---- hashes ---- */

static void test_hashes(void **state) {
    (void)state;
    /* the authors' test vectors */
    assert_true(hash_bytes(HASH_START, "", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(hash_bytes(HASH_START, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    /* SplitMix64 with seed 1234567, as its authors' program prints it */
    assert_true(hash_random(1234567, 0) == UINT64_C(6457827717110365317) && hash_random(1234567, 1) == UINT64_C(3203168211198807973));
}

/* ---- errors ---- */

static void test_first_error_stays(void **state) {
    (void)state;
    Err err = {0};
    assert_false(err_at(&err, ERR_bad_request, "/a/b", "%d is too many.", 3));
    assert_false(err_set(&err, ERR_internal, "Memory is short."));
    assert_int_equal(err.code, ERR_bad_request);
    assert_string_equal(err.message, "3 is too many.");
    assert_string_equal(err.pointer, "/a/b");
    err = (Err){0};
    err_set(&err, ERR_internal, "Memory is short.");
    assert_int_equal(err.code, ERR_internal);
    assert_string_equal(err.pointer, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena), cmocka_unit_test(test_arena_reset), cmocka_unit_test(test_arena_cap), cmocka_unit_test(test_buf),
        cmocka_unit_test(test_printing), cmocka_unit_test(test_numbers), cmocka_unit_test(test_reader_refuses),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_first_error_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
