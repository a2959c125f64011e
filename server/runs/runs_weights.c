/* GET /runs/{id}/weights: a checkpoint's weights, without the optimizer's state. */
#include "schema/formats/bulk.h"
#include "server/runs/runfile.h"
#include "server/routes.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    Call *call;
    char id[RUN_ID + 1];
    int64_t seq;
    bool chosen;         /* ?step= */
    uint64_t step;
    uint64_t below;      /* else the newest of a smaller step */
    RunCheckpoint row;   /* which is tried */
    bool any, found, opened;
    uint64_t held;
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

static void read_weights(void *arg) {
    Weights *w = arg;
    int fd = runfile_open(w->call->server->config->data, w->id, &w->row);
    w->opened = fd >= 0;
    if (!w->opened) return;
    read_file(w, fd, &w->row);
    close(fd);
}

/* ---- in the loop ---- */

static void note_row(void *arg, const RunCheckpoint *c) {
    Weights *w = arg;
    w->any = true;
    if (w->chosen ? c->step != w->step : c->step >= w->below) return;
    w->row = *c;
    w->found = true;
}

/* The answer's bytes, at most. */
static bool hold(Weights *w) {
    const uint64_t more = w->row.bytes > w->held ? w->row.bytes - w->held : 0;
    w->held += more;
    return call_hold(w->call, more);
}

static void answer(void *arg);

/* Finds the row to try. False: answered. */
static bool try(Weights *w) {
    Call *call = w->call;
    w->any = w->found = false;
    ErrCode code = store_run_checkpoints(call->server->store, w->seq, note_row, w);
    if (code) call_fail(call, code, "The database does not answer.");
    else if (!w->any) call_fail(call, ERR_conflict, "The run has no checkpoint yet.");
    else if (!w->found && w->chosen) call_fail(call, ERR_not_found, "The run has no checkpoint of step %llu.", (unsigned long long)w->step);
    else if (!w->found) call_fail(call, ERR_internal, "The run's checkpoints are damaged.");
    else if (!hold(w)) call_fail(call, ERR_queue_full, "The requests in flight take too much memory.");
    else {
        w->task = (Task){.work = read_weights, .done = answer, .arg = w};
        tasks_add(call->server->tasks, &w->task);
        return true;
    }
    return false;
}

/* A file that was not to be opened is damaged, if its row is still there: the one before may do. Else it was pruned at that moment, and there is a
 * newer one. */
static bool try_another(Weights *w) {
    RunCheckpoint row;
    const bool damaged = store_run_checkpoint(w->call->server->store, w->id, true, w->row.step, &row) == ERR_NONE;
    if (damaged) w->below = w->row.step;
    if (!damaged || !w->chosen) return try(w);
    call_fail(w->call, ERR_internal, "The checkpoint is damaged.");
    return false;
}

static void answer(void *arg) {
    Weights *w = arg;
    size_t len = w->area.fd >= 0 ? w->area.size : 0;
    if (!w->opened && !w->cancelled && try_another(w)) return;
    if (w->err.code) call_fail_err(w->call, &w->err);
    else if (w->opened && !w->cancelled) call_answer_area(w->call, form_type(FORM_SAFETENSORS), &w->head, &w->area, 0, len);
    end(w);
}

static void on_cancel(void *arg) { ((Weights *)arg)->cancelled = true; }

/* False: answered. */
static bool look_up(Weights *w) {
    Call *call = w->call;
    StoredRun run;
    if (!call_query_uint(call, "step", 0, 0, INT64_MAX, &w->step)) return false;
    w->chosen = call_query(call, "step") != NULL;
    ErrCode code = store_run_head(call->server->store, call->param.text, &run);
    if (code) {
        call_fail(call, code, code == ERR_not_found ? "There is no run %.100s." : "The record of run %.100s cannot be read.", call->param.text);
        return false;
    }
    strcpy(w->id, run.id);
    w->seq = run.seq;
    stored_run_release(&run);
    return true;
}

void handle_run_weights(Call *call) {
    Weights *w = calloc(1, sizeof *w);
    if (!w) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    *w = (Weights){.call = call, .below = UINT64_MAX, .area.fd = -1};
    buf_init(&w->head);
    call_keep(call);
    call_on_cancel(call, on_cancel, w);
    if (!look_up(w) || !try(w)) end(w);
}
