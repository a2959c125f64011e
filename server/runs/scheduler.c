#include "server/runs/scheduler.h"
#include "schema/base/map.h"
#include "server/runs/launch.h"
#include "server/runs/progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a worker may take to end a run by itself. */
#define CANCEL_NS ((int64_t)120000000) /* its threads, at idle priority, must have died by 200 ms */
#define DRAIN_NS ((int64_t)5000000000)
/* How long a process that has nothing to train stays: starting one takes longer (40 ms) than many a short run. */
#define REST_NS ((int64_t)3000000000)

/* WAITING for a worker; LAUNCHING: its files are being opened; TRAINING; ENDING: what it said last is being written; OVER: so is its last state. */
typedef enum { WAITING, LAUNCHING, TRAINING, ENDING, OVER } Phase;

typedef struct Turn {
    Scheduler *scheduler;
    Training *t;
    Phase phase;
    Worker *worker;          /* reserved for it; NULL: none, or lost */
    Launch *launch;
    Task task;
    bool opened;             /* by the launch's thread */
    bool cancelled, stopping;
    Timer stop;
    ProgressEnd end;             /* what the worker said last, or how it died */
    bool died;
    char how[64];
    unsigned deaths;         /* since the last new checkpoint */
    uint64_t reached;        /* that checkpoint's step */
    RunWait *waits;
    RunClaim claims[1 + LIMIT_RUN_SOURCES]; /* of the run, and of those that it takes weights from */
    struct Turn *prev, *next;
} Turn;

struct Scheduler {
    Server *server;
    Pool *pool;
    bool draining;
    Timer rest;
    Turn *first, *last; /* in order of creation */
    size_t count;
    Map turns;           /* by id */
    RunClaims claims;
    RunWatch *watches;
};

static void next(Scheduler *s);
static void conclude(Turn *p);

static Turn *turn_of(const Scheduler *s, const char *id) { return map_get(&s->turns, id, strlen(id)); }

/* ---- the queue ---- */

static void insert(Scheduler *s, Turn *p) {
    Turn *before = s->last;
    while (before && before->t->seq > p->t->seq) before = before->prev;
    p->prev = before;
    p->next = before ? before->next : s->first;
    *(p->prev ? &p->prev->next : &s->first) = p;
    *(p->next ? &p->next->prev : &s->last) = p;
    s->count++;
}

static void drop_claims(Turn *p) {
    for (int i = 0; i <= LIMIT_RUN_SOURCES; i++) run_claim_drop(&p->claims[i]);
}

static void turn_free(Turn *p) {
    loop_untimer(p->scheduler->server->loop, &p->stop);
    drop_claims(p);
    launch_free(p->launch);
    training_free(p->t);
    free(p);
}

static void call_waits(Turn *p, bool over) {
    for (RunWait *w = p->waits, *after; w; w = after) {
        after = w->next;
        if (!over && !w->queued) continue;
        scheduler_unwait(w);
        w->done(w->arg);
    }
}

static void call_watches(Scheduler *s, int64_t seq) {
    for (RunWatch *w = s->watches, *after; w; w = after) {
        after = w->next;
        if (w->seq == seq) w->changed(w->arg);
    }
}

/* The run is over and written. */
static void leave(Turn *p) {
    Scheduler *s = p->scheduler;
    int64_t seq = p->t->seq;
    map_remove(&s->turns, p->t->id, strlen(p->t->id));
    *(p->prev ? &p->prev->next : &s->first) = p->next;
    *(p->next ? &p->next->prev : &s->last) = p->prev;
    s->count--;
    call_waits(p, true);
    turn_free(p);
    call_watches(s, seq);
    next(s);
}

/* ---- endings ---- */

static void release_worker(Turn *p) {
    if (p->worker) p->worker->data = NULL;
    p->worker = NULL;
    loop_untimer(p->scheduler->server->loop, &p->stop);
}

static void finish(Turn *p, RunState state, ErrCode code, const char *reason) {
    Server *server = p->scheduler->server;
    uint64_t *counters[RUN_STATES] = {[RUN_DONE] = &server->metrics->runs_done, [RUN_FAILED] = &server->metrics->runs_failed,
                                      [RUN_CANCELLED] = &server->metrics->runs_cancelled};
    ++*counters[state];
    p->phase = OVER;
    training_end_attempt(p->t, state == RUN_DONE ? NULL : *reason ? reason : "cancelled");
    training_set_state(p->t, state, code, reason);
    log_put(&server->log, LOG_INFO, "run over", "id=%s state=%s step=%llu reason=\"%s\"", p->t->id, run_state_names[state],
            (unsigned long long)p->t->step, reason);
}

