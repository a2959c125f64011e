#include "server/workers/dispatch.h"
#include "server/workers/dispatch_inside.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* DEPTH: batches that a worker may have, so that it need not wait for the daemon between small ones. */
enum { DEPTH = 2 };
/* SHORT: how long a job that was taken for short may take. */
#define SHORT_NS ((int64_t)2000000000)

/* The job, which neither waits nor is under way, is over. */
static void drop(Dispatch *d, Job *job) {
    if (job->trial) quarantine_end_trial(&d->quarantine, job->spec.culprit);
    queue_forget(&d->queue, job);
    job_free(job);
}

static void finish(Dispatch *d, Job *job, JobResult result) {
    if (result.err) d->metrics->jobs_failed++;
    result.queue_ns = job->waited;
    if (!job->cancelled) job->spec.done(job->spec.arg, &result);
    drop(d, job);
}

static void fail(Dispatch *d, Job *job, ErrCode code, const char *message) {
    Err err = {0};
    err_set(&err, code, "%s", message);
    finish(d, job, (JobResult){.err = &err});
}

/* Back to where it came from, unless nobody wants it any more. */
static void requeue(Dispatch *d, Job *job) {
    job->batch = NULL;
    if (job->cancelled) {
        drop(d, job);
        return;
    }
    job->queued = loop_now();
    queue_return(&d->queue, job);
}

/* ---- how long a worker may be at a batch ---- */

static size_t count_long(const Dispatch *d) {
    size_t n = 0;
    for (int i = 0; i < pool_size(d->pool); i++) {
        const Batch *head = d->workers[i].first;
        n += head && head->jobs.first->lane == LANE_LONG;
    }
    return n;
}

/* One worker is kept for short jobs, when there are several. */
static bool has_room_for_long(const Dispatch *d) {
    const size_t n = (size_t)pool_size(d->pool);
    return n == 1 || count_long(d) + 1 < n;
}

/* A job that was taken for short and is not becomes a long one; where there is no room for one more, it has to begin again when there is. */
static void look_at_short(Dispatch *d, WorkerState *ws) {
    Job *job = ws->first->jobs.first;
    const bool overdue = job->lane == LANE_SHORT && ws->first->jobs.count == 1 && loop_now() - ws->first->begun > SHORT_NS;
    if (!overdue || pool_size(d->pool) == 1) return;
    if (has_room_for_long(d)) queue_demote(job);
    else if (d->queue.shorts) pool_kill(ws->worker, END_MOVED);
}

static void watch_head(Dispatch *d, WorkerState *ws);

static void on_look(void *arg) {
    WorkerState *ws = arg;
    Dispatch *d = ws->dispatch;
    WorkerEnd why;
    /* What it has said, perhaps while the daemon was held up, comes first. */
    const bool word = pool_has_word(ws->worker);
    if (!vigil_look(&ws->vigil, ws->worker->pid, word)) {
        pool_kill(ws->worker, END_FROZEN);
        return;
    }
    if (!word) {
        if (loop_now() >= batch_time_is_up(ws->first, d->max_exec, &why)) {
            pool_kill(ws->worker, why);
            return;
        }
        look_at_short(d, ws);
    }
    watch_head(d, ws);
}

/* (Re)arms the next look at the worker. */
static void watch_head(Dispatch *d, WorkerState *ws) {
    WorkerEnd why;
    if (!ws->first) {
        loop_untimer(d->loop, &ws->look);
        return;
    }
    const int64_t now = loop_now();
    if (!ws->first->begun) {
        ws->first->begun = now;
        vigil_begin(&ws->vigil);
    }
    const int64_t due = batch_time_is_up(ws->first, d->max_exec, &why);
    loop_timer(d->loop, &ws->look, due > now && due < now + VIGIL_NS ? due : now + VIGIL_NS);
}

/* ---- sending ---- */

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

