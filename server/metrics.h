/* What the service counts, and its Prometheus text (/metrics). Counters only grow; gauges are asked for when the text is made. */
#ifndef CAJAL_METRICS_H
#define CAJAL_METRICS_H
#include "schema/base/buf.h"
#include <stdint.h>

/* COUNTER(field, help): one plain counter each */
#define METRICS_COUNTERS(COUNTER) \
    COUNTER(builds, "Programs and derivatives compiled by workers") \
    COUNTER(runs, "Executions in workers; merged ones count once") \
    COUNTER(jobs_failed, "Jobs that workers refused or could not finish") \
    COUNTER(jobs_retried, "Jobs sent to a second worker after the first died") \
    COUNTER(jobs_cancelled, "Jobs whose client went away or whose deadline passed") \
    COUNTER(worker_starts, "Worker processes started") \
    COUNTER(worker_deaths, "Worker processes that ended without being told to") \
    COUNTER(worker_kills, "Workers ended by the daemon for being stuck or speaking nonsense") \
    COUNTER(memory_hits, "Compiled graphs found in memory") \
    COUNTER(store_hits, "Compiled graphs found on disk") \
    COUNTER(cache_misses, "Compiled graphs that had to be built") \
    COUNTER(store_failures, "Writes that the database refused") \
    COUNTER(runs_done, "Training runs that went through all their steps") \
    COUNTER(runs_failed, "Training runs that failed") \
    COUNTER(runs_cancelled, "Training runs that were cancelled") \
    COUNTER(run_deaths, "Workers that died while they trained") \
    COUNTER(checkpoints, "Checkpoints of training runs written") \
    COUNTER(scrubbed_bytes, "Bytes that the scrub has held against their checksums") \
    COUNTER(bytes_in, "Bytes of request bodies") \
    COUNTER(bytes_out, "Bytes of answers' bodies") \
    COUNTER(exec_ns, "Nanoseconds that workers spent executing")

/* HISTOGRAM(field, help, unit, buckets): their upper ends are 1, 2, 5, 10, 20, 50, … units */
#define METRICS_HISTOGRAMS(HISTOGRAM) \
    HISTOGRAM(queue_seconds, "From a job's coming to its leaving for a worker", 1e-6, 24) \
    HISTOGRAM(exec_seconds, "An execution in its worker", 1e-6, 24) \
    HISTOGRAM(batch_requests, "Requests executed together", 1, 7)

enum { METRICS_BUCKETS = 12, HISTOGRAM_BUCKETS = 24 };
typedef struct {
    double unit;
    int buckets;
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* not cumulative; the last one used is what is above all bounds */
    double sum;
} Histogram;
struct RequestCount;

typedef struct Metrics {
#define COUNTER(field, help) uint64_t field;
    METRICS_COUNTERS(COUNTER)
#undef COUNTER
#define HISTOGRAM(field, help, unit, buckets) Histogram field;
    METRICS_HISTOGRAMS(HISTOGRAM)
#undef HISTOGRAM
    struct RequestCount *requests; /* list, the one counted last in front */
} Metrics;

typedef struct {
    uint64_t storage_full, dataset_bytes, checkpoint_bytes;
    uint64_t queue, workers, busy, inflight, graph_bytes, ready, runs_queued, runs_running, damaged_rows, damaged_files, lost_found;
    int64_t loop_longest_ns;
} MetricsGauges;

void metrics_init(Metrics *m);
void metrics_release(Metrics *m);
void metrics_observe(Histogram *histogram, double value);
/* method and route are static strings; route is the table's path ("none" for a request that has no route). */
void metrics_request(Metrics *m, const char *method, const char *route, int status, int64_t ns);
void metrics_put(Buf *out, const Metrics *m, const MetricsGauges *gauges);
#endif
