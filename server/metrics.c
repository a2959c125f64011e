#include "server/metrics.h"
#include <stdio.h>
#include <stdlib.h>

/* Upper ends of the latency buckets, in seconds. */
static const double bounds[METRICS_BUCKETS] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 30};

typedef struct RequestCount {
    struct RequestCount *next;
    const char *method, *route;
    int status;
    uint64_t count, buckets[METRICS_BUCKETS];
    double seconds;
} RequestCount;

void metrics_init(Metrics *m) {
    *m = (Metrics){0};
#define HISTOGRAM(field, help, unit, buckets) m->field = (Histogram){unit, buckets, {0}, 0};
    METRICS_HISTOGRAMS(HISTOGRAM)
#undef HISTOGRAM
}

void metrics_release(Metrics *m) {
    for (RequestCount *row = m->requests, *next; row; row = next) {
        next = row->next;
        free(row);
    }
    m->requests = NULL;
}

/* The row, moved to the front: most requests are like the one before. */
static RequestCount *find(Metrics *m, const char *method, const char *route, int status) {
    for (RequestCount **at = &m->requests; *at; at = &(*at)->next) {
        RequestCount *row = *at;
        if (row->method != method || row->route != route || row->status != status) continue;
        *at = row->next;
        row->next = m->requests;
        return m->requests = row;
    }
    return NULL;
}

void metrics_request(Metrics *m, const char *method, const char *route, int status, int64_t ns) {
    RequestCount *row = find(m, method, route, status);
    if (!row) {
        row = calloc(1, sizeof *row);
        if (!row) return;
        *row = (RequestCount){.next = m->requests, .method = method, .route = route, .status = status};
        m->requests = row;
    }
    double seconds = (double)ns / 1e9;
    row->count++;
    row->seconds += seconds;
    for (int i = METRICS_BUCKETS - 1; i >= 0 && seconds <= bounds[i]; i--) row->buckets[i]++;
}

/* Of the i-th bucket, in units. */
static double upper_end(int i) {
    static const double steps[] = {1, 2, 5};
    double end = steps[i % 3];
    for (; i >= 3; i -= 3) end *= 10;
    return end;
}

void metrics_observe(Histogram *h, double value) {
    double end = h->unit;
    int i = 0;
    for (; i < h->buckets && value > end * (1 + 1e-9); i++) end *= i % 3 == 1 ? 2.5 : 2;
    h->counts[i]++;
    h->sum += value;
}

static void put_meta(Buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP cajal_%s %s\n# TYPE cajal_%s %s\n", name, help, name, type);
}

static void put_plain(Buf *out, const char *name, const char *type, const char *help, uint64_t value) {
    put_meta(out, name, type, help);
    buf_printf(out, "cajal_%s %llu\n", name, (unsigned long long)value);
}

static void put_requests(Buf *out, const Metrics *m) {
    put_meta(out, "requests_total", "counter", "Requests answered");
    for (const RequestCount *r = m->requests; r; r = r->next)
        buf_printf(out, "cajal_requests_total{method=\"%s\",route=\"%s\",code=\"%d\"} %llu\n", r->method, r->route, r->status,
                   (unsigned long long)r->count);
    put_meta(out, "request_seconds", "histogram", "From a request's headers to its answer");
    for (const RequestCount *r = m->requests; r; r = r->next) {
        char labels[192];
        snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\",code=\"%d\"", r->method, r->route, r->status);
        for (int i = 0; i < METRICS_BUCKETS; i++)
            buf_printf(out, "cajal_request_seconds_bucket{%s,le=\"%g\"} %llu\n", labels, bounds[i], (unsigned long long)r->buckets[i]);
        buf_printf(out, "cajal_request_seconds_bucket{%s,le=\"+Inf\"} %llu\n", labels, (unsigned long long)r->count);
        buf_printf(out, "cajal_request_seconds_sum{%s} %.9g\n", labels, r->seconds);
        buf_printf(out, "cajal_request_seconds_count{%s} %llu\n", labels, (unsigned long long)r->count);
    }
}

static void put_histogram(Buf *out, const char *name, const char *help, const Histogram *h) {
    uint64_t sum = 0;
    put_meta(out, name, "histogram", help);
    for (int i = 0; i < h->buckets; i++) {
        sum += h->counts[i];
        buf_printf(out, "cajal_%s_bucket{le=\"%g\"} %llu\n", name, h->unit * upper_end(i), (unsigned long long)sum);
    }
    sum += h->counts[h->buckets];
    buf_printf(out, "cajal_%s_bucket{le=\"+Inf\"} %llu\ncajal_%s_sum %.9g\ncajal_%s_count %llu\n", name, (unsigned long long)sum, name,
               h->sum, name, (unsigned long long)sum);
}

void metrics_put(Buf *out, const Metrics *m, const MetricsGauges *g) {
    put_requests(out, m);
#define COUNTER(field, help) put_plain(out, #field "_total", "counter", help, m->field);
    METRICS_COUNTERS(COUNTER)
#undef COUNTER
#define HISTOGRAM(field, help, unit, buckets) put_histogram(out, #field, help, &m->field);
    METRICS_HISTOGRAMS(HISTOGRAM)
#undef HISTOGRAM
    put_plain(out, "queue_depth", "gauge", "Jobs waiting for a worker", g->queue);
    put_plain(out, "workers", "gauge", "Workers that have said hello", g->workers);
    put_plain(out, "workers_busy", "gauge", "Workers with a job", g->busy);
    put_plain(out, "requests_inflight", "gauge", "Requests not yet answered", g->inflight);
    put_plain(out, "graph_bytes", "gauge", "Compiled graphs in memory", g->graph_bytes);
    put_meta(out, "loop_longest_seconds", "gauge", "The event loop's longest pass since this was last read; for so long nobody was heard");
    buf_printf(out, "cajal_loop_longest_seconds %.6f\n", (double)g->loop_longest_ns / 1e9);
    put_plain(out, "storage_full", "gauge", "1 when nothing may be added to the disk any more", g->storage_full);
    put_plain(out, "dataset_bytes", "gauge", "Data sets on disk", g->dataset_bytes);
    put_plain(out, "checkpoint_bytes", "gauge", "Checkpoints of runs on disk", g->checkpoint_bytes);
    put_plain(out, "runs_queued", "gauge", "Training runs waiting", g->runs_queued);
    put_plain(out, "runs_running", "gauge", "Training runs running", g->runs_running);
    put_plain(out, "damaged_rows_total", "counter", "Rows of the database found damaged, each as often as it was read", g->damaged_rows);
    put_plain(out, "lost_found", "gauge", "Files and folders in lost+found when the service started: what the database does not know", g->lost_found);
    put_plain(out, "damaged_files", "gauge", "Files of data sets and checkpoints that are known to be damaged", g->damaged_files);
    put_plain(out, "ready", "gauge", "1 when a worker is available", g->ready);
}
