#include "worker/train/train_loop.h"
#include "worker/train/train_metrics.h"
#include "worker/train/train_schedule.h"
#include <math.h>
#include <stdio.h>

typedef struct {
    TrainLoop *l;
    const Spec *spec;
    Progress *progress;
    double rate;      /* the last point's */
    uint64_t saved;   /* step of the last checkpoint; UINT64_MAX: none */
} LoopState;

/* ---- evaluation ---- */

static const char *metric_key(bool tested, MetricKind kind) {
    static const char *const keys[2][METRIC_COUNT] = {
        {"train.loss", "train.psnr", "train.accuracy", "train.mae"},
        {"test.loss", "test.psnr", "test.accuracy", "test.mae"},
    };
    return keys[tested][kind];
}

static void add_rows(LoopState *l, TrainMetrics *metrics, size_t rows) {
    const TrainModel *m = l->l->model;
    const FeedColumn *target = &l->l->eval->columns[m->linked->target];
    metrics_add(metrics, l->spec->metrics,
                &(MetricRows){.loss = m->eval_loss,
                              .value = m->eval_value,
                              .target = target->discrete ? NULL : target->batch,
                              .places = target->discrete ? target->batch : NULL,
                              .boolean = target->discrete == 2,
                              .rows = rows,
                              .size = m->linked->output->dim,
                              .f64 = m->f64});
}

/* The loss over train data is what every step reports already. */
static void report(LoopState *l, const TrainMetrics *metrics) {
    for (MetricKind kind = 0; kind < METRIC_COUNT; kind++) {
        const double value = metrics_value(metrics, kind);
        if (!l->spec->metrics[kind] || (kind == METRIC_LOSS && !l->l->tested)) continue;
        if (isfinite(value)) progress_point(l->progress, metric_key(l->l->tested, kind), value);
        else progress_say(l->progress, PROGRESS_LOG, "%s is not finite at step %llu.", metric_key(l->l->tested, kind), (unsigned long long)l->progress->step);
    }
}

/* A stop does not wait for it: then it is owed. */
static bool evaluate(LoopState *l, Err *err) {
    TrainLoop *loop = l->l;
    TrainMetrics metrics = {{0}, {0}};
    loop->model->file.owes = true;
    for (uint64_t at = 0; at < loop->eval_all; at += loop->model->eval_rows) {
        const uint64_t left = loop->eval_all - at;
        const size_t rows = left < loop->model->eval_rows ? (size_t)left : loop->model->eval_rows;
        if (!progress_poll(l->progress)) return true;
        feed_rows(loop->eval, at, rows);
        if (!model_forward(loop->model, loop->eval, rows, loop->workspace, err)) return false;
        add_rows(l, &metrics, rows);
    }
    report(l, &metrics);
    loop->model->file.owes = false;
    return true;
}

static bool due(uint64_t every, uint64_t step) { return every && step % every == 0; }

static bool evaluate_due(LoopState *l, Err *err) {
    const uint64_t step = l->progress->step;
    const bool now = l->l->eval && step && (due(l->spec->evaluate_every, step) || step == l->progress->steps);
    if (now) return evaluate(l, err);
    l->l->model->file.owes = false; /* what another specification was owed is not */
    return true;
}

/* ---- checkpoints ---- */

static bool save(LoopState *l, Err *err) {
    Checkpoint *file = &l->l->model->file;
    Area area;
    if (l->saved == l->progress->step) return true;
    file->step = l->progress->step;
    file->updates = l->l->model->optim.updates;
    if (!checkpoint_write(file, &area, err)) return false;
    progress_checkpoint(l->progress, &area);
    area_release(&area);
    l->saved = l->progress->step;
    return true;
}

/* ---- a step ---- */

/* What is not finite, as the beginning of a sentence. */
static void name_culprit(LoopState *l, double loss, char *out, size_t room) {
    const TrainModel *m = l->l->model;
    const uint32_t column = feed_nonfinite(l->l->train), weight = isfinite(loss) ? model_nonfinite(m) : UINT32_MAX;
    if (column != UINT32_MAX) snprintf(out, room, "The column \"%.100s\" in this batch", m->linked->slots[column].name);
    else if (!isfinite(loss)) snprintf(out, room, "The loss%s", l->spec->loss == LOSS_BCE ? " (bce takes an output from 0 to 1)" : "");
    else if (weight != UINT32_MAX) snprintf(out, room, "The gradient of \"%.100s\"", m->linked->weights[weight].name);
    else if (!isfinite(optim_norm(&l->l->model->optim))) snprintf(out, room, "The norm of the gradients");
    else snprintf(out, room, "The learning rate");
}

