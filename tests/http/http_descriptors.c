/* File descriptors run out: nothing turns without doing anything, nobody is told that memory is short, and what waits goes on when there are some again.
 *
 * The limit of the running daemon is set below what it has open, so that the very next descriptor is refused. */
#include "tests/support/raw.h"
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int setup(void **state) {
    if (ask_setup(state) != 0) return -1;
    toy_data(*state);
    return 0;
}

/* Of the daemon, the soft one; its limit before. */
static rlim_t limit(const Ask *a, rlim_t to) {
    struct rlimit was, now;
    assert_int_equal(prlimit(a->daemon.pid, RLIMIT_NOFILE, NULL, &was), 0);
    now = (struct rlimit){.rlim_cur = to, .rlim_max = was.rlim_max};
    assert_int_equal(prlimit(a->daemon.pid, RLIMIT_NOFILE, &now, NULL), 0);
    return was.rlim_cur;
}

/* Clock ticks of processor time that the daemon has used. */
static unsigned long ticks(const Ask *a) {
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)a->daemon.pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    fclose(f);
    return user + system;
}

static void wait_logged(const Ask *a, const char *text) {
    for (int i = 0; i < 12000 && !daemon_logged(&a->daemon, text); i++) usleep(5000);
    if (!daemon_logged(&a->daemon, text)) fail_msg("nothing is said of \"%s\"", text);
}

static void test_connections_wait(void **state) {
    Ask *a = *state;
    ClientResponse answer = {0};
    const rlim_t before = limit(a, 3);
    int fd = raw_open(a->daemon.url); /* in the kernel's queue */
    raw_request(fd, "GET", "/livez", "", NULL);
    wait_logged(a, "no file descriptor");
    const unsigned long used = ticks(a);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1000), 0); /* nobody is heard, and nobody sent away */
    assert_true(ticks(a) - used < (unsigned long)sysconf(_SC_CLK_TCK) / 2);
    limit(a, before);
    assert_true(raw_answer(fd, &answer));
    assert_int_equal(answer.status, 200);
    client_response_release(&answer);
    close(fd);
}

/* A body that needs shared memory. */
static void test_requests_are_told(void **state) {
    Ask *a = *state;
    enum { COUNT = 40000 };
    char hash[80], route[200];
    const char *const npy[] = {"Content-Type: application/x-npy", NULL};
    Buf body;
    ask_compile(a, "{'source': '\\\\x:!R[40000]. x'}", hash);
    buf_init(&body);
    buf_put(&body, "\x93NUMPY\1\0\x76\0", 10);
    buf_printf(&body, "%-117s\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (40000,), }");
    for (int i = 0; i < COUNT; i++) buf_u32(&body, 0);
    snprintf(route, sizeof route, "POST /eval?program=%s", hash);
    const rlim_t before = limit(a, 3);
    ask_bytes(a, 503, route, npy, body.data, body.len);
    limit(a, before);
    ask_is_problem(a, "queue_full");
    ask_body_has(a, "The service has no file descriptor left for this at the moment.");
    ask_bytes(a, 200, route, npy, body.data, body.len);
    buf_release(&body);
}

/* The limit at which so many more can be opened. */
static rlim_t room_for(const Ask *a, int more) {
    for (rlim_t fd = 3;; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)a->daemon.pid, (int)fd);
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && more-- == 0) return fd;
    }
}

static double last_checkpoint(Ask *a, const char *id) {
    char route[128];
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    const cJSON *all = ask_find(a, "checkpoints");
    return cJSON_GetNumberValue(cJSON_GetArrayItem(all, cJSON_GetArraySize(all) - 1));
}

/* Sets the limit so that one more can be opened, again and again until the daemon has said this: what was open for a moment before is not any more. */
static void squeeze(const Ask *a, const char *until) {
    for (int i = 0; i < 6000 && !daemon_logged(&a->daemon, until); i++) {
        limit(a, room_for(a, 1));
        usleep(10000);
    }
    wait_logged(a, until);
}

/* A checkpoint comes in, and there is none left to write it with. */
static void test_checkpoints_wait(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    toy_post(a, 1000000000, 1000, id);
    toy_wait_step(a, id, 1000);
    const rlim_t before = limit(a, 4096);
    squeeze(a, "checkpoint waits");
    const double then = last_checkpoint(a, id);
    assert_string_equal(ask_text(a, "state"), "running");
    limit(a, before);
    for (int i = 0; i < 6000 && last_checkpoint(a, id) <= then + 1000; i++) usleep(10000);
    assert_true(last_checkpoint(a, id) > then + 1000);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    assert_string_equal(ask_text(a, "state"), "cancelled");
}

/* A run has two files to open, and there is none left for the second. */
static void test_beginnings_wait(void **state) {
    Ask *a = *state;
    char first[TOY_ID], id[TOY_ID], route[128];
    toy_post(a, 1000000000, 1000000000, first);
    toy_wait(a, first, "running");
    ask(a, 202, "POST /runs",
        "{'program': {'source': 'f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}}, 'data': {'train': 'toy', 'test': 'toy'},"
        " 'loss': {'mse': {'target': 'y'}}, 'optimizer': {'sgd': {'lr': 0.1}}, 'batch_size': 16, 'steps': 20}");
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "queued");
    const rlim_t before = limit(a, room_for(a, 1));
    ask(a, 200, toy_route(route, "POST", first, "/cancel"), NULL);
    squeeze(a, "run waits");
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    assert_string_equal(ask_text(a, "state"), "queued");
    limit(a, before);
    toy_wait(a, id, "done");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_wait),
        cmocka_unit_test(test_requests_are_told),
        cmocka_unit_test(test_checkpoints_wait),
        cmocka_unit_test(test_beginnings_wait),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
