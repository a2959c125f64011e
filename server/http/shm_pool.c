#include "server/http/shm_pool.h"

/* Of what is kept together; about a third of it is memory in use (body.c, with_results). */
#define MOST_BYTES ((size_t)64 << 20)
#define IDLE_NS ((int64_t)1000000000)

static void let_go(void *arg) {
    ShmPool *pool = arg;
    for (size_t i = 0; i < pool->n; i++) area_release(&pool->kept[i]);
    pool->n = pool->bytes = 0;
}

void shm_pool_init(ShmPool *pool, Loop *loop) { *pool = (ShmPool){.loop = loop, .idle = {.fire = let_go, .arg = pool}}; }

void shm_pool_release(ShmPool *pool) {
    let_go(pool);
    if (pool->loop) loop_untimer(pool->loop, &pool->idle);
}

bool shm_pool_take(ShmPool *pool, size_t size, Area *out) {
    for (size_t i = pool->n; i--;) {
        if (pool->kept[i].size < size || pool->kept[i].size / 4 > size) continue;
        *out = pool->kept[i];
        pool->kept[i] = pool->kept[--pool->n];
        pool->bytes -= out->size;
        return true;
    }
    return area_create(out, size);
}

void shm_pool_give(ShmPool *pool, Area *area) {
    if (pool->n == SHM_POOL_KEPT || area->size > MOST_BYTES - pool->bytes) {
        area_release(area);
        return;
    }
    pool->kept[pool->n++] = *area;
    pool->bytes += area->size;
    *area = (Area){.fd = -1};
    loop_timer(pool->loop, &pool->idle, loop_now() + IDLE_NS);
}
