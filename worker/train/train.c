#include "worker/train/train.h"
#include "compiler/language/canon.h"
#include "compiler/passes/optimise.h"
#include "compiler/training/spec_read.h"
#include "worker/train/link_job.h"
#include "worker/train/train_loop.h"
#include "worker/train/train_record.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* ---- data frames ---- */

bool train_take(TrainInbox *inbox, Frame *frame) {
    if (!inbox->sources) inbox->sources = calloc(TRAIN_SOURCES, sizeof *inbox->sources);
    if (!inbox->sources || inbox->n == TRAIN_SOURCES) return false;
    TrainSource *source = &inbox->sources[inbox->n];
    if (!wire_get_data(frame, &source->msg)) return false;
    source->frame = *frame;
    *frame = (Frame){.area = -1};
    inbox->n++;
    return true;
}

void train_forget(TrainInbox *inbox) {
    for (uint32_t i = 0; i < inbox->n; i++) {
        data_msg_release(&inbox->sources[i].msg);
        frame_release(&inbox->sources[i].frame);
    }
    free(inbox->sources);
    *inbox = (TrainInbox){0};
}

static const TrainSource *source_of(const TrainInbox *inbox, DataKind kind, const char *name) {
    for (uint32_t i = 0; i < inbox->n; i++) {
        const DataMsg *m = &inbox->sources[i].msg;
        if (m->kind != kind || (name && (strlen(name) != m->name_len || memcmp(name, m->name, m->name_len)))) continue;
        return &inbox->sources[i];
    }
    return NULL;
}

/* ---- linking ---- */

typedef struct {
    const TrainInbox *inbox;
    const TrainMsg *msg;
    const TrainSeat *seat;
    Cx cx;
    Spec spec;
    Linked *linked; /* NULL until everything is linked */
    Graph *step, *forward;
    char pointer[LINK_POINTER];
    TrainModel model;
    Feed train, eval;
    Progress progress;
    Workspace workspace;
    Err err;
} Run;

static void link_graphs(Run *run, const DataMsg *train, const DataMsg *test) {
    Cx *cx = &run->cx;
    Program *program = canon_read(cx, run->msg->program, run->msg->program_len);
    Checked *checked = check_program(cx, program);
    const LinkData *train_data = link_job_data(cx, train->columns, train->ncolumns, train->rows);
    const LinkData *test_data = test ? link_job_data(cx, test->columns, test->ncolumns, test->rows) : NULL;
    Linked *linked = link_run(cx, &run->spec, program, checked, train_data, test_data, run->pointer);
    run->step = link_train(cx, linked, run->spec.batch_size);
    run->forward = optimise_graph(cx, linked->forward);
    graph_free(rewrite_give(cx, linked->forward));
    linked->forward = NULL;
    run->linked = linked;
}

static bool link_all(Run *run, const DataMsg *train, const DataMsg *test) {
    Err err = {0};
    if (!spec_read(&run->spec, (const char *)run->msg->spec, run->msg->spec_len, &err))
        return err_set(&run->err, err.code, "%.100s: %.150s", err.pointer, err.message);
    if (run->msg->nat_limit) run->cx.nat_limit = run->msg->nat_limit;
    CX_TRY(&run->cx) link_graphs(run, train, test);
    if (!run->cx.diag.code) return true;
    return err_set(&run->err, run->cx.diag.code, "%.100s%s%.150s", run->pointer, run->pointer[0] ? ": " : "", run->cx.diag.message);
}

/* ---- tensors ---- */

static bool take_weights(Run *run) {
    const Linked *linked = run->linked;
    model_draw(&run->model);
    for (uint32_t j = 0; j < linked->nweights; j++) {
        if (!linked->weights[j].from_run) continue;
        const TrainSource *source = source_of(run->inbox, DATA_WEIGHTS, linked->weights[j].from_run);
        FileMap file = {0};
        if (!source || !file_map_open(&file, source->frame.area, source->msg.bytes))
            return err_set(&run->err, ERR_internal, "The weights of run \"%.100s\" are not here.", linked->weights[j].from_run);
        const bool ok = model_take(&run->model, j, file.data, file.size, &run->err);
        file_map_release(&file);
        if (!ok) return false;
    }
    return true;
}

static void name_spec(Run *run) {
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, run->msg->spec, run->msg->spec_len);
    sodium_bin2hex(run->model.file.spec, sizeof run->model.file.spec, hash, sizeof hash);
}

