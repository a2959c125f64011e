#include "server/http/shm_pool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Of what is kept together; about a third of it is memory in use (body.c, with_results). */
#define MOST_BYTES ((size_t)64 << 20)
#define IDLE_NS ((int64_t)1000000000)

/* From here on the loop would be held up for milliseconds. */
#define LARGE_BYTES ((size_t)4 << 20)

typedef struct {
    Area area;
    Task task;
} Discard;

/* Emptied before it is unmapped: unmapping locks the address space for as long as there are pages to take, and the loop would wait for that lock. */
static void release(void *arg) {
    Discard *d = arg;
    fallocate(d->area.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)d->area.size);
    area_release(&d->area);
}

void shm_pool_discard(ShmPool *pool, Area *area) {
    Discard *d = pool->tasks && area->size >= LARGE_BYTES ? malloc(sizeof *d) : NULL;
    if (d) {
        *d = (Discard){.area = *area, .task = {.work = release, .done = free, .arg = d}};
        tasks_add(pool->tasks, &d->task);
    } else {
        area_release(area);
    }
    *area = (Area){.fd = -1};
}

static void let_go(void *arg) {
    ShmPool *pool = arg;
    for (size_t i = 0; i < pool->n; i++) shm_pool_discard(pool, &pool->kept[i]);
    pool->n = pool->bytes = 0;
}

void shm_pool_init(ShmPool *pool, Loop *loop, Tasks *tasks, int most_fd) {
    *pool = (ShmPool){.loop = loop, .tasks = tasks, .most_fd = most_fd, .idle = {.fire = let_go, .arg = pool}};
}

void shm_pool_release(ShmPool *pool) {
    let_go(pool);
    if (pool->loop) loop_untimer(pool->loop, &pool->idle);
}

/* The kernel gives the lowest descriptor that is free: a high one says that all below are taken. */
bool shm_pool_admits(const ShmPool *pool, int fd) {
    if (!pool || !pool->most_fd || fd < pool->most_fd) return true;
    errno = EMFILE;
    return false;
}

bool shm_pool_make(const ShmPool *pool, size_t size, Area *out) {
    if (!area_create(out, size)) return false;
    if (shm_pool_admits(pool, out->fd)) return true;
    area_release(out);
    errno = EMFILE;
    return false;
}

bool shm_pool_take(ShmPool *pool, size_t size, Area *out) {
    for (size_t i = pool->n; i--;) {
        if (pool->kept[i].size < size || pool->kept[i].size / 4 > size) continue;
        *out = pool->kept[i];
        pool->kept[i] = pool->kept[--pool->n];
        pool->bytes -= out->size;
        return true;
    }
    return shm_pool_make(pool, size, out);
}

void shm_pool_give(ShmPool *pool, Area *area) {
    if (pool->n == SHM_POOL_KEPT || area->size > MOST_BYTES - pool->bytes) {
        shm_pool_discard(pool, area);
        return;
    }
    pool->kept[pool->n++] = *area;
    pool->bytes += area->size;
    *area = (Area){.fd = -1};
    loop_timer(pool->loop, &pool->idle, loop_now() + IDLE_NS);
}
