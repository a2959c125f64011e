#include "server/workers/dispatch.h"
#include "schema/formats/json.h"
#include "schema/base/map.h"
#include "schema/limits.h"
#include "server/workers/worker_state.h"
#include "server/workers/quarantine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* DEPTH: batches that a worker may have, so that it need not wait for the daemon between small ones. ATTEMPTS: of a job, before it is given up. */
enum { DEPTH = 2, ATTEMPTS = 2 };
/* What ending a worker costs others: none is ended for less. */
#define LEAST_PATIENCE ((int64_t)2000000000)

struct Dispatch {
    Pool *pool;
    Loop *loop;
    const Log *log;
    Metrics *metrics;
    size_t max_queue;
    JobList queue;
    Quarantine quarantine;
    uint64_t ids;
    WorkerState *workers;
    Batch *spare;
    Buf room; /* for frames on their way out */
};

static void finish(Dispatch *d, Job *job, JobResult result) {
    if (result.err) d->metrics->jobs_failed++;
    result.queue_ns = job->waited;
    if (!job->cancelled) job->spec.done(job->spec.arg, &result);
    job_free(job);
}

static void fail(Dispatch *d, Job *job, ErrCode code, const char *message) {
    Err err = {0};
    err_set(&err, code, "%s", message);
    finish(d, job, (JobResult){.err = &err});
}

static void requeue(Dispatch *d, Job *job) {
    job->batch = NULL;
    job->queued = loop_now();
    job_list_add(&d->queue, job, true);
}

/* ---- quarantine ---- */

static unsigned deaths_of(const Dispatch *d, const char *culprit) {
    return d->quarantine.first ? quarantine_deaths(&d->quarantine, culprit, loop_now()) : 0;
}

static void blame(Dispatch *d, const char *culprit) { quarantine_blame(&d->quarantine, culprit, loop_now()); }
static void absolve(Dispatch *d, const char *culprit) { quarantine_absolve(&d->quarantine, culprit); }

/* ---- sending ---- */

static int64_t patience_with(const Batch *batch) {
    int64_t patience = batch_patience(batch);
    return patience > LEAST_PATIENCE ? patience : LEAST_PATIENCE;
}

/* (Re)starts the clock of the batch being executed. */
static void watch_head(Dispatch *d, WorkerState *ws) {
    if (!ws->first) {
        loop_untimer(d->loop, &ws->stuck);
        return;
    }
    loop_timer(d->loop, &ws->stuck, loop_now() + patience_with(ws->first));
}

static void batch_recycle(Dispatch *d, Batch *batch) {
    if (d->spare) free(batch);
    else d->spare = batch;
}

static void note_sent(Dispatch *d, Batch *batch) {
    int64_t now = loop_now();
    for (Job *job = batch->jobs.first; job; job = job->next) {
        job->waited = now - job->queued;
        metrics_observe(&d->metrics->queue_seconds, (double)job->waited / 1e9);
    }
    batch->ws->jobs += batch->jobs.count;
}

/* There is no memory for its frame. */
static void give_up(Dispatch *d, WorkerState *ws, Batch *batch) {
    worker_state_remove(ws, batch);
    watch_head(d, ws);
    for (Job *job; (job = batch->jobs.first);) {
        job_list_remove(&batch->jobs, job);
        fail(d, job, ERR_internal, "Memory is short.");
    }
    batch_recycle(d, batch);
}

/* What waits first, and what may go with it. */
static void send_batch(Dispatch *d, WorkerState *ws) {
    Batch *batch = d->spare ? d->spare : malloc(sizeof *batch);
    const JobSpec *spec = &d->queue.first->spec;
    if (!batch) {
        Job *job = d->queue.first;
        job_list_remove(&d->queue, job);
        fail(d, job, ERR_internal, "Memory is short.");
        return;
    }
    d->spare = NULL;
    *batch = (Batch){.id = ++d->ids, .ws = ws};
    bool ok = true;
    if (!worker_state_has(ws, spec->key)) {
        batch->load_id = ++d->ids;
        batch->load_key = spec->key;
        ok = worker_state_load(ws, batch->load_id, spec->key, spec->graph, spec->graph_len);
    }
    if (spec->key) worker_state_used(ws, spec->key);
    batch_fill(batch, &d->queue, worker_state_has);
    note_sent(d, batch);
    worker_state_add(ws, batch);
    if (ws->first == batch) watch_head(d, ws);
    if (!ok) {
        batch->unsent = true;
        return;
    }
    FrameType type;
    buf_clear(&d->room);
    const Buf *body = batch_body(batch, &d->room, &type);
    if (body->failed) give_up(d, ws, batch);
    else batch->unsent = !pool_send(ws->worker, type, batch->id, body, batch->jobs.first->spec.area);
}

