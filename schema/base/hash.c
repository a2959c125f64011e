#include "schema/base/hash.h"

uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) h = hash_word(h, ((const unsigned char *)bytes)[i]);
    return h;
}

uint64_t hash_random(uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
