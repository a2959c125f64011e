/* Whose a request is: addresses, and what a trusted proxy says of them. */
#include "server/http/party.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void test_forwarded(void **state) {
    (void)state;
    static const struct {
        const char *forwarded_for, *list, *party; /* party NULL: the proxy's own */
    } cases[] = {
        {"203.0.113.7", "127.0.0.1", "203.0.113.7"},
        {"6.6.6.6, 203.0.113.7", "127.0.0.1", "203.0.113.7"}, /* what stands further left anybody may have written */
        {"203.0.113.7, 10.0.0.2", "127.0.0.1,10.0.0.2", "203.0.113.7"},
        {" 203.0.113.7\t,10.0.0.2 ", "127.0.0.1, 10.0.0.2", "203.0.113.7"},
        {"2001:DB8::0:1", "127.0.0.1", "2001:db8::1"},
        {"10.0.0.2", "127.0.0.1,10.0.0.2", NULL},
        {"", "127.0.0.1", NULL},
        {",", "127.0.0.1", NULL},
        {"203.0.113.7,", "127.0.0.1", NULL},
        {"203.0.113.7, unknown", "127.0.0.1", NULL},
        {"localhost", "127.0.0.1", NULL},
        {"1111111111111111111111111111111111111111111111111111111111111111111111111111111", "127.0.0.1", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char party[PARTY_NAME] = "";
        const bool says = party_forwarded(cases[i].forwarded_for, cases[i].list, party);
        if (says != (cases[i].party != NULL) || (says && strcmp(party, cases[i].party) != 0))
            fail_msg("\"%s\" behind %s: %s", cases[i].forwarded_for, cases[i].list, says ? party : "nobody");
    }
}

static void test_listed(void **state) {
    (void)state;
    assert_true(party_is_listed("10.0.0.1", "10.0.0.1"));
    assert_true(party_is_listed("::1", "10.0.0.1,::1"));
    assert_false(party_is_listed("10.0.0.1", "10.0.0.12"));
    assert_false(party_is_listed("10.0.0.12", "10.0.0.1"));
    assert_false(party_is_listed("10.0.0.1", ""));
}

static void test_references(void **state) {
    (void)state;
    Parties parties = {0};
    Party *a = party_join(&parties, "a"), *b = party_join(&parties, "b");
    assert_ptr_equal(a, party_join(&parties, "a"));
    a->connections = 2, b->connections = 3;
    assert_ptr_equal(parties_largest(&parties), b);
    party_leave(b);
    party_leave(a);
    assert_ptr_equal(parties_largest(&parties), a);
    party_leave(a);
    assert_null(parties_largest(&parties));
    party_leave(NULL);
    parties_release(&parties);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forwarded), cmocka_unit_test(test_listed), cmocka_unit_test(test_references)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
