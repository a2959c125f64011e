/* Hashes for tables and seeds, not for proof against anybody: what names contents to others is SHA-256, what guards them BLAKE2b (libsodium).
 *
 * hash_word and hash_bytes are FNV-1a (Fowler, Noll and Vo) of 64 bits: begin with HASH_START, add one thing after the other. A word larger
 * than a byte is added in one step, which mixes its upper bits less well.
 * hash_random is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): its i-th output for a seed, from 0, without
 * those before it. */
#ifndef CAJAL_HASH_H
#define CAJAL_HASH_H
#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t hash_word(uint64_t h, uint64_t word) { return (h ^ word) * UINT64_C(0x100000001b3); }
uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len);
uint64_t hash_random(uint64_t seed, uint64_t i);
#endif
