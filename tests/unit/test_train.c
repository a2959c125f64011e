/* Whole runs in a worker: numbers against plain formulas, the same bits however a run was interrupted, and every way it can end. */
#include "schema/formats/safetensors.h"
#include "compiler/passes/naive.h"
#include "tests/support/trainer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

/* y = f x with a bias, and a net behind it where a test wants one. */
#define LINEAR "f : !(R[3] -o R[2]), x : R[3] |- f x"
#define DEEP "f : !(R[3] -o R[2]), g : !(!R[2] -o R[2]), x : !R[3] |- g (f x)"
#define LINEAR_HEAD "\"program\":{\"source\":\"" LINEAR "\"},\"bind\":{\"f\":{\"weights\":{\"init\":\"kaiming\"}},\"x\":{\"column\":\"x\"}}"
#define DEEP_HEAD \
    "\"program\":{\"source\":\"" DEEP "\"},\"nets\":{\"n\":{\"layers\":[{\"linear\":{\"out\":16}},\"tanh\",{\"linear\":{\"out\":2}}]}}," \
    "\"bind\":{\"f\":{\"weights\":{\"init\":\"kaiming\"}},\"g\":{\"net\":\"n\"},\"x\":{\"column\":\"x\"}}"
#define DATA "\"data\":{\"train\":\"d\"}"
#define TESTED "\"data\":{\"train\":\"d\",\"test\":\"e\"}"
#define MSE "\"loss\":{\"mse\":{\"target\":\"y\"}}"

enum { ROWS = 10, IN = 3, OUT = 2 };

static double wave(size_t i) { return sin(1.7 * (double)i + 0.3 * (double)(i % 7)); }

static void make_set(TestSet *set, uint64_t rows, DType dtype) {
    static const uint64_t in[] = {IN}, out[] = {OUT};
    double *x = calloc(rows * IN, sizeof *x), *y = calloc(rows * OUT, sizeof *y);
    assert_true(x && y);
    for (size_t i = 0; i < rows * IN; i++) x[i] = wave(i);
    for (size_t i = 0; i < rows * OUT; i++) y[i] = wave(3 * i + 1) * x[i / OUT * IN];
    *set = (TestSet){.rows = rows};
    set_column(set, "x", dtype, in, 1, x);
    set_column(set, "y", dtype, out, 1, y);
    free(x);
    free(y);
}

/* A run from data frames to END. */
static void run(unsigned threads, const TestSet *train, const TestSet *test, const char *source, const char *spec, const SeenCheckpoint *from,
                uint64_t stop_at, Seen *seen) {
    Trainer t;
    trainer_start(&t, threads);
    trainer_data(&t, DATA_TRAIN, train);
    if (test) trainer_data(&t, DATA_TEST, test);
    trainer_train(&t, source, spec, from);
    trainer_watch(&t, stop_at, seen);
    assert_int_equal(trainer_finish(&t), 0);
}

/* A checkpoint's tensor as doubles, by name. */
static size_t tensor(const SeenCheckpoint *c, const char *name, double *out, size_t room) {
    Bulk bulk;
    Err err = {0};
    size_t n = 0;
    assert_true(safetensors_read(c->file, c->len, &bulk, &err));
    for (size_t i = 0; i < bulk.n; i++) {
        if (strcmp(bulk.items[i].name, name) != 0) continue;
        n = bulk.items[i].count;
        assert_true(n <= room);
        for (size_t k = 0; k < n; k++) {
            float f;
            const unsigned char *at = c->file + bulk.items[i].offset;
            if (bulk.items[i].dtype == DT_F64) memcpy(&out[k], at + k * sizeof *out, sizeof *out);
            else {
                memcpy(&f, at + k * sizeof f, sizeof f);
                out[k] = f;
            }
        }
    }
    bulk_release(&bulk);
    if (!n) fail_msg("there is no tensor %s", name);
    return n;
}

static void assert_close(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance * fmax(1, fabs(b)))) fail_msg("%.17g is not %.17g", a, b);
}

/* ---- numbers ---- */

