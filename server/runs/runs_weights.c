/* GET /runs/{id}/weights: a checkpoint's weights, without the optimizer's state. */
#include "schema/formats/safetensors.h"
#include "server/failure.h"
#include "server/http/errand.h"
#include "server/runs/run_find.h"
#include "server/runs/runfile.h"
#include "server/routes.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    Errand errand;
    char id[RUN_ID + 1];
    int64_t seq;
    bool chosen;         /* ?step=; else the newest */
    uint64_t step;
    RunCheckpoint row;   /* which is tried */
    bool any, found;
    int cause;           /* errno, when its file was not to be opened; else 0 */
    uint64_t held;
    Buf head;
    Area area;
} WeightsQuery;

static void release(void *arg) {
    WeightsQuery *w = arg;
    if (w->area.fd >= 0) area_release(&w->area);
    buf_release(&w->head);
}

static const ErrandKind kind = {.size = sizeof(WeightsQuery), .release = release};

static bool is_weight(const BulkTensor *t) { return strncmp(t->name, "optimizer.", 10) != 0; }

/* The weights' tensors to the front. */
static size_t select_weights(Bulk *bulk) {
    size_t n = 0;
    for (size_t i = 0; i < bulk->n; i++) {
        if (!is_weight(&bulk->items[i])) continue;
        BulkTensor t = bulk->items[n];
        bulk->items[n++] = bulk->items[i];
        bulk->items[i] = t;
    }
    return n;
}

static bool copy_weights(WeightsQuery *w, const Bulk *bulk, size_t n, const unsigned char *file) {
    size_t size = 0, at = 0; /* no more than the file's */
    for (size_t i = 0; i < n; i++) size += bulk->items[i].bytes;
    safetensors_put_header(&w->head, bulk->items, n);
    errno = ENOMEM;
    if (w->head.failed || !shm_pool_make(&w->errand.call->server->shm_pool, size ? size : 1, &w->area)) return failure_short_err(&w->errand.err, errno);
    for (size_t i = 0; i < n; i++) {
        memcpy((char *)w->area.data + at, file + bulk->items[i].offset, bulk->items[i].bytes);
        at += bulk->items[i].bytes;
    }
    return true;
}

static bool read_file(WeightsQuery *w, int fd, const RunCheckpoint *c) {
    Bulk bulk = {0};
    void *file = mmap(NULL, c->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED) return err_set(&w->errand.err, ERR_internal, "The checkpoint cannot be read.");
    bool ok = safetensors_read(file, c->bytes, &bulk, &w->errand.err) && bulk_all_plain(&bulk, &w->errand.err);
    if (!ok) w->errand.err.code = ERR_internal;
    ok = ok && copy_weights(w, &bulk, select_weights(&bulk), file);
    bulk_release(&bulk);
    munmap(file, c->bytes);
    return ok;
}

static bool read_weights(void *arg) {
    WeightsQuery *w = arg;
    int fd = runfile_open(w->errand.call->server->config->data, w->id, &w->row);
    w->cause = fd >= 0 ? 0 : errno;
    if (w->cause == EBADMSG) store_run_mark(w->errand.call->server->store, w->seq, w->row.step, true);
    if (w->cause == EBADMSG || w->cause == ENOENT) return true;
    if (w->cause) return failure_short_err(&w->errand.err, w->cause);
    const bool ok = read_file(w, fd, &w->row);
    close(fd);
    return ok;
}

/* ---- in the loop ---- */

static void note_row(void *arg, const RunCheckpoint *c) {
    WeightsQuery *w = arg;
    w->any = true;
    if (w->chosen && c->step != w->step) return;
    w->row = *c;
    w->found = true;
}

/* The answer's bytes, at most. */
static bool hold(WeightsQuery *w) {
    const uint64_t more = w->row.bytes > w->held ? w->row.bytes - w->held : 0;
    w->held += more;
    return call_hold(w->errand.call, more, &w->errand.err);
}

static void weights_read(void *arg);

/* Finds the row to try. */
static void try(WeightsQuery *w) {
    Server *server = w->errand.call->server;
    w->any = w->found = false;
    ErrCode code = store_run_checkpoints(server->store, w->seq, note_row, w);
    if (code) errand_fail(w, code, "The database does not answer.");
    else if (!w->any) errand_fail(w, ERR_conflict, "The run has no checkpoint yet.");
    else if (!w->found) errand_fail(w, ERR_not_found, "The run has no checkpoint of step %llu.", (unsigned long long)w->step);
    else if (!hold(w)) errand_refuse(w);
    else errand_work(w, server->tasks, read_weights, weights_read);
}

/* A file that was not to be opened is damaged, if its row is still there; else it was pruned at that moment, and there is a newer one. Never an older
 * one in its place: these would be other weights. */
static void try_another(WeightsQuery *w) {
    RunCheckpoint row;
    const unsigned long long step = w->row.step;
    if (store_run_checkpoint(w->errand.call->server->store, w->id, true, w->row.step, &row) != ERR_NONE) try(w);
    else if (w->chosen) errand_fail(w, ERR_damaged, "The checkpoint of step %llu is damaged.", step);
    else errand_fail(w, ERR_damaged, "The newest checkpoint, of step %llu, is damaged; ?step= asks for another.", step);
}

static void weights_read(void *arg) {
    WeightsQuery *w = arg;
    if (w->cause) {
        try_another(w);
        return;
    }
    call_of_step(w->errand.call, w->row.step);
    call_answer_area(w->errand.call, form_type(FORM_SAFETENSORS), &w->head, &w->area, 0, w->area.size);
    errand_end(w);
}

void handle_run_weights(Call *call) {
    uint64_t step;
    StoredRun run;
    if (!call_query_uint(call, "step", 0, 0, INT64_MAX, &step) || !run_find(call, store_run_head, &run)) return;
    WeightsQuery *w = errand_begin(call, &kind);
    if (w) {
        w->chosen = call_query(call, "step") != NULL;
        w->step = step;
        w->seq = run.seq;
        w->area.fd = -1;
        strcpy(w->id, run.id);
        buf_init(&w->head);
        try(w);
    }
    stored_run_release(&run);
}
