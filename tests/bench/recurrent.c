/* recurrent WORKER THREADS ROUNDS: a linear recurrent neuron whose step and base come from outside, and its gradient, in one worker,
 * beside raw sgemm on as many threads. Prints {"core", "forward", "forward_trip", "gradient", "gradient_trip", "sgemm"}: GFLOP/s by round.
 * From the FEWEST-th round on, the first that ends after ENOUGH seconds is the last.
 *
 * An operation counted is one that the mathematics needs: STEPS products [ROWS,N]·[N,N] forward, three times as many with the gradient
 * of everything (the states, their cotangents, the weights'). sgemm does the STEPS products. The batch is the same PERIOD rows again and
 * again, so that a reference in double over PERIOD rows checks every number of the answer. */
#include "tests/bench/peer.h"
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 4096, PERIOD = 16, N = 256, COUNT = 64, STEPS = COUNT - 1, MOST_ROUNDS = 99, FEWEST = 3, ENOUGH = 60, AREA = 64 << 20 };
#define SOURCE "b : R[256], n : N[64], s : !(R[256] -o R[256]) |- iter {b | y -> s y} (n)"
#define STEP_FLOPS (2.0 * ROWS * N * N * STEPS)

/* One period, in double. bars: of base, count and step. */
typedef struct {
    double states[COUNT][PERIOD][N], y[PERIOD][N], base_bar[PERIOD][N], count_bar[PERIOD][COUNT], step_bar[N][N];
} Reference;

typedef struct {
    float *base, *count, *step, *cotangent;             /* one period's, N×N for the step */
    const float *y, *base_bar, *count_bar, *step_bar; /* the worker's, all rows; NULL: not asked for */
} Tensors;

static void refer_forward(Reference *ref, const Tensors *t) {
    for (size_t r = 0; r < PERIOD; r++)
        for (size_t e = 0; e < N; e++) ref->states[0][r][e] = t->base[r * N + e];
    for (size_t i = 0; i < COUNT; i++)
        for (size_t r = 0; r < PERIOD; r++)
            for (size_t o = 0; o < N; o++) {
                ref->y[r][o] += t->count[r * COUNT + i] * ref->states[i][r][o];
                double sum = 0;
                for (size_t e = 0; e < N; e++) sum += t->step[o * N + e] * ref->states[i][r][e];
                if (i + 1 < COUNT) ref->states[i + 1][r][o] = sum;
            }
}

/* s̄ᵢ = nᵢ·ȳ + stepᵀ·s̄ᵢ₊₁;  the step's is Σᵢ s̄ᵢ₊₁ ⊗ sᵢ, the count's ȳ·sᵢ, the base's s̄₀ */
static void refer_backward(Reference *ref, const Tensors *t) {
    for (size_t r = 0; r < PERIOD; r++) {
        const float *c = t->cotangent + r * N;
        double bar[N] = {0}, next[N];
        for (size_t i = COUNT; i-- > 0;) {
            for (size_t e = 0; e < N; e++) next[e] = t->count[r * COUNT + i] * c[e];
            for (size_t o = 0; o < N; o++) {
                ref->count_bar[r][i] += c[o] * ref->states[i][r][o];
                for (size_t e = 0; e < N; e++) {
                    next[e] += t->step[o * N + e] * bar[o];
                    ref->step_bar[o][e] += ROWS / PERIOD * bar[o] * ref->states[i][r][e];
                }
            }
            memcpy(bar, next, sizeof bar);
        }
        memcpy(ref->base_bar[r], bar, sizeof bar);
    }
}

/* Row r of the answer is row r % period of the reference, within what sums of this length in f32 allow. */
static void expect(const char *what, const float *got, const double *want, size_t rows, size_t period, size_t n) {
    double scale = 0;
    for (size_t i = 0; i < period * n; i++) scale = fmax(scale, fabs(want[i]));
    for (size_t r = 0; got && r < rows; r++)
        for (size_t e = 0; e < n; e++)
            if (!(fabs(got[r * n + e] - want[r % period * n + e]) < 1e-3 * scale))
                die("%s: %g instead of %g at row %zu, %zu", what, got[r * n + e], want[r % period * n + e], r, e);
}

static void check(const Reference *ref, const Tensors *t) {
    expect("output", t->y, ref->y[0], ROWS, PERIOD, N);
    expect("gradient of the base", t->base_bar, ref->base_bar[0], ROWS, PERIOD, N);
    expect("gradient of the count", t->count_bar, ref->count_bar[0], ROWS, PERIOD, COUNT);
    expect("gradient of the step", t->step_bar, ref->step_bar[0], 1, 1, N * N);
}

static float *random_tensor(size_t n, float scale, uint64_t *seed) {
    float *data = malloc(n * sizeof *data);
    if (!data) die("memory is short");
    for (size_t i = 0; i < n; i++) data[i] = scale * draw_real(seed);
    return data;
}

static void fill(float *to, const float *period, size_t n) {
    for (size_t r = 0; r < ROWS; r += PERIOD) memcpy(to + r * n, period, PERIOD * n * sizeof *to);
}

