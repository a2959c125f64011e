#include "tests/support/rng.h"
#include "schema/base/hash.h"
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

Rng rng_new(const char *test) { return (Rng){.seed = rng_seed(test)}; }

uint64_t rng_next(Rng *rng) { return hash_random(rng->seed, rng->drawn++); }

uint32_t rng_below(Rng *rng, uint32_t n) { return (uint32_t)((rng_next(rng) >> 32) * n >> 32); }
bool rng_chance(Rng *rng, uint32_t percent) { return rng_below(rng, 100) < percent; }
double rng_real(Rng *rng) { return (double)(rng_next(rng) >> 11) / (double)(UINT64_C(1) << 52) - 1; }
