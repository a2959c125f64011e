#include "server/runs/launch.h"
#include "server/runs/runfile.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- rows ---- */

static void add_row(void *arg, const RunCheckpoint *c) {
    LaunchFile *f = arg;
    RunCheckpoint *rows = realloc(f->rows, (f->n + 1) * sizeof *rows);
    if (!rows) return; /* an older one will do */
    f->rows = rows;
    rows[f->n++] = *c;
}

ErrCode launch_file_find(Server *server, const char *id, LaunchFile *f) {
    StoredRun source;
    *f = (LaunchFile){.fd = -1};
    snprintf(f->id, sizeof f->id, "%s", id);
    ErrCode code = store_run_head(server->store, id, &source);
    f->seq = source.seq;
    if (code == ERR_NONE) code = store_run_checkpoints(server->store, source.seq, add_row, f);
    stored_run_release(&source);
    return code;
}

static bool data_failed(Launch *l, const RunDataFacts *data, const Err *err) {
    failure_set(&l->failure, err->code == ERR_damaged || err->code == ERR_queue_full ? err->code : ERR_bad_run, "The data set %s cannot be used: %s", data->name, err->message);
    return false;
}

static bool find_data(Launch *l, const RunDataFacts *data, Dataset *out) {
    Err err = {0};
    return !data->rows || dataset_files_find_sha(l->server->dataset_files, data->sha256, out, &err) || data_failed(l, data, &err);
}

static bool find_all(Launch *l) {
    if (store_run_get(l->server->store, l->own.id, &l->run) != ERR_NONE || !run_facts_get(&l->facts, l->run.link, l->run.link_len)) {
        failure_set(&l->failure, ERR_internal, "The run's record is damaged.");
        return false;
    }
    if (!find_data(l, &l->facts.train, &l->train) || !find_data(l, &l->facts.test, &l->test)) return false;
    /* What is not found is not there when it is to be opened. */
    for (uint32_t i = 0; i < l->facts.nsources; i++) launch_file_find(l->server, l->facts.sources[i], &l->sources[i]);
    l->own.seq = l->run.seq;
    if (store_run_checkpoints(l->server->store, l->run.seq, add_row, &l->own) == ERR_NONE) return true;
    failure_set(&l->failure, ERR_internal, "The database does not answer.");
    return false;
}

Launch *launch_new(Server *server, const char *id) {
    Launch *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->server = server;
    l->train.fd = l->test.fd = l->own.fd = -1;
    for (size_t i = 0; i < LIMIT_RUN_SOURCES; i++) l->sources[i].fd = -1;
    snprintf(l->own.id, sizeof l->own.id, "%s", id);
    find_all(l);
    return l;
}

void launch_file_release(LaunchFile *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->rows);
    *f = (LaunchFile){.fd = -1};
}

void launch_free(Launch *l) {
    if (!l) return;
    dataset_release(&l->train);
    dataset_release(&l->test);
    launch_file_release(&l->own);
    for (size_t i = 0; i < LIMIT_RUN_SOURCES; i++) launch_file_release(&l->sources[i]);
    run_facts_release(&l->facts);
    stored_run_release(&l->run);
    failure_release(&l->failure);
    free(l);
}

/* ---- files ---- */

static bool goes_on(const LaunchFile *f, OlderCheckpoint older) {
    return !f->cause && (older == OLDER_ANY || (older == OLDER_WHEN_MISSING && !f->damaged));
}

bool launch_file_open(const Server *server, LaunchFile *f, OlderCheckpoint older) {
    for (size_t i = f->n; i-- && f->fd < 0 && (i + 1 == f->n || goes_on(f, older));) {
        f->chosen = f->rows[i];
        f->fd = runfile_open(server->config->data, f->id, &f->chosen);
        if (f->fd >= 0) break;
        const int cause = errno;
        if (cause != EBADMSG && cause != ENOENT) f->cause = cause;
        if (cause == EBADMSG) {
            f->damaged = true;
            store_run_mark(server->store, f->seq, f->chosen.step, true);
        }
        log_put(&server->log, LOG_WARN, "checkpoint not used", "run=%s step=%llu cause=\"%s\"", f->id, (unsigned long long)f->chosen.step,
                cause == EBADMSG ? "damaged" : strerror(cause));
    }
    return f->fd >= 0;
}

static bool file_failed(Launch *l, const LaunchFile *f) {
    failure_set(&l->failure, failure_short(f->cause), "A checkpoint of the run %s cannot be opened: %s", f->id, failure_short_text(f->cause));
    return false;
}

