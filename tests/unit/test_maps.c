/* ShmPool that stay mapped in a worker. */
#include "worker/protocol/maps.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* A descriptor of the area's own, as one comes with a frame. */
static int sent(const Area *area) { return fcntl(area->fd, F_DUPFD_CLOEXEC, 0); }

static void *open_once(Maps *maps, const Area *area, size_t size) {
    Mapped m;
    assert_true(maps_open(maps, sent(area), size, &m));
    void *data = m.area.data;
    assert_true(m.area.size >= size);
    assert_memory_equal(data, area->data, size);
    maps_close(maps, &m);
    return data;
}

static void test_the_same_area_stays_mapped(void **state) {
    Maps maps = {0};
    Area a, b;
    (void)state;
    assert_true(area_create(&a, 8192) && area_create(&b, 8192));
    strcpy(a.data, "first"), strcpy(b.data, "second");
    void *at = open_once(&maps, &a, 8192);
    assert_ptr_equal(open_once(&maps, &a, 4096), at);
    assert_ptr_not_equal(open_once(&maps, &b, 4096), at);
    assert_int_equal(maps.n, 2);
    strcpy(a.data, "changed"); /* seen: it is shared memory */
    assert_ptr_equal(open_once(&maps, &a, 8192), at);
    maps_release(&maps);
    assert_int_equal(maps.n, 0);
    assert_int_equal(maps.bytes, 0);
    area_release(&a), area_release(&b);
}

static void test_more_of_an_area_is_mapped_when_it_is_wanted(void **state) {
    Maps maps = {0};
    Area a;
    (void)state;
    assert_true(area_create(&a, 3 * 4096));
    memset(a.data, 7, a.size);
    open_once(&maps, &a, 4096);
    assert_int_equal(maps.bytes, 4096);
    open_once(&maps, &a, 3 * 4096);
    assert_int_equal(maps.n, 1);
    assert_int_equal(maps.bytes, 3 * 4096);
    maps_release(&maps);
    area_release(&a);
}

/* Both are in use at once: what is given back last is one mapping of two. */
static void test_an_area_may_be_open_twice(void **state) {
    Maps maps = {0};
    Mapped one, two;
    Area a;
    (void)state;
    assert_true(area_create(&a, 4096));
    assert_true(maps_open(&maps, sent(&a), 4096, &one) && maps_open(&maps, sent(&a), 4096, &two));
    assert_ptr_not_equal(one.area.data, two.area.data);
    maps_close(&maps, &one), maps_close(&maps, &two);
    open_once(&maps, &a, 4096);
    maps_release(&maps);
    area_release(&a);
}

/* The daemon has given up an area that is kept here: those it makes afterwards have other files, however many there are. */
static void test_a_kept_area_is_taken_for_no_other(void **state) {
    enum { LATER = 20000 };
    Maps maps = {0};
    Area old;
    (void)state;
    assert_true(area_create(&old, 4096));
    memset(old.data, 0xff, 4096);
    open_once(&maps, &old, 4096);
    Mapped kept = maps.kept[0];
    area_release(&old);
    for (uint32_t i = 0; i < LATER; i++) {
        Area later;
        struct stat st;
        assert_true(area_create(&later, 4096));
        assert_return_code(fstat(later.fd, &st), errno);
        assert_false(st.st_ino == kept.inode && st.st_dev == kept.device);
        if (i % (LATER / MAPS_KEPT) == 0) {
            memcpy(later.data, &i, sizeof i);
            open_once(&maps, &later, 4096);
        }
        area_release(&later);
    }
    maps_release(&maps);
}

static void test_little_is_kept(void **state) {
    Maps maps = {0};
    Area areas[MAPS_KEPT + 1];
    (void)state;
    for (int i = 0; i <= MAPS_KEPT; i++) {
        assert_true(area_create(&areas[i], 4096));
        memset(areas[i].data, i, 4096);
        open_once(&maps, &areas[i], 4096);
    }
    assert_int_equal(maps.n, MAPS_KEPT);
    assert_int_equal(maps.bytes, (size_t)MAPS_KEPT * 4096);
    Area large;
    assert_true(area_create(&large, MAPS_BYTES + 4096));
    Mapped m;
    assert_true(maps_open(&maps, sent(&large), MAPS_BYTES / 2, &m));
    maps_close(&maps, &m);
    assert_true(maps.bytes <= MAPS_BYTES);
    assert_true(maps_open(&maps, sent(&large), MAPS_BYTES + 4096, &m)); /* in place of the shorter one, and too long to keep */
    size_t n = maps.n;
    maps_close(&maps, &m);
    assert_int_equal(maps.n, n);
    for (int i = 0; i <= MAPS_KEPT; i++) open_once(&maps, &areas[i], 4096);
    maps_release(&maps);
    for (int i = 0; i <= MAPS_KEPT; i++) area_release(&areas[i]);
    area_release(&large);
}

static void test_nothing_is_kept_for_long(void **state) {
    Maps maps = {0};
    Area a, b;
    (void)state;
    assert_int_equal(maps_tidy(&maps), -1);
    assert_true(area_create(&a, 4096) && area_create(&b, 4096));
    open_once(&maps, &a, 4096);
    open_once(&maps, &b, 4096);
    int ms = maps_tidy(&maps);
    assert_true(ms > 0 && ms <= MAPS_IDLE_MS);
    maps.kept[0].used -= (uint64_t)MAPS_IDLE_MS * 1000000;
    assert_true(maps_tidy(&maps) > 0);
    assert_int_equal(maps.n, 1);
    maps.kept[0].used -= (uint64_t)MAPS_IDLE_MS * 1000000;
    assert_int_equal(maps_tidy(&maps), -1);
    area_release(&a), area_release(&b);
}

static void test_what_is_no_area_is_refused(void **state) {
    Maps maps = {0};
    Mapped m;
    Area a;
    (void)state;
    assert_true(area_create(&a, 4096));
    open_once(&maps, &a, 4096);
    assert_false(maps_open(&maps, sent(&a), 8192, &m)); /* longer than it is */
    int null = open("/dev/null", O_RDWR), loose = memfd_create("loose", MFD_CLOEXEC);
    assert_true(null >= 0 && loose >= 0 && ftruncate(loose, 4096) == 0);
    assert_false(maps_open(&maps, null, 1, &m));
    assert_false(maps_open(&maps, loose, 4096, &m)); /* could shrink under us */
    assert_int_equal(close(null), -1);               /* taken over all the same */
    assert_int_equal(close(loose), -1);
    maps_release(&maps);
    area_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_area_stays_mapped),
        cmocka_unit_test(test_more_of_an_area_is_mapped_when_it_is_wanted),
        cmocka_unit_test(test_an_area_may_be_open_twice),
        cmocka_unit_test(test_a_kept_area_is_taken_for_no_other),
        cmocka_unit_test(test_little_is_kept),
        cmocka_unit_test(test_nothing_is_kept_for_long),
        cmocka_unit_test(test_what_is_no_area_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