static bool takes_more(const WorkerState *ws) {
    if (ws->batches >= DEPTH) return false;
    for (const Batch *b = ws->first; b; b = b->next)
        if (!batch_is_small(b)) return false;
    return true;
}

/* An idle worker, best one that has the graph; else, for a small job, one that is busy with few small ones. */
static WorkerState *choose(Dispatch *d, const Job *job) {
    WorkerState *best = NULL;
    bool best_has = false;
    for (int i = 0; i < pool_size(d->pool); i++) {
        WorkerState *ws = &d->workers[i];
        if (!pool_takes(ws->worker)) continue;
        bool has = worker_state_has(ws, job->spec.key);
        if (ws->batches && !(job->spec.small && has && takes_more(ws))) continue;
        if (best && (ws->batches > best->batches || (ws->batches == best->batches && (best_has || !has)))) continue;
        best = ws;
        best_has = has;
    }
    return best;
}

void dispatch_flush(Dispatch *d) {
    for (Job *job; (job = d->queue.first);) {
        if (deaths_of(d, job->spec.culprit) >= ATTEMPTS) {
            /* It came before its like had killed two workers. */
            job_list_remove(&d->queue, job);
            fail(d, job, job->attempts ? ERR_worker_crash : ERR_quarantined, "This program has killed two workers and is not run any more.");
            continue;
        }
        WorkerState *ws = choose(d, job);
        if (!ws) return;
        send_batch(d, ws);
    }
}

/* ---- replies ---- */

static void on_ready(void *arg, Worker *worker) {
    (void)worker;
    dispatch_flush(arg);
}

static bool load_failed(WorkerState *ws, Batch *batch, const Frame *frame) {
    ExecutedMsg executed;
    if (!wire_get_executed(frame, &executed)) return false;
    if (!executed.code) return true;
    batch->load_code = executed.code < ERR_COUNT ? (ErrCode)executed.code : ERR_internal;
    snprintf(batch->load_message, sizeof batch->load_message, "%.*s", (int)executed.message_len, (const char *)executed.message);
    worker_state_forget(ws, batch->load_key);
    return true;
}

/* The job's rows of a merged evaluation that went well. */
static void deliver_part(Dispatch *d, Job *job, const BatchItem *item, ExecutedMsg executed) {
    unsigned char room[WIRE_INLINE_AREA];
    if (!job->cancelled) {
        const ExecRequest *exec = job->spec.exec;
        executed.inline_results = exec_request_part(exec, executed.inline_results, job->row0, item->rows, room);
        executed.inline_len = exec_request_result_bytes(exec);
    }
    finish(d, job, (JobResult){.executed = &executed});
}

/* A merged evaluation that failed is tried again job by job: the failure may be another's. */
static void deliver(Dispatch *d, Batch *batch, Job *job, Frame *frame, const ExecutedMsg *answers) {
    const BatchItem *item = &batch->items[job->item];
    const ExecutedMsg *executed = job->spec.type == FRAME_exec ? &answers[job->item] : NULL;
    if (batch->load_code && job->spec.key == batch->load_key) {
        fail(d, job, batch->load_code, batch->load_message);
    } else if (item->members == 1) {
        absolve(d, job->spec.culprit);
        finish(d, job, (JobResult){.frame = batch->nitems == 1 ? frame : NULL, .executed = executed});
    } else if (!executed->code) {
        absolve(d, job->spec.culprit);
        deliver_part(d, job, item, *executed);
    } else if (job->cancelled) {
        job_free(job);
    } else {
        job->alone = true;
        requeue(d, job);
    }
}

