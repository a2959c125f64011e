#include "tests/support/slow.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

enum { DIM = 96, ROWS = 256 };

/* Row i has its one at place (i + shift) mod DIM. */
static void put_basis(Buf *out, int rows, int shift) {
    for (int i = 0; i < rows; i++) {
        buf_putc(out, i ? ',' : '[');
        for (int k = 0; k < DIM; k++) buf_printf(out, "%c%d", k ? ',' : '[', k == (i + shift) % DIM);
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
}

static void put_program(Buf *out, int steps) {
    buf_printf(out, "{\"source\":\"f : !(R[%d] -o R[%d]), x : R[%d], n : N[%d] |- iter {x | y -> f y} (n)\"", DIM, DIM, DIM, steps + 1);
}

void slow_compile(Ask *a, int steps) {
    Buf body;
    buf_init(&body);
    put_program(&body, steps);
    buf_putc(&body, '}');
    ask(a, 200, "POST /compile", buf_text(&body));
    buf_release(&body);
}

void slow_put(Buf *out, int steps) {
    put_program(out, steps);
    buf_printf(out, ",\"inputs\":{\"n\":%d,\"f\":", steps);
    put_basis(out, DIM, DIM - 1);
    buf_puts(out, ",\"x\":");
    put_basis(out, ROWS, 0);
    buf_puts(out, "}}");
    assert_false(out->failed);
}

void slow_check(const Ask *a, int steps) {
    Buf want;
    buf_init(&want);
    put_basis(&want, ROWS, steps % DIM);
    ask_part(a, "data", buf_text(&want));
    buf_release(&want);
}
