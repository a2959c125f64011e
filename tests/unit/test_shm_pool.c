/* Shared memory that goes from one request to the next. */
#include "server/http/shm_pool.h"
#include "server/http/body.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { MB = 1 << 20 };

static int open_fds(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

static void test_given_is_taken_again(void **state) {
    (void)state;
    int fds = open_fds();
    Loop *loop = loop_new();
    ShmPool pool;
    Area a, b, c;
    shm_pool_init(&pool, loop, NULL, 0);
    assert_true(shm_pool_take(&pool, MB, &a));
    int fd = a.fd;
    shm_pool_give(&pool, &a);
    assert_int_equal(-1, a.fd);
    assert_true(shm_pool_take(&pool, MB / 2, &b));
    assert_int_equal(fd, b.fd);
    assert_true(b.size >= MB);
    assert_true(shm_pool_take(&pool, MB, &c)); /* nothing is kept: a new one */
    assert_int_not_equal(fd, c.fd);
    shm_pool_give(&pool, &b);
    shm_pool_give(&pool, &c);
    assert_true(shm_pool_take(&pool, 100, &a)); /* a large one is too good for little */
    assert_true(a.size < MB);
    area_release(&a);
    shm_pool_release(&pool);
    loop_free(loop);
    assert_int_equal(fds, open_fds());
}

static void test_little_is_kept(void **state) {
    (void)state;
    Loop *loop = loop_new();
    ShmPool pool;
    Area a[2 * SHM_POOL_KEPT];
    shm_pool_init(&pool, loop, NULL, 0);
    for (int i = 0; i < 2 * SHM_POOL_KEPT; i++) assert_true(shm_pool_take(&pool, 4096, &a[i]));
    for (int i = 0; i < 2 * SHM_POOL_KEPT; i++) shm_pool_give(&pool, &a[i]);
    assert_int_equal(SHM_POOL_KEPT, pool.n);
    shm_pool_release(&pool);
    assert_true(area_create(&a[0], (size_t)65 * MB));
    shm_pool_give(&pool, &a[0]);
    assert_int_equal(0, pool.n);
    shm_pool_release(&pool);
    loop_free(loop);
}

static int stop_when_empty(void *arg) {
    ShmPool *pool = arg;
    if (!pool->n) loop_stop(pool->loop);
    return -1;
}

static void test_nothing_is_kept_for_long(void **state) {
    (void)state;
    Loop *loop = loop_new();
    ShmPool pool;
    Area a;
    shm_pool_init(&pool, loop, NULL, 0);
    assert_true(shm_pool_take(&pool, 4096, &a));
    shm_pool_give(&pool, &a);
    int64_t began = loop_now();
    loop_on_idle(loop, stop_when_empty, &pool);
    loop_run(loop);
    assert_true(loop_now() - began < (int64_t)10000000000);
    shm_pool_release(&pool);
    loop_free(loop);
}

/* A body in an area that another one had been in. */
static void test_bodies_share(void **state) {
    (void)state;
    Loop *loop = loop_new();
    ShmPool pool;
    Body body;
    static unsigned char bytes[100000];
    shm_pool_init(&pool, loop, NULL, 0);
    for (int round = 0; round < 3; round++) {
        body_init(&body);
        body.shm_pool = &pool;
        assert_int_equal(ERR_NONE, body_begin(&body, BODY_SAFETENSORS, round == 1 ? BODY_UNKNOWN : sizeof bytes, sizeof bytes));
        memset(bytes, round, sizeof bytes);
        for (size_t at = 0; at < sizeof bytes; at += 1000) assert_int_equal(ERR_NONE, body_add(&body, bytes + at, 1000));
        assert_true(body.area.fd >= 0);
        assert_memory_equal(bytes, body.data, sizeof bytes);
        body_release(&body);
        assert_true(pool.n > 0);
    }
    shm_pool_release(&pool);
    loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given_is_taken_again),
        cmocka_unit_test(test_little_is_kept),
        cmocka_unit_test(test_nothing_is_kept_for_long),
        cmocka_unit_test(test_bodies_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
