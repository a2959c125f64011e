#include "server/workers/worker_state.h"
#include "schema/limits.h"
#include <stdlib.h>

typedef struct {
    uint64_t key, used;
    size_t bytes;
} Loaded;

void desk_add(Desk *desk, Parcel *parcel) {
    parcel->prev = desk->last;
    parcel->next = NULL;
    *(parcel->prev ? &parcel->prev->next : &desk->first) = parcel;
    desk->last = parcel;
    desk->parcels++;
}

void desk_remove(Desk *desk, Parcel *parcel) {
    *(parcel->prev ? &parcel->prev->next : &desk->first) = parcel->next;
    *(parcel->next ? &parcel->next->prev : &desk->last) = parcel->prev;
    desk->parcels--;
}

static Loaded *find(const Desk *desk, uint64_t key) { return map_get(&desk->loaded, &key, sizeof key); }

bool desk_has(const Desk *desk, uint64_t key) { return !key || find(desk, key); }

void desk_used(Desk *desk, uint64_t key) {
    Loaded *loaded = find(desk, key);
    if (loaded) loaded->used = ++desk->clock;
}

void desk_forget(Desk *desk, uint64_t key) {
    Loaded *loaded = map_remove(&desk->loaded, &key, sizeof key);
    if (loaded) desk->loaded_bytes -= loaded->bytes;
    free(loaded);
}

void desk_forget_all(Desk *desk) {
    for (size_t at = 0; desk->loaded.count; at = 0) desk_forget(desk, ((Loaded *)map_next(&desk->loaded, &at))->key);
}

void desk_release(Desk *desk) {
    for (Parcel *parcel; (parcel = desk->first);) {
        desk_remove(desk, parcel);
        job_list_clear(&parcel->jobs);
        free(parcel);
    }
    desk_forget_all(desk);
    map_release(&desk->loaded);
}

static bool drop_oldest(Desk *desk, uint64_t id) {
    Loaded *oldest = NULL;
    size_t at = 0;
    for (Loaded *l; (l = map_next(&desk->loaded, &at));)
        if (!oldest || l->used < oldest->used) oldest = l;
    if (!oldest) return true;
    Buf body;
    buf_init(&body);
    wire_put_drop(&body, &(DropMsg){.key = oldest->key});
    bool ok = pool_send(desk->worker, FRAME_drop, id, &body, -1);
    buf_release(&body);
    desk_forget(desk, oldest->key);
    return ok;
}

bool desk_load(Desk *desk, uint64_t id, uint64_t key, const void *graph, size_t len) {
    while (desk->loaded.count && (desk->loaded.count >= LIMIT_WORKER_GRAPHS || desk->loaded_bytes + len > LIMIT_WORKER_GRAPH_BYTES))
        if (!drop_oldest(desk, id)) return false;
    Loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded || !map_put(&desk->loaded, &key, sizeof key, loaded)) {
        free(loaded);
        pool_kill(desk->worker, END_MEMORY);
        return false;
    }
    *loaded = (Loaded){.key = key, .used = ++desk->clock, .bytes = len};
    desk->loaded_bytes += len;
    Buf body;
    buf_init(&body);
    wire_put_load(&body, &(LoadMsg){.key = key, .graph = graph, .graph_len = len});
    bool ok = pool_send(desk->worker, FRAME_load, id, &body, -1);
    buf_release(&body);
    return ok;
}
