/* Shared-memory areas kept from one binary body for the next: having the kernel make them page by page costs more than filling them.
 *
 * What is kept is bounded, and given back after a second without use. A kept area still holds what it held: who takes one writes what is
 * read of it. In the loop's thread only. */
#ifndef CAJAL_SHM_POOL_H
#define CAJAL_SHM_POOL_H
#include "schema/protocol/wire.h"
#include "server/tasks.h"

enum { SHM_POOL_KEPT = 8 };
typedef struct {
    Loop *loop;
    Tasks *tasks;    /* NULL: no threads any more */
    Area kept[SHM_POOL_KEPT];
    size_t n, bytes;
    Timer idle;
} ShmPool;

void shm_pool_init(ShmPool *pool, Loop *loop, Tasks *tasks);
void shm_pool_release(ShmPool *pool);
/* An area of at least `size` bytes. False when memory is short. */
bool shm_pool_take(ShmPool *pool, size_t size, Area *out);
/* Takes the area over. Nobody may be writing to it any more. */
void shm_pool_give(ShmPool *pool, Area *area);
/* Gives an area back to the kernel, which takes it page by page: a large one on a thread. */
void shm_pool_discard(ShmPool *pool, Area *area);
#endif
