/* GET /runs/{id}/metrics */
#include "schema/formats/json.h"
#include "schema/limits.h"
#include "server/routes.h"
#include "server/store/store_runs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Call *call;
    int64_t seq;
    char id[RUN_ID + 1], keys[RUN_KEYS][RUN_KEY + 1];
    size_t nkeys;
    uint64_t from, most;
    Buf out;
    ErrCode code;
    Task task;
    bool cancelled;
} Query;

static void put_json(Buf *out, const char *key, const Thinner *t) {
    if (out->data[out->len - 1] != '{') buf_putc(out, ',');
    json_put_string(out, key);
    buf_puts(out, ":{\"steps\":[");
    for (size_t i = 0; i < t->n; i++) buf_printf(out, i ? ",%llu" : "%llu", (unsigned long long)t->points[i].step);
    buf_puts(out, "],\"values\":[");
    for (size_t i = 0; i < t->n; i++) {
        if (i) buf_putc(out, ',');
        json_put_double(out, t->points[i].value);
    }
    buf_puts(out, "]}");
}

static void put_csv(Buf *out, const char *key, const Thinner *t) {
    for (size_t i = 0; i < t->n; i++)
        buf_printf(out, "%s,%llu,%.17g\n", key, (unsigned long long)t->points[i].step, t->points[i].value);
}

static void read_metrics(void *arg) {
    Query *q = arg;
    bool csv = q->call->form == FORM_CSV;
    if (csv) buf_puts(&q->out, "key,step,value\n");
    else buf_printf(&q->out, "{\"id\":\"%s\",\"metrics\":{", q->id);
    for (size_t i = 0; i < q->nkeys && !q->code && !q->out.failed; i++) {
        Thinner t;
        q->code = store_run_points(q->call->server->store, q->seq, q->keys[i], q->from, q->most, &t);
        if (csv) put_csv(&q->out, q->keys[i], &t);
        else put_json(&q->out, q->keys[i], &t);
        thin_release(&t);
    }
    if (!csv) buf_puts(&q->out, "}}");
}

static void answer(void *arg) {
    Query *q = arg;
    if (q->code) call_fail(q->call, q->code, "The database does not answer.");
    else if (!q->cancelled) call_answer(q->call, 200, form_type(q->call->form), &q->out);
    call_on_cancel(q->call, NULL, NULL);
    buf_release(&q->out);
    call_drop(q->call);
    free(q);
}

static void on_cancel(void *arg) { ((Query *)arg)->cancelled = true; }

static bool has_key(const Query *q, const char *key) {
    for (size_t i = 0; i < q->nkeys; i++)
        if (strcmp(q->keys[i], key) == 0) return true;
    return false;
}

/* The keys asked for, each once; else all there are. */
static bool read_keys(Query *q) {
    const char *at = call_query(q->call, "keys");
    if (!at || !*at) {
        ErrCode code = store_run_keys(q->call->server->store, q->seq, q->keys, &q->nkeys);
        if (code) call_fail(q->call, code, "The database does not answer.");
        return code == ERR_NONE;
    }
    for (; *at; at += *at == ',') {
        size_t len = strcspn(at, ",");
        if (!len || len > RUN_KEY || q->nkeys == RUN_KEYS) {
            call_fail(q->call, ERR_bad_request, "?keys is at most %d names of metrics, with commas between.", RUN_KEYS);
            return false;
        }
        snprintf(q->keys[q->nkeys], RUN_KEY + 1, "%.*s", (int)len, at);
        q->nkeys += !has_key(q, q->keys[q->nkeys]);
        at += len;
    }
    return true;
}

static bool look_up(Query *q) {
    StoredRun run;
    ErrCode code = store_run_head(q->call->server->store, q->call->param.text, &run);
    if (code) {
        call_fail(q->call, code, code == ERR_not_found ? "There is no run %.100s." : "The record of run %.100s cannot be read.", q->call->param.text);
        return false;
    }
    q->seq = run.seq;
    strcpy(q->id, run.id);
    stored_run_release(&run);
    return true;
}

/* What the points take in an answer, at most. */
static bool hold(Query *q) {
    enum { JSON_POINT = 48, CSV_POINT = 48 + RUN_KEY }; /* a step and a number in full */
    const size_t bytes = q->nkeys * q->most * (q->call->form == FORM_CSV ? CSV_POINT : JSON_POINT);
    if (bytes > LIMIT_METRICS_ANSWER)
        call_fail(q->call, ERR_too_large, "So many points of so many metrics may take more than %zu bytes; ask for fewer.", LIMIT_METRICS_ANSWER);
    else if (!call_hold(q->call, bytes)) call_fail(q->call, ERR_queue_full, "The requests in flight take too much memory.");
    else return true;
    return false;
}

void handle_run_metrics(Call *call) {
    Query *q = calloc(1, sizeof *q);
    if (!q) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    q->call = call;
    buf_init(&q->out);
    bool ok = call_query_uint(call, "from", 0, 0, INT64_MAX, &q->from) &&
              call_query_uint(call, "max_points", 1000, SERIES_LEAST_POINTS, LIMIT_POINTS, &q->most) && look_up(q) && read_keys(q) &&
              hold(q);
    if (!ok) {
        free(q);
        return;
    }
    call_keep(call);
    call_on_cancel(call, on_cancel, q);
    q->task = (Task){.work = read_metrics, .done = answer, .arg = q};
    tasks_add(call->server->tasks, &q->task);
}