/* The weights as they begin, or as the checkpoint in `area` has them. */
static bool settle_weights(Run *run, int area) {
    FileMap file;
    bool fresh = false;
    name_spec(run);
    if (!run->msg->area_size) return take_weights(run);
    if (!file_map_open(&file, area, run->msg->area_size)) return err_set(&run->err, ERR_internal, "The checkpoint cannot be mapped.");
    const bool ok = checkpoint_read(&run->model.file, file.data, file.size, &fresh, &run->err);
    file_map_release(&file);
    if (!ok) return false;
    run->model.optim.updates = run->model.file.updates;
    run->progress.step = run->model.file.step;
    if (fresh) progress_say(&run->progress, PROGRESS_LOG, "The checkpoint is of another specification: the optimizer begins afresh.");
    return true;
}

static bool open_feeds(Run *run, const TrainSource *train, const TrainSource *test) {
    const Spec *spec = &run->spec;
    const TrainSource *eval = test ? test : train;
    if (train->msg.rows < spec->batch_size)
        return err_set(&run->err, ERR_bad_run, "/batch_size: The data set has only %llu rows.", (unsigned long long)train->msg.rows);
    if (!feed_open(&run->train, train->frame.area, &train->msg, run->linked, false, run->model.f64, spec->batch_size, &run->err)) return false;
    if (!spec->evaluate_every) return true;
    return feed_open(&run->eval, eval->frame.area, &eval->msg, run->linked, test != NULL, run->model.f64, run->model.eval_rows, &run->err);
}

/* ---- the run ---- */

static bool count_steps(Run *run) {
    const uint64_t batches = run->train.rows / run->spec.batch_size;
    if (run->spec.steps) run->progress.steps = run->spec.steps;
    else if (__builtin_mul_overflow(run->spec.epochs, batches, &run->progress.steps) || run->progress.steps > LIMIT_RUN_STEPS)
        return err_set(&run->err, ERR_bad_run, "/epochs: These are more than %llu steps.", (unsigned long long)LIMIT_RUN_STEPS);
    if (run->progress.step > run->progress.steps)
        return err_set(&run->err, ERR_bad_run, "The checkpoint is of step %llu, and the run has only %llu.", (unsigned long long)run->progress.step,
                         (unsigned long long)run->progress.steps);
    run->progress.epoch = (double)run->progress.step / (double)batches;
    return true;
}

static bool say_ready(Run *run) {
    Buf text;
    buf_init(&text);
    train_record_put(&text, &run->model, run->seat->libraries);
    const char *record = buf_text(&text);
    if (text.failed) err_set(&run->err, ERR_too_large, "This takes more memory than a worker may have.");
    else progress_say(&run->progress, PROGRESS_READY, "%s", record);
    buf_release(&text);
    return !run->err.code;
}

static bool train(Run *run, const Frame *frame) {
    const TrainSource *train = source_of(run->inbox, DATA_TRAIN, NULL), *test = source_of(run->inbox, DATA_TEST, NULL);
    const Spec *spec = &run->spec;
    if (!train) return err_set(&run->err, ERR_internal, "There is no data to train on.");
    if (!link_all(run, &train->msg, test ? &test->msg : NULL)) return false;
    if (!model_init(&run->model, spec, run->linked, run->step, run->forward, run->seat->threads, &run->err)) return false;
    if (!open_feeds(run, train, test) || !settle_weights(run, frame->area) || !count_steps(run) || !say_ready(run)) return false;
    const uint64_t rows = run->eval.rows;
    TrainLoop loop = {.model = &run->model,
                      .train = &run->train,
                      .eval = run->eval.columns ? &run->eval : NULL,
                      .eval_all = spec->evaluate_rows && spec->evaluate_rows < rows ? spec->evaluate_rows : rows,
                      .tested = test != NULL,
                      .progress = &run->progress,
                      .workspace = &run->workspace};
    return train_loop_run(&loop, &run->err);
}

static void release(Run *run) {
    workspace_release(&run->workspace);
    feed_release(&run->train);
    feed_release(&run->eval);
    model_release(&run->model);
    progress_release(&run->progress);
    graph_free(run->step);
    graph_free(run->forward);
    cx_release(&run->cx);
    spec_release(&run->spec);
}

bool train_run(TrainInbox *inbox, const Frame *frame, const TrainSeat *seat, int *result) {
    TrainMsg msg;
    *result = 1;
    if (!wire_get_train(frame, &msg)) return false;
    Run run = {.inbox = inbox, .msg = &msg, .seat = seat, .workspace = {.threads = seat->threads, .box = seat->box}};
    if (!progress_init(&run.progress, seat->sock, frame->id)) return false;
    cx_init(&run.cx);
    train(&run, frame);
    progress_end(&run.progress, run.err.code, run.err.code ? run.err.message : run.progress.step == run.progress.steps ? "All steps are done." : "Stopped.");
    *result = run.progress.malformed;
    const bool alive = !run.progress.ended;
    release(&run);
    train_forget(inbox);
    return alive;
}