static void wait_again(Turn *p, const char *how) {
    training_end_attempt(p->t, how);
    training_save(p->t, true);
    p->phase = WAITING;
    p->stopping = false;
    next(p->scheduler);
}

/* Its worker is dead: the run goes on from its last checkpoint, unless it makes no headway. */
static void retry(Turn *p) {
    Training *t = p->t;
    char reason[300];
    uint64_t reached = t->nkept ? t->kept[t->nkept - 1] : 0;
    if (reached > p->reached) p->deaths = 0;
    p->reached = reached;
    training_log(t, "The worker died (%s).", p->how);
    if (++p->deaths <= SCHEDULER_RETRIES) {
        snprintf(reason, sizeof reason, "The worker died: %s", p->how);
        wait_again(p, reason);
        return;
    }
    snprintf(reason, sizeof reason, "The worker died %u times without coming to a new checkpoint, the last time by %s.", p->deaths, p->how);
    finish(p, RUN_FAILED, ERR_worker_crash, reason);
}

/* Once everything the worker sent is written. */
static void conclude(Turn *p) {
    Training *t = p->t;
    if (p->phase != ENDING || t->writing || (t->narrived && !t->trouble)) return;
    if (t->trouble) finish(p, RUN_FAILED, t->trouble, t->trouble_text);
    else if (p->cancelled && (p->died || p->end.stopped)) finish(p, RUN_CANCELLED, ERR_NONE, "");
    else if (p->scheduler->draining && (p->died || p->end.stopped)) wait_again(p, "The service ended.");
    else if (p->died) retry(p);
    else if (p->end.code) finish(p, RUN_FAILED, p->end.code, p->end.text);
    else if (p->end.stopped) wait_again(p, "The worker stopped.");
    else finish(p, RUN_DONE, ERR_NONE, "");
}

static void end_training(Turn *p) {
    release_worker(p);
    p->phase = ENDING;
    conclude(p);
}

static void on_patience(void *arg) {
    Turn *p = arg;
    if (p->worker) pool_kill(p->worker, END_STOPPED);
}

/* Asks the worker to stop, and does not wait for long. */
static void stop(Turn *p, int64_t patience) {
    Server *server = p->scheduler->server;
    if (p->phase != TRAINING || p->stopping) return;
    Buf none = {0};
    p->stopping = true;
    p->stop = (Timer){.fire = on_patience, .arg = p};
    loop_timer(server->loop, &p->stop, loop_now() + patience);
    pool_send(p->worker, FRAME_stop, 0, &none, -1);
}

/* After the worker's end, or its last word, there is nobody to be told. */
static void on_saved(Training *t) {
    const Turn *p = t->owner;
    const Buf none = {0};
    if (p->phase == TRAINING) pool_send(p->worker, FRAME_saved, 0, &none, -1);
}

static void on_committed(Training *t) {
    const Turn *p = t->owner;
    call_watches(p->scheduler, t->seq);
}

static void on_changed(Training *t) {
    Turn *p = t->owner;
    if (t->trouble && p->phase == WAITING) finish(p, RUN_FAILED, t->trouble, t->trouble_text);
    if (t->trouble && p->phase == TRAINING) stop(p, CANCEL_NS);
    conclude(p);
    if (p->waits && !t->flushing && !t->now.dirty) call_waits(p, false);
    if (p->phase == OVER && !training_busy(t)) leave(p);
    else if (p->phase == WAITING) next(p->scheduler);
}

/* ---- beginnings ---- */

static void launched(void *arg) {
    Turn *p = arg;
    Scheduler *s = p->scheduler;
    Launch *l = p->launch;
    p->launch = NULL;
    if (p->cancelled) {
        release_worker(p);
        finish(p, RUN_CANCELLED, ERR_NONE, "");
    } else if (!p->opened) {
        release_worker(p);
        finish(p, RUN_FAILED, l->failure.message ? l->failure.code : ERR_internal, l->failure.message ? l->failure.message : "Memory is short.");
    } else if (s->draining || !p->worker || launch_is_stale(l)) {
        release_worker(p);
        p->phase = WAITING;
    } else {
        bool first = !p->t->attempts.len;
        uint64_t from = launch_step(l);
        char reason[100] = "";
        if (!first) snprintf(reason, sizeof reason, "It goes on from step %llu.", (unsigned long long)from);
        training_resume_at(p->t, from);
        training_begin_attempt(p->t, from);
        training_set_state(p->t, RUN_RUNNING, ERR_NONE, reason);
        p->phase = TRAINING;
        p->died = p->stopping = false;
        p->end = (ProgressEnd){0};
        launch_send(l, p->worker); /* a lost worker is heard of */
    }
    launch_free(l);
    next(s);
}

