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
    int most_fd;     /* descriptors from this one on are kept for what is under way; 0: none are */
    Timer idle;
} ShmPool;

void shm_pool_init(ShmPool *pool, Loop *loop, Tasks *tasks, int most_fd);
void shm_pool_release(ShmPool *pool);
/* An area of at least `size` bytes. False with errno (failure.h): memory or descriptors are short. */
bool shm_pool_take(ShmPool *pool, size_t size, Area *out);
/* A new one of just this size; from any thread. pool may be NULL. */
bool shm_pool_make(const ShmPool *pool, size_t size, Area *out);
/* An area that has come, its descriptor at least, may stay. False with errno. pool may be NULL. */
bool shm_pool_admits(const ShmPool *pool, int fd);
/* Takes the area over. Nobody may be writing to it any more. */
void shm_pool_give(ShmPool *pool, Area *area);
/* Gives an area back to the kernel, which takes it page by page: a large one on a thread. */
void shm_pool_discard(ShmPool *pool, Area *area);
#endif