/* Ten steps of Adam on f x with mse, all rows a batch, clipped; w is [OUT, IN]. */
static void reference(double w[IN * OUT], double losses[10], double norms[10]) {
    double m[IN * OUT] = {0}, v[IN * OUT] = {0};
    for (int t = 1; t <= 10; t++) {
        double g[IN * OUT] = {0}, loss = 0, norm = 0;
        for (size_t r = 0; r < ROWS; r++)
            for (size_t j = 0; j < OUT; j++) {
                double d = -wave(3 * (r * OUT + j) + 1) * wave(r * IN);
                for (size_t i = 0; i < IN; i++) d += wave(r * IN + i) * w[j * IN + i];
                loss += d * d / (ROWS * OUT);
                for (size_t i = 0; i < IN; i++) g[j * IN + i] += 2 * d * wave(r * IN + i) / (ROWS * OUT);
            }
        for (size_t i = 0; i < IN * OUT; i++) norm += g[i] * g[i];
        norm = sqrt(norm);
        losses[t - 1] = loss;
        norms[t - 1] = norm;
        for (size_t i = 0; i < IN * OUT; i++) {
            const double d = g[i] * fmin(1, 0.25 / (norm + 1e-6));
            m[i] = 0.9 * m[i] + 0.1 * d;
            v[i] = 0.99 * v[i] + 0.01 * d * d;
            w[i] -= 0.05 * m[i] / (1 - pow(0.9, t)) / (sqrt(v[i] / (1 - pow(0.99, t))) + 1e-8);
        }
    }
}

static void test_ten_steps(void **state) {
    (void)state;
    const char *specs[] = {"f32", "f64"};
    for (int f64 = 0; f64 < 2; f64++) {
        char spec[1000];
        TestSet set;
        Seen seen;
        double w[IN * OUT], end[IN * OUT], losses[10], norms[10];
        const double tolerance = f64 ? 1e-12 : 2e-6;
        snprintf(spec, sizeof spec, "{" LINEAR_HEAD "," DATA "," MSE ",\"optimizer\":{\"adam\":{\"lr\":0.05,\"betas\":[0.9,0.99]}},\"clip_norm\":0.25,"
                 "\"batch_size\":10,\"steps\":10,\"seed\":3,\"dtype\":\"%s\",\"evaluate\":{\"every\":5,\"metrics\":[\"mae\",\"psnr\"]}}", specs[f64]);
        make_set(&set, ROWS, f64 ? DT_F64 : DT_F32);
        run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
        assert_string_equal(seen.end, "All steps are done.");
        assert_true(seen.code == ERR_NONE && !seen.stopped && seen.step == 10 && seen.steps == 10);
        assert_non_null(strstr(seen.ready, "\"parameters\":6,"));
        assert_int_equal(seen.ncheckpoints, 2);
        assert_int_equal(tensor(&seen.checkpoints[0], "bind.f", w, IN * OUT), IN * OUT);
        for (int i = 0; i < IN * OUT; i++) assert_true(fabs(w[i]) <= 1 / sqrt(3) && w[i] != 0);
        reference(w, losses, norms);
        tensor(&seen.checkpoints[1], "bind.f", end, IN * OUT);
        for (int i = 0; i < IN * OUT; i++) assert_close(end[i], w[i], tolerance);
        for (uint64_t t = 1; t <= 10; t++) {
            assert_close(seen_at(&seen, "train.loss", t), losses[t - 1], tolerance);
            assert_close(seen_at(&seen, "train.grad_norm", t), norms[t - 1], tolerance);
        }
        assert_true(seen_at(&seen, "lr", 1) == 0.05);
        double error = 0;
        for (size_t r = 0; r < ROWS; r++)
            for (size_t j = 0; j < OUT; j++) {
                double d = -wave(3 * (r * OUT + j) + 1) * wave(r * IN);
                for (size_t i = 0; i < IN; i++) d += wave(r * IN + i) * w[j * IN + i];
                error += fabs(d) / (ROWS * OUT);
            }
        assert_close(seen_at(&seen, "train.mae", 10), error, tolerance);
        assert_true(isfinite(seen_at(&seen, "train.psnr", 5)));
        seen_release(&seen);
        set_release(&set);
    }
}

/* ---- the same bits ---- */

#define DEEP_SPEC(steps, more) \
    "{" DEEP_HEAD "," TESTED "," MSE ",\"optimizer\":{\"adam\":{\"lr\":0.01}},\"clip_norm\":1,\"batch_size\":4,\"steps\":" steps ",\"seed\":11" more "}"

