#include "server/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Upper ends of the latency buckets, in seconds. */
static const double bounds[METRICS_BUCKETS] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 30};

typedef struct {
    const char *method, *route;
    int status;
    uint64_t count, buckets[METRICS_BUCKETS];
    double seconds;
} RequestCount;

void metrics_init(Metrics *m) {
    *m = (Metrics){0};
    map_init(&m->requests);
}

void metrics_release(Metrics *m) {
    size_t at = 0;
    for (void *row; (row = map_next(&m->requests, &at));) free(row);
    map_release(&m->requests);
}

void metrics_request(Metrics *m, const char *method, const char *route, int status, int64_t ns) {
    char key[160];
    size_t len = (size_t)snprintf(key, sizeof key, "%s %s %d", method, route, status);
    RequestCount *row = map_get(&m->requests, key, len);
    if (!row) {
        row = calloc(1, sizeof *row);
        if (!row) return;
        *row = (RequestCount){.method = method, .route = route, .status = status};
        if (!map_put(&m->requests, key, len, row)) {
            free(row);
            return;
        }
    }
    double seconds = (double)ns / 1e9;
    row->count++;
    row->seconds += seconds;
    for (int i = METRICS_BUCKETS - 1; i >= 0 && seconds <= bounds[i]; i--) row->buckets[i]++;
}

static void put_meta(Buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP cajal_%s %s\n# TYPE cajal_%s %s\n", name, help, name, type);
}

static void put_plain(Buf *out, const char *name, const char *type, const char *help, uint64_t value) {
    put_meta(out, name, type, help);
    buf_printf(out, "cajal_%s %llu\n", name, (unsigned long long)value);
}

static void put_requests(Buf *out, const Metrics *m) {
    size_t at = 0;
    put_meta(out, "requests_total", "counter", "Requests answered");
    for (const RequestCount *r; (r = map_next(&m->requests, &at));)
        buf_printf(out, "cajal_requests_total{method=\"%s\",route=\"%s\",code=\"%d\"} %llu\n", r->method, r->route, r->status,
                   (unsigned long long)r->count);
    put_meta(out, "request_seconds", "histogram", "From a request's headers to its answer");
    at = 0;
    for (const RequestCount *r; (r = map_next(&m->requests, &at));) {
        char labels[192];
        snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\",code=\"%d\"", r->method, r->route, r->status);
        for (int i = 0; i < METRICS_BUCKETS; i++)
            buf_printf(out, "cajal_request_seconds_bucket{%s,le=\"%g\"} %llu\n", labels, bounds[i], (unsigned long long)r->buckets[i]);
        buf_printf(out, "cajal_request_seconds_bucket{%s,le=\"+Inf\"} %llu\n", labels, (unsigned long long)r->count);
        buf_printf(out, "cajal_request_seconds_sum{%s} %.9g\n", labels, r->seconds);
        buf_printf(out, "cajal_request_seconds_count{%s} %llu\n", labels, (unsigned long long)r->count);
    }
}

void metrics_put(Buf *out, const Metrics *m, const MetricsGauges *g) {
    put_requests(out, m);
#define COUNTER(field, help) put_plain(out, #field "_total", "counter", help, m->field);
    METRICS_COUNTERS(COUNTER)
#undef COUNTER
    put_plain(out, "queue_depth", "gauge", "Jobs waiting for a worker", g->queue);
    put_plain(out, "workers", "gauge", "Workers that have said hello", g->workers);
    put_plain(out, "workers_busy", "gauge", "Workers with a job", g->busy);
    put_plain(out, "requests_inflight", "gauge", "Requests not yet answered", g->inflight);
    put_plain(out, "graph_bytes", "gauge", "Compiled graphs in memory", g->graph_bytes);
    put_plain(out, "ready", "gauge", "1 when a worker is available", g->ready);
}
