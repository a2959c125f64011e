#include "tests/support/work.h"
#include "tests/support/raw.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* COUNT iterations within as many within as many: 1.25e11 steps, which the cost model takes for 8e12 multiply-adds of the 1e13 that are
 * admitted. A multiplication takes about four cycles until the next one can have its result. */
enum { DIM = 96, ROWS = 256, COUNT = 5000 };

/* Row i has its one at place (i + shift) mod DIM. */
static void put_basis(Buf *out, int rows, int shift) {
    for (int i = 0; i < rows; i++) {
        buf_putc(out, i ? ',' : '[');
        for (int k = 0; k < DIM; k++) buf_printf(out, "%c%d", k ? ',' : '[', k == (i + shift) % DIM);
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
}

static void put_program(Buf *out, Work w) {
    if (w.endless)
        buf_printf(out,
                   "{\"source\":\"f : !(R[1] -o R[1]), x : R[1], k : !N[%d] |- "
                   "iter {x | y -> iter {y | z -> iter {z | w -> f w} (k)} (k)} (k)\"",
                   COUNT - w.number + 1);
    else
        buf_printf(out, "{\"source\":\"f : !(R[%d] -o R[%d]), x : R[%d], n : N[%d] |- iter {x | y -> f y} (n)\"", DIM, DIM, DIM, w.number + 1);
}

void work_compile(Ask *a, Work w) {
    Buf body;
    buf_init(&body);
    put_program(&body, w);
    buf_putc(&body, '}');
    ask(a, 200, "POST /compile", buf_text(&body));
    buf_release(&body);
}

void work_put(Buf *out, Work w) {
    put_program(out, w);
    if (w.endless) {
        buf_printf(out, ",\"inputs\":{\"f\":[[1]],\"x\":[1],\"k\":%d}}", COUNT - w.number);
    } else {
        buf_printf(out, ",\"inputs\":{\"n\":%d,\"f\":", w.number);
        put_basis(out, DIM, DIM - 1);
        buf_puts(out, ",\"x\":");
        put_basis(out, ROWS, 0);
        buf_puts(out, "}}");
    }
    assert_false(out->failed);
}

int work_send(Ask *a, Work w, const char *headers) {
    Buf body;
    int fd = raw_open(a->daemon.url);
    buf_init(&body);
    work_put(&body, w);
    raw_request(fd, "POST", "/eval", headers, buf_text(&body));
    buf_release(&body);
    return fd;
}

void work_check(const Ask *a, Work w) {
    Buf want;
    buf_init(&want);
    assert_false(w.endless);
    put_basis(&want, ROWS, w.number % DIM);
    ask_part(a, "data", buf_text(&want));
    buf_release(&want);
}

/* The letter that /proc has for what the process does; 0 when it is gone. */
static char state_of(pid_t pid) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1) state = 0;
    fclose(f);
    return state;
}

pid_t work_hold(Ask *a) {
    pid_t pid = ask_worker(a, 0);
    assert_int_equal(0, kill(pid, SIGSTOP));
    for (int i = 0; state_of(pid) != 'T'; i++) {
        assert_true(i < 60000);
        usleep(1000);
    }
    return pid;
}

void work_go_on(pid_t worker) { assert_int_equal(0, kill(worker, SIGCONT)); }