static void assert_same(const SeenCheckpoint *a, const SeenCheckpoint *b) {
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->file, b->file, a->len);
}

/* A checkpoint made by a stop in the middle of its step's evaluation: the run that goes on makes it first. */
static void check_owed(const TestSet *set, const TestSet *test, const char *spec, const Seen *whole) {
    Seen again;
    const SeenCheckpoint *at = &whole->checkpoints[5];
    const char *paid = "\"owes_evaluation\":\"0\"";
    unsigned char *note = memmem(at->file, at->len, paid, strlen(paid));
    assert_non_null(note);
    note[strlen(paid) - 2] = '1';
    run(1, set, test, DEEP, spec, at, UINT64_MAX, &again);
    assert_true(seen_at(whole, "test.loss", 5) == seen_at(&again, "test.loss", 5));
    assert_same(seen_last(whole), seen_last(&again));
    seen_release(&again);
}

/* From every checkpoint of a run the rest has the same bits, points included; so has the whole run again, and other seeds have others. */
static void test_resume(void **state) {
    (void)state;
    const char *spec = DEEP_SPEC("17", ",\"checkpoint\":{\"every\":1},\"evaluate\":{\"every\":5,\"rows\":7},\"schedule\":{\"cosine\":{\"lr_min\":0.001}}");
    TestSet set, test;
    make_set(&set, ROWS, DT_F32);
    make_set(&test, ROWS + 3, DT_F64);
    for (unsigned threads = 1; threads <= 3; threads++) {
        Seen whole, again;
        run(threads, &set, &test, DEEP, spec, NULL, UINT64_MAX, &whole);
        assert_string_equal(whole.end, "All steps are done.");
        assert_int_equal(whole.ncheckpoints, 18);
        run(threads, &set, &test, DEEP, spec, NULL, UINT64_MAX, &again);
        assert_same(seen_last(&whole), seen_last(&again));
        seen_release(&again);
        for (size_t from = 0; from < 18; from++) {
            run(threads, &set, &test, DEEP, spec, &whole.checkpoints[from], UINT64_MAX, &again);
            assert_int_equal(again.code, ERR_NONE);
            if (from < 17) assert_same(seen_last(&whole), seen_last(&again));
            for (uint64_t step = from + 1; step <= 17; step++) {
                assert_true(seen_at(&whole, "train.loss", step) == seen_at(&again, "train.loss", step));
                assert_true(seen_at(&whole, "lr", step) == seen_at(&again, "lr", step));
                if (step % 5 == 0 || step == 17) assert_true(seen_at(&whole, "test.loss", step) == seen_at(&again, "test.loss", step));
            }
            seen_release(&again);
        }
        if (threads == 1) check_owed(&set, &test, spec, &whole);
        seen_release(&whole);
    }
    Seen a, b;
    run(1, &set, &test, DEEP, DEEP_SPEC("5", ""), NULL, UINT64_MAX, &a);
    run(1, &set, &test, DEEP, DEEP_SPEC("5", "1"), NULL, UINT64_MAX, &b);
    assert_true(seen_at(&a, "train.loss", 1) != seen_at(&b, "train.loss", 1));
    seen_release(&a);
    seen_release(&b);
    set_release(&set);
    set_release(&test);
}

