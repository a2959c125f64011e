#include "server/workers/worker_state.h"
#include "schema/limits.h"
#include <stdlib.h>

typedef struct {
    uint64_t key, used;
    size_t bytes;
} Loaded;

void worker_state_add(WorkerState *ws, Batch *batch) {
    batch->prev = ws->last;
    batch->next = NULL;
    *(batch->prev ? &batch->prev->next : &ws->first) = batch;
    ws->last = batch;
    ws->batches++;
}

void worker_state_remove(WorkerState *ws, Batch *batch) {
    *(batch->prev ? &batch->prev->next : &ws->first) = batch->next;
    *(batch->next ? &batch->next->prev : &ws->last) = batch->prev;
    ws->batches--;
}

static Loaded *find(const WorkerState *ws, uint64_t key) { return map_get(&ws->loaded, &key, sizeof key); }

bool worker_state_has(const WorkerState *ws, uint64_t key) { return !key || find(ws, key); }

void worker_state_used(WorkerState *ws, uint64_t key) {
    Loaded *loaded = find(ws, key);
    if (loaded) loaded->used = ++ws->clock;
}

void worker_state_forget(WorkerState *ws, uint64_t key) {
    Loaded *loaded = map_remove(&ws->loaded, &key, sizeof key);
    if (loaded) ws->loaded_bytes -= loaded->bytes;
    free(loaded);
}

void worker_state_forget_all(WorkerState *ws) {
    for (size_t at = 0; ws->loaded.count; at = 0) worker_state_forget(ws, ((Loaded *)map_next(&ws->loaded, &at))->key);
}

void worker_state_release(WorkerState *ws) {
    for (Batch *batch; (batch = ws->first);) {
        worker_state_remove(ws, batch);
        job_list_clear(&batch->jobs);
        free(batch);
    }
    worker_state_forget_all(ws);
    map_release(&ws->loaded);
}

static bool drop_oldest(WorkerState *ws, uint64_t id) {
    Loaded *oldest = NULL;
    size_t at = 0;
    for (Loaded *l; (l = map_next(&ws->loaded, &at));)
        if (!oldest || l->used < oldest->used) oldest = l;
    if (!oldest) return true;
    Buf body;
    buf_init(&body);
    wire_put_drop(&body, &(DropMsg){.key = oldest->key});
    bool ok = pool_send(ws->worker, FRAME_drop, id, &body, -1);
    buf_release(&body);
    worker_state_forget(ws, oldest->key);
    return ok;
}

bool worker_state_load(WorkerState *ws, uint64_t id, uint64_t key, const void *graph, size_t len) {
    while (ws->loaded.count && (ws->loaded.count >= LIMIT_WORKER_GRAPHS || ws->loaded_bytes + len > LIMIT_WORKER_GRAPH_BYTES))
        if (!drop_oldest(ws, id)) return false;
    Loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded || !map_put(&ws->loaded, &key, sizeof key, loaded)) {
        free(loaded);
        pool_kill(ws->worker, END_MEMORY);
        return false;
    }
    *loaded = (Loaded){.key = key, .used = ++ws->clock, .bytes = len};
    ws->loaded_bytes += len;
    Buf body;
    buf_init(&body);
    wire_put_load(&body, &(LoadMsg){.key = key, .graph = graph, .graph_len = len});
    bool ok = pool_send(ws->worker, FRAME_load, id, &body, -1);
    buf_release(&body);
    return ok;
}
