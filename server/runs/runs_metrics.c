/* GET /runs/{id}/metrics */
#include "schema/formats/json.h"
#include "schema/limits.h"
#include "server/http/errand.h"
#include "server/runs/run_find.h"
#include "server/routes.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    Errand errand;
    int64_t seq;
    char id[RUN_ID + 1], keys[LIMIT_RUN_KEYS][RUN_KEY + 1];
    size_t nkeys;
    uint64_t from, most;
    bool damaged;
    Buf out;
} MetricsQuery;

static void release(void *arg) { buf_release(&((MetricsQuery *)arg)->out); }

static const ErrandKind kind = {.size = sizeof(MetricsQuery), .release = release};

/* stride: of so many points that came one was kept; and those are thinned for the answer. */
static void put_json(Buf *out, const char *key, const Thinner *t, uint64_t stride) {
    if (out->data[out->len - 1] != '{') buf_putc(out, ',');
    json_put_string(out, key);
    buf_puts(out, ":{\"steps\":[");
    for (size_t i = 0; i < t->n; i++) buf_printf(out, i ? ",%llu" : "%llu", (unsigned long long)t->points[i].step);
    buf_puts(out, "],\"values\":[");
    for (size_t i = 0; i < t->n; i++) {
        if (i) buf_putc(out, ',');
        json_put_double(out, t->points[i].value);
    }
    buf_printf(out, "],\"stride\":%llu}", (unsigned long long)stride);
}

static void put_csv(Buf *out, const char *key, const Thinner *t) {
    for (size_t i = 0; i < t->n; i++)
        buf_printf(out, "%s,%llu,%.17g\n", key, (unsigned long long)t->points[i].step, t->points[i].value);
}

static bool no_answer(Err *err, ErrCode code) { return err_set(err, code, "The database does not answer."); }

static bool read_metrics(void *arg) {
    MetricsQuery *q = arg;
    const Call *call = q->errand.call;
    const bool csv = call->form == FORM_CSV;
    ErrCode code = ERR_NONE;
    if (csv) buf_puts(&q->out, "key,step,value\n");
    else buf_printf(&q->out, "{\"id\":\"%s\",\"metrics\":{", q->id);
    for (size_t i = 0; i < q->nkeys && !code && !q->out.failed; i++) {
        Thinner t;
        RunPoints about;
        code = store_run_points(call->server->store, q->seq, q->keys[i], q->from, q->most, &t, &about);
        q->damaged |= about.damaged;
        if (csv) put_csv(&q->out, q->keys[i], &t);
        else put_json(&q->out, q->keys[i], &t, about.stride);
        thin_release(&t);
    }
    if (!csv) buf_puts(&q->out, q->damaged ? "},\"damaged\":true}" : "}}");
    else if (q->damaged && !code) return err_set(&q->errand.err, ERR_damaged, "Some points are damaged in the database. As JSON there are the others, and it says so.");
    return !code || no_answer(&q->errand.err, code);
}

static void answer(void *arg) {
    MetricsQuery *q = arg;
    errand_answer(q, 200, form_type(q->errand.call->form), &q->out);
}

/* ---- in the loop; false: errand.err says why not ---- */

static bool has_key(const MetricsQuery *q, const char *key) {
    for (size_t i = 0; i < q->nkeys; i++)
        if (strcmp(q->keys[i], key) == 0) return true;
    return false;
}

/* The keys asked for, each once; else all there are. */
static bool read_keys(MetricsQuery *q) {
    Call *call = q->errand.call;
    const char *at = call_query(call, "keys");
    if (!at || !*at) {
        ErrCode code = store_run_keys(call->server->store, q->seq, q->keys, &q->nkeys);
        return !code || no_answer(&q->errand.err, code);
    }
    for (; *at; at += *at == ',') {
        size_t len = strcspn(at, ",");
        if (!len || len > RUN_KEY || q->nkeys == LIMIT_RUN_KEYS)
            return err_set(&q->errand.err, ERR_bad_request, "?keys is at most %d names of metrics, with commas between.", LIMIT_RUN_KEYS);
        snprintf(q->keys[q->nkeys], RUN_KEY + 1, "%.*s", (int)len, at);
        q->nkeys += !has_key(q, q->keys[q->nkeys]);
        at += len;
    }
    return true;
}

/* What the points take in an answer, at most. */
static bool hold(MetricsQuery *q) {
    enum { JSON_POINT = 48, CSV_POINT = 48 + RUN_KEY }; /* a step and a number in full */
    Err *err = &q->errand.err;
    const size_t bytes = q->nkeys * q->most * (q->errand.call->form == FORM_CSV ? CSV_POINT : JSON_POINT);
    if (bytes > LIMIT_METRICS_ANSWER)
        return err_set(err, ERR_too_large, "So many points of so many metrics may take more than %zu bytes; ask for fewer.", LIMIT_METRICS_ANSWER);
    return call_hold(q->errand.call, bytes, err);
}

void handle_run_metrics(Call *call) {
    uint64_t from, most;
    StoredRun run;
    if (!call_query_uint(call, "from", 0, 0, INT64_MAX, &from) ||
        !call_query_uint(call, "max_points", 1000, SERIES_LEAST_POINTS, LIMIT_POINTS, &most) || !run_find(call, store_run_head, &run))
        return;
    MetricsQuery *q = errand_begin(call, &kind);
    if (q) {
        q->seq = run.seq;
        q->from = from;
        q->most = most;
        strcpy(q->id, run.id);
        buf_init(&q->out);
        if (read_keys(q) && hold(q)) errand_work(q, call->server->tasks, read_metrics, answer);
        else errand_refuse(q);
    }
    stored_run_release(&run);
}