/* Enough work a step to wake the threads: again the same bits with as many, and nearly the same numbers with others. */
static void test_wide(void **state) {
    (void)state;
    enum { WIDE = 256, MANY = 96 };
    const char *source = "x : !R[256], f : !(!R[256] -o R[256]) |- f x";
    const char *spec = "{\"program\":{\"source\":\"x : !R[256], f : !(!R[256] -o R[256]) |- f x\"},\"nets\":{\"n\":{\"layers\":[{\"linear\":{\"out\":256}},"
                       "\"relu\",{\"linear\":{\"out\":256}}]}},\"bind\":{\"f\":{\"net\":\"n\"},\"x\":{\"column\":\"x\"}}," DATA "," MSE
                       ",\"optimizer\":{\"adam\":{}},\"batch_size\":64,\"steps\":6,\"checkpoint\":{\"every\":3}}";
    double *x = calloc(MANY * WIDE, sizeof *x), losses[4];
    TestSet set = {.rows = MANY};
    assert_non_null(x);
    for (size_t i = 0; i < MANY * WIDE; i++) x[i] = wave(i);
    set_column(&set, "x", DT_F32, (const uint64_t[]){WIDE}, 1, x);
    set_column(&set, "y", DT_F64, (const uint64_t[]){WIDE}, 1, x);
    for (unsigned threads = 1; threads <= 3; threads++) {
        Seen whole, again;
        run(threads, &set, NULL, source, spec, NULL, UINT64_MAX, &whole);
        assert_int_equal(whole.code, ERR_NONE);
        run(threads, &set, NULL, source, spec, &whole.checkpoints[1], UINT64_MAX, &again);
        assert_same(seen_last(&whole), seen_last(&again));
        losses[threads] = seen_at(&whole, "train.loss", 6);
        assert_close(losses[threads], losses[1], 1e-5);
        seen_release(&whole);
        seen_release(&again);
    }
    free(x);
    set_release(&set);
}

/* Stopped when it happens to be, and gone on with, again and again. */
static void test_stop(void **state) {
    (void)state;
    const char *spec = DEEP_SPEC("30000", ",\"evaluate\":{\"every\":3000}");
    TestSet set, test;
    Seen whole, part, next;
    make_set(&set, ROWS, DT_F32);
    make_set(&test, ROWS, DT_F32);
    run(2, &set, &test, DEEP, spec, NULL, UINT64_MAX, &whole);
    assert_int_equal(whole.ncheckpoints, 2);
    run(2, &set, &test, DEEP, spec, NULL, 1, &part);
    assert_true(part.stopped && part.code == ERR_NONE && part.step > 0 && part.step < 30000);
    assert_string_equal(part.end, "Stopped.");
    assert_int_equal(seen_last(&part)->step, part.step);
    for (int cuts = 1; part.step < 30000; cuts++) {
        run(2, &set, &test, DEEP, spec, seen_last(&part), cuts < 3 ? part.step + 1 : UINT64_MAX, &next);
        seen_release(&part);
        part = next;
    }
    assert_same(seen_last(&whole), seen_last(&part));
    seen_release(&part);
    run(2, &set, &test, DEEP, spec, NULL, 0, &part); /* before the first step, or soon */
    assert_true(part.stopped && part.checkpoints[0].step == 0);
    seen_release(&part);
    seen_release(&whole);
    set_release(&set);
    set_release(&test);
}

/* ---- how runs end ---- */

#define SMALL(head, more) "{" head "," DATA "," MSE ",\"batch_size\":5" more "}"

/* Bce of an output that is no probability. */
static void test_no_probability(void **state) {
    (void)state;
    static const char spec[] = "{" LINEAR_HEAD "," DATA ",\"loss\":{\"bce\":{\"target\":\"y\"}},\"batch_size\":1,\"steps\":2,\"optimizer\":\"sgd\"}";
    const double x[] = {1e3, 1e3, 1e3}, y[] = {0.5, 0.5};
    TestSet set = {.rows = 1};
    Seen seen;
    set_column(&set, "x", DT_F64, (const uint64_t[]){3}, 1, x);
    set_column(&set, "y", DT_F64, (const uint64_t[]){2}, 1, y);
    run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_nonfinite);
    assert_string_equal(seen.end, "The loss (bce takes an output from 0 to 1) is not finite at step 1.");
    seen_release(&seen);
    set_release(&set);
}