static void note_executed(Dispatch *d, const Batch *batch, const ExecutedMsg *answers) {
    if (batch->jobs.first->spec.type != FRAME_exec) return;
    for (uint32_t i = 0; i < batch->nitems; i++) {
        d->metrics->runs++;
        d->metrics->exec_ns += answers[i].exec_ns;
        metrics_observe(&d->metrics->exec_seconds, (double)answers[i].exec_ns / 1e9);
        metrics_observe(&d->metrics->batch_requests, (double)batch->items[i].members);
    }
}

static void on_frame(void *arg, Worker *worker, Frame *frame) {
    Dispatch *d = arg;
    WorkerState *ws = worker->data;
    Batch *batch = ws->first;
    ExecutedMsg answers[BATCH_ITEMS];
    if (batch && batch->load_id && frame->id == batch->load_id && load_failed(ws, batch, frame)) return;
    if (!batch || frame->id != batch->id || !batch_read(batch, frame, answers)) {
        pool_kill(worker, END_NONSENSE);
        return;
    }
    worker_state_remove(ws, batch);
    watch_head(d, ws);
    note_executed(d, batch, answers);
    /* From behind, as jobs of a merged evaluation that failed go back to the front of the queue. */
    for (Job *job; (job = batch->jobs.last);) {
        job_list_remove(&batch->jobs, job);
        deliver(d, batch, job, frame, answers);
    }
    batch_recycle(d, batch);
    dispatch_flush(d);
}

/* ---- deaths ---- */

static void on_stuck(void *arg) {
    WorkerState *ws = arg;
    pool_kill(ws->worker, END_STUCK);
}

/* A job of the batch that was being executed when the worker died. Which of several it was is not known: each is tried by itself, and
 * one that kills again has then killed two. */
static void accuse(Dispatch *d, Job *job, bool with_others, bool stuck, const char *how) {
    char message[200];
    if (job->cancelled && (stuck || with_others)) {
        job_free(job);
    } else if (stuck && (!with_others || job->attempts)) {
        fail(d, job, ERR_deadline, "The worker was stuck with this job past twice its deadline.");
    } else if (with_others) {
        job->attempts++;
        job->alone = job->suspect = true;
        d->metrics->jobs_retried++;
        requeue(d, job);
    } else {
        blame(d, job->spec.culprit);
        if (job->suspect) blame(d, job->spec.culprit);
        if (job->cancelled) {
            job_free(job);
        } else if (++job->attempts < ATTEMPTS && deaths_of(d, job->spec.culprit) < ATTEMPTS) {
            d->metrics->jobs_retried++;
            requeue(d, job);
        } else {
            snprintf(message, sizeof message, "The worker died on this job (%s).", how);
            fail(d, job, ERR_worker_crash, message);
        }
    }
}

/* A job whose worker was lost for the daemon's own reasons. */
static void excuse(Dispatch *d, Job *job) {
    if (job->cancelled) {
        job_free(job);
    } else if (++job->attempts < ATTEMPTS) {
        d->metrics->jobs_retried++;
        requeue(d, job);
    } else {
        fail(d, job, ERR_internal, "The job could not be given to a worker.");
    }
}

/* A batch that a lost worker had, or was to have. Jobs not begun are not to blame: back to the front of the queue, in their order. */
static void lose(Dispatch *d, Batch *batch, bool begun, WorkerEnd end, const char *how) {
    bool with_others = batch->jobs.count > 1, ours = end == END_MEMORY || end == END_UNSENT;
    bool innocent = batch->unsent ? !ours : !begun;
    for (Job *job; (job = batch->jobs.last);) {
        job_list_remove(&batch->jobs, job);
        if (innocent && job->cancelled) job_free(job);
        else if (innocent) requeue(d, job);
        else if (ours) excuse(d, job);
        else accuse(d, job, with_others, end == END_STUCK, how);
    }
    batch_recycle(d, batch);
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Dispatch *d = arg;
    WorkerState *ws = worker->data;
    worker_state_forget_all(ws);
    loop_untimer(d->loop, &ws->stuck);
    Batch *head = ws->first;
    if (head) worker_state_remove(ws, head);
    for (Batch *batch; (batch = ws->last);) {
        worker_state_remove(ws, batch);
        lose(d, batch, false, end, how);
    }
    if (head) lose(d, head, true, end, how);
    if (!pool_hopeful(d->pool))
        for (Job *job; (job = d->queue.first);) {
            job_list_remove(&d->queue, job);
            fail(d, job, ERR_no_worker, "No worker stays alive; see the service's log.");
        }
    dispatch_flush(d);
}

