/* A run's metrics over rows, in double.
 *
 *   loss      the mean of the rows' losses
 *   psnr      per row 10·log₁₀(peak²/mse), peak = max − min of the row's target, and 100 dB at most; then averaged. A row whose target is
 *             constant has no peak and is left out, unless it is met exactly
 *   accuracy  how often the largest element of the value (the first one, of equals) stands where the target's does
 *   mae       the mean of |value − target| over all elements
 * Where nothing counted a metric is not a number. */
#ifndef CAJAL_TRAIN_METRICS_H
#define CAJAL_TRAIN_METRICS_H
#include "compiler/training/spec.h"

typedef struct {
    double sum[METRIC_COUNT], count[METRIC_COUNT];
} TrainMetrics;

/* Rows of the run's dtype: loss one a row, value rows × size. Target: the same dense, or places (int64) of basis vectors. */
typedef struct {
    const void *loss, *value, *target;
    const int64_t *places; /* instead of target; booleans: 1 is place 0 */
    bool boolean;
    size_t rows, size;
    bool f64;
} MetricRows;

void metrics_add(TrainMetrics *m, const bool wanted[METRIC_COUNT], const MetricRows *rows);
double metrics_value(const TrainMetrics *m, MetricKind kind);
#endif