static void make_job(Job *job, const Graph *g, uint64_t key, Tensors *t, bool gradient) {
    job_init(job, g, key, ROWS, AREA);
    fill(job_input(job, SLOT_INPUT, 0, true), t->base, N);
    fill(job_input(job, SLOT_INPUT, 1, true), t->count, COUNT);
    memcpy(job_input(job, SLOT_INPUT, 2, false), t->step, sizeof(float) * N * N);
    if (gradient) fill(job_input(job, SLOT_COTANGENT, 0, true), t->cotangent, N);
    t->y = job_result(job, OUT_VALUE, 0, true);
    t->base_bar = gradient ? job_result(job, OUT_GRAD_INPUT, 0, true) : NULL;
    t->count_bar = gradient ? job_result(job, OUT_GRAD_INPUT, 1, true) : NULL;
    t->step_bar = gradient ? job_result(job, OUT_GRAD_INPUT, 2, false) : NULL;
}

static double time_sgemm(const Tensors *t, float *ping, float *pong) {
    double began = seconds_now();
    for (int i = 0; i < STEPS; i++) {
        const float *from = i % 2 ? pong : ping;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ROWS, N, N, 1, from, N, t->step, N, 0, i % 2 ? ping : pong, N);
    }
    return STEP_FLOPS / (seconds_now() - began) / 1e9;
}

typedef struct {
    double forward[MOST_ROUNDS], forward_trip[MOST_ROUNDS], gradient[MOST_ROUNDS], gradient_trip[MOST_ROUNDS], sgemm[MOST_ROUNDS];
} Samples;

/* Returns how many. */
static int take_rounds(Peer *p, const Job jobs[2], const Tensors *t, int rounds, Samples *out) {
    float *ping = calloc((size_t)ROWS * N, sizeof *ping), *pong = calloc((size_t)ROWS * N, sizeof *pong);
    if (!ping || !pong) die("memory is short");
    fill(ping, t->base, N);
    time_sgemm(t, ping, pong); /* threads and pages come into being */
    double began = seconds_now();
    int r = 0;
    for (; r < rounds && (r < FEWEST || seconds_now() - began < ENOUGH); r++) {
        settle();
        Took took = peer_run(p, &jobs[0]);
        out->forward[r] = STEP_FLOPS / took.exec / 1e9, out->forward_trip[r] = STEP_FLOPS / took.trip / 1e9;
        settle();
        out->sgemm[r] = time_sgemm(t, ping, pong);
        settle();
        took = peer_run(p, &jobs[1]);
        out->gradient[r] = 3 * STEP_FLOPS / took.exec / 1e9, out->gradient_trip[r] = 3 * STEP_FLOPS / took.trip / 1e9;
    }
    free(ping), free(pong);
    return r;
}

static void print_all(const Peer *p, const Samples *s, int rounds) {
    printf("{\"core\": \"%s\", ", p->core);
    print_samples("forward", s->forward, rounds), printf(", ");
    print_samples("forward_trip", s->forward_trip, rounds), printf(", ");
    print_samples("gradient", s->gradient, rounds), printf(", ");
    print_samples("gradient_trip", s->gradient_trip, rounds), printf(", ");
    print_samples("sgemm", s->sgemm, rounds), printf("}\n");
}

/* Both sides use the same kernels. OpenBLAS reads this choice while it is loaded, so it takes a second start. */
static void choose_core(const Peer *p, char **argv) {
    if (strcmp(openblas_get_corename(), p->core) == 0) return;
    if (getenv("OPENBLAS_CORETYPE")) die("OpenBLAS does not run as %s here", p->core);
    setenv("OPENBLAS_CORETYPE", p->core, 1);
    execv("/proc/self/exe", argv);
    die("no second start");
}

int main(int argc, char **argv) {
    Peer p;
    int threads = argc == 4 ? atoi(argv[2]) : 0, rounds = argc == 4 ? atoi(argv[3]) : 0;
    if (threads < 1 || rounds < 1 || rounds > MOST_ROUNDS) return 2;
    peer_start(&p, argv[1], threads);
    choose_core(&p, argv);
    openblas_set_num_threads(threads);
    uint64_t seed = 20251124;
    Tensors t = {.base = random_tensor(PERIOD * N, 1, &seed), .count = random_tensor(PERIOD * COUNT, 1, &seed),
                 .cotangent = random_tensor(PERIOD * N, 1, &seed),
                 .step = random_tensor(N * N, sqrtf(3.0f / N), &seed)}; /* of spectral radius about 1 */
    Reference *ref = calloc(1, sizeof *ref);
    Samples *samples = calloc(1, sizeof *samples);
    if (!ref || !samples) die("memory is short");
    refer_forward(ref, &t);
    refer_backward(ref, &t);
    Graph *graphs[2];
    Job jobs[2];
    for (uint64_t d = 0; d < 2; d++) {
        graphs[d] = peer_load(&p, d + 1, SOURCE, d ? DERIVE_VJP : DERIVE_NONE);
        make_job(&jobs[d], graphs[d], d + 1, &t, d);
        peer_run(&p, &jobs[d]);
        check(ref, &t);
    }
    print_all(&p, samples, take_rounds(&p, jobs, &t, rounds, samples));
    for (int d = 0; d < 2; d++) job_release(&jobs[d]), graph_free(graphs[d]);
    free(t.base), free(t.count), free(t.step), free(t.cotangent), free(ref), free(samples);
    peer_stop(&p);
    return 0;
}
