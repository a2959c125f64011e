/* Random numbers by counter: draw i of a key is a function of both, whatever was drawn before, so a run can go on at any step.
 *
 * Draws are hash_random (schema/base/hash.h) with the key as its seed. A key is BLAKE2b of (seed, purpose, number): keys are unrelated, and
 * nobody's draws depend on another's. */
#ifndef CAJAL_TRAIN_RANDOM_H
#define CAJAL_TRAIN_RANDOM_H
#include <stddef.h>
#include <stdint.h>

uint64_t random_key(uint64_t seed, const char *purpose, uint64_t number);
/* In [0, 1), 53 bits. */
double random_unit(uint64_t key, uint64_t i);
/* Standard normal (Box and Muller 1958); uses the draws 2i and 2i + 1. */
double random_normal(uint64_t key, uint64_t i);
/* A permutation of 0..n-1 (Fisher and Yates, from the end); below a bound b by the high half of draw · b, off by less than b/2⁶⁴. */
void random_order(uint64_t key, uint32_t *order, uint32_t n);
#endif