static void test_nonfinite(void **state) {
    (void)state;
    TestSet set;
    Seen seen;
    double w[IN * OUT];
    make_set(&set, ROWS, DT_F64);
    run(1, &set, NULL, LINEAR, SMALL(LINEAR_HEAD, ",\"steps\":9,\"optimizer\":{\"sgd\":{\"lr\":1e200}},\"dtype\":\"f64\""), NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_nonfinite);
    assert_string_equal(seen.end, "The loss is not finite at step 2.");
    assert_int_equal(seen_last(&seen)->step, 1); /* the weights before */
    tensor(seen_last(&seen), "bind.f", w, IN * OUT);
    assert_true(isfinite(w[0]));
    seen_release(&seen);
    set_release(&set);
    /* a loss in range, a gradient beyond it */
    const double x[] = {1e30, 0, 0, 1e30, 0, 0}, y[] = {1e15, 0, 1e15, 0};
    set = (TestSet){.rows = 2};
    set_column(&set, "x", DT_F64, (const uint64_t[]){3}, 1, x);
    set_column(&set, "y", DT_F64, (const uint64_t[]){2}, 1, y);
    const char *zeros = "{\"program\":{\"source\":\"" LINEAR "\"},\"bind\":{\"f\":{\"weights\":{\"init\":\"zeros\"}},\"x\":{\"column\":\"x\"}}," DATA "," MSE
                        ",\"batch_size\":2,\"steps\":3,\"optimizer\":{\"sgd\":{}}%s}";
    char spec[1000];
    snprintf(spec, sizeof spec, zeros, "");
    run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
    assert_string_equal(seen.end, "The gradient of \"bind.f\" is not finite at step 1.");
    seen_release(&seen);
    snprintf(spec, sizeof spec, zeros, ",\"on_nonfinite\":\"skip\"");
    run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_nonfinite); /* for nothing was trained */
    assert_string_equal(seen.end, "The gradient of \"bind.f\" is not finite at step 3, the last, and all before it were skipped: nothing was trained.");
    assert_string_equal(seen.logs, "The gradient of \"bind.f\" is not finite at step 1: no update.\n"); /* said once */
    assert_int_equal(seen.npoints, 2);
    assert_true(seen_at(&seen, "train.skipped", 1) == 1 && seen_at(&seen, "train.skipped", 2) == 2);
    tensor(seen_last(&seen), "bind.f", w, IN * OUT);
    for (int i = 0; i < IN * OUT; i++) assert_true(w[i] == 0);
    seen_release(&seen);
    set_release(&set);
}

/* A bad row is left out, the others train; Adam's count goes on from where it was. */
static void test_skip(void **state) {
    (void)state;
    double x[] = {1, 2, 3, NAN, 1, 1, 2, 1, 0}, y[] = {1, 0, 0, 1, 1, 1}, w[IN * OUT], v[IN * OUT];
    TestSet set = {.rows = 3};
    Seen seen;
    set_column(&set, "x", DT_F64, (const uint64_t[]){3}, 1, x);
    set_column(&set, "y", DT_F64, (const uint64_t[]){2}, 1, y);
    const char *spec = "{" LINEAR_HEAD "," DATA "," MSE ",\"batch_size\":1,\"epochs\":4,\"optimizer\":{\"adamw\":{}},\"on_nonfinite\":\"skip\"}";
    run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.steps, 12);
    size_t losses = 0, skipped = 0;
    for (size_t i = 0; i < seen.npoints; i++) {
        losses += !strcmp(seen.points[i].key, "train.loss");
        if (!strcmp(seen.points[i].key, "train.skipped")) assert_true(seen.points[i].value == (double)++skipped);
    }
    assert_int_equal(losses, 8);
    assert_int_equal(skipped, 4);
    assert_non_null(strstr(seen.logs, "The column \"x\" in this batch is not finite at step"));
    tensor(seen_last(&seen), "bind.f", w, IN * OUT);
    tensor(seen_last(&seen), "optimizer.v.bind.f", v, IN * OUT);
    for (int i = 0; i < IN * OUT; i++) assert_true(isfinite(w[i]) && isfinite(v[i]));
    char note[20];
    assert_true(safetensors_note(seen_last(&seen)->file, seen_last(&seen)->len, "updates", note, sizeof note));
    assert_string_equal(note, "8");
    assert_true(safetensors_note(seen_last(&seen)->file, seen_last(&seen)->len, "skipped", note, sizeof note));
    assert_string_equal(note, "4");
    seen_release(&seen);
    set_release(&set);
}

