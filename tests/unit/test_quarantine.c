/* Culprits are proved, held, tried, absolved, forgotten after their time, and never more than the limit. */
#include "server/workers/quarantine.h"
#include "schema/limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define MINUTE QUARANTINE_NS

static void test_two_proofs(void **state) {
    (void)state;
    Quarantine q = {0};
    assert_int_equal(quarantine_state(&q, "a", 0), CULPRIT_UNKNOWN);
    quarantine_blame(&q, "a", 1);
    quarantine_blame(&q, "b", 2);
    quarantine_blame(&q, NULL, 2);
    assert_int_equal(quarantine_state(&q, "a", 3), CULPRIT_SUSPECT);
    quarantine_blame(&q, "a", 3);
    assert_int_equal(quarantine_state(&q, "a", 4), CULPRIT_HELD);
    assert_int_equal(quarantine_state(&q, "b", 4), CULPRIT_SUSPECT);
    assert_int_equal(quarantine_state(&q, NULL, 4), CULPRIT_UNKNOWN);
    assert_int_equal(quarantine_seconds(&q, "a", 4), 60);
    quarantine_absolve(&q, "a");
    quarantine_absolve(&q, "nobody");
    quarantine_absolve(&q, NULL);
    assert_int_equal(quarantine_state(&q, "a", 4), CULPRIT_UNKNOWN);
    assert_int_equal(quarantine_state(&q, "b", 4), CULPRIT_SUSPECT);
    quarantine_release(&q);
}

static void test_a_minute_doubling_with_one_trial_each(void **state) {
    (void)state;
    Quarantine q = {0};
    int64_t now = 7, hold = MINUTE;
    quarantine_blame(&q, "a", now);
    for (int i = 0; i < 12; i++, hold = hold * 2 < QUARANTINE_LONGEST_NS ? hold * 2 : QUARANTINE_LONGEST_NS) {
        quarantine_blame(&q, "a", now);
        quarantine_end_trial(&q, "a");
        assert_int_equal(quarantine_state(&q, "a", now + hold - 1), CULPRIT_HELD);
        now += hold;
        assert_int_equal(quarantine_state(&q, "a", now), CULPRIT_DUE);
        quarantine_begin_trial(&q, "a");
        assert_int_equal(quarantine_state(&q, "a", now), CULPRIT_HELD); /* for everybody else */
        assert_int_equal(quarantine_seconds(&q, "a", now), 1);
    }
    /* one that proved nothing leaves room for another */
    quarantine_end_trial(&q, "a");
    assert_int_equal(quarantine_state(&q, "a", now), CULPRIT_DUE);
    quarantine_begin_trial(&q, "a");
    quarantine_absolve(&q, "a");
    quarantine_end_trial(&q, "a");
    assert_int_equal(quarantine_state(&q, "a", now), CULPRIT_UNKNOWN);
    quarantine_release(&q);
}

static void test_time_heals(void **state) {
    (void)state;
    Quarantine q = {0};
    quarantine_blame(&q, "a", 0);
    quarantine_blame(&q, "b", 0);
    quarantine_blame(&q, "b", 0);
    assert_int_equal(quarantine_state(&q, "a", QUARANTINE_QUIET_NS - 1), CULPRIT_SUSPECT);
    assert_int_equal(quarantine_state(&q, "a", QUARANTINE_QUIET_NS), CULPRIT_UNKNOWN);
    assert_int_equal(quarantine_state(&q, "b", QUARANTINE_QUIET_NS), CULPRIT_DUE);
    assert_int_equal(quarantine_state(&q, "b", QUARANTINE_QUIET_NS + MINUTE), CULPRIT_UNKNOWN);
    quarantine_blame(&q, "b", QUARANTINE_QUIET_NS + MINUTE); /* afresh */
    assert_int_equal(quarantine_state(&q, "b", QUARANTINE_QUIET_NS + MINUTE), CULPRIT_SUSPECT);
    quarantine_release(&q);
}

static void test_the_quietest_are_forgotten(void **state) {
    (void)state;
    Quarantine q = {0};
    char name[32];
    for (int i = 0; i < LIMIT_QUARANTINE; i++) {
        snprintf(name, sizeof name, "culprit %d", i);
        quarantine_blame(&q, name, i);
    }
    quarantine_blame(&q, "culprit 0", LIMIT_QUARANTINE);
    quarantine_blame(&q, "one more", LIMIT_QUARANTINE);
    assert_int_equal(q.by_name.count, LIMIT_QUARANTINE);
    assert_int_equal(quarantine_state(&q, "culprit 0", LIMIT_QUARANTINE), CULPRIT_HELD);
    assert_int_equal(quarantine_state(&q, "culprit 1", LIMIT_QUARANTINE), CULPRIT_UNKNOWN);
    assert_int_equal(quarantine_state(&q, "culprit 2", LIMIT_QUARANTINE), CULPRIT_SUSPECT);
    assert_int_equal(quarantine_state(&q, "one more", LIMIT_QUARANTINE), CULPRIT_SUSPECT);
    quarantine_release(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_proofs),
        cmocka_unit_test(test_a_minute_doubling_with_one_trial_each),
        cmocka_unit_test(test_time_heals),
        cmocka_unit_test(test_the_quietest_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
