/* What a run is made of, each part against plain formulas: random numbers, schedules, optimizers, metrics, batches, checkpoints. */
#include "tests/support/graphs.h"
#include "worker/train/train_checkpoint.h"
#include "worker/train/train_feed.h"
#include "worker/train/train_metrics.h"
#include "worker/train/train_optim.h"
#include "worker/train/train_random.h"
#include "worker/train/train_schedule.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static void assert_close(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance * fmax(1, fabs(b)))) fail_msg("%.17g is not %.17g", a, b);
}

/* ---- random numbers ---- */

static void test_random(void **state) {
    (void)state;
    enum { N = 20000 };
    static uint32_t order[N], again[N];
    static bool seen[N];
    const uint64_t key = random_key(1, "order", 0);
    assert_true(key != random_key(1, "order", 1) && key != random_key(2, "order", 0) && key != random_key(1, "ordes", 0));
    random_order(key, order, N);
    random_order(key, again, N);
    assert_memory_equal(order, again, sizeof order);
    unsigned fixed = 0;
    for (uint32_t i = 0; i < N; i++) {
        assert_true(order[i] < N && !seen[order[i]]);
        seen[order[i]] = true;
        fixed += order[i] == i;
    }
    assert_true(fixed < 12); /* 1 expected */
    double sum = 0, squares = 0, least = 1, most = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double u = random_unit(key, i), z = random_normal(key, i);
        least = fmin(least, u);
        most = fmax(most, u);
        sum += z;
        squares += z * z;
    }
    assert_true(least >= 0 && least < 1e-3 && most < 1 && most > 0.999);
    assert_true(fabs(sum / N) < 0.05 && fabs(squares / N - 1) < 0.05);
}

