/* GET /runs/{id}/weights: a checkpoint's weights, without the optimizer's state. */
#include "compiler/bulk.h"
#include "server/runfile.h"
#include "server/handlers.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    Call *call;
    char id[RUN_ID + 1];
    RunCheckpoint *rows; /* ascending */
    size_t n;
    bool chosen;         /* ?step= */
    uint64_t step;
    Buf head;
    Area area;
    Err err;
    Task task;
    bool cancelled;
} Weights;

static void end(Weights *w) {
    call_on_cancel(w->call, NULL, NULL);
    if (w->area.fd >= 0) area_release(&w->area);
    buf_release(&w->head);
    free(w->rows);
    call_drop(w->call);
    free(w);
}

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

static bool copy_weights(Weights *w, const Bulk *bulk, size_t n, const unsigned char *file) {
    size_t size = 0, at = 0; /* no more than the file's */
    for (size_t i = 0; i < n; i++) size += bulk->items[i].bytes;
    safetensors_put_header(&w->head, bulk->items, n);
    if (w->head.failed || !area_create(&w->area, size ? size : 1)) return err_set(&w->err, ERR_internal, "", "Memory is short.");
    for (size_t i = 0; i < n; i++) {
        memcpy((char *)w->area.data + at, file + bulk->items[i].offset, bulk->items[i].bytes);
        at += bulk->items[i].bytes;
    }
    return true;
}

static bool read_file(Weights *w, int fd, const RunCheckpoint *c) {
    Bulk bulk = {0};
    void *file = mmap(NULL, c->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED) return err_set(&w->err, ERR_internal, "", "The checkpoint cannot be read.");
    bool ok = safetensors_read(file, c->bytes, &bulk, &w->err);
    if (!ok) w->err.code = ERR_internal;
    ok = ok && copy_weights(w, &bulk, select_weights(&bulk), file);
    bulk_release(&bulk);
    munmap(file, c->bytes);
    return ok;
}

/* The newest that is good, or the one asked for. */
static void read_weights(void *arg) {
    Weights *w = arg;
    int fd = -1;
    for (size_t i = w->n; i-- && fd < 0;) {
        const RunCheckpoint *c = &w->rows[i];
        if (w->chosen && c->step != w->step) continue;
        fd = runfile_open(w->call->server->config->data, w->id, c);
        if (fd >= 0) read_file(w, fd, c);
    }
    if (fd >= 0) close(fd);
    else err_set(&w->err, ERR_internal, "", "The checkpoint is damaged; see the log.");
}

static void answer(void *arg) {
    Weights *w = arg;
    size_t len = w->area.fd >= 0 ? w->area.size : 0;
    if (w->err.code) call_fail_err(w->call, &w->err);
    else if (!w->cancelled) call_answer_area(w->call, form_type(FORM_SAFETENSORS), &w->head, &w->area, 0, len);
    end(w);
}

static void on_cancel(void *arg) { ((Weights *)arg)->cancelled = true; }

static void add_row(void *arg, const RunCheckpoint *c) {
    Weights *w = arg;
    RunCheckpoint *rows = realloc(w->rows, (w->n + 1) * sizeof *rows);
    if (!rows) return;
    w->rows = rows;
    rows[w->n++] = *c;
}

static bool has_step(const Weights *w) {
    for (size_t i = 0; i < w->n; i++)
        if (w->rows[i].step == w->step) return true;
    return !w->chosen;
}

/* False: answered. */
static bool look_up(Weights *w) {
    Call *call = w->call;
    StoredRun run;
    if (!call_query_uint(call, "step", 0, 0, INT64_MAX, &w->step)) return false;
    w->chosen = call_query(call, "step") != NULL;
    ErrCode code = store_run_get(call->server->store, call->param.text, &run);
    if (code) {
        call_fail(call, code, code == ERR_not_found ? "There is no run %.100s." : "The record of run %.100s cannot be read.", call->param.text);
        return false;
    }
    strcpy(w->id, run.id);
    code = store_run_checkpoints(call->server->store, run.seq, add_row, w);
    stored_run_release(&run);
    if (code) call_fail(call, code, "The database does not answer.");
    else if (!w->n) call_fail(call, ERR_conflict, "The run has no checkpoint yet.");
    else if (!has_step(w)) call_fail(call, ERR_not_found, "The run has no checkpoint of step %llu.", (unsigned long long)w->step);
    else return true;
    return false;
}

void handle_run_weights(Call *call) {
    Weights *w = calloc(1, sizeof *w);
    if (!w) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    w->call = call;
    w->area.fd = -1;
    buf_init(&w->head);
    call_keep(call);
    if (!look_up(w)) {
        end(w);
        return;
    }
    call_on_cancel(call, on_cancel, w);
    w->task = (Task){.work = read_weights, .done = answer, .arg = w};
    tasks_add(call->server->tasks, &w->task);
}
