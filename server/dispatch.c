#include "server/dispatch.h"
#include "compiler/json.h"
#include "schema/base/map.h"
#include "schema/limits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 4, ATTEMPTS = 2 };

struct Job {
    JobSpec spec;
    uint64_t id, load_id; /* load_id: of the load sent before it, 0 none */
    unsigned attempts;
    bool cancelled;
    struct Desk *desk;    /* of the worker that has it; NULL: it waits */
    ErrCode load_code;    /* why the load failed */
    char load_message[200];
    Job *prev, *next;
};

typedef struct {
    Job *first, *last;
    size_t count;
} JobList;

/* A graph that a worker keeps. */
typedef struct {
    uint64_t key, used;
    size_t bytes;
} Loaded;

/* What dispatch knows of a worker (Worker.data). */
typedef struct Desk {
    JobList under_way; /* in the order sent; the first is being executed */
    Map loaded;        /* by key */
    size_t loaded_bytes;
    Timer stuck;
    uint64_t jobs;
    Worker *worker;
} Desk;

struct Dispatch {
    Pool *pool;
    Loop *loop;
    const Log *log;
    Metrics *metrics;
    size_t max_queue;
    JobList queue;
    Map deaths; /* by culprit: how many workers it has killed, as a pointer-sized number */
    uint64_t ids, clock;
    Desk *desks;
};

static void pump(Dispatch *d);

/* ---- lists ---- */

static void list_add(JobList *list, Job *job, bool front) {
    job->prev = front ? NULL : list->last;
    job->next = front ? list->first : NULL;
    *(job->prev ? &job->prev->next : &list->first) = job;
    *(job->next ? &job->next->prev : &list->last) = job;
    list->count++;
}

static void list_remove(JobList *list, Job *job) {
    *(job->prev ? &job->prev->next : &list->first) = job->next;
    *(job->next ? &job->next->prev : &list->last) = job->prev;
    list->count--;
}

static void job_free(Job *job) {
    buf_release(&job->spec.body);
    free((char *)job->spec.culprit);
    free(job);
}

static void finish(Dispatch *d, Job *job, ErrCode code, const char *message, Frame *frame) {
    JobResult result = {.code = code, .message = message, .frame = frame};
    if (code) d->metrics->jobs_failed++;
    if (!job->cancelled) job->spec.done(job->spec.arg, &result);
    job_free(job);
}

/* ---- quarantine ---- */

static uintptr_t deaths_of(const Dispatch *d, const char *culprit) {
    return culprit ? (uintptr_t)map_get(&d->deaths, culprit, strlen(culprit)) : 0;
}

static void blame(Dispatch *d, const char *culprit) {
    if (!culprit) return;
    uintptr_t n = deaths_of(d, culprit);
    if (n || d->deaths.count < LIMIT_QUARANTINE) map_put(&d->deaths, culprit, strlen(culprit), (void *)(n + 1));
}

static void absolve(Dispatch *d, const char *culprit) {
    if (culprit && d->deaths.count) map_remove(&d->deaths, culprit, strlen(culprit));
}

/* ---- graphs in workers ---- */

static void forget(Desk *desk, Loaded *loaded) {
    map_remove(&desk->loaded, &loaded->key, sizeof loaded->key);
    desk->loaded_bytes -= loaded->bytes;
    free(loaded);
}

static void forget_all(Desk *desk) {
    for (size_t at = 0; desk->loaded.count; at = 0) forget(desk, map_next(&desk->loaded, &at));
}

static bool drop_oldest(Dispatch *d, Desk *desk) {
    Loaded *oldest = NULL;
    size_t at = 0;
    for (Loaded *l; (l = map_next(&desk->loaded, &at));)
        if (!oldest || l->used < oldest->used) oldest = l;
    if (!oldest) return true;
    Buf body;
    buf_init(&body);
    wire_put_drop(&body, &(DropMsg){.key = oldest->key});
    bool ok = pool_send(desk->worker, FRAME_drop, ++d->ids, &body, -1);
    buf_release(&body);
    forget(desk, oldest);
    return ok;
}

static bool send_load(Dispatch *d, Desk *desk, Job *job) {
    size_t len = job->spec.graph_len;
    while (desk->loaded.count && (desk->loaded.count >= LIMIT_WORKER_GRAPHS || desk->loaded_bytes + len > LIMIT_WORKER_GRAPH_BYTES))
        if (!drop_oldest(d, desk)) return false;
    Loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded || !map_put(&desk->loaded, &job->spec.key, sizeof job->spec.key, loaded)) {
        free(loaded);
        pool_kill(desk->worker, "memory is short");
        return false;
    }
    *loaded = (Loaded){.key = job->spec.key, .used = ++d->clock, .bytes = len};
    desk->loaded_bytes += len;
    Buf body;
    buf_init(&body);
    wire_put_load(&body, &(LoadMsg){.key = job->spec.key, .graph = job->spec.graph, .graph_len = len});
    job->load_id = ++d->ids;
    bool ok = pool_send(desk->worker, FRAME_load, job->load_id, &body, -1);
    buf_release(&body);
    return ok;
}

