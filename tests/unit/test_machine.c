/* What a container's control groups allow, read from folders that look like theirs. */
#include "server/machine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

static char mount[64];

static void put(const char *path, const char *text) {
    char command[512], file[256];
    snprintf(file, sizeof file, "%s/%s", mount, path);
    snprintf(command, sizeof command, "mkdir -p \"$(dirname %s)\"", file);
    assert_int_equal(system(command), 0);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state) {
    (void)state;
    strcpy(mount, "/tmp/cajal-test-XXXXXX");
    return mkdtemp(mount) ? 0 : -1;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", mount);
    return system(command);
}

static void test_version_2(void **state) {
    (void)state;
    put("cpu.max", "max 100000\n");
    put("a/cpu.max", "150000 100000\n");
    put("a/b/cpu.max", "400000 100000\n");
    put("a/memory.max", "max\n");
    put("a/b/memory.max", "2147483648\n");
    assert_int_equal(machine_quota("0::/a/b\n", mount), 1500); /* the one above is the narrower */
    assert_int_equal(machine_memory_limit("0::/a/b\n", mount), 2147483648u);
    assert_true(machine_quota("0::/\n", mount) == UINT64_MAX);
    assert_true(machine_memory_limit("0::/a\n", mount) == UINT64_MAX);
    assert_true(machine_quota("0::/nowhere\n", mount) == UINT64_MAX);
}

static void test_version_1(void **state) {
    (void)state;
    static const char groups[] = "9:name=systemd:/\n4:memory:/job\n2:cpuacct:/job\n1:cpu:/job\n";
    put("cpu/job/cpu.cfs_quota_us", "50000\n");
    put("cpu/job/cpu.cfs_period_us", "100000\n");
    put("memory/job/memory.limit_in_bytes", "1073741824\n");
    assert_int_equal(machine_quota(groups, mount), 500);
    assert_int_equal(machine_memory_limit(groups, mount), 1073741824);
    put("cpu/job/cpu.cfs_quota_us", "-1\n");
    assert_true(machine_quota(groups, mount) == UINT64_MAX);
    assert_true(machine_quota("1:cpuset:/job\n", mount) == UINT64_MAX);
    assert_true(machine_quota("nonsense", mount) == UINT64_MAX);
}

static void test_this_one(void **state) {
    (void)state;
    struct rlimit before, after;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    before.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    const Machine m = machine_take();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_true(after.rlim_cur == before.rlim_max && m.descriptors == before.rlim_max);
    assert_true(m.cores >= 1 && m.memory > 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_version_2, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_version_1, setup, teardown), cmocka_unit_test(test_this_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
