/* Random numbers that a seed repeats: hash_random of schema/base/hash.h. */
#ifndef CAJAL_TESTS_RNG_H
#define CAJAL_TESTS_RNG_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t seed, drawn;
} Rng;

/* A seed for a test: $CAJAL_SEED, or from the clock; printed, so that a failure can be repeated. */
uint64_t rng_seed(const char *test);
Rng rng_new(const char *test); /* of such a seed */

uint64_t rng_next(Rng *rng);
uint32_t rng_below(Rng *rng, uint32_t n); /* 0 … n-1; n at least 1 */
bool rng_chance(Rng *rng, uint32_t percent);
double rng_real(Rng *rng); /* in [-1, 1) */
#endif