static Loaded *loaded_of(const Desk *desk, uint64_t key) { return map_get(&desk->loaded, &key, sizeof key); }

/* ---- sending ---- */

/* (Re)starts the clock of the job being executed. */
static void watch_head(Dispatch *d, Desk *desk) {
    if (desk->under_way.first) loop_timer(d->loop, &desk->stuck, loop_now() + desk->under_way.first->spec.patience);
    else loop_untimer(d->loop, &desk->stuck);
}

static void send_job(Dispatch *d, Desk *desk, Job *job) {
    list_remove(&d->queue, job);
    list_add(&desk->under_way, job, false);
    job->desk = desk;
    desk->jobs++;
    job->load_id = 0;
    job->load_code = ERR_NONE;
    if (desk->under_way.first == job) watch_head(d, desk);
    Loaded *loaded = job->spec.key ? loaded_of(desk, job->spec.key) : NULL;
    if (loaded) loaded->used = ++d->clock;
    else if (job->spec.key && !send_load(d, desk, job)) return;
    pool_send(desk->worker, job->spec.type, job->id, &job->spec.body, job->spec.area);
}

static bool takes_more(const Desk *desk) {
    if (desk->under_way.count >= DEPTH) return false;
    for (const Job *j = desk->under_way.first; j; j = j->next)
        if (!j->spec.small) return false;
    return true;
}

/* An idle worker, best one that has the graph; else, for a small job, one that is busy with few small ones. */
static Desk *choose(Dispatch *d, const Job *job) {
    Desk *best = NULL;
    bool best_has = false;
    for (int i = 0; i < pool_size(d->pool); i++) {
        Desk *desk = &d->desks[i];
        if (desk->worker->state != WORKER_READY || desk->worker->killed) continue;
        bool has = !job->spec.key || loaded_of(desk, job->spec.key);
        if (desk->under_way.count && !(job->spec.small && has && takes_more(desk))) continue;
        size_t load = desk->under_way.count;
        if (best && (load > best->under_way.count || (load == best->under_way.count && (best_has || !has)))) continue;
        best = desk;
        best_has = has;
    }
    return best;
}

static void pump(Dispatch *d) {
    while (d->queue.first) {
        Desk *desk = choose(d, d->queue.first);
        if (!desk) return;
        send_job(d, desk, d->queue.first);
    }
}

/* ---- replies ---- */

static void on_ready(void *arg, Worker *worker) {
    (void)worker;
    pump(arg);
}

static void load_failed(Desk *desk, Job *job, const RanMsg *ran) {
    job->load_code = (ErrCode)ran->code;
    snprintf(job->load_message, sizeof job->load_message, "%.*s", (int)ran->message_len, (const char *)ran->message);
    Loaded *loaded = loaded_of(desk, job->spec.key);
    if (loaded) forget(desk, loaded);
}

static FrameType reply_to(FrameType type) {
    return type == FRAME_build ? FRAME_built : type == FRAME_run ? FRAME_ran : FRAME_pong;
}

static void on_frame(void *arg, Worker *worker, Frame *frame) {
    Dispatch *d = arg;
    Desk *desk = worker->data;
    Job *job = desk->under_way.first;
    RanMsg ran;
    if (job && job->load_id && frame->id == job->load_id && frame->type == FRAME_ran && wire_get_ran(frame, &ran)) {
        if (ran.code) load_failed(desk, job, &ran);
        return;
    }
    if (!job || frame->id != job->id || frame->type != reply_to(job->spec.type)) {
        pool_kill(worker, "it answered something else");
        return;
    }
    list_remove(&desk->under_way, job);
    watch_head(d, desk);
    absolve(d, job->spec.culprit);
    if (job->load_code) finish(d, job, job->load_code, job->load_message, NULL);
    else finish(d, job, ERR_NONE, "", frame);
    pump(d);
}

/* ---- deaths ---- */

static void on_stuck(void *arg) {
    Desk *desk = arg;
    pool_kill(desk->worker, "stuck");
}

static void requeue(Dispatch *d, Job *job) {
    job->desk = NULL;
    list_add(&d->queue, job, true);
}

