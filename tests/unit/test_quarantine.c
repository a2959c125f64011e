/* Culprits are counted, absolved, forgotten after their time, and never more than the limit. */
#include "server/workers/quarantine.h"
#include "schema/limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_deaths_are_counted(void **state) {
    (void)state;
    Quarantine q = {0};
    assert_int_equal(quarantine_deaths(&q, "a", 0), 0);
    quarantine_blame(&q, "a", 1);
    quarantine_blame(&q, "a", 2);
    quarantine_blame(&q, "b", 3);
    quarantine_blame(&q, NULL, 3);
    assert_int_equal(quarantine_deaths(&q, "a", 4), 2);
    assert_int_equal(quarantine_deaths(&q, "b", 4), 1);
    assert_int_equal(quarantine_deaths(&q, NULL, 4), 0);
    quarantine_absolve(&q, "a");
    quarantine_absolve(&q, "nobody");
    quarantine_absolve(&q, NULL);
    assert_int_equal(quarantine_deaths(&q, "a", 4), 0);
    assert_int_equal(quarantine_deaths(&q, "b", 4), 1);
    quarantine_release(&q);
}

static void test_time_heals(void **state) {
    (void)state;
    Quarantine q = {0};
    quarantine_blame(&q, "a", 0);
    quarantine_blame(&q, "b", 0);
    quarantine_blame(&q, "a", 10);
    assert_int_equal(quarantine_deaths(&q, "a", QUARANTINE_NS), 2);
    assert_int_equal(quarantine_deaths(&q, "b", QUARANTINE_NS), 0);
    assert_int_equal(quarantine_deaths(&q, "a", QUARANTINE_NS + 10), 0);
    quarantine_blame(&q, "a", QUARANTINE_NS + 10); /* afresh */
    assert_int_equal(quarantine_deaths(&q, "a", QUARANTINE_NS + 10), 1);
    assert_int_equal(q.by_name.count, 1);
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
    assert_int_equal(quarantine_deaths(&q, "culprit 0", LIMIT_QUARANTINE), 2);
    assert_int_equal(quarantine_deaths(&q, "culprit 1", LIMIT_QUARANTINE), 0);
    assert_int_equal(quarantine_deaths(&q, "culprit 2", LIMIT_QUARANTINE), 1);
    assert_int_equal(quarantine_deaths(&q, "one more", LIMIT_QUARANTINE), 1);
    quarantine_release(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths_are_counted),
        cmocka_unit_test(test_time_heals),
        cmocka_unit_test(test_the_quietest_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