/* What is skipped without an end fails; a run that is taken up in between goes on counting, and fails at the same step. */
static void test_skip_ends(void **state) {
    (void)state;
    double x[] = {1, 2, 3}, y[] = {1, INFINITY};
    TestSet set = {.rows = 1};
    Seen seen, part;
    set_column(&set, "x", DT_F64, (const uint64_t[]){3}, 1, x);
    set_column(&set, "y", DT_F64, (const uint64_t[]){2}, 1, y);
    const char *spec = "{" LINEAR_HEAD "," DATA "," MSE ",\"batch_size\":1,\"steps\":1000000000,\"optimizer\":\"sgd\",\"on_nonfinite\":\"skip\"}";
    const char *end = "The column \"y\" in this batch is not finite at step 1000, and 999 steps before it were skipped already.";
    run(1, &set, NULL, LINEAR, spec, NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_nonfinite);
    assert_string_equal(seen.end, end);
    assert_int_equal(seen_last(&seen)->step, 999);
    run(1, &set, NULL, LINEAR, spec, seen_last(&seen), UINT64_MAX, &part);
    assert_int_equal(part.code, ERR_nonfinite);
    assert_string_equal(part.end, end);
    seen_release(&part);
    seen_release(&seen);
    set_release(&set);
}

/* Weights of an earlier run, frozen: they stay what they were while the net behind them learns. */
static void test_earlier(void **state) {
    (void)state;
    const char *spec = "{\"program\":{\"source\":\"" DEEP "\"},\"nets\":{\"n\":{\"layers\":[{\"linear\":{\"out\":2}}]}},\"bind\":{\"g\":{\"net\":\"n\"},"
                       "\"x\":{\"column\":\"x\"},\"f\":{\"weights\":{\"run\":\"r-1\",\"name\":\"bind.f\"},\"train\":false}}," DATA "," MSE
                       ",\"batch_size\":5,\"steps\":4,\"optimizer\":{\"adam\":{}}}";
    TestSet set;
    Seen seen;
    double before[IN * OUT], after[IN * OUT], bias[2][2];
    make_set(&set, ROWS, DT_F64);
    run(1, &set, NULL, LINEAR, SMALL(LINEAR_HEAD, ",\"steps\":2,\"optimizer\":{\"sgd\":{}},\"dtype\":\"f64\""), NULL, UINT64_MAX, &seen);
    const SeenCheckpoint *earlier = seen_last(&seen);
    tensor(earlier, "bind.f", before, IN * OUT);
    for (int there = 0; there < 2; there++) {
        Trainer t;
        Seen next;
        trainer_start(&t, 1);
        trainer_data(&t, DATA_TRAIN, &set);
        if (there) trainer_data(&t, DATA_WEIGHTS, &(TestSet){.file = {.data = earlier->file, .len = earlier->len}});
        trainer_train(&t, DEEP, spec, NULL);
        trainer_watch(&t, UINT64_MAX, &next);
        assert_int_equal(trainer_finish(&t), 0);
        assert_int_equal(next.code, there ? ERR_NONE : ERR_internal);
        if (there) {
            tensor(seen_last(&next), "bind.f", after, IN * OUT);
            for (int i = 0; i < IN * OUT; i++) assert_true(after[i] == (float)before[i]);
            tensor(&next.checkpoints[0], "nets.n.0.bias", bias[0], 2);
            tensor(seen_last(&next), "nets.n.0.bias", bias[1], 2);
            assert_true(bias[0][0] != bias[1][0]);
        }
        seen_release(&next);
    }
    seen_release(&seen);
    set_release(&set);
}

