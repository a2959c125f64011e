/* Learning rates by step.
 *
 * `step`: steps done before this one; `steps`: all of the run. With a warm-up of w steps, step k of them (from 1) takes lr · k/w; behind it, with t
 * steps done since, in the notation of PyTorch's schedulers of the same names:
 *   constant, warmup   lr
 *   step               lr · gamma^⌊t / every⌋
 *   cosine             lr_min + (lr − lr_min) · (1 + cos(π·t/over)) / 2, lr_min from t = over on; over 0: all steps behind the warm-up */
#ifndef CAJAL_TRAIN_SCHEDULE_H
#define CAJAL_TRAIN_SCHEDULE_H
#include "compiler/training/spec.h"

double schedule_rate(const SpecSchedule *s, double lr, uint64_t step, uint64_t steps);
#endif