static void open_files(void *arg) {
    Turn *p = arg;
    p->opened = launch_open(p->launch);
}

static void launch(Turn *p, Worker *worker) {
    Server *server = p->scheduler->server;
    p->launch = launch_new(server, p->t->id);
    if (!p->launch) {
        finish(p, RUN_FAILED, ERR_internal, "Memory is short.");
        return;
    }
    p->phase = LAUNCHING;
    p->worker = worker;
    worker->data = p;
    p->task = (Task){.work = open_files, .done = launched, .arg = p};
    tasks_add(server->tasks, &p->task);
}

/* What is written by now may be gone on from: not before. */
static Turn *first_waiting(const Scheduler *s) {
    Turn *p = s->first;
    while (p && (p->phase != WAITING || training_busy(p->t))) p = p->next;
    return p;
}

static void next(Scheduler *s) {
    Turn *p;
    if (s->draining) return;
    if (!s->count) {
        if (!s->rest.on) loop_timer(s->server->loop, &s->rest, loop_now() + REST_NS);
        return;
    }
    loop_untimer(s->server->loop, &s->rest);
    pool_start(s->pool);
    for (int i = 0; i < pool_size(s->pool); i++) {
        Worker *worker = pool_worker(s->pool, i);
        if (!pool_takes(worker) || worker->data || !(p = first_waiting(s))) continue;
        launch(p, worker);
    }
}

/* ---- the pool ---- */

static void on_rest(void *arg) {
    Scheduler *s = arg;
    for (int i = 0; i < pool_size(s->pool); i++)
        if (pool_takes(pool_worker(s->pool, i))) pool_dismiss(pool_worker(s->pool, i));
}

static void on_ready(void *arg, Worker *worker) {
    (void)worker;
    next(arg);
}

static void on_frame(void *arg, Worker *worker, Frame *frame) {
    Turn *p = worker->data;
    ProgressEnd end;
    (void)arg;
    ProgressResult result = p && p->phase == TRAINING ? progress_take(p->t, frame, &end) : PROGRESS_BAD;
    if (result == PROGRESS_BAD) {
        pool_kill(worker, END_NONSENSE);
    } else if (result == PROGRESS_LAST) {
        p->end = end;
        end_training(p);
        next(p->scheduler);
    }
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Scheduler *s = arg;
    Turn *p = worker->data;
    worker->data = NULL;
    if (p) {
        p->worker = NULL;
        s->server->metrics->run_deaths += end != END_STOPPED;
        if (p->phase == TRAINING) {
            p->died = true;
            snprintf(p->how, sizeof p->how, "%s", how);
            end_training(p);
        }
    }
    next(s);
}

/* ---- the interface ---- */

static bool claim_all(Turn *p, const StoredRun *run) {
    RunClaims *claims = &p->scheduler->claims;
    bool ok = run_claim(claims, &p->claims[0], RUN_USE, run->id);
    for (int i = 0; ok && i < LIMIT_RUN_SOURCES && *p->t->sources[i]; i++) ok = run_claim(claims, &p->claims[1 + i], RUN_USE, p->t->sources[i]);
    if (!ok) drop_claims(p);
    return ok;
}

/* ERR_conflict: a claim stands against it; ERR_internal: memory is short. */
static ErrCode enter(Scheduler *s, const StoredRun *run, Turn **out) {
    Turn *p = calloc(1, sizeof *p);
    Training *t = p ? training_new(s->server, run) : NULL;
    ErrCode code = ERR_internal;
    if (t) {
        *p = (Turn){.scheduler = s, .t = t};
        code = !claim_all(p, run) ? ERR_conflict : map_put(&s->turns, run->id, strlen(run->id), p) ? ERR_NONE : ERR_internal;
    }
    if (code) {
        if (t) turn_free(p);
        else free(p);
        return code;
    }
    t->owner = p;
    t->changed = on_changed;
    t->committed = on_committed;
    t->saved = on_saved;
    insert(s, p);
    *out = p;
    return ERR_NONE;
}

bool scheduler_add(Scheduler *s, const StoredRun *run) {
    Turn *p;
    ErrCode code = enter(s, run, &p);
    if (!code) next(s);
    return !code;
}

ErrCode scheduler_resume(Scheduler *s, const StoredRun *run) {
    Turn *p;
    ErrCode code = enter(s, run, &p);
    if (!code) training_set_state(p->t, RUN_QUEUED, ERR_NONE, "");
    return code;
}

Training *scheduler_find(const Scheduler *s, const char *id) {
    const Turn *p = turn_of(s, id);
    return p ? p->t : NULL;
}