/* Stops the run, or skips this step's update: said once, as long as it goes on, which is not for ever. */
static bool handle_nonfinite(LoopState *l, double loss, Err *err) {
    Checkpoint *file = &l->l->model->file;
    char what[160];
    const unsigned long long step = l->progress->step + 1;
    const bool stop = !l->spec->skip_nonfinite, too_many = file->skipped_in_a_row + 1 >= LIMIT_RUN_SKIPPED;
    const bool nothing = step == l->progress->steps && !file->trained, said = file->skipped_in_a_row > 0;
    if (stop || too_many || nothing || !said) name_culprit(l, loss, what, sizeof what);
    if (stop) return err_set(err, ERR_nonfinite, "%s is not finite at step %llu.", what, step);
    if (too_many) return err_set(err, ERR_nonfinite, "%s is not finite at step %llu, and %d steps before it were skipped already.", what, step, LIMIT_RUN_SKIPPED - 1);
    if (nothing) return err_set(err, ERR_nonfinite, "%s is not finite at step %llu, the last, and all before it were skipped: nothing was trained.", what, step);
    if (!said) progress_say(l->progress, PROGRESS_LOG, "%s is not finite at step %llu: no update.", what, step);
    file->skipped++;
    file->skipped_in_a_row++;
    return true;
}

static void report_step(LoopState *l, double loss, double norm, double rate) {
    progress_point(l->progress, "train.loss", loss);
    if (l->spec->clip_norm > 0) progress_point(l->progress, "train.grad_norm", norm);
    if (rate != l->rate) progress_point(l->progress, "lr", rate);
    l->rate = rate;
}

static void take_step(TrainModel *m, double rate, double scale) {
    optim_step(&m->optim, rate, scale);
    m->file.skipped_in_a_row = 0;
    m->file.trained = true;
}

static bool step(LoopState *l, Err *err) {
    TrainLoop *loop = l->l;
    TrainModel *m = loop->model;
    const uint64_t at = l->progress->step;
    if (!feed_batch(loop->train, l->spec->seed, at, err) || !model_step(m, loop->train, loop->workspace, err)) return false;
    const double loss = model_loss(m), norm = optim_norm(&m->optim), clip = l->spec->clip_norm;
    const double rate = schedule_rate(&l->spec->schedule, l->spec->optimizer.lr, at, l->progress->steps);
    const bool finite = isfinite(loss) && isfinite(norm) && isfinite(m->f64 ? rate : (double)(float)rate);
    if (!finite && !handle_nonfinite(l, loss, err)) return false;
    if (finite) take_step(m, rate, clip > 0 && norm + 1e-6 > clip ? clip / (norm + 1e-6) : 1); /* torch.nn.utils.clip_grad_norm_ */
    l->progress->step++;
    l->progress->epoch = (double)l->progress->step / (double)(loop->train->rows / loop->train->room);
    if (finite) report_step(l, loss, norm, rate);
    else progress_point(l->progress, "train.skipped", (double)m->file.skipped);
    return true;
}

static bool go(LoopState *l, Err *err) {
    if (l->l->model->file.owes && !evaluate_due(l, err)) return false;
    if (!l->progress->step && !save(l, err)) return false;
    while (progress_poll(l->progress) && l->progress->step < l->progress->steps) {
        if (!step(l, err) || !evaluate_due(l, err)) return false;
        if (!l->l->model->file.owes && due(l->spec->checkpoint_every, l->progress->step) && !save(l, err)) return false;
    }
    return true;
}

/* What a run that goes on has already said and saved; an evaluation still owed makes its checkpoint a new one. */
static void take_up(LoopState *l) {
    const uint64_t at = l->progress->step;
    if (!at) return;
    l->rate = schedule_rate(&l->spec->schedule, l->spec->optimizer.lr, at - 1, l->progress->steps);
    if (!l->l->model->file.owes) l->saved = at;
}

bool train_loop_run(TrainLoop *loop, Err *err) {
    LoopState l = {.l = loop, .spec = loop->model->spec, .progress = loop->progress, .rate = NAN, .saved = UINT64_MAX};
    take_up(&l);
    const bool ok = go(&l, err), saved = loop->progress->ended || save(&l, err);
    return ok && saved;
}