/* Every permutation of three comes about equally often. */
static void test_order_is_fair(void **state) {
    (void)state;
    unsigned counts[27] = {0};
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        uint32_t order[3];
        random_order(random_key(7, "order", epoch), order, 3);
        counts[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    const unsigned places[] = {5, 7, 11, 15, 19, 21};
    for (int i = 0; i < 6; i++) assert_true(counts[places[i]] > 850 && counts[places[i]] < 1150);
}

/* ---- schedules ---- */

static void test_schedule(void **state) {
    (void)state;
    SpecSchedule s = {.kind = SCHEDULE_CONSTANT};
    assert_true(schedule_rate(&s, 0.5, 0, 10) == 0.5 && schedule_rate(&s, 0.5, 9, 10) == 0.5);
    s = (SpecSchedule){.kind = SCHEDULE_WARMUP, .warmup = 4};
    for (uint64_t i = 0; i < 4; i++) assert_close(schedule_rate(&s, 2, i, 10), 0.5 * (double)(i + 1), 1e-15);
    assert_true(schedule_rate(&s, 2, 4, 10) == 2);
    s = (SpecSchedule){.kind = SCHEDULE_STEP, .every = 3, .gamma = 0.1, .warmup = 2};
    assert_close(schedule_rate(&s, 1, 0, 20), 0.5, 1e-15);
    assert_close(schedule_rate(&s, 1, 4, 20), 1, 1e-15);
    assert_close(schedule_rate(&s, 1, 5, 20), 0.1, 1e-15);
    assert_close(schedule_rate(&s, 1, 8, 20), 0.01, 1e-15);
    s = (SpecSchedule){.kind = SCHEDULE_COSINE, .lr_min = 0.2};
    assert_close(schedule_rate(&s, 1, 0, 8), 1, 1e-15);
    assert_close(schedule_rate(&s, 1, 4, 8), 0.6, 1e-15);
    s.over = 4;
    assert_close(schedule_rate(&s, 1, 2, 8), 0.6, 1e-15);
    assert_close(schedule_rate(&s, 1, 7, 8), 0.2, 1e-15);
    s.warmup = 100; /* longer than the run */
    assert_close(schedule_rate(&s, 1, 7, 8), 0.08, 1e-15);
}

/* ---- optimizers ---- */

/* PyTorch's algorithm boxes, one element, one step; s: states. */
static double reference_step(const SpecOptimizer *o, double w, double g, double s[2], uint64_t t, double lr) {
    if (o->kind == OPTIMIZER_ADAMW) w -= lr * o->weight_decay * w;
    else g += o->weight_decay * w;
    if (o->kind != OPTIMIZER_SGD) {
        s[0] = o->beta1 * s[0] + (1 - o->beta1) * g;
        s[1] = o->beta2 * s[1] + (1 - o->beta2) * g * g;
        const double m = s[0] / (1 - pow(o->beta1, (double)t)), v = s[1] / (1 - pow(o->beta2, (double)t));
        return w - lr * m / (sqrt(v) + o->eps);
    }
    if (o->momentum != 0) {
        s[0] = t > 1 ? o->momentum * s[0] + (1 - o->dampening) * g : g;
        g = o->nesterov ? g + o->momentum * s[0] : s[0];
    }
    return w - lr * g;
}

enum { SIZES = 3 };
static const size_t sizes[SIZES] = {3, 40007, 16384};

typedef struct {
    Optim o;
    OptimTensor tensors[SIZES];
    void *arrays[SIZES][4];
} Fixture;

static void fixture_init(Fixture *f, const SpecOptimizer *spec, bool f64, Isa isa, unsigned threads) {
    *f = (Fixture){.o = {.spec = spec, .f64 = f64, .isa = isa, .threads = threads, .ntensors = SIZES}};
    for (int t = 0; t < SIZES; t++) {
        for (int a = 0; a < 4; a++) assert_non_null(f->arrays[t][a] = calloc(sizes[t], sizeof(double)));
        f->tensors[t] = (OptimTensor){f->arrays[t][0], f->arrays[t][1], {f->arrays[t][2], f->arrays[t][3]}, sizes[t]};
    }
    f->o.tensors = f->tensors;
    assert_true(optim_init(&f->o));
}

static void fixture_release(Fixture *f) {
    optim_release(&f->o);
    for (int t = 0; t < SIZES; t++)
        for (int a = 0; a < 4; a++) free(f->arrays[t][a]);
}

static void put(const Fixture *f, void *array, size_t i, double v) {
    if (f->o.f64) ((double *)array)[i] = v;
    else ((float *)array)[i] = (float)v;
}
static double got(const Fixture *f, const void *array, size_t i) { return f->o.f64 ? ((const double *)array)[i] : (double)((const float *)array)[i]; }

/* Gradients of step t: something smooth that depends on the weight as well. */
static double gradient(double w, size_t i, uint64_t t) { return 0.3 * w + sin((double)(i % 97) + 0.7 * (double)t); }

/* Ten steps; the norm of each step against the sum in plain order. */
static void run_ten(const SpecOptimizer *spec, bool f64, Isa isa, double tolerance) {
    Fixture f;
    fixture_init(&f, spec, f64, isa, 2);
    double *w[SIZES], (*s[SIZES])[2];
    for (int n = 0; n < SIZES; n++) {
        assert_non_null(w[n] = calloc(sizes[n], sizeof *w[n]));
        assert_non_null(s[n] = calloc(sizes[n], sizeof *s[n]));
        for (size_t i = 0; i < sizes[n]; i++) put(&f, f.arrays[n][0], i, w[n][i] = 0.01 * (double)(i % 31) - 0.1);
    }
    for (uint64_t t = 1; t <= 10; t++) {
        const double lr = 0.01 / (double)t;
        double squares = 0;
        for (int n = 0; n < SIZES; n++)
            for (size_t i = 0; i < sizes[n]; i++) {
                const double g = gradient(w[n][i], i, t);
                put(&f, f.arrays[n][1], i, g);
                squares += g * g;
                w[n][i] = reference_step(spec, w[n][i], 0.5 * g, s[n][i], t, lr);
            }
        assert_close(optim_norm(&f.o), sqrt(squares), tolerance);
        optim_step(&f.o, lr, 0.5);
    }
    for (int n = 0; n < SIZES; n++) {
        for (size_t i = 0; i < sizes[n]; i++) {
            assert_close(got(&f, f.arrays[n][0], i), w[n][i], tolerance);
            for (uint32_t k = 0; k < optim_states(spec); k++) assert_close(got(&f, f.arrays[n][2 + k], i), s[n][i][k], tolerance);
        }
        free(w[n]);
        free(s[n]);
    }
    fixture_release(&f);
}

static const SpecOptimizer optimizers[] = {
    {.kind = OPTIMIZER_SGD},
    {.kind = OPTIMIZER_SGD, .weight_decay = 0.1},
    {.kind = OPTIMIZER_SGD, .momentum = 0.9},
    {.kind = OPTIMIZER_SGD, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.05},
    {.kind = OPTIMIZER_SGD, .momentum = 0.7, .nesterov = true, .weight_decay = 0.02},
    {.kind = OPTIMIZER_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    {.kind = OPTIMIZER_ADAM, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-3, .weight_decay = 0.3},
    {.kind = OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.5},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static Isa best_isa(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) return ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return ISA_AVX2;
#endif
    return ISA_BASE;
}

static void test_optimizers(void **state) {
    (void)state;
    for (Isa isa = ISA_BASE; isa <= best_isa(); isa++)
        for (int i = 0; i < OPTIMIZERS; i++) {
            run_ten(&optimizers[i], true, isa, 1e-13);
            run_ten(&optimizers[i], false, isa, 2e-6);
        }
}

/* Neither norm nor weights know the number of threads. */
static void test_threads(void **state) {
    (void)state;
    Fixture one, many;
    fixture_init(&one, &optimizers[5], false, best_isa(), 1);
    fixture_init(&many, &optimizers[5], false, best_isa(), 3);
    Rng r = rng_new("optim threads");
    for (int t = 0; t < 3; t++) {
        for (int n = 0; n < SIZES; n++)
            for (size_t i = 0; i < sizes[n]; i++) {
                const double g = rng_real(&r);
                put(&one, one.arrays[n][1], i, g);
                put(&many, many.arrays[n][1], i, g);
            }
        const double a = optim_norm(&one.o), b = optim_norm(&many.o);
        assert_true(a == b);
        optim_step(&one.o, 0.1, 1 / a);
        optim_step(&many.o, 0.1, 1 / b);
    }
    for (int n = 0; n < SIZES; n++) assert_memory_equal(one.arrays[n][0], many.arrays[n][0], sizes[n] * sizeof(float));
    ((float *)one.arrays[1][1])[40006] = NAN;
    assert_true(isnan(optim_norm(&one.o)));
    fixture_release(&one);
    fixture_release(&many);
}

/* ---- metrics ---- */

static void test_metrics(void **state) {
    (void)state;
    const bool all[METRIC_COUNT] = {true, true, true, true};
    TrainMetrics m = {{0}, {0}};
    const float loss[] = {1, 3, 2}, value[] = {0, 1, 0.5f, 0.5f, 4, 4}, target[] = {0, 1, 1.5f, 0.5f, 7, 7};
    metrics_add(&m, all, &(MetricRows){.loss = loss, .value = value, .target = target, .rows = 3, .size = 2});
    assert_close(metrics_value(&m, METRIC_LOSS), 2, 1e-15);
    /* exact: 100 dB; peak 1, mse 0.5; no peak: left out */
    assert_close(metrics_value(&m, METRIC_PSNR), (100 + 10 * log10(1 / 0.5)) / 2, 1e-12);
    assert_close(metrics_value(&m, METRIC_ACCURACY), 1, 1e-15);
    assert_close(metrics_value(&m, METRIC_MAE), (0 + 0.5 + 3) / 3, 1e-15);
    m = (TrainMetrics){{0}, {0}};
    const double loss64[] = {1, 1, 1}, value64[] = {0.1, 0.7, 0.2, 0.5, 0.5, 0, 3, 1, 2};
    const int64_t places[] = {1, 1, 0};
    metrics_add(&m, all, &(MetricRows){.loss = loss64, .value = value64, .places = places, .rows = 3, .size = 3, .f64 = true});
    assert_close(metrics_value(&m, METRIC_ACCURACY), 2.0 / 3, 1e-15); /* of equals the first */
    assert_close(metrics_value(&m, METRIC_MAE), (0.6 / 3 + 1.0 / 3 + 5.0 / 3) / 3, 1e-15);
    m = (TrainMetrics){{0}, {0}};
    metrics_add(&m, all, &(MetricRows){.loss = loss64, .value = (double[]){0.9, 0.1, 0.8, 0.2}, .places = (int64_t[]){1, 0}, .boolean = true,
                                       .rows = 2, .size = 2, .f64 = true});
    assert_close(metrics_value(&m, METRIC_ACCURACY), 0.5, 1e-15); /* 1 is true, place 0 */
    m = (TrainMetrics){{0}, {0}};
    assert_true(isnan(metrics_value(&m, METRIC_PSNR)));
    const bool psnr[METRIC_COUNT] = {[METRIC_PSNR] = true};
    metrics_add(&m, psnr, &(MetricRows){.value = (double[]){0, 1 + 1e-9}, .target = (double[]){0, 1}, .rows = 1, .size = 2, .f64 = true});
    assert_true(metrics_value(&m, METRIC_PSNR) == 100); /* and not more */
    metrics_add(&m, psnr, &(MetricRows){.value = (double[]){0, NAN}, .target = (double[]){0, 1}, .rows = 1, .size = 2, .f64 = true});
    assert_true(isnan(metrics_value(&m, METRIC_PSNR)));
}

/* ---- batches ---- */

enum { ROWS = 11, BATCH = 4, WIDTH = 3 };

/* Columns of every dtype, none aligned: u8 [3], f32 [3], f64 [3], i64 [3], i64 [] and u8 []. */
typedef struct {
    int fd;
    DataMsg msg;
    ColumnMsg columns[6];
    Linked linked;
    LinkSlot slots[6];
} Data;

static double datum(int column, size_t row, size_t i) { return column == 4 ? (double)(row % 5) : column == 5 ? row % 2 : (double)(row * WIDTH + i); }

static void data_init(Data *d) {
    static const DType dtypes[] = {DT_U8, DT_F32, DT_F64, DT_I64, DT_I64, DT_U8};
    Buf file;
    buf_init(&file);
    buf_u8(&file, 0xEE);
    for (int c = 0; c < 6; c++) {
        const bool flat = c >= 4;
        d->columns[c] = (ColumnMsg){.name = (const unsigned char *)"abcdef" + c, .name_len = 1, .dtype = dtypes[c], .rank = !flat,
                                    .dims = {WIDTH}, .offset = file.len};
        d->slots[c] = (LinkSlot){.column = (uint32_t)c, .test_column = UINT32_MAX, .size = flat ? 5 : WIDTH, .discrete = flat, .scale = 0.5,
                                 .shift = -1};
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < (flat ? 1 : WIDTH); i++) {
                const double v = datum(c, r, i);
                const float f = (float)v;
                const int64_t n = (int64_t)v;
                if (dtypes[c] == DT_U8) buf_u8(&file, (uint8_t)v);
                if (dtypes[c] == DT_F32) buf_put(&file, &f, sizeof f);
                if (dtypes[c] == DT_F64) buf_put(&file, &v, sizeof v);
                if (dtypes[c] == DT_I64) buf_put(&file, &n, sizeof n);
            }
    }
    d->fd = memfd_create("data", MFD_CLOEXEC);
    assert_int_equal(write(d->fd, file.data, file.len), file.len);
    d->msg = (DataMsg){.kind = DATA_TRAIN, .rows = ROWS, .bytes = file.len, .ncolumns = 6, .columns = d->columns};
    d->linked = (Linked){.slots = d->slots, .nslots = 6};
    buf_release(&file);
}

static double batch_at(const Feed *f, uint32_t slot, size_t i) {
    const ExecInput in = feed_input(f, slot);
    assert_true(in.batched && in.cols == (slot >= 4 ? 1 : WIDTH));
    if (in.discrete) return (double)((const int64_t *)in.data)[i];
    return in.dtype == DT_F64 ? ((const double *)in.data)[i] : (double)((const float *)in.data)[i];
}

/* All columns of the batch's row `at` are data row `row`. */
static void check_row(const Feed *f, size_t at, size_t row) {
    for (uint32_t c = 0; c < 6; c++)
        for (size_t i = 0; i < (c >= 4 ? 1 : WIDTH); i++) {
            const double v = datum((int)c, row, i);
            assert_true(batch_at(f, c, c >= 4 ? at : at * WIDTH + i) == (c >= 4 ? v : v * 0.5 - 1));
        }
}

static void test_feed(void **state) {
    (void)state;
    Data d;
    Feed f;
    Err err = {0};
    data_init(&d);
    for (int f64 = 0; f64 < 2; f64++) {
        assert_true(feed_open(&f, d.fd, &d.msg, &d.linked, false, f64, BATCH, &err));
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            uint32_t order[ROWS];
            random_order(random_key(99, "order", epoch), order, ROWS);
            for (uint64_t b = 0; b < ROWS / BATCH; b++) { /* the short last batch is dropped */
                assert_true(feed_batch(&f, 99, epoch * (ROWS / BATCH) + b, &err));
                for (size_t r = 0; r < BATCH; r++) check_row(&f, r, order[b * BATCH + r]);
            }
        }
        assert_int_equal(feed_nonfinite(&f), UINT32_MAX);
        feed_rows(&f, 8, 3);
        for (size_t r = 0; r < 3; r++) check_row(&f, r, 8 + r);
        feed_release(&f);
    }
    d.slots[4].size = 4; /* row 4 holds 4 */
    assert_false(feed_open(&f, d.fd, &d.msg, &d.linked, false, true, BATCH, &err));
    assert_int_equal(err.code, ERR_bad_run);
    assert_non_null(strstr(err.message, "\"e\" has 4 in row 4"));
    d.slots[4].size = 5;
    err = (Err){0};
    d.msg.bytes++; /* the file is shorter */
    assert_false(feed_open(&f, d.fd, &d.msg, &d.linked, false, true, BATCH, &err));
    err = (Err){0};
    d.msg.bytes--;
    assert_false(feed_open(&f, d.fd, &d.msg, &d.linked, true, true, BATCH, &err)); /* no test column */
    close(d.fd);
}

