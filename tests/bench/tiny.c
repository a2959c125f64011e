/* tiny WORKER ROUNDS: small programs over many rows in a worker with one thread, beside copying the bytes they read and write.
 * Prints a line of JSON for each: {"name", "bytes", "exec", "trip", "beside"}, seconds, each entry the median of one round's runs. */
#include "tests/bench/peer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 65536, RUNS = 31, MOST_ROUNDS = 99, AREA = 64 << 20 };

typedef struct {
    const char *name, *source;
    SlotRole role;
    uint32_t inputs, sizes[2];
    void (*expect)(const float *a, const float *b, float out[2]); /* one row, by hand */
} Tiny;

static void expect_xor(const float *a, const float *b, float out[2]) {
    out[0] = a[0] * b[1] + a[1] * b[0];
    out[1] = a[0] * b[0] + a[1] * b[1];
}

static void expect_parity(const float *a, const float *b, float out[2]) {
    (void)b;
    out[0] = a[0] + a[2] + a[4] + a[6] + a[8];
    out[1] = a[1] + a[3] + a[5] + a[7] + a[9];
}

/* f true false = (f[2], f[6]) of a matrix [4,2], and so r's */
static void expect_church(const float *f, const float *r, float out[2]) {
    out[0] = f[2] * r[2];
    out[1] = f[2] * r[6] + f[6] * (r[2] + r[6]);
}

#define CHURCH "2 -o 2 -o 2"
#define SECOND "\\x:2. \\y:2. if x then y else y"
static const Tiny tinies[] = {
    {"xor", "a : 2, b : 2 |- if a then (if b then false else true) else b", SLOT_INPUT, 2, {2, 2}, expect_xor},
    {"parity", "\\n:N[10]. iter {true | y -> if y then false else true} (n)", SLOT_ARG, 1, {10}, expect_parity},
    {"church-and",
     "f : " CHURCH ", r : " CHURCH " |- (\\g:" CHURCH ". if g true false then \\h:" CHURCH ". h else \\g:" CHURCH
     ". if g true false then " SECOND " else " SECOND ") f r true false",
     SLOT_INPUT, 2, {8, 8}, expect_church},
};

static void check(const Tiny *t, float *const in[2], const float *out) {
    for (size_t r = 0; r < ROWS; r++) {
        float want[2];
        t->expect(in[0] + r * t->sizes[0], t->inputs > 1 ? in[1] + r * t->sizes[1] : NULL, want);
        for (int i = 0; i < 2; i++)
            if (!(fabsf(out[2 * r + (size_t)i] - want[i]) < 1e-4f)) die("%s: row %zu is wrong", t->name, r);
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_size);
    return v[n / 2];
}

static void time_worker(Peer *p, const Job *job, double *exec, double *trip) {
    double execs[RUNS], trips[RUNS];
    for (int i = 0; i < RUNS; i++) {
        Took took = peer_run(p, job);
        execs[i] = took.exec, trips[i] = took.trip;
    }
    *exec = median(execs, RUNS), *trip = median(trips, RUNS);
}

static double time_copy(char *to, const char *from, size_t bytes) {
    double took[RUNS];
    for (int i = 0; i < RUNS; i++) {
        double began = seconds_now();
        memcpy(to, from, bytes);
        __asm__ volatile("" ::"r"(to) : "memory"); /* the copy is wanted */
        took[i] = seconds_now() - began;
    }
    return median(took, RUNS);
}

static void run(Peer *p, const Tiny *t, uint64_t key, int rounds) {
    double exec[MOST_ROUNDS], trip[MOST_ROUNDS], beside[MOST_ROUNDS];
    float *in[2];
    size_t bytes = 2 * sizeof(float) * (size_t)ROWS;
    uint64_t seed = 20251124;
    Graph *g = peer_load(p, key, t->source, DERIVE_NONE);
    Job job;
    job_init(&job, g, key, ROWS, AREA);
    for (uint32_t i = 0; i < t->inputs; i++) {
        size_t n = (size_t)ROWS * t->sizes[i];
        in[i] = job_input(&job, t->role, i, true);
        for (size_t e = 0; e < n; e++) in[i][e] = draw_real(&seed);
        bytes += n * sizeof(float);
    }
    const float *out = job_result(&job, OUT_VALUE, 0, true);
    peer_run(p, &job);
    check(t, in, out);
    char *from = malloc(bytes), *to = malloc(bytes);
    if (!from || !to) die("memory is short");
    memset(from, 1, bytes), memset(to, 2, bytes);
    for (int r = 0; r < rounds; r++) {
        time_worker(p, &job, &exec[r], &trip[r]);
        beside[r] = time_copy(to, from, bytes);
    }
    printf("{\"name\": \"%s\", \"bytes\": %zu, ", t->name, bytes);
    print_samples("exec", exec, rounds), printf(", ");
    print_samples("trip", trip, rounds), printf(", ");
    print_samples("beside", beside, rounds), printf("}\n");
    free(from), free(to);
    job_release(&job);
    graph_free(g);
}

int main(int argc, char **argv) {
    Peer p;
    int rounds = argc == 3 ? atoi(argv[2]) : 0;
    if (rounds < 1 || rounds > MOST_ROUNDS) return 2;
    peer_start(&p, argv[1], 1);
    for (size_t i = 0; i < sizeof tinies / sizeof *tinies; i++) run(&p, &tinies[i], i + 1, rounds);
    peer_stop(&p);
    return 0;
}
