/* Metrics in blocks, and thinned: no peak lost, never more than asked for. */
#include "server/store/series.h"
#include "tests/support/gen.h"
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_block(void **state) {
    (void)state;
    const double values[] = {3, -1, NAN, 7, 7, INFINITY};
    Buf block;
    buf_init(&block);
    for (uint64_t i = 0; i < 6; i++) series_put(&block, (Point){10 * i, values[i]});
    assert_int_equal(block.len, 6 * SERIES_POINT_BYTES);
    assert_int_equal(series_point(block.data, 3).step, 30);
    assert_true(series_point(block.data, 3).value == 7);
    assert_true(isnan(series_point(block.data, 2).value));
    SeriesSummary s = series_summary(block.data, block.len);
    assert_int_equal(s.n, 6);
    assert_int_equal(s.first.step, 0);
    assert_int_equal(s.last.step, 50);
    assert_true(s.least.value == -1 && s.least.step == 10);
    assert_true(s.most.value == 7 && s.most.step == 30); /* the first of equals; what is not finite does not hide it */
    buf_release(&block);
}

static void test_nothing_to_thin(void **state) {
    (void)state;
    Thinner t;
    thin_begin(&t, 4, 4);
    for (uint64_t i = 0; i < 4; i++) thin_point(&t, (Point){i, (double)(i * i)});
    thin_end(&t);
    assert_int_equal(t.n, 4);
    for (uint64_t i = 0; i < 4; i++) assert_true(t.points[i].step == i && t.points[i].value == (double)(i * i));
    thin_release(&t);
    thin_begin(&t, 0, 4);
    thin_end(&t);
    assert_int_equal(t.n, 0);
    thin_release(&t);
}

static void thin(Thinner *t, const Point *points, size_t n, uint64_t most, bool blocks) {
    thin_begin(t, n, most);
    for (size_t i = 0; i < n;) {
        size_t len = n - i < SERIES_BLOCK ? n - i : SERIES_BLOCK;
        Buf block;
        buf_init(&block);
        for (size_t k = 0; k < len; k++) series_put(&block, points[i + k]);
        SeriesSummary s = series_summary(block.data, block.len);
        if (blocks && thin_takes_blocks(t)) thin_block(t, &s);
        else
            for (size_t k = 0; k < len; k++) thin_point(t, points[i + k]);
        buf_release(&block);
        i += len;
    }
    thin_end(t);
    assert_false(t->failed);
}

/* In order, at most as many as asked for, with the ends and the extremes, each a point there was. */
static void test_thinned(void **state) {
    (void)state;
    Rng rng = rng_new("thinned");
    for (int round = 0; round < 200; round++) {
        size_t n = 1 + rng_below(&rng, round % 4 ? 500 : 20000);
        uint64_t most = SERIES_LEAST_POINTS + rng_below(&rng, 60), step = 0;
        Point *points = malloc(n * sizeof *points);
        assert_non_null(points);
        size_t least = 0, top = 0;
        for (size_t i = 0; i < n; i++) {
            points[i] = (Point){step += 1 + rng_below(&rng, 5), rng_real(&rng)};
            if (points[i].value < points[least].value) least = i;
            if (points[i].value > points[top].value) top = i;
        }
        Thinner t;
        thin(&t, points, n, most, round % 2);
        assert_true(t.n <= most && (t.n == n || t.n >= most / 4));
        bool has_least = false, has_top = false;
        for (size_t i = 0, at = 0; i < t.n; i++) {
            while (at < n && points[at].step != t.points[i].step) at++;
            assert_true(at < n && points[at].value == t.points[i].value);
            has_least |= at == least;
            has_top |= at == top;
        }
        assert_true(t.points[0].step == points[0].step && t.points[t.n - 1].step == points[n - 1].step);
        assert_true(has_least && has_top);
        thin_release(&t);
        free(points);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_block), cmocka_unit_test(test_nothing_to_thin), cmocka_unit_test(test_thinned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