/* ---- checkpoints ---- */

typedef struct {
    Checkpoint c;
    CheckpointTensor tensors[3];
    float a[6], b[2], m[6];
} Saved;

static void saved_init(Saved *s, const char *spec, float first) {
    static const uint32_t shape[] = {2, 3}, flat[] = {2};
    *s = (Saved){.tensors = {{"bind.a", shape, 2, NULL, 6, false}, {"b", flat, 1, NULL, 2, false}, {"optimizer.m.bind.a", shape, 2, NULL, 6, true}}};
    for (int i = 0; i < 6; i++) s->a[i] = first + (float)i;
    s->m[5] = first;
    s->tensors[0].data = s->a;
    s->tensors[1].data = s->b;
    s->tensors[2].data = s->m;
    s->c = (Checkpoint){.tensors = s->tensors, .n = 3, .step = 12, .updates = 11, .owes = first > 0};
    strcpy(s->c.spec, spec);
}

static bool read_back(Saved *into, const Area *file, bool *fresh, Err *err) {
    *err = (Err){0};
    return checkpoint_read(&into->c, file->data, file->size, fresh, err);
}

static void test_checkpoint(void **state) {
    (void)state;
    Saved s, t;
    Area file;
    Err err = {0};
    bool fresh;
    static const uint32_t turned[] = {3, 2};
    saved_init(&s, "abc", 1);
    assert_true(checkpoint_write(&s.c, &file, &err));
    saved_init(&t, "abc", 0);
    assert_true(read_back(&t, &file, &fresh, &err));
    assert_true(!fresh && t.c.step == 12 && t.c.updates == 11 && t.c.owes);
    assert_memory_equal(t.a, s.a, sizeof s.a);
    assert_memory_equal(t.m, s.m, sizeof s.m);
    /* another specification without this state: a fork */
    saved_init(&t, "abd", 0);
    t.c.n = 2;
    assert_true(read_back(&t, &file, &fresh, &err) && fresh && t.c.updates == 0);
    saved_init(&t, "abd", 5);
    t.tensors[2].name = "optimizer.momentum.bind.a";
    assert_true(read_back(&t, &file, &fresh, &err) && fresh && t.m[5] == 0 && t.a[0] == 1);
    /* what does not fit: too few, too many, another shape, another dtype, not of ours */
    for (int change = 0; change < 5; change++) {
        saved_init(&t, "abc", 0);
        if (change == 0) t.c.n = 2;
        if (change == 1) t.tensors[1].name = "c";
        if (change == 2) t.tensors[0].dims = turned;
        if (change == 3) t.c.f64 = true;
        if (change == 4) file.size -= 4;
        assert_false(read_back(&t, &file, &fresh, &err));
        assert_int_equal(err.code, ERR_bad_run);
        if (change == 4) file.size += 4;
        assert_true(t.a[0] == 0); /* nothing was taken */
    }
    double w[6];
    err = (Err){0};
    assert_true(checkpoint_weight(file.data, file.size, "bind.a", s.tensors[0].dims, 2, w, &err) && w[5] == 6);
    assert_false(checkpoint_weight(file.data, file.size, "bind.b", s.tensors[0].dims, 2, w, &err));
    area_release(&file);
}

/* A file damaged anywhere is refused or read, but never beyond its end (sanitizers watch). */
static void test_checkpoint_damaged(void **state) {
    (void)state;
    Rng r = rng_new("checkpoint");
    Saved s, t;
    Area file;
    Err err = {0};
    bool fresh;
    saved_init(&s, "abc", 1);
    assert_true(checkpoint_write(&s.c, &file, &err));
    unsigned refused = 0;
    for (int i = 0; i < 3000; i++) {
        const size_t len = rng_below(&r, 3) ? file.size : rng_below(&r, (uint32_t)file.size);
        unsigned char *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, file.data, len);
        for (uint32_t k = rng_below(&r, 4); k && len; k--) copy[rng_below(&r, (uint32_t)len)] = (unsigned char)rng_next(&r);
        saved_init(&t, "abc", 0);
        refused += !checkpoint_read(&t.c, copy, len, &fresh, &err);
        free(copy);
    }
    assert_true(refused > 1000 && refused < 3000);
    area_release(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),     cmocka_unit_test(test_order_is_fair), cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_optimizers), cmocka_unit_test(test_threads),       cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_feed),       cmocka_unit_test(test_checkpoint),    cmocka_unit_test(test_checkpoint_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
