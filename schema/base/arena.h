/* Bump allocator with a byte cap, thrown away whole.
 *
 * Ownership: everything allocated belongs to the arena and dies with arena_release.
 * Errors: when the cap is reached or malloc fails, the arena unwinds to `*on_fail` if that is set
 * (the compiler's way: see compiler/language/cx.h) and returns NULL otherwise. Memory is zeroed. */
#ifndef CAJAL_ARENA_H
#define CAJAL_ARENA_H
#include <setjmp.h>
#include <stddef.h>

typedef struct ArenaBlock ArenaBlock;
typedef struct {
    ArenaBlock *blocks; /* newest first */
    size_t used, cap;   /* bytes handed out, and the most there may be */
    size_t first;       /* bytes of the first block; 0: the usual ones */
    jmp_buf *on_fail;
} Arena;

void arena_init(Arena *arena, size_t cap);
void arena_release(Arena *arena);
/* Forgets everything, but keeps a block of the usual size for what comes next. */
void arena_reset(Arena *arena);
/* Bytes of the heap that its blocks take. */
size_t arena_held(const Arena *arena);
void *arena_alloc(Arena *arena, size_t size);
/* count * size with overflow counted as an exhausted cap. */
void *arena_array(Arena *arena, size_t count, size_t size);
/* Returns a copy of old[0..used) in room for `count`; old itself is left to the arena. */
void *arena_grow(Arena *arena, const void *old, size_t used, size_t count, size_t size);
char *arena_strndup(Arena *arena, const char *text, size_t len);
#define ARENA_NEW(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
#define ARENA_ARRAY(arena, T, n) ((T *)arena_array((arena), (n), sizeof(T)))
#endif