/* ---- jobs ---- */

/* NULL when memory is short. */
static Job *job_new(const JobSpec *spec) {
    size_t len = spec->culprit ? strlen(spec->culprit) : 0;
    Job *job = malloc(sizeof *job + len + 1);
    if (!job) return NULL;
    *job = (Job){.spec = *spec, .queued = loop_now()};
    if (spec->culprit) job->spec.culprit = memcpy(job->culprit, spec->culprit, len + 1);
    return job;
}

Job *dispatch_submit(Dispatch *d, JobSpec *spec, Err *err) {
    Job *job = NULL;
    if (spec->body.failed) err_set(err, ERR_internal, "Memory is short.");
    else if (deaths_of(d, spec->culprit) >= ATTEMPTS) err_set(err, ERR_quarantined, "This program has killed two workers and is not run any more.");
    else if (!pool_hopeful(d->pool)) err_set(err, ERR_no_worker, "No worker stays alive; see the service's log.");
    else if (d->queue.count >= d->max_queue) err_set(err, ERR_queue_full, "Too many jobs are waiting.");
    else if (!(job = job_new(spec))) err_set(err, ERR_internal, "Memory is short.");
    if (job) job_list_add(&d->queue, job, false);
    else buf_release(&spec->body);
    return job;
}

void dispatch_cancel(Dispatch *d, Job *job, int64_t grace) {
    d->metrics->jobs_cancelled++;
    job->cancelled = true;
    if (!job->batch) {
        job_list_remove(&d->queue, job);
        job_free(job);
        return;
    }
    WorkerState *ws = job->batch->ws;
    if (job->spec.patience > grace) job->spec.patience = grace;
    int64_t due = loop_now() + patience_with(job->batch);
    bool hurry = ws->first == job->batch && !batch_is_wanted(job->batch);
    if (hurry && ws->stuck.on && ws->stuck.due > due) loop_timer(d->loop, &ws->stuck, due);
}

/* ---- life, and what is told of it ---- */

Dispatch *dispatch_new(const PoolSpec *spec, size_t max_queue) {
    Dispatch *d = calloc(1, sizeof *d);
    PoolSpec own = *spec;
    own.events = (PoolEvents){.ready = on_ready, .frame = on_frame, .died = on_died};
    own.arg = d;
    if (d) d->pool = pool_new(&own);
    if (d && d->pool) d->workers = calloc((size_t)spec->workers, sizeof *d->workers);
    if (!d || !d->workers) {
        dispatch_free(d);
        return NULL;
    }
    d->loop = spec->loop;
    d->log = spec->log;
    d->metrics = spec->metrics;
    d->max_queue = max_queue;
    for (int i = 0; i < spec->workers; i++) {
        WorkerState *ws = &d->workers[i];
        ws->worker = pool_worker(d->pool, i);
        ws->worker->data = ws;
        ws->stuck = (Timer){.fire = on_stuck, .arg = ws};
    }
    return d;
}

void dispatch_start(Dispatch *d) { pool_start(d->pool); }

void dispatch_free(Dispatch *d) {
    if (!d) return;
    job_list_clear(&d->queue);
    for (int i = 0; d->workers && i < pool_size(d->pool); i++) {
        worker_state_release(&d->workers[i]);
        loop_untimer(d->loop, &d->workers[i].stuck);
    }
    pool_free(d->pool);
    quarantine_release(&d->quarantine);
    free(d->workers);
    free(d->spare);
    buf_release(&d->room);
    free(d);
}

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