/* The job that waits, and what may go with it. */
static void send_batch(Dispatch *d, WorkerState *ws, Job *job) {
    Batch *batch = d->spare ? d->spare : malloc(sizeof *batch);
    const JobSpec *spec = &job->spec;
    if (!batch) {
        queue_take(&d->queue, job, false);
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
    batch_fill(batch, &d->queue, job, worker_state_has);
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

static CulpritState suspicion(const Dispatch *d, const char *culprit) {
    return d->quarantine.first ? quarantine_state(&d->quarantine, culprit, loop_now()) : CULPRIT_UNKNOWN;
}

static void set_held(const Dispatch *d, const char *culprit, Err *err) {
    const unsigned seconds = quarantine_seconds(&d->quarantine, culprit, loop_now());
    err_set(err, ERR_quarantined, "This program has killed two workers; it is tried again in %u second%s at the earliest.", seconds, seconds == 1 ? "" : "s");
}

/* False: the job, whose like has killed workers since it came, has been refused. */
static bool may_go(Dispatch *d, Job *job) {
    const CulpritState state = job->trial ? CULPRIT_SUSPECT : suspicion(d, job->spec.culprit);
    if (state != CULPRIT_UNKNOWN) job->company = 1;
    if (state == CULPRIT_DUE) {
        job->trial = true;
        quarantine_begin_trial(&d->quarantine, job->spec.culprit);
    }
    if (state != CULPRIT_HELD) return true;
    Err err = {0};
    set_held(d, job->spec.culprit, &err);
    queue_take(&d->queue, job, false);
    if (job->deaths) fail(d, job, ERR_worker_crash, err.message);
    else fail(d, job, ERR_quarantined, err.message);
    return false;
}

void dispatch_flush(Dispatch *d) {
    for (Job *job; d->queue.count && (job = queue_next(&d->queue, !has_room_for_long(d)));) {
        if (!may_go(d, job)) continue;
        WorkerState *ws = choose(d, job);
        if (!ws) return;
        send_batch(d, ws, job);
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
        quarantine_absolve(&d->quarantine, job->spec.culprit);
        finish(d, job, (JobResult){.frame = batch->nitems == 1 ? frame : NULL, .executed = executed});
    } else if (!executed->code) {
        quarantine_absolve(&d->quarantine, job->spec.culprit);
        deliver_part(d, job, item, *executed);
    } else {
        job->company = 1;
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

static void await_verdict(Dispatch *d) {
    if (d->held.first) loop_timer(d->loop, &d->verdict, d->held.first->killed + BLAME_NEIGHBOUR_NS);
    else loop_untimer(d->loop, &d->verdict);
}

/* Those of whom nothing has been heard for a second that would excuse them, and those of whom it has. */
static void on_verdict(void *arg) {
    Dispatch *d = arg;
    for (Job *job; (job = d->held.first) && loop_now() >= job->killed + BLAME_NEIGHBOUR_NS;) {
        job_list_remove(&d->held, job);
        if (blame_is_proved(job)) fail(d, job, ERR_worker_crash, "Three workers running were killed while they were at this job (signal SIGKILL): most likely for want of memory.");
        else requeue(d, job);
    }
    await_verdict(d);
    dispatch_flush(d);
}

static void judge(Dispatch *d, Job *job, const Death *death, const char *how) {
    char message[200];
    const Verdict verdict = blame_judge(job, death, &d->quarantine);
    job->batch = NULL;
    if (death->end == END_MOVED) queue_demote(job);
    if (job->cancelled) {
        drop(d, job);
        return;
    }
    switch (verdict) {
    case VERDICT_RETRY:
        d->metrics->jobs_retried++;
        requeue(d, job);
        return;
    case VERDICT_HOLD:
        job_list_add(&d->held, job, false);
        await_verdict(d);
        return;
    case VERDICT_CRASH:
        snprintf(message, sizeof message, "The worker died on this job (%s).", how);
        fail(d, job, ERR_worker_crash, message);
        return;
    case VERDICT_LIMIT:
        snprintf(message, sizeof message, "The job ran for longer than the %lld ms that this server lets one run (--max-exec).", (long long)(d->max_exec / 1000000));
        fail(d, job, ERR_too_large, message);
        return;
    case VERDICT_UNSENT: fail(d, job, ERR_internal, "The job could not be given to a worker."); return;
    }
}

/* A batch that a lost worker had, or was to have. Jobs not begun are not to blame: back to the front of the queue, in their order. */
static void lose(Dispatch *d, Batch *batch, bool begun, const Death *death, const char *how) {
    const bool ours = death->end == END_MEMORY || death->end == END_UNSENT || death->end == END_UNTAKEN;
    const bool innocent = batch->unsent ? !ours : !begun;
    for (Job *job; (job = batch->jobs.last);) {
        job_list_remove(&batch->jobs, job);
        if (innocent) requeue(d, job);
        else judge(d, job, death, how);
    }
    batch_recycle(d, batch);
}

/* What several workers killed at about the same time had in hand proves nothing. */
static void spoil_others(Dispatch *d, const Death *death) {
    for (int i = 0; i < pool_size(d->pool); i++)
        for (const Batch *batch = d->workers[i].first; batch; batch = batch->next)
            for (Job *job = batch->jobs.first; job; job = job->next) blame_spoil(job, death);
    for (const QueueParty *p = d->queue.first; p; p = p->next)
        for (int lane = 0; lane < LANES; lane++)
            for (Job *job = p->lanes[lane].first; job; job = job->next) blame_spoil(job, death);
    for (Job *job = d->held.first; job; job = job->next) blame_spoil(job, death);
}

static Death note_death(Dispatch *d, const WorkerState *ws, WorkerEnd end) {
    const Batch *head = ws->first;
    Death death = {.end = end, .worker = ws->worker->index, .when = loop_now(), .deaths = d->deaths, .workers = pool_size(d->pool),
                   .members = head ? head->jobs.count : 0};
    if (death.members == 1) death.job = head->jobs.first->arrival;
    if (pool_cause(end) == CAUSE_OURS) return death;
    d->deaths[death.worker] = (LastDeath){death.when, death.job};
    spoil_others(d, &death);
    return death;
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Dispatch *d = arg;
    WorkerState *ws = worker->data;
    const Death death = note_death(d, ws, end);
    worker_state_forget_all(ws);
    loop_untimer(d->loop, &ws->look);
    Batch *head = ws->first;
    if (head) worker_state_remove(ws, head);
    for (Batch *batch; (batch = ws->last);) {
        worker_state_remove(ws, batch);
        lose(d, batch, false, &death, how);
    }
    if (head) lose(d, head, true, &death, how);
    if (!pool_hopeful(d->pool))
        for (Job *job; (job = queue_next(&d->queue, false));) {
            queue_take(&d->queue, job, false);
            fail(d, job, ERR_no_worker, "No worker stays alive; see the service's log.");
        }
    dispatch_flush(d);
}

/* ---- jobs ---- */

/* -1: nobody can tell. */
static double cost_of(const JobSpec *spec) {
    if (spec->type == FRAME_ping) return 0;
    return spec->type == FRAME_exec && spec->key ? spec->exec->cost : -1;
}

/* NULL when memory is short. */
static Job *job_new(const JobSpec *spec) {
    size_t len = spec->culprit ? strlen(spec->culprit) : 0;
    Job *job = malloc(sizeof *job + len + 1);
    if (!job) return NULL;
    *job = (Job){.spec = *spec, .queued = loop_now(), .cost = cost_of(spec)};
    if (spec->culprit) job->spec.culprit = memcpy(job->culprit, spec->culprit, len + 1);
    return job;
}

static void refuse(ErrCode code, Err *err) {
    if (code == ERR_queue_full) err_set(err, code, "Too many jobs are waiting.");
    else if (code == ERR_quota) err_set(err, code, "Too many jobs of this client are waiting.");
    else err_set(err, code, "Memory is short.");
}

Job *dispatch_submit(Dispatch *d, JobSpec *spec, Err *err) {
    Job *job = NULL;
    ErrCode code = ERR_NONE;
    if (suspicion(d, spec->culprit) == CULPRIT_HELD) set_held(d, spec->culprit, err);
    else if (!pool_hopeful(d->pool)) err_set(err, ERR_no_worker, "No worker stays alive; see the service's log.");
    else if (spec->body.failed || !(job = job_new(spec))) refuse(ERR_internal, err);
    else if ((code = queue_enter(&d->queue, job))) refuse(code, err);
    if (job && !code) return job;
    buf_release(&spec->body);
    free(job);
    return NULL;
}

void dispatch_cancel(Dispatch *d, Job *job) {
    d->metrics->jobs_cancelled++;
    job->cancelled = true;
    if (!job->batch) {
        if (job->waits) queue_take(&d->queue, job, false);
        else job_list_remove(&d->held, job);
        drop(d, job);
        return;
    }
    Batch *batch = job->batch;
    if (batch_is_wanted(batch)) return;
    batch->abandoned = loop_now();
    if (batch->ws->first == batch) watch_head(d, batch->ws);
}

/* ---- life ---- */

Dispatch *dispatch_new(const PoolSpec *spec, size_t max_queue, int64_t max_exec) {
    Dispatch *d = calloc(1, sizeof *d);
    PoolSpec own = *spec;
    own.events = (PoolEvents){.ready = on_ready, .frame = on_frame, .died = on_died};
    own.arg = d;
    if (d) d->pool = pool_new(&own);
    if (d && d->pool) d->workers = calloc((size_t)spec->workers, sizeof *d->workers);
    if (d && d->workers) d->deaths = calloc((size_t)spec->workers, sizeof *d->deaths);
    if (!d || !d->deaths) {
        dispatch_free(d);
        return NULL;
    }
    d->loop = spec->loop;
    d->log = spec->log;
    d->metrics = spec->metrics;
    d->max_exec = max_exec;
    d->verdict = (Timer){.fire = on_verdict, .arg = d};
    queue_init(&d->queue, max_queue);
    for (int i = 0; i < spec->workers; i++) {
        WorkerState *ws = &d->workers[i];
        ws->worker = pool_worker(d->pool, i);
        ws->worker->data = ws;
        ws->dispatch = d;
        ws->look = (Timer){.fire = on_look, .arg = ws};
    }
    return d;
}

void dispatch_start(Dispatch *d) { pool_start(d->pool); }

void dispatch_free(Dispatch *d) {
    if (!d) return;
    job_list_clear(&d->held);
    for (int i = 0; d->workers && i < pool_size(d->pool); i++) {
        worker_state_release(&d->workers[i]);
        loop_untimer(d->loop, &d->workers[i].look);
    }
    queue_release(&d->queue);
    if (d->loop) loop_untimer(d->loop, &d->verdict);
    pool_free(d->pool);
    quarantine_release(&d->quarantine);
    free(d->workers);
    free(d->deaths);
    free(d->spare);
    buf_release(&d->room);
    free(d);
}