static void test_refused(void **state) {
    (void)state;
    TestSet set, small;
    Seen seen, other;
    make_set(&set, ROWS, DT_F32);
    make_set(&small, 4, DT_F32);
    const char *good = SMALL(LINEAR_HEAD, ",\"steps\":3,\"optimizer\":{\"sgd\":{\"momentum\":0.9}}");
    run(1, &set, NULL, LINEAR, good, NULL, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_NONE);
    /* another specification: a fork, whose optimizer begins afresh */
    run(1, &set, NULL, LINEAR, SMALL(LINEAR_HEAD, ",\"steps\":5,\"optimizer\":{\"adam\":{}}"), seen_last(&seen), UINT64_MAX, &other);
    assert_true(other.code == ERR_NONE && strstr(other.logs, "begins afresh") && other.points[0].step == 4);
    seen_release(&other);
    run(1, &set, NULL, LINEAR, SMALL(LINEAR_HEAD, ",\"steps\":2,\"optimizer\":{\"sgd\":{}}"), seen_last(&seen), UINT64_MAX, &other);
    assert_int_equal(other.code, ERR_bad_run);
    assert_string_equal(other.end, "The checkpoint is of step 3, and the run has only 2.");
    seen_release(&other);
    run(1, &set, NULL, DEEP, SMALL(DEEP_HEAD, ",\"steps\":9,\"optimizer\":{\"sgd\":{}}"), seen_last(&seen), UINT64_MAX, &other);
    assert_int_equal(other.code, ERR_bad_run);
    assert_string_equal(other.end, "The checkpoint has no tensor \"nets.n.0.bias\" of this shape and dtype.");
    seen_release(&other);
    seen.checkpoints[1].file[9] ^= 0x40;
    run(1, &set, NULL, LINEAR, good, seen_last(&seen), UINT64_MAX, &other);
    assert_int_equal(other.code, ERR_bad_run);
    seen_release(&other);
    run(1, &small, NULL, LINEAR, good, NULL, UINT64_MAX, &other);
    assert_int_equal(other.code, ERR_bad_run);
    seen_release(&other);
    run(1, &set, NULL, LINEAR, SMALL(LINEAR_HEAD, ",\"steps\":3,\"optimizer\":{\"sgd\":{\"lr\":-1}}"), NULL, UINT64_MAX, &other);
    assert_int_equal(other.code, ERR_bad_run);
    assert_non_null(strstr(other.end, "/optimizer/sgd/lr: "));
    seen_release(&other);
    seen_release(&seen);
    set_release(&set);
    set_release(&small);
}

/* What has no place in a run ends the worker, with exit code 1. */
static void test_malformed(void **state) {
    (void)state;
    const char *spec = SMALL(LINEAR_HEAD, ",\"steps\":100000000,\"optimizer\":{\"sgd\":{}}");
    TestSet set;
    Buf rubbish;
    make_set(&set, ROWS, DT_F32);
    buf_init(&rubbish);
    buf_puts(&rubbish, "x");
    for (int what = 0; what < 5; what++) {
        Trainer t;
        Frame frame;
        trainer_start(&t, 1);
        if (what == 0) assert_int_equal(wire_send(t.sock, FRAME_data, 0, &rubbish, -1), 0);
        if (what == 1) assert_int_equal(wire_send(t.sock, FRAME_train, 0, &rubbish, -1), 0);
        if (what == 2) assert_int_equal(wire_send(t.sock, FRAME_stop, 0, &rubbish, -1), 0);
        if (what == 3) assert_int_equal(wire_send(t.sock, FRAME_link, 0, &rubbish, -1), 0);
        if (what == 4) {
            trainer_data(&t, DATA_TRAIN, &set);
            trainer_train(&t, LINEAR, spec, NULL);
            assert_int_equal(wire_recv(t.sock, &frame), 1);
            frame_release(&frame);
            assert_int_equal(wire_send(t.sock, FRAME_load, 0, &rubbish, -1), 0);
        }
        while (wire_recv(t.sock, &frame) == 1) frame_release(&frame);
        assert_int_equal(trainer_finish(&t), 1);
    }
    /* a daemon that goes away ends it quietly; a ping is answered; no data is an error of the run alone */
    Trainer t;
    Frame frame;
    Seen seen;
    trainer_start(&t, 1);
    trainer_train(&t, LINEAR, spec, NULL);
    trainer_watch(&t, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_internal);
    seen_release(&seen);
    trainer_data(&t, DATA_TRAIN, &set);
    trainer_train(&t, LINEAR, spec, NULL);
    assert_int_equal(wire_send(t.sock, FRAME_ping, 77, NULL, -1), 0);
    do {
        assert_int_equal(wire_recv(t.sock, &frame), 1);
        frame_release(&frame);
    } while (frame.type != FRAME_pong);
    assert_int_equal(frame.id, 77);
    assert_int_equal(trainer_finish(&t), 0);
    buf_release(&rubbish);
    set_release(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_steps), cmocka_unit_test(test_resume),  cmocka_unit_test(test_wide),
        cmocka_unit_test(test_stop),      cmocka_unit_test(test_nonfinite), cmocka_unit_test(test_no_probability),
        cmocka_unit_test(test_skip),      cmocka_unit_test(test_skip_ends), cmocka_unit_test(test_earlier),   cmocka_unit_test(test_refused), cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
