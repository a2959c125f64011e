#include "schema/base/arena.h"
#include "schema/base/heap.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ArenaBlock {
    ArenaBlock *next;
    size_t size, used;
    _Alignas(max_align_t) unsigned char data[];
};

/* Blocks double up to the largest step: beyond it little is saved, and the last block may stand nearly empty. */
enum { FIRST_BLOCK = 4096, LARGEST_STEP = 1 << 20 };

void arena_init(Arena *arena, size_t cap) { *arena = (Arena){.cap = cap}; }

void arena_release(Arena *arena) {
    for (ArenaBlock *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *arena = (Arena){.cap = arena->cap, .first = arena->first, .on_fail = arena->on_fail};
}

void arena_reset(Arena *arena) {
    ArenaBlock *kept = NULL;
    for (ArenaBlock *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        if (b->size == FIRST_BLOCK && !kept) kept = b;
        else free(b);
    }
    if (kept) *kept = (ArenaBlock){.size = FIRST_BLOCK};
    arena->blocks = kept;
    arena->used = 0;
}

size_t arena_held(const Arena *arena) {
    size_t bytes = 0;
    for (const ArenaBlock *b = arena->blocks; b; b = b->next) bytes += heap_bytes(b);
    return bytes;
}

static void *arena_fail(Arena *arena) {
    if (arena->on_fail) longjmp(*arena->on_fail, 1);
    return NULL;
}

void *arena_alloc(Arena *arena, size_t size) {
    const size_t align = _Alignof(max_align_t);
    if (size > arena->cap || arena->used > arena->cap - size) return arena_fail(arena);
    size = (size + align - 1) / align * align;
    ArenaBlock *b = arena->blocks;
    if (!b || b->size - b->used < size) {
        size_t step = b ? b->size * 2 : arena->first ? arena->first : FIRST_BLOCK;
        if (step > LARGEST_STEP) step = LARGEST_STEP;
        if (step < size) step = size;
        b = malloc(sizeof *b + step);
        if (!b) return arena_fail(arena);
        *b = (ArenaBlock){.next = arena->blocks, .size = step};
        arena->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += size;
    arena->used += size;
    return memset(p, 0, size);
}

void *arena_array(Arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return arena_fail(arena);
    return arena_alloc(arena, bytes);
}

void *arena_grow(Arena *arena, const void *old, size_t used, size_t count, size_t size) {
    void *p = arena_array(arena, count, size);
    if (p && used) memcpy(p, old, used * size);
    return p;
}

char *arena_strndup(Arena *arena, const char *text, size_t len) {
    char *p = arena_alloc(arena, len + 1);
    if (p && len) memcpy(p, text, len);
    return p;
}