/* A run's own checkpoint has all its weights. Without one it begins anew, which a fork cannot: it would begin with other weights. */
static bool open_own(Launch *l) {
    if (launch_file_open(l->server, &l->own, OLDER_ANY)) return true;
    if (l->own.cause) return file_failed(l, &l->own);
    if (!l->own.n || !*l->run.forked_from) return true;
    failure_set(&l->failure, ERR_damaged, "None of the run's checkpoints can be used.");
    return false;
}

static bool open_source(Launch *l, LaunchFile *f) {
    if (launch_file_open(l->server, f, OLDER_NEVER)) return true;
    if (f->cause) return file_failed(l, f);
    if (f->n) failure_set(&l->failure, ERR_damaged, "The newest checkpoint of the run %s, which weights come from, is damaged.", f->id);
    else failure_set(&l->failure, ERR_bad_run, "The run %s, which weights come from, is not there any more, or has no checkpoint.", f->id);
    return false;
}

static bool verify_data(Launch *l, const RunDataFacts *data, Dataset *d) {
    Err err = {0};
    return d->fd < 0 || dataset_files_verify(l->server->dataset_files, d, &l->stop, &err) || data_failed(l, data, &err);
}

bool launch_open(Launch *l) {
    if (l->failure.code || !verify_data(l, &l->facts.train, &l->train) || !verify_data(l, &l->facts.test, &l->test)) return false;
    if (!open_own(l)) return false;
    for (uint32_t i = 0; i < l->facts.nsources && l->own.fd < 0; i++)
        if (!open_source(l, &l->sources[i])) return false;
    return true;
}

bool launch_is_stale(const Launch *l) {
    RunCheckpoint row;
    for (uint32_t i = 0; i < l->facts.nsources; i++) {
        const LaunchFile *f = &l->sources[i];
        if (f->fd >= 0 || !f->n) continue;
        if (store_run_checkpoint(l->server->store, f->id, true, f->rows[f->n - 1].step, &row) == ERR_conflict) return true;
    }
    return false;
}

uint64_t launch_passed_over(const Launch *l) {
    const LaunchFile *f = &l->own;
    return f->n && (f->fd < 0 || f->chosen.step != f->rows[f->n - 1].step) ? f->rows[f->n - 1].step : 0;
}

uint64_t launch_step(const Launch *l) { return l->own.fd >= 0 ? l->own.chosen.step : 0; }

/* ---- frames ---- */

static bool send_data(Worker *worker, DataKind kind, const RunDataFacts *data, int fd) {
    Buf body;
    if (!data->rows) return true;
    buf_init(&body);
    wire_put_data(&body, &(DataMsg){.kind = (uint8_t)kind, .name = (const unsigned char *)data->name, .name_len = strlen(data->name),
                                    .rows = data->rows, .bytes = data->bytes, .ncolumns = data->ncolumns, .columns = data->columns});
    bool sent = pool_send(worker, FRAME_data, 0, &body, fd);
    buf_release(&body);
    return sent;
}

static bool send_weights(Worker *worker, const LaunchFile *f) {
    Buf body;
    buf_init(&body);
    wire_put_data(&body, &(DataMsg){.kind = DATA_WEIGHTS, .name = (const unsigned char *)f->id, .name_len = strlen(f->id), .bytes = f->chosen.bytes});
    bool sent = pool_send(worker, FRAME_data, 0, &body, f->fd);
    buf_release(&body);
    return sent;
}

bool launch_send(const Launch *l, Worker *worker) {
    Buf body;
    bool sent = send_data(worker, DATA_TRAIN, &l->facts.train, l->train.fd) && send_data(worker, DATA_TEST, &l->facts.test, l->test.fd);
    for (uint32_t i = 0; i < l->facts.nsources && sent && l->own.fd < 0; i++) sent = send_weights(worker, &l->sources[i]);
    buf_init(&body);
    wire_put_train(&body, &(TrainMsg){.program = l->run.canonical, .program_len = l->run.canonical_len, .spec = (const unsigned char *)l->run.spec,
                                      .spec_len = strlen(l->run.spec), .nat_limit = l->server->config->max_nat,
                                      .area_size = l->own.fd >= 0 ? l->own.chosen.bytes : 0});
    sent = sent && pool_send(worker, FRAME_train, 1, &body, l->own.fd);
    buf_release(&body);
    return sent;
}
