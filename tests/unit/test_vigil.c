/* A process that does nothing is told from one that does little, by looks alone. */
#include "server/workers/vigil.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static pid_t begin(bool works) {
    const pid_t pid = fork();
    if (pid) return pid;
    for (volatile unsigned i = 0; works; i++) {}
    for (;;) pause();
}

static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Until it has run: whatever the machine does, it will have used some CPU time. */
static void wait_cpu(pid_t pid, int64_t more) {
    clockid_t clock;
    struct timespec t;
    assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
    do {
        usleep(500);
        assert_int_equal(clock_gettime(clock, &t), 0);
    } while (t.tv_sec * INT64_C(1000000000) + t.tv_nsec < more);
}

static void test_who_works_is_left_alone(void **state) {
    (void)state;
    Vigil v;
    const pid_t pid = begin(true);
    vigil_begin(&v);
    for (int i = 0; i < 2 * VIGIL_LOOKS; i++) {
        wait_cpu(pid, v.cpu + 1);
        assert_true(vigil_look(&v, pid, false));
        assert_int_equal(v.still, 0);
    }
    end(pid);
}

static void test_who_is_stopped_is_found_out(void **state) {
    (void)state;
    Vigil v;
    int status;
    const pid_t pid = begin(true);
    wait_cpu(pid, 1);
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    vigil_begin(&v);
    assert_true(vigil_look(&v, pid, false)); /* the first one tells nothing */
    for (int i = 1; i < VIGIL_LOOKS; i++) assert_true(vigil_look(&v, pid, false));
    assert_false(vigil_look(&v, pid, false));
    /* a word is a sign of life */
    assert_true(vigil_look(&v, pid, true));
    assert_true(vigil_look(&v, pid, false));
    /* and so is work */
    kill(pid, SIGCONT);
    wait_cpu(pid, v.cpu + 1);
    assert_true(vigil_look(&v, pid, false));
    assert_int_equal(v.still, 0);
    end(pid);
}

static void test_who_waits_must_answer(void **state) {
    (void)state;
    Vigil v;
    const pid_t pid = begin(false);
    usleep(50000);
    vigil_begin(&v);
    for (int i = 0; i < 3 * VIGIL_LOOKS; i++) assert_true(vigil_look(&v, pid, i % 10 == 0));
    end(pid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_works_is_left_alone),
        cmocka_unit_test(test_who_is_stopped_is_found_out),
        cmocka_unit_test(test_who_waits_must_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
