#include "worker/train/train_metrics.h"
#include <math.h>

#define PSNR_MOST 100.0 /* dB */

static double at(const MetricRows *m, const void *data, size_t i) {
    return m->f64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static double target_at(const MetricRows *m, size_t row, size_t i) {
    if (!m->places) return at(m, m->target, row * m->size + i);
    const int64_t place = m->boolean ? 1 - m->places[row] : m->places[row];
    return place == (int64_t)i;
}

static void add(TrainMetrics *m, MetricKind kind, double value) {
    m->sum[kind] += value;
    m->count[kind]++;
}

static void add_psnr(TrainMetrics *m, const MetricRows *rows, size_t row) {
    double low = INFINITY, high = -INFINITY, error = 0;
    for (size_t i = 0; i < rows->size; i++) {
        const double t = target_at(rows, row, i), d = at(rows, rows->value, row * rows->size + i) - t;
        low = fmin(low, t);
        high = fmax(high, t);
        error += d * d;
    }
    const double psnr = error == 0 ? PSNR_MOST : 10 * log10((high - low) * (high - low) / (error / (double)rows->size));
    if (error == 0 || high > low) add(m, METRIC_PSNR, psnr > PSNR_MOST ? PSNR_MOST : psnr); /* not a number stays it */
}

static void add_accuracy(TrainMetrics *m, const MetricRows *rows, size_t row) {
    size_t guess = 0, truth = 0;
    for (size_t i = 1; i < rows->size; i++) {
        if (at(rows, rows->value, row * rows->size + i) > at(rows, rows->value, row * rows->size + guess)) guess = i;
        if (target_at(rows, row, i) > target_at(rows, row, truth)) truth = i;
    }
    add(m, METRIC_ACCURACY, guess == truth);
}

static void add_mae(TrainMetrics *m, const MetricRows *rows, size_t row) {
    double sum = 0;
    for (size_t i = 0; i < rows->size; i++) sum += fabs(at(rows, rows->value, row * rows->size + i) - target_at(rows, row, i));
    add(m, METRIC_MAE, sum / (double)rows->size);
}

void metrics_add(TrainMetrics *m, const bool wanted[METRIC_COUNT], const MetricRows *rows) {
    for (size_t row = 0; row < rows->rows; row++) {
        if (wanted[METRIC_LOSS]) add(m, METRIC_LOSS, at(rows, rows->loss, row));
        if (wanted[METRIC_PSNR]) add_psnr(m, rows, row);
        if (wanted[METRIC_ACCURACY]) add_accuracy(m, rows, row);
        if (wanted[METRIC_MAE]) add_mae(m, rows, row);
    }
}

double metrics_value(const TrainMetrics *m, MetricKind kind) { return m->sum[kind] / m->count[kind]; }
