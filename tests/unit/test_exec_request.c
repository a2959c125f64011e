/* Runs merged into one, and taken apart again. */
#include "server/workers/exec_request.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_merged_runs_come_apart(void **state) {
    (void)state;
    /* Two tensors, one of them shared; two results, with a gap before the second (a result that no output computes). */
    float a0[] = {1, 2, 0, 0, 9}, a1[] = {3, 4, 5, 6, 9};
    TensorMsg tensors[2] = {{.slot = 0, .dtype = DT_F32, .batched = true, .cols = 2}, {.slot = 3, .dtype = DT_F32, .cols = 1, .offset = 16}};
    ResultMsg r0[2] = {{.output = 0, .batched = true, .offset = 20}, {.output = 2, .batched = true, .offset = 32}};
    ResultMsg r1[2] = {{.output = 0, .batched = true, .offset = 20}, {.output = 2, .batched = true, .offset = 44}};
    size_t row_bytes[2] = {4, 8};
    ExecMsg m = {.key = 1, .dtype = DT_F32, .rows = 1, .area_size = 40, .results_at = 20, .ntensors = 2, .nresults = 2, .tensors = tensors,
                .results = r0, .inline_area = (unsigned char *)a0, .inline_len = 20};
    ExecRequest one = {.msg = m, .row_bytes = row_bytes, .small = true}, two = one;
    two.msg.rows = 2;
    two.msg.area_size = 60;
    two.msg.results = r1;
    two.msg.inline_area = (unsigned char *)a1;
    assert_true(exec_request_mergeable(&one) && exec_request_mergeable(&two) && exec_request_goes_with(&one, &two));
    Buf body = {0};
    exec_request_put_merged(&body, (const ExecRequest *[]){&two, &one}, 2);
    ExecMsg merged;
    assert_true(wire_get_exec(&(Frame){.type = FRAME_exec, .body = body.data, .len = body.len, .area = -1}, &merged));
    assert_int_equal(3, merged.rows);
    assert_memory_equal(((float[]){3, 4, 5, 6, 1, 2}), merged.inline_area + merged.tensors[0].offset, 24);
    assert_memory_equal(((float[]){9}), merged.inline_area + merged.tensors[1].offset, 4);
    assert_int_equal(12 + 24, merged.area_size - merged.results_at);
    float results[9] = {10, 11, 12, 20, 21, 22, 23, 24, 25}, room[10];
    assert_memory_equal(((float[]){10, 11, 0, 0, 0, 0, 20, 21, 22, 23}),
                        exec_request_part(&two, (unsigned char *)results, 0, 3, (unsigned char *)room), 40);
    assert_memory_equal(((float[]){12, 0, 0, 24, 25}), exec_request_part(&one, (unsigned char *)results, 2, 3, (unsigned char *)room), 20);
    exec_msg_release(&merged);
    buf_release(&body);
}

static void test_what_is_not_merged(void **state) {
    (void)state;
    float a[] = {1, 2}, other[] = {1, 3};
    TensorMsg t[2] = {{.slot = 0, .dtype = DT_F32, .batched = true, .cols = 1}, {.slot = 1, .dtype = DT_F32, .cols = 1, .offset = 4}}, u[2];
    ResultMsg r = {.batched = true, .offset = 8}, q = r;
    size_t row_bytes = 4;
    ExecRequest one = {.row_bytes = &row_bytes, .small = true,
               .msg = {.key = 1, .dtype = DT_F32, .rows = 1, .area_size = 12, .results_at = 8, .ntensors = 2, .nresults = 1, .tensors = t,
                       .results = &r, .inline_area = (unsigned char *)a, .inline_len = 8}};
    ExecRequest two = one;
    two.msg.tensors = memcpy(u, t, sizeof u);
    two.msg.results = &q;
    assert_true(exec_request_goes_with(&one, &two));
    two.msg.inline_area = (unsigned char *)other; /* the shared value differs */
    assert_false(exec_request_goes_with(&one, &two));
    two.msg.inline_area = one.msg.inline_area;
    two.msg.dtype = DT_F64;
    assert_false(exec_request_goes_with(&one, &two));
    two.msg.dtype = DT_F32;
    u[0].discrete = 1;
    assert_false(exec_request_goes_with(&one, &two));
    u[0].discrete = 0;
    q.output = 1;
    assert_false(exec_request_goes_with(&one, &two));
    q.batched = false; /* a sum over the batch */
    assert_false(exec_request_mergeable(&two));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged_runs_come_apart),
        cmocka_unit_test(test_what_is_not_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
