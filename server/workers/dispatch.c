#include "server/workers/dispatch.h"
#include "schema/formats/json.h"
#include "schema/base/map.h"
#include "schema/limits.h"
#include "server/workers/worker_state.h"
#include "server/workers/quarantine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* DEPTH: parcels a worker may have, so that it need not wait for the daemon between small ones. */
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
    int64_t heard;
    Desk *desks;
    Parcel *spare;
    Buf room; /* for frames on their way out */
};

static void finish(Dispatch *d, Job *job, JobResult result) {
    if (result.code) d->metrics->jobs_failed++;
    result.queue_ns = job->waited;
    if (!job->cancelled) job->spec.done(job->spec.arg, &result);
    job_free(job);
}

static void fail(Dispatch *d, Job *job, ErrCode code, const char *message) { finish(d, job, (JobResult){.code = code, .message = message}); }

static void requeue(Dispatch *d, Job *job) {
    job->parcel = NULL;
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

static int64_t patience_with(const Parcel *parcel) {
    int64_t patience = parcel_patience(parcel);
    return patience > LEAST_PATIENCE ? patience : LEAST_PATIENCE;
}

/* (Re)starts the clock of the parcel being executed. */
static void watch_head(Dispatch *d, Desk *desk) {
    if (!desk->first) {
        loop_untimer(d->loop, &desk->stuck);
        return;
    }
    loop_timer(d->loop, &desk->stuck, loop_now() + patience_with(desk->first));
}

static void parcel_free(Dispatch *d, Parcel *parcel) {
    if (d->spare) free(parcel);
    else d->spare = parcel;
}

static void note_sent(Dispatch *d, Parcel *parcel) {
    int64_t now = loop_now();
    for (Job *job = parcel->jobs.first; job; job = job->next) {
        job->waited = now - job->queued;
        metrics_observe(&d->metrics->queue_seconds, (double)job->waited / 1e9);
    }
    parcel->desk->jobs += parcel->jobs.count;
}

/* There is no memory for its frame. */
static void give_up(Dispatch *d, Desk *desk, Parcel *parcel) {
    desk_remove(desk, parcel);
    watch_head(d, desk);
    for (Job *job; (job = parcel->jobs.first);) {
        job_list_remove(&parcel->jobs, job);
        fail(d, job, ERR_internal, "Memory is short.");
    }
    parcel_free(d, parcel);
}

/* What waits first, and what may go with it. */
static void send_parcel(Dispatch *d, Desk *desk) {
    Parcel *parcel = d->spare ? d->spare : malloc(sizeof *parcel);
    const JobSpec *spec = &d->queue.first->spec;
    if (!parcel) {
        Job *job = d->queue.first;
        job_list_remove(&d->queue, job);
        fail(d, job, ERR_internal, "Memory is short.");
        return;
    }
    d->spare = NULL;
    *parcel = (Parcel){.id = ++d->ids, .desk = desk};
    bool ok = true;
    if (!desk_has(desk, spec->key)) {
        parcel->load_id = ++d->ids;
        parcel->load_key = spec->key;
        ok = desk_load(desk, parcel->load_id, spec->key, spec->graph, spec->graph_len);
    }
    if (spec->key) desk_used(desk, spec->key);
    parcel_fill(parcel, &d->queue, desk_has);
    note_sent(d, parcel);
    desk_add(desk, parcel);
    if (desk->first == parcel) watch_head(d, desk);
    if (!ok) {
        parcel->unsent = true;
        return;
    }
    FrameType type;
    buf_clear(&d->room);
    const Buf *body = parcel_body(parcel, &d->room, &type);
    if (body->failed) give_up(d, desk, parcel);
    else parcel->unsent = !pool_send(desk->worker, type, parcel->id, body, parcel->jobs.first->spec.area);
}

static bool takes_more(const Desk *desk) {
    if (desk->parcels >= DEPTH) return false;
    for (const Parcel *p = desk->first; p; p = p->next)
        if (!parcel_is_small(p)) return false;
    return true;
}

/* An idle worker, best one that has the graph; else, for a small job, one that is busy with few small ones. */
static Desk *choose(Dispatch *d, const Job *job) {
    Desk *best = NULL;
    bool best_has = false;
    for (int i = 0; i < pool_size(d->pool); i++) {
        Desk *desk = &d->desks[i];
        if (!pool_takes(desk->worker)) continue;
        bool has = desk_has(desk, job->spec.key);
        if (desk->parcels && !(job->spec.small && has && takes_more(desk))) continue;
        if (best && (desk->parcels > best->parcels || (desk->parcels == best->parcels && (best_has || !has)))) continue;
        best = desk;
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
        Desk *desk = choose(d, job);
        if (!desk) return;
        send_parcel(d, desk);
    }
}

/* ---- replies ---- */

static void on_ready(void *arg, Worker *worker) {
    (void)worker;
    dispatch_flush(arg);
}

static bool load_failed(Desk *desk, Parcel *parcel, const Frame *frame) {
    RanMsg ran;
    if (!wire_get_ran(frame, &ran)) return false;
    if (!ran.code) return true;
    parcel->load_code = ran.code < ERR_COUNT ? (ErrCode)ran.code : ERR_internal;
    snprintf(parcel->load_message, sizeof parcel->load_message, "%.*s", (int)ran.message_len, (const char *)ran.message);
    desk_forget(desk, parcel->load_key);
    return true;
}

/* The job's part of a merged run that went well. */
static void deliver_part(Dispatch *d, Job *job, const Item *item, RanMsg ran) {
    unsigned char room[WIRE_INLINE_AREA];
    if (!job->cancelled) {
        const Run *run = job->spec.run;
        ran.inline_results = run_part(run, ran.inline_results, job->row0, item->rows, room);
        ran.inline_len = run_result_bytes(run);
    }
    finish(d, job, (JobResult){.ran = &ran});
}

/* What failed in company is tried by itself: the failure may be another's. */
static void deliver(Dispatch *d, Parcel *parcel, Job *job, Frame *frame, const RanMsg *rans) {
    const Item *item = &parcel->items[job->item];
    const RanMsg *ran = job->spec.type == FRAME_run ? &rans[job->item] : NULL;
    if (parcel->load_code && job->spec.key == parcel->load_key) {
        fail(d, job, parcel->load_code, parcel->load_message);
    } else if (item->members == 1) {
        absolve(d, job->spec.culprit);
        finish(d, job, (JobResult){.frame = parcel->nitems == 1 ? frame : NULL, .ran = ran});
    } else if (!ran->code) {
        absolve(d, job->spec.culprit);
        deliver_part(d, job, item, *ran);
    } else if (job->cancelled) {
        job_free(job);
    } else {
        job->alone = true;
        requeue(d, job);
    }
}

static void note_runs(Dispatch *d, const Parcel *parcel, const RanMsg *rans) {
    if (parcel->jobs.first->spec.type != FRAME_run) return;
    for (uint32_t i = 0; i < parcel->nitems; i++) {
        d->metrics->runs++;
        d->metrics->exec_ns += rans[i].exec_ns;
        metrics_observe(&d->metrics->exec_seconds, (double)rans[i].exec_ns / 1e9);
        metrics_observe(&d->metrics->batch_requests, (double)parcel->items[i].members);
    }
}

static void on_frame(void *arg, Worker *worker, Frame *frame) {
    Dispatch *d = arg;
    Desk *desk = worker->data;
    Parcel *parcel = desk->first;
    RanMsg rans[PARCEL_ITEMS];
    if (parcel && parcel->load_id && frame->id == parcel->load_id && load_failed(desk, parcel, frame)) return;
    if (!parcel || frame->id != parcel->id || !parcel_read(parcel, frame, rans)) {
        pool_kill(worker, END_NONSENSE);
        return;
    }
    d->heard = loop_now();
    desk_remove(desk, parcel);
    watch_head(d, desk);
    note_runs(d, parcel, rans);
    /* From behind, as what fails in company goes back to the front of the queue. */
    for (Job *job; (job = parcel->jobs.last);) {
        job_list_remove(&parcel->jobs, job);
        deliver(d, parcel, job, frame, rans);
    }
    parcel_free(d, parcel);
    dispatch_flush(d);
}

/* ---- deaths ---- */

static void on_stuck(void *arg) {
    Desk *desk = arg;
    pool_kill(desk->worker, END_STUCK);
}

/* A job of the parcel that was being executed when the worker died. Which of several it was is not known: each is tried by itself, and
 * one that kills again has then killed two. */
static void accuse(Dispatch *d, Job *job, bool in_company, bool stuck, const char *how) {
    char message[200];
    if (job->cancelled && (stuck || in_company)) {
        job_free(job);
    } else if (stuck && (!in_company || job->attempts)) {
        fail(d, job, ERR_deadline, "The worker was stuck with this job past twice its deadline.");
    } else if (in_company) {
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

/* A parcel that a lost worker had, or was to have. Jobs not begun are not to blame: back to the front of the queue, in their order. */
static void lose(Dispatch *d, Parcel *parcel, bool begun, WorkerEnd end, const char *how) {
    bool in_company = parcel->jobs.count > 1, ours = end == END_MEMORY || end == END_UNSENT;
    bool innocent = parcel->unsent ? !ours : !begun;
    for (Job *job; (job = parcel->jobs.last);) {
        job_list_remove(&parcel->jobs, job);
        if (innocent && job->cancelled) job_free(job);
        else if (innocent) requeue(d, job);
        else if (ours) excuse(d, job);
        else accuse(d, job, in_company, end == END_STUCK, how);
    }
    parcel_free(d, parcel);
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Dispatch *d = arg;
    Desk *desk = worker->data;
    desk_forget_all(desk);
    loop_untimer(d->loop, &desk->stuck);
    Parcel *head = desk->first;
    if (head) desk_remove(desk, head);
    for (Parcel *parcel; (parcel = desk->last);) {
        desk_remove(desk, parcel);
        lose(d, parcel, false, end, how);
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

Job *dispatch_submit(Dispatch *d, JobSpec *spec, ErrCode *why, const char **message) {
    Job *job = NULL;
    *why = ERR_NONE;
    if (spec->body.failed) {
        *why = ERR_internal;
        *message = "Memory is short.";
    } else if (deaths_of(d, spec->culprit) >= ATTEMPTS) {
        *why = ERR_quarantined;
        *message = "This program has killed two workers and is not run any more.";
    } else if (!pool_hopeful(d->pool)) {
        *why = ERR_no_worker;
        *message = "No worker stays alive; see the service's log.";
    } else if (d->queue.count >= d->max_queue) {
        *why = ERR_queue_full;
        *message = "Too many jobs are waiting.";
    } else if (!(job = job_new(spec))) {
        *why = ERR_internal;
        *message = "Memory is short.";
    }
    if (*why) {
        buf_release(&spec->body);
        return NULL;
    }
    job_list_add(&d->queue, job, false);
    return job;
}

void dispatch_cancel(Dispatch *d, Job *job, int64_t grace) {
    d->metrics->jobs_cancelled++;
    job->cancelled = true;
    if (!job->parcel) {
        job_list_remove(&d->queue, job);
        job_free(job);
        return;
    }
    Desk *desk = job->parcel->desk;
    if (job->spec.patience > grace) job->spec.patience = grace;
    int64_t due = loop_now() + patience_with(job->parcel);
    bool hurry = desk->first == job->parcel && !parcel_is_wanted(job->parcel);
    if (hurry && desk->stuck.on && desk->stuck.due > due) loop_timer(d->loop, &desk->stuck, due);
}

/* ---- life, and what is told of it ---- */

Dispatch *dispatch_new(const PoolSpec *spec, size_t max_queue) {
    Dispatch *d = calloc(1, sizeof *d);
    PoolSpec own = *spec;
    own.events = (PoolEvents){.ready = on_ready, .frame = on_frame, .died = on_died};
    own.arg = d;
    if (d) d->pool = pool_new(&own);
    if (d && d->pool) d->desks = calloc((size_t)spec->workers, sizeof *d->desks);
    if (!d || !d->desks) {
        dispatch_free(d);
        return NULL;
    }
    d->loop = spec->loop;
    d->log = spec->log;
    d->metrics = spec->metrics;
    d->max_queue = max_queue;
    for (int i = 0; i < spec->workers; i++) {
        Desk *desk = &d->desks[i];
        desk->worker = pool_worker(d->pool, i);
        desk->worker->data = desk;
        desk->stuck = (Timer){.fire = on_stuck, .arg = desk};
    }
    return d;
}

void dispatch_start(Dispatch *d) { pool_start(d->pool); }

void dispatch_free(Dispatch *d) {
    if (!d) return;
    job_list_clear(&d->queue);
    for (int i = 0; d->desks && i < pool_size(d->pool); i++) {
        desk_release(&d->desks[i]);
        loop_untimer(d->loop, &d->desks[i].stuck);
    }
    pool_free(d->pool);
    quarantine_release(&d->quarantine);
    free(d->desks);
    free(d->spare);
    buf_release(&d->room);
    free(d);
}

size_t dispatch_queue(const Dispatch *d) { return d->queue.count; }
int64_t dispatch_heard(const Dispatch *d) { return d->heard; }

void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy) {
    *ready = *busy = 0;
    for (int i = 0; i < pool_size(d->pool); i++) {
        *ready += d->desks[i].worker->state == WORKER_READY;
        *busy += d->desks[i].parcels > 0;
    }
}

static const char *const states[] = {"down", "starting", "idle", "busy"};
static int state_of(const Desk *desk) { return desk->parcels ? 3 : (int)desk->worker->state; }

void dispatch_json(Buf *out, const Dispatch *d) {
    buf_putc(out, '[');
    for (int i = 0; i < pool_size(d->pool); i++) {
        const Desk *desk = &d->desks[i];
        const Worker *w = desk->worker;
        buf_printf(out, "%s{\"pid\":%d,\"state\":\"%s\",\"threads\":%u,\"jobs\":%llu,\"graphs\":%zu,\"starts\":%llu,\"libraries\":",
                   i ? "," : "", w->state == WORKER_DOWN ? 0 : (int)w->pid, states[state_of(desk)], w->threads,
                   (unsigned long long)desk->jobs, desk->loaded.count, (unsigned long long)w->starts);
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
            buf_printf(out, "cajal_worker_state{worker=\"%d\",state=\"%s\"} %d\n", i, states[s], s == state_of(&d->desks[i]));
}
