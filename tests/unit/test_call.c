/* Calls and their memory, from one request to the next. */
#include "server/http/call.h"
#include "schema/limits.h"
#include "server/http/party.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void assert_fresh(Call *call) {
    assert_non_null(call);
    assert_int_equal(call->refs, 1);
    assert_false(call->answered || call->begun || call->connection || call->route || call->cancel || call->headers.host || *call->request_id);
    assert_int_equal(call->queue_ns, -1);
    assert_int_equal(call->answer.area.fd, -1);
    assert_int_equal(call->body.area.fd, -1);
    assert_int_equal(call->held, 0);
}

static void test_nothing_is_left_of_the_call_before(void **state) {
    (void)state;
    Server server = {.most_held = 1 << 20};
    for (int round = 0; round < 3; round++) {
        Call *call = call_new(&server);
        Err err = {0};
        assert_fresh(call);
        unsigned char *p = call_alloc(call, 10, 100);
        for (size_t i = 0; i < 1000; i++) assert_int_equal(p[i], 0);
        memset(p, 0xff, 1000);
        assert_true(call_hold(call, 5000, &err));
        assert_int_equal(server.held, 5000);
        assert_int_equal(body_begin(&call->body, BODY_JSON, 100, LIMIT_JSON_BYTES), ERR_NONE);
        strcpy(call->request_id, "its");
        call->headers.host = "localhost";
        Buf body = {0};
        buf_puts(&body, "{}");
        call_answer(call, 200, "application/json", &body);
        assert_true(call->answered);
        call_keep(call);
        call_drop(call);
        assert_int_equal(server.held, 5000); /* somebody still has it */
        call_drop(call);
        assert_int_equal(server.held, 0);
    }
    call_free_spares(&server);
    assert_null(server.spare_calls);
}

static void test_few_are_kept(void **state) {
    enum { MANY = 300 };
    (void)state;
    Server server = {.most_held = 1 << 20};
    Call *calls[MANY];
    for (int i = 0; i < MANY; i++) assert_fresh(calls[i] = call_new(&server));
    for (int i = 0; i < MANY; i++) call_drop(calls[i]);
    assert_true(server.nspare_calls < MANY);
    size_t n = 0;
    for (Call *call = server.spare_calls; call; call = call->next) n++;
    assert_int_equal(n, server.nspare_calls);
    for (int i = 0; i < MANY; i++) assert_fresh(calls[i] = call_new(&server));
    assert_int_equal(server.nspare_calls, 0);
    for (int i = 0; i < MANY; i++) call_drop(calls[i]);
    call_free_spares(&server);
}

static void test_memory_has_an_end(void **state) {
    (void)state;
    Server server = {.most_held = 1 << 20};
    Call *call = call_new(&server);
    assert_null(call_alloc(call, SIZE_MAX / 2, 3));
    assert_null(call_alloc(call, 1, LIMIT_CALL_BYTES + 1));
    assert_non_null(call_alloc(call, 1, LIMIT_CALL_BYTES / 2));
    assert_null(call_alloc(call, 1, LIMIT_CALL_BYTES / 2 + 1));
    call_drop(call);
    call = call_new(&server);
    assert_non_null(call_alloc(call, 1, LIMIT_CALL_BYTES / 2 + 1));
    call_drop(call);
    call_free_spares(&server);
}

/* A party has half of the memory at most, and all together have all of it. */
static void test_memory_is_shared_out(void **state) {
    (void)state;
    Server server = {.most_held = 1000};
    Call *calls[3];
    Party *parties[3];
    Err err = {0};
    for (int i = 0; i < 3; i++) {
        calls[i] = call_new(&server);
        parties[i] = calls[i]->party = party_join(&server.parties, i == 0 ? "a" : i == 1 ? "b" : "c");
    }
    assert_false(call_hold(calls[0], 501, &err));
    assert_int_equal(err.code, ERR_too_large);
    err = (Err){0};
    assert_true(call_hold(calls[0], 400, &err));
    assert_false(call_hold(calls[0], 101, &err)); /* its share is used up, though there is room */
    assert_int_equal(err.code, ERR_queue_full);
    err = (Err){0};
    assert_true(call_hold(calls[1], 500, &err));
    assert_false(call_hold(calls[2], 101, &err)); /* there is none */
    assert_int_equal(err.code, ERR_queue_full);
    assert_int_equal(server.held, 900);
    assert_int_equal(parties[0]->held, 400);
    for (int i = 0; i < 3; i++) call_drop(calls[i]);
    assert_int_equal(server.held, 0);
    assert_null(parties_largest(&server.parties));
    call_free_spares(&server);
    parties_release(&server.parties);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_left_of_the_call_before),
        cmocka_unit_test(test_few_are_kept),
        cmocka_unit_test(test_memory_has_an_end),
        cmocka_unit_test(test_memory_is_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
