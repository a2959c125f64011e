/* Sums of the blocks of a content's file (StoredContent, store_data.h): a part of it can be held against what was put without reading all of it.
 *
 * Ownership: what a BlockSummer has collected is its owner's (block_summer_release). Pure but for reading the descriptor; for any thread. */
#ifndef CAJAL_BLOCK_SUMS_H
#define CAJAL_BLOCK_SUMS_H
#include "server/store/store_data.h"
#include <sodium.h>
#include <stdatomic.h>

/* Takes a file's bytes in order, once. Lies on the stack (the hash's state wants its alignment). */
typedef struct {
    StoredContent sums;
    uint64_t done;
    crypto_generichash_state block;
} BlockSummer;

/* bytes: of the whole file, at least 1. False: memory is short. */
bool block_summer_begin(BlockSummer *s, uint64_t bytes);
void block_summer_put(BlockSummer *s, const void *bytes, size_t len);
/* The sums, once all bytes are there; they are the caller's from now on. */
StoredContent block_summer_take(BlockSummer *s);
void block_summer_release(BlockSummer *s);

/* Reads a whole file of so many bytes: its sums, and its SHA-256 in hex. Errors as of the next. */
ErrCode block_sums_make(int fd, uint64_t bytes, const atomic_bool *stop, char sha256[DATASET_SHA + 1], StoredContent *out);
/* Reads the blocks that have something of `len` bytes from `from` on. ERR_damaged: they are not as they were, or cannot be read; ERR_internal: memory
 * is short, or `stop` (looked at now and then) is true. */
ErrCode block_sums_hold(const StoredContent *sums, int fd, uint64_t from, uint64_t len, const atomic_bool *stop);
#endif
