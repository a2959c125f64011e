#include "server/data/block_sums.h"
#include "server/data/file.h"
#include <stdlib.h>
#include <string.h>

/* A block is small enough for a few rows to be looked at cheaply, and there are few enough for a row of the database. */
enum { SUM = crypto_generichash_BYTES_MIN, LEAST_BLOCK = 64 << 10, MOST_BLOCKS = 4096, PIECE = 1 << 20 };

static size_t count(const StoredContent *c) { return (size_t)((c->bytes + c->block - 1) / c->block); }

static void begin_block(BlockSummer *s) { crypto_generichash_init(&s->block, NULL, 0, SUM); }

bool block_summer_begin(BlockSummer *s, uint64_t bytes) {
    uint64_t block = LEAST_BLOCK;
    while (bytes / block >= MOST_BLOCKS) block *= 2;
    s->done = 0;
    s->sums = (StoredContent){.bytes = bytes, .block = block};
    s->sums.len = count(&s->sums) * SUM;
    s->sums.sums = malloc(s->sums.len);
    begin_block(s);
    return s->sums.sums != NULL;
}

static void end_block(BlockSummer *s) {
    crypto_generichash_final(&s->block, s->sums.sums + (s->done - 1) / s->sums.block * SUM, SUM);
    begin_block(s);
}

void block_summer_put(BlockSummer *s, const void *bytes, size_t len) {
    for (const unsigned char *at = bytes; len;) {
        const uint64_t left = s->sums.block - s->done % s->sums.block;
        const size_t n = len < left ? len : (size_t)left;
        crypto_generichash_update(&s->block, at, n);
        s->done += n;
        at += n;
        len -= n;
        if (s->done % s->sums.block == 0 || s->done == s->sums.bytes) end_block(s);
    }
}

StoredContent block_summer_take(BlockSummer *s) {
    const StoredContent taken = s->sums;
    s->sums = (StoredContent){0};
    return taken;
}

void block_summer_release(BlockSummer *s) { stored_content_release(&s->sums); }

static ErrCode sum_file(int fd, const atomic_bool *stop, BlockSummer *blocks, crypto_hash_sha256_state *whole) {
    const uint64_t bytes = blocks->sums.bytes;
    unsigned char *room = malloc(PIECE);
    ErrCode code = room ? ERR_NONE : ERR_internal;
    for (uint64_t at = 0; !code && at < bytes;) {
        const size_t n = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        code = atomic_load(stop) ? ERR_internal : file_read(fd, room, n, at) ? ERR_NONE : ERR_damaged;
        if (code) break;
        block_summer_put(blocks, room, n);
        crypto_hash_sha256_update(whole, room, n);
        at += n;
    }
    free(room);
    return code;
}

ErrCode block_sums_make(int fd, uint64_t bytes, const atomic_bool *stop, char sha256[DATASET_SHA + 1], StoredContent *out) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state whole;
    BlockSummer blocks;
    *out = (StoredContent){0};
    crypto_hash_sha256_init(&whole);
    const ErrCode code = block_summer_begin(&blocks, bytes) ? sum_file(fd, stop, &blocks, &whole) : ERR_internal;
    crypto_hash_sha256_final(&whole, digest);
    sodium_bin2hex(sha256, DATASET_SHA + 1, digest, sizeof digest);
    if (!code) *out = block_summer_take(&blocks);
    block_summer_release(&blocks);
    return code;
}

static bool holds(const StoredContent *c, int fd, uint64_t i, unsigned char *room) {
    unsigned char sum[SUM];
    const uint64_t at = i * c->block, left = c->bytes - at;
    const size_t n = left < c->block ? (size_t)left : (size_t)c->block;
    if (!file_read(fd, room, n, at)) return false;
    crypto_generichash(sum, SUM, room, n, NULL, 0);
    return memcmp(sum, c->sums + i * SUM, SUM) == 0;
}

ErrCode block_sums_hold(const StoredContent *c, int fd, uint64_t from, uint64_t len, const atomic_bool *stop) {
    if (!len) return ERR_NONE;
    if (!c->block || c->len != count(c) * SUM || from >= c->bytes || len > c->bytes - from) return ERR_damaged;
    unsigned char *room = malloc((size_t)c->block);
    ErrCode code = room ? ERR_NONE : ERR_internal;
    for (uint64_t i = from / c->block; !code && i <= (from + len - 1) / c->block; i++)
        code = atomic_load(stop) ? ERR_internal : holds(c, fd, i, room) ? ERR_NONE : ERR_damaged;
    free(room);
    return code;
}