/* The job that was being executed when the worker died. */
static void accuse(Dispatch *d, Job *job, const char *how) {
    char message[200];
    if (strcmp(how, "stuck") == 0) {
        finish(d, job, ERR_deadline, "The worker was stuck with this job past twice its deadline.", NULL);
        return;
    }
    blame(d, job->spec.culprit);
    if (job->cancelled) {
        job_free(job);
    } else if (++job->attempts < ATTEMPTS && deaths_of(d, job->spec.culprit) < ATTEMPTS) {
        d->metrics->jobs_retried++;
        requeue(d, job);
    } else {
        snprintf(message, sizeof message, "The worker died on this job (%s).", how);
        finish(d, job, ERR_worker_crash, message, NULL);
    }
}

static void on_died(void *arg, Worker *worker, const char *how) {
    Dispatch *d = arg;
    Desk *desk = worker->data;
    forget_all(desk);
    loop_untimer(d->loop, &desk->stuck);
    Job *head = desk->under_way.first;
    if (head) list_remove(&desk->under_way, head);
    /* Those behind it are not to blame: back to the front of the queue, in their order. */
    for (Job *job; (job = desk->under_way.last);) {
        list_remove(&desk->under_way, job);
        if (job->cancelled) job_free(job);
        else requeue(d, job);
    }
    if (head) accuse(d, head, how);
    if (!pool_hopeful(d->pool))
        for (Job *job; (job = d->queue.first);) {
            list_remove(&d->queue, job);
            finish(d, job, ERR_no_worker, "No worker stays alive; see the service's log.", NULL);
        }
    pump(d);
}

/* ---- jobs ---- */

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
    } else if (!(job = calloc(1, sizeof *job)) || (spec->culprit && !(spec->culprit = strdup(spec->culprit)))) {
        *why = ERR_internal;
        *message = "Memory is short.";
    }
    if (*why) {
        free(job);
        buf_release(&spec->body);
        return NULL;
    }
    job->spec = *spec;
    job->id = ++d->ids;
    list_add(&d->queue, job, false);
    pump(d);
    return job;
}

void dispatch_cancel(Dispatch *d, Job *job, int64_t grace) {
    d->metrics->jobs_cancelled++;
    job->cancelled = true;
    if (!job->desk) {
        list_remove(&d->queue, job);
        job_free(job);
        return;
    }
    Timer *stuck = &job->desk->stuck;
    int64_t due = loop_now() + grace;
    if (job->spec.patience > grace) job->spec.patience = grace;
    if (job->desk->under_way.first == job && stuck->on && stuck->due > due) loop_timer(d->loop, stuck, due);
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

static void drop_all(JobList *list) {
    for (Job *job; (job = list->first);) {
        list_remove(list, job);
        job_free(job);
    }
}

void dispatch_free(Dispatch *d) {
    if (!d) return;
    drop_all(&d->queue);
    for (int i = 0; d->desks && i < pool_size(d->pool); i++) {
        drop_all(&d->desks[i].under_way);
        forget_all(&d->desks[i]);
        map_release(&d->desks[i].loaded);
        loop_untimer(d->loop, &d->desks[i].stuck);
    }
    pool_free(d->pool);
    map_release(&d->deaths);
    free(d->desks);
    free(d);
}

size_t dispatch_queue(const Dispatch *d) { return d->queue.count; }

void dispatch_count(const Dispatch *d, size_t *ready, size_t *busy) {
    *ready = *busy = 0;
    for (int i = 0; i < pool_size(d->pool); i++) {
        *ready += d->desks[i].worker->state == WORKER_READY;
        *busy += d->desks[i].under_way.count > 0;
    }
}

void dispatch_json(Buf *out, const Dispatch *d) {
    static const char *const states[] = {"down", "starting", "idle"};
    buf_putc(out, '[');
    for (int i = 0; i < pool_size(d->pool); i++) {
        const Desk *desk = &d->desks[i];
        const Worker *w = desk->worker;
        buf_printf(out, "%s{\"pid\":%d,\"state\":\"%s\",\"threads\":%u,\"jobs\":%llu,\"graphs\":%zu,\"starts\":%llu,\"libraries\":",
                   i ? "," : "",
                   w->state == WORKER_DOWN ? 0 : (int)w->pid, desk->under_way.count ? "busy" : states[w->state], w->threads,
                   (unsigned long long)desk->jobs, desk->loaded.count, (unsigned long long)w->starts);
        json_put_string(out, w->libraries);
        buf_puts(out, ",\"last_end\":");
        if (*w->last_end) json_put_string(out, w->last_end);
        else buf_puts(out, "null");
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}
