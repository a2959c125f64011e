#include "tests/support/rng.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t rng_seed(const char *test) {
    const char *given = getenv("CAJAL_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    printf("%s: CAJAL_SEED=%" PRIu64 "\n", test, seed);
    return seed;
}

Rng rng_new(const char *test) { return (Rng){rng_seed(test)}; }

uint64_t rng_next(Rng *rng) {
    uint64_t z = rng->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t rng_below(Rng *rng, uint32_t n) { return (uint32_t)((rng_next(rng) >> 32) * n >> 32); }
bool rng_chance(Rng *rng, uint32_t percent) { return rng_below(rng, 100) < percent; }
double rng_real(Rng *rng) { return (double)(rng_next(rng) >> 11) / (double)(UINT64_C(1) << 52) - 1; }
