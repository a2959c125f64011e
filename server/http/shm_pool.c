#include "server/http/shm_pool.h"

/* Of what is kept together; about a third of it is memory in use (body.c, with_results). */
#define MOST_BYTES ((size_t)64 << 20)
#define IDLE_NS ((int64_t)1000000000)

static void let_go(void *arg) {
    Areas *areas = arg;
    for (size_t i = 0; i < areas->n; i++) area_release(&areas->kept[i]);
    areas->n = areas->bytes = 0;
}

void areas_init(Areas *areas, Loop *loop) { *areas = (Areas){.loop = loop, .idle = {.fire = let_go, .arg = areas}}; }

void areas_release(Areas *areas) {
    let_go(areas);
    if (areas->loop) loop_untimer(areas->loop, &areas->idle);
}

bool areas_take(Areas *areas, size_t size, Area *out) {
    for (size_t i = areas->n; i--;) {
        if (areas->kept[i].size < size || areas->kept[i].size / 4 > size) continue;
        *out = areas->kept[i];
        areas->kept[i] = areas->kept[--areas->n];
        areas->bytes -= out->size;
        return true;
    }
    return area_create(out, size);
}

void areas_give(Areas *areas, Area *area) {
    if (areas->n == AREAS_KEPT || area->size > MOST_BYTES - areas->bytes) {
        area_release(area);
        return;
    }
    areas->kept[areas->n++] = *area;
    areas->bytes += area->size;
    *area = (Area){.fd = -1};
    loop_timer(areas->loop, &areas->idle, loop_now() + IDLE_NS);
}
