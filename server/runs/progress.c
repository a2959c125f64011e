#include "server/runs/progress.h"
#include "schema/protocol/wire_train.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Measured now and then, and so never left out of the events; the others come with every step. */
static bool is_rare(const char *key) {
    static const char *const often[] = {"train.loss", "train.grad_norm", "lr", "train.skipped"};
    for (size_t i = 0; i < sizeof often / sizeof *often; i++)
        if (strcmp(key, often[i]) == 0) return false;
    return true;
}

/* All points go to the metrics; events tell of the last step of what came together, and of each step at which something rare was measured. */
static void take_points(Training *t, const ProgressMsg *m) {
    TrainingMetric g = {0};
    bool rare = false;
    double per_step = m->step ? m->epoch / (double)m->step : 0;
    for (uint32_t i = 0; i < m->npoints; i++) {
        const PointMsg *p = &m->points[i];
        if (p->step != g.step) {
            if (rare) training_metric(t, &g);
            g = (TrainingMetric){.step = p->step, .epoch = (double)p->step * per_step};
            rare = false;
        }
        training_point(t, (const char *)p->key, p->key_len, (Point){p->step, p->value});
        uint32_t k = training_key(t, (const char *)p->key, p->key_len);
        if (k == LIMIT_RUN_KEYS) continue;
        g.wanted[k] = true;
        rare |= is_rare(t->keys[k]);
    }
    training_metric(t, &g);
}

static bool take_area(Training *t, Frame *frame, const ProgressMsg *m) {
    const int fd = frame->area;
    frame->area = -1;
    return training_checkpoint(t, m->step, m->area_size, fd);
}

static void take_end(ProgressEnd *end, const ProgressMsg *m) {
    *end = (ProgressEnd){.code = m->code < ERR_COUNT ? (ErrCode)m->code : ERR_internal, .stopped = m->stopped};
    snprintf(end->text, sizeof end->text, "%.*s", (int)m->text_len, (const char *)m->text);
    if (end->code && !*end->text) snprintf(end->text, sizeof end->text, "%s", err_title(end->code));
}

ProgressResult progress_take(Training *t, Frame *frame, ProgressEnd *end) {
    ProgressMsg m;
    if (frame->type != FRAME_progress || !wire_get_progress(frame, &m)) return PROGRESS_BAD;
    ProgressResult result = PROGRESS_TAKEN;
    if (m.step >= t->step) {
        t->step = m.step;
        t->epoch = m.epoch;
    }
    if (m.steps) t->steps = m.steps;
    switch ((ProgressKind)m.kind) {
    case PROGRESS_READY: training_set_versions(t, (const char *)m.text, m.text_len); break;
    case PROGRESS_POINTS: take_points(t, &m); break;
    case PROGRESS_CHECKPOINT:
        if (!take_area(t, frame, &m)) result = PROGRESS_BAD;
        break;
    case PROGRESS_LOG: training_log(t, "%.*s", (int)(m.text_len < 900 ? m.text_len : 900), (const char *)m.text); break;
    case PROGRESS_END:
        take_end(end, &m);
        result = PROGRESS_LAST;
        break;
    }
    progress_msg_release(&m);
    return result;
}