RunState scheduler_state(const Scheduler *s, const StoredRun *run) {
    const Turn *p = turn_of(s, run->id);
    return p ? p->t->state : run->progress.state;
}

RunClaims *scheduler_claims(Scheduler *s) { return &s->claims; }

bool scheduler_full(const Scheduler *s) { return s->count >= s->server->config->max_queue; }

void scheduler_cancel(Scheduler *s, const char *id) {
    Turn *p = turn_of(s, id);
    if (!p) return;
    p->cancelled = true;
    if (p->phase == WAITING) finish(p, RUN_CANCELLED, ERR_NONE, "");
    stop(p, CANCEL_NS);
}

void scheduler_wait(Scheduler *s, const char *id, RunWait *wait) {
    Turn *p = turn_of(s, id);
    wait->on = true;
    wait->prev = NULL;
    wait->next = p->waits;
    if (wait->next) wait->next->prev = wait;
    wait->head = &p->waits;
    p->waits = wait;
}

void scheduler_unwait(RunWait *wait) {
    if (!wait->on) return;
    *(wait->prev ? &wait->prev->next : wait->head) = wait->next;
    if (wait->next) wait->next->prev = wait->prev;
    wait->on = false;
}

void scheduler_watch(Scheduler *s, RunWatch *watch) {
    watch->prev = NULL;
    watch->next = s->watches;
    if (watch->next) watch->next->prev = watch;
    s->watches = watch;
}

void scheduler_unwatch(Scheduler *s, RunWatch *watch) {
    *(watch->prev ? &watch->prev->next : &s->watches) = watch->next;
    if (watch->next) watch->next->prev = watch->prev;
}

void scheduler_count(const Scheduler *s, size_t *queued, size_t *running) {
    *queued = *running = 0;
    for (const Turn *p = s->first; p; p = p->next) ++*(p->t->state == RUN_QUEUED ? queued : running);
}

typedef struct {
    char (*ids)[RUN_ID + 1];
    size_t n;
    bool failed;
} Ids;

static void add_id(void *arg, const char *id) {
    Ids *ids = arg;
    char(*grown)[RUN_ID + 1] = realloc(ids->ids, (ids->n + 1) * sizeof *grown);
    ids->failed |= !grown;
    if (!grown) return;
    ids->ids = grown;
    snprintf(grown[ids->n++], sizeof *grown, "%s", id);
}

/* A damaged row is logged, and left. */
static bool load(Scheduler *s, const char *id) {
    StoredRun run;
    if (store_run_get(s->server->store, id, &run) != ERR_NONE) return true;
    bool ran = run.progress.state == RUN_RUNNING;
    Turn *p;
    const bool entered = enter(s, &run, &p) == ERR_NONE;
    if (entered && ran) training_lost_attempt(p->t);
    if (entered && ran) training_set_state(p->t, RUN_QUEUED, ERR_NONE, "The service was started again; the run goes on from its last checkpoint.");
    stored_run_release(&run);
    return entered;
}

bool scheduler_start(Scheduler *s) {
    Ids ids = {0};
    bool ok = store_runs_active(s->server->store, add_id, &ids) == ERR_NONE && !ids.failed;
    for (size_t i = 0; i < ids.n && ok; i++) ok = load(s, ids.ids[i]);
    free(ids.ids);
    next(s);
    return ok;
}

void scheduler_drain(Scheduler *s) {
    s->draining = true;
    for (Turn *p = s->first; p; p = p->next) stop(p, DRAIN_NS);
}

bool scheduler_drained(const Scheduler *s) {
    for (const Turn *p = s->first; p; p = p->next)
        if (p->phase == LAUNCHING || p->phase == TRAINING || p->phase == ENDING || training_busy(p->t)) return false;
    return true;
}

Scheduler *scheduler_new(Server *server, const PoolSpec *spec) {
    Scheduler *s = calloc(1, sizeof *s);
    PoolSpec own = *spec;
    own.events = (PoolEvents){.ready = on_ready, .frame = on_frame, .died = on_died};
    own.arg = s;
    own.idle = true;
    if (s) *s = (Scheduler){.server = server, .rest = {.fire = on_rest, .arg = s}};
    if (s) s->pool = pool_new(&own);
    if (s && s->pool) return s;
    free(s);
    return NULL;
}

void scheduler_free(Scheduler *s) {
    if (!s) return;
    for (Turn *p = s->first, *after; p; p = after) {
        after = p->next;
        turn_free(p);
    }
    loop_untimer(s->server->loop, &s->rest);
    map_release(&s->turns);
    pool_free(s->pool);
    free(s);
}
