/* What is told of workers: /workers, /metrics. */
#include "server/workers/dispatch.h"
#include "server/workers/dispatch_inside.h"
#include "schema/formats/json.h"

size_t dispatch_queue(const Dispatch *d) { return d->queue.count; }

void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy) {
    *ready = *busy = 0;
    for (int i = 0; i < pool_size(d->pool); i++) {
        *ready += d->workers[i].worker->life == WORKER_READY;
        *busy += d->workers[i].batches > 0;
    }
}

static const char *const states[] = {"down", "starting", "idle", "busy"};
static int state_of(const WorkerState *ws) { return ws->batches ? 3 : (int)ws->worker->life; }

void dispatch_json(Buf *out, const Dispatch *d) {
    buf_putc(out, '[');
    for (int i = 0; i < pool_size(d->pool); i++) {
        const WorkerState *ws = &d->workers[i];
        const Worker *w = ws->worker;
        buf_printf(out, "%s{\"pid\":%d,\"state\":\"%s\",\"threads\":%u,\"jobs\":%llu,\"graphs\":%zu,\"starts\":%llu,\"libraries\":",
                   i ? "," : "", w->life == WORKER_DOWN ? 0 : (int)w->pid, states[state_of(ws)], w->threads,
                   (unsigned long long)ws->jobs, ws->loaded.count, (unsigned long long)w->starts);
        json_put_string(out, w->libraries);
        buf_puts(out, ",\"last_end\":");
        if (*w->last_end) json_put_string(out, w->last_end);
        else buf_puts(out, "null");
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

void dispatch_metrics(Buf *out, const Dispatch *d) {
    buf_puts(out, "# HELP cajal_worker_state 1 for the state that the worker is in\n# TYPE cajal_worker_state gauge\n");
    for (int i = 0; i < pool_size(d->pool); i++)
        for (int s = 0; s < (int)(sizeof states / sizeof *states); s++)
            buf_printf(out, "cajal_worker_state{worker=\"%d\",state=\"%s\"} %d\n", i, states[s], s == state_of(&d->workers[i]));
}
