/* The disk's reserve: kept, given up, taken back. */
#include "server/disk.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const Log quiet = {.level = LOG_LEVELS, .fd = 2};

static int make(void **state) {
    char *dir = strdup("/tmp/cajal-disk-XXXXXX");
    *state = dir;
    return dir && mkdtemp(dir) ? 0 : -1;
}

static int drop(void **state) {
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    free(*state);
    return system(command);
}

/* Of the file that is set aside; -1: there is none. */
static int64_t aside(const char *dir) {
    char path[100];
    struct stat st;
    snprintf(path, sizeof path, "%s/reserve", dir);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void test_gives_way_and_takes_back(void **state) {
    const char *dir = *state;
    Disk *d = disk_open(dir, 1 << 20, &quiet);
    assert_non_null(d);
    assert_int_equal(aside(dir), 1 << 19);
    assert_true(disk_has_room(d, 1000) && !disk_full(d));
    assert_true(disk_size(d) > 1 << 20);
    assert_true(disk_give_way(d));
    assert_int_equal(aside(dir), 0);
    assert_false(disk_give_way(d)); /* there is no more */
    assert_true(disk_has_room(d, 0)); /* there is room again: it is taken back first */
    assert_int_equal(aside(dir), 1 << 19);
    disk_close(d);
    /* What a crash left given up is made whole at the start. */
    char path[100];
    snprintf(path, sizeof path, "%s/reserve", dir);
    assert_int_equal(truncate(path, 1), 0);
    d = disk_open(dir, 1 << 20, &quiet);
    assert_int_equal(aside(dir), 1 << 19);
    disk_close(d);
}

static void test_nothing_is_added_below_the_reserve(void **state) {
    const char *dir = *state;
    const uint64_t much = UINT64_C(1) << 60;
    Disk *d = disk_open(dir, much, &quiet);
    assert_non_null(d);
    assert_true(disk_full(d) && !disk_has_room(d, 0));
    disk_close(d);
    d = disk_open(dir, 0, &quiet);
    assert_false(disk_has_room(d, much));
    assert_false(disk_has_room(d, UINT64_MAX));
    if (disk_has_room(d, 0)) assert_in_range(aside(dir), 1, 8 << 20); /* derived; this machine's disk may be fuller than that leaves */
    disk_close(d);
    d = disk_open("/dev/null/nowhere", 0, &quiet);
    assert_non_null(d);
    assert_false(disk_give_way(d));
    disk_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_gives_way_and_takes_back, make, drop),
                                       cmocka_unit_test_setup_teardown(test_nothing_is_added_below_the_reserve, make, drop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
