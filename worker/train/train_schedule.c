#include "worker/train/train_schedule.h"
#include <math.h>

static double cosine(const SpecSchedule *s, double lr, uint64_t t, uint64_t steps) {
    const uint64_t rest = steps > s->warmup ? steps - s->warmup : 1, over = s->over ? s->over : rest;
    if (t >= over) return s->lr_min;
    return s->lr_min + (lr - s->lr_min) * (1 + cos(3.14159265358979323846 * (double)t / (double)over)) / 2;
}

double schedule_rate(const SpecSchedule *s, double lr, uint64_t step, uint64_t steps) {
    if (step < s->warmup) return lr * (double)(step + 1) / (double)s->warmup;
    const uint64_t t = step - s->warmup;
    switch (s->kind) {
    case SCHEDULE_STEP: return lr * pow(s->gamma, (double)(s->every ? t / s->every : 0));
    case SCHEDULE_COSINE: return cosine(s, lr, t, steps);
    default: return lr;
    }
}
