#include "worker/train/train_random.h"
#include "schema/base/hash.h"
#include <math.h>
#include <sodium.h>
#include <string.h>

static void put_u64(unsigned char out[8], uint64_t v) {
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get_u64(const unsigned char in[8]) {
    uint64_t v = 0;
    for (int i = 8; i-- > 0;) v = v << 8 | in[i];
    return v;
}

uint64_t random_key(uint64_t seed, const char *purpose, uint64_t number) {
    unsigned char numbers[16], hash[crypto_generichash_BYTES_MIN];
    crypto_generichash_state state;
    put_u64(numbers, seed);
    put_u64(numbers + 8, number);
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, numbers, sizeof numbers);
    crypto_generichash_update(&state, (const unsigned char *)purpose, strlen(purpose));
    crypto_generichash_final(&state, hash, sizeof hash);
    return get_u64(hash);
}

double random_unit(uint64_t key, uint64_t i) { return (double)(hash_random(key, i) >> 11) * 0x1p-53; }

double random_normal(uint64_t key, uint64_t i) {
    const double radius = sqrt(-2 * log(1 - random_unit(key, 2 * i)));
    return radius * cos(6.283185307179586 * random_unit(key, 2 * i + 1));
}

void random_order(uint64_t key, uint32_t *order, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        const uint32_t j = (uint32_t)(((unsigned __int128)hash_random(key, i) * (i + (uint64_t)1)) >> 64), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
