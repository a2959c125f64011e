#include "server/runs/scheduler.h"
#include "schema/base/map.h"
#include "server/runs/launch.h"
#include "server/runs/progress.h"
#include "server/workers/vigil.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a worker may take to end a run by itself. */
#define CANCEL_NS ((int64_t)120000000) /* its threads, at low priority, must have died by 200 ms */
#define DRAIN_NS ((int64_t)5000000000)
/* How long a process that has nothing to train stays: starting one takes longer (40 ms) than many a short run. */
#define REST_NS ((int64_t)3000000000)
/* Until what could not be begun for want of file descriptors is tried again. */
#define AGAIN_NS ((int64_t)500000000)

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
    bool ran;                /* when the service ended the last time */
    Timer stop;
    ProgressEnd end;             /* what the worker said last, or how it died */
    bool died;
    char how[64];
    WorkerEnd why;           /* it died */
    unsigned deaths, kills;  /* since the last new checkpoint: of its own doing, and from outside */
    Timer look;              /* at the worker, while it trains */
    Vigil vigil;
    bool word;               /* it has said something since the last look */
    uint64_t reached;        /* that checkpoint's step */
    RunWait *waits;
    RunClaim claims[1 + LIMIT_RUN_SOURCES]; /* of the run, and of those that it takes weights from */
    struct Turn *prev, *next;
} Turn;

struct Scheduler {
    Server *server;
    Pool *pool;
    bool draining;
    Timer rest, again;
    Turn *first, *last; /* in the order of their turns */
    size_t count;
    Map turns;           /* by id */
    RunClaims claims;
    RunWatch *watches;
};

static void next(Scheduler *s);
static void conclude(Turn *turn);

static Turn *turn_of(const Scheduler *s, const char *id) { return map_get(&s->turns, id, strlen(id)); }

/* ---- the queue ---- */

/* What ran when the service ended goes on first; then the order is that of creation. */
static bool is_before(const Turn *turn, const Turn *other) {
    return turn->ran != other->ran ? turn->ran : turn->t->seq < other->t->seq;
}

static void insert(Scheduler *s, Turn *turn) {
    Turn *before = s->last;
    while (before && is_before(turn, before)) before = before->prev;
    turn->prev = before;
    turn->next = before ? before->next : s->first;
    *(turn->prev ? &turn->prev->next : &s->first) = turn;
    *(turn->next ? &turn->next->prev : &s->last) = turn;
    s->count++;
}

static void drop_claims(Turn *turn) {
    for (int i = 0; i <= LIMIT_RUN_SOURCES; i++) run_claim_drop(&turn->claims[i]);
}

static void turn_free(Turn *turn) {
    loop_untimer(turn->scheduler->server->loop, &turn->stop);
    loop_untimer(turn->scheduler->server->loop, &turn->look);
    drop_claims(turn);
    launch_free(turn->launch);
    training_free(turn->t);
    free(turn);
}

typedef enum { WAITS_QUEUED, WAITS_ALL } Waits;

static void call_waits(Turn *turn, Waits which, ErrCode code) {
    for (RunWait *w = turn->waits, *after; w; w = after) {
        after = w->next;
        if (which == WAITS_QUEUED && !w->queued) continue;
        scheduler_unwait(w);
        w->done(w->arg, code);
    }
}

static void call_watches(Scheduler *s, int64_t seq) {
    for (RunWatch *w = s->watches, *after; w; w = after) {
        after = w->next;
        if (w->seq == seq) w->changed(w->arg);
    }
}

/* The run is over and written. */
static void leave(Turn *turn) {
    Scheduler *s = turn->scheduler;
    int64_t seq = turn->t->seq;
    map_remove(&s->turns, turn->t->id, strlen(turn->t->id));
    *(turn->prev ? &turn->prev->next : &s->first) = turn->next;
    *(turn->next ? &turn->next->prev : &s->last) = turn->prev;
    s->count--;
    drop_claims(turn);
    call_waits(turn, WAITS_ALL, ERR_NONE);
    turn_free(turn);
    call_watches(s, seq);
    next(s);
}

/* ---- endings ---- */

static void release_worker(Turn *turn) {
    if (turn->worker) turn->worker->data = NULL;
    turn->worker = NULL;
    loop_untimer(turn->scheduler->server->loop, &turn->stop);
    loop_untimer(turn->scheduler->server->loop, &turn->look);
}

static void finish(Turn *turn, RunState state, ErrCode code, const char *reason) {
    Server *server = turn->scheduler->server;
    uint64_t *counters[RUN_STATES] = {[RUN_DONE] = &server->metrics->runs_done, [RUN_FAILED] = &server->metrics->runs_failed,
                                      [RUN_CANCELLED] = &server->metrics->runs_cancelled};
    ++*counters[state];
    turn->phase = OVER;
    training_end_attempt(turn->t, state == RUN_DONE ? NULL : *reason ? reason : "cancelled");
    training_set_state(turn->t, state, code, reason);
    log_put(&server->log, LOG_INFO, "run over", "id=%s state=%s step=%llu reason=\"%s\"", turn->t->id, run_state_names[state],
            (unsigned long long)turn->t->step, reason);
}

static void wait_again(Turn *turn, const char *how) {
    training_end_attempt(turn->t, how);
    training_save(turn->t, true);
    turn->phase = WAITING;
    turn->stopping = false;
    next(turn->scheduler);
}

/* Its worker is dead: the run goes on from its last checkpoint, unless it makes no headway. */
static void retry(Turn *turn) {
    Training *t = turn->t;
    char reason[300];
    uint64_t reached = t->nkept ? t->kept[t->nkept - 1] : 0;
    if (reached > turn->reached) turn->deaths = turn->kills = 0;
    const bool killed = pool_cause(turn->why) == CAUSE_OUTSIDE && turn->why != END_FROZEN;
    ++*(killed ? &turn->kills : &turn->deaths);
    turn->reached = reached;
    training_log(t, "The worker died (%s).", turn->how);
    if (turn->deaths <= SCHEDULER_RETRIES && turn->kills <= SCHEDULER_KILLS) {
        snprintf(reason, sizeof reason, "The worker died: %s", turn->how);
        wait_again(turn, reason);
        return;
    }
    snprintf(reason, sizeof reason, "The worker died %u times without coming to a new checkpoint, the last time by %s.", turn->deaths + turn->kills, turn->how);
    finish(turn, RUN_FAILED, ERR_worker_crash, reason);
}

/* Once everything the worker sent is written. */
static void conclude(Turn *turn) {
    Training *t = turn->t;
    if (turn->phase != ENDING || t->writing || (t->narrived && !t->trouble)) return;
    if (t->trouble) finish(turn, RUN_FAILED, t->trouble, t->trouble_text);
    else if (turn->cancelled && (turn->died || turn->end.stopped)) finish(turn, RUN_CANCELLED, ERR_NONE, "");
    else if (turn->scheduler->draining && (turn->died || turn->end.stopped)) wait_again(turn, "The service ended.");
    else if (turn->died) retry(turn);
    else if (turn->end.code) finish(turn, RUN_FAILED, turn->end.code, turn->end.text);
    else if (turn->end.stopped) wait_again(turn, "The worker stopped.");
    else finish(turn, RUN_DONE, ERR_NONE, "");
}

static void end_training(Turn *turn) {
    release_worker(turn);
    turn->phase = ENDING;
    conclude(turn);
}

static void on_patience(void *arg) {
    Turn *turn = arg;
    if (turn->worker) pool_kill(turn->worker, END_STOPPED);
}

/* Asks the worker to stop, and does not wait for long. */
static void stop(Turn *turn, int64_t patience) {
    Server *server = turn->scheduler->server;
    if (turn->phase != TRAINING || turn->stopping) return;
    Buf none = {0};
    turn->stopping = true;
    turn->stop = (Timer){.fire = on_patience, .arg = turn};
    loop_timer(server->loop, &turn->stop, loop_now() + patience);
    pool_send(turn->worker, FRAME_stop, 0, &none, -1);
}

/* After the worker's end, or its last word, there is nobody to be told. */
static void on_saved(Training *t) {
    const Turn *turn = t->owner;
    const Buf none = {0};
    if (turn->phase == TRAINING) pool_send(turn->worker, FRAME_saved, 0, &none, -1);
}

static void on_committed(Training *t) {
    const Turn *turn = t->owner;
    call_watches(turn->scheduler, t->seq);
}

static void on_changed(Training *t) {
    Turn *turn = t->owner;
    if (t->trouble && turn->phase == WAITING) finish(turn, RUN_FAILED, t->trouble, t->trouble_text);
    if (t->trouble && turn->phase == TRAINING) stop(turn, CANCEL_NS);
    conclude(turn);
    if (turn->waits && !t->flushing && !t->now.dirty) call_waits(turn, WAITS_QUEUED, ERR_NONE);
    if (turn->waits && !t->flushing && t->stuck && turn->phase == OVER) call_waits(turn, WAITS_ALL, t->outcome);
    if (turn->phase == OVER && !training_busy(t)) leave(turn);
    else if (turn->phase == WAITING) next(turn->scheduler);
}

/* One that only waits, for the disk to take a checkpoint perhaps, answers a ping. */
static void on_look(void *arg) {
    Turn *turn = arg;
    const Buf none = {0};
    if (!vigil_look(&turn->vigil, turn->worker->pid, turn->word)) {
        pool_kill(turn->worker, END_FROZEN);
        return;
    }
    turn->word = false;
    loop_timer(turn->scheduler->server->loop, &turn->look, loop_now() + VIGIL_NS);
    if (turn->vigil.still) pool_send(turn->worker, FRAME_ping, 0, &none, -1);
}

static void begin_vigil(Turn *turn) {
    vigil_begin(&turn->vigil);
    turn->word = false;
    turn->look = (Timer){.fire = on_look, .arg = turn};
    loop_timer(turn->scheduler->server->loop, &turn->look, loop_now() + VIGIL_NS);
}

/* ---- beginnings ---- */

static void launched(void *arg) {
    Turn *turn = arg;
    Scheduler *s = turn->scheduler;
    Launch *l = turn->launch;
    turn->launch = NULL;
    if (turn->cancelled) {
        release_worker(turn);
        finish(turn, RUN_CANCELLED, ERR_NONE, "");
    } else if (s->draining || !turn->worker || launch_is_stale(l)) {
        release_worker(turn);
        turn->phase = WAITING;
    } else if (!turn->opened && l->failure.code == ERR_queue_full) {
        log_put(&s->server->log, LOG_WARN, "run waits", "id=%s cause=\"%s\"", turn->t->id, l->failure.message);
        release_worker(turn);
        turn->phase = WAITING;
        loop_timer(s->server->loop, &s->again, loop_now() + AGAIN_NS);
    } else if (!turn->opened) {
        release_worker(turn);
        finish(turn, RUN_FAILED, l->failure.message ? l->failure.code : ERR_internal, l->failure.message ? l->failure.message : "Memory is short.");
    } else {
        bool first = !turn->t->attempts.len;
        uint64_t from = launch_step(l);
        char reason[100] = "";
        if (!first) snprintf(reason, sizeof reason, "It goes on from step %llu.", (unsigned long long)from);
        if (launch_passed_over(l))
            training_log(turn->t, "The checkpoint of step %llu is damaged or missing: the run goes on from step %llu.",
                         (unsigned long long)launch_passed_over(l), (unsigned long long)from);
        training_resume_at(turn->t, from);
        training_begin_attempt(turn->t, from);
        training_set_state(turn->t, RUN_RUNNING, ERR_NONE, reason);
        turn->phase = TRAINING;
        turn->died = turn->stopping = false;
        turn->end = (ProgressEnd){0};
        begin_vigil(turn);
        launch_send(l, turn->worker); /* a lost worker is heard of */
    }
    launch_free(l);
    next(s);
}

static void open_files(void *arg) {
    Turn *turn = arg;
    turn->opened = launch_open(turn->launch);
}

static void launch(Turn *turn, Worker *worker) {
    Server *server = turn->scheduler->server;
    turn->launch = launch_new(server, turn->t->id);
    if (!turn->launch) {
        finish(turn, RUN_FAILED, ERR_internal, "Memory is short.");
        return;
    }
    turn->phase = LAUNCHING;
    turn->worker = worker;
    worker->data = turn;
    turn->task = (Task){.work = open_files, .done = launched, .arg = turn};
    tasks_add(server->bulk, &turn->task); /* whole data sets are read */
}

static bool is_free(Worker *worker) { return pool_takes(worker) && !worker->data; }

/* The first that waits, from `turn` on. */
static Turn *waiting_from(Turn *turn) {
    while (turn && turn->phase != WAITING) turn = turn->next;
    return turn;
}

/* A free worker for each that waits, in their order. What is being written may not be gone on from before that is done: until then its worker stays
 * free, and nobody behind it has its turn. */
static void next(Scheduler *s) {
    if (s->draining || s->again.on) return;
    if (!s->count) {
        if (!s->rest.on) loop_timer(s->server->loop, &s->rest, loop_now() + REST_NS);
        return;
    }
    loop_untimer(s->server->loop, &s->rest);
    pool_start(s->pool);
    Turn *turn = waiting_from(s->first);
    for (int i = 0; i < pool_size(s->pool) && turn; i++) {
        Worker *worker = pool_worker(s->pool, i);
        if (!is_free(worker)) continue;
        if (!training_busy(turn->t)) launch(turn, worker);
        turn = waiting_from(turn->next);
    }
}

/* ---- the pool ---- */

static void on_again(void *arg) { next(arg); }

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
    Turn *turn = worker->data;
    ProgressEnd end;
    (void)arg;
    if (turn) turn->word = true;
    if (frame->type == FRAME_pong) return; /* perhaps of a run that has ended meanwhile */
    ProgressResult result = turn && turn->phase == TRAINING ? progress_take(turn->t, frame, &end) : PROGRESS_BAD;
    if (result == PROGRESS_BAD) {
        pool_kill(worker, END_NONSENSE);
    } else if (result == PROGRESS_LAST) {
        turn->end = end;
        end_training(turn);
        next(turn->scheduler);
    }
}

static void on_died(void *arg, Worker *worker, WorkerEnd end, const char *how) {
    Scheduler *s = arg;
    Turn *turn = worker->data;
    worker->data = NULL;
    if (turn) {
        turn->worker = NULL;
        s->server->metrics->run_deaths += end != END_STOPPED;
        if (turn->phase == TRAINING) {
            turn->died = true;
            turn->why = end;
            snprintf(turn->how, sizeof turn->how, "%s", how);
            end_training(turn);
        }
    }
    next(s);
}

/* ---- the interface ---- */

static bool claim_all(Turn *turn, const StoredRun *run) {
    RunClaims *claims = &turn->scheduler->claims;
    bool ok = run_claim(claims, &turn->claims[0], RUN_USE, run->id);
    for (int i = 0; ok && i < LIMIT_RUN_SOURCES && *turn->t->sources[i]; i++)
        ok = run_claim(claims, &turn->claims[1 + i], RUN_USE, turn->t->sources[i]);
    if (!ok) drop_claims(turn);
    return ok;
}

/* ERR_conflict: a claim stands against it; ERR_internal: memory is short. */
static ErrCode enter(Scheduler *s, const StoredRun *run, Turn **out) {
    Turn *turn = calloc(1, sizeof *turn);
    Training *t = turn ? training_new(s->server, run) : NULL;
    ErrCode code = ERR_internal;
    if (t) {
        *turn = (Turn){.scheduler = s, .t = t, .ran = run->progress.state == RUN_RUNNING};
        code = !claim_all(turn, run) ? ERR_conflict : map_put(&s->turns, run->id, strlen(run->id), turn) ? ERR_NONE : ERR_internal;
    }
    if (code) {
        if (t) turn_free(turn);
        else free(turn);
        return code;
    }
    t->owner = turn;
    t->changed = on_changed;
    t->committed = on_committed;
    t->saved = on_saved;
    insert(s, turn);
    *out = turn;
    return ERR_NONE;
}

bool scheduler_add(Scheduler *s, const StoredRun *run) {
    Turn *turn;
    ErrCode code = enter(s, run, &turn);
    if (!code) next(s);
    return !code;
}

ErrCode scheduler_resume(Scheduler *s, const StoredRun *run) {
    Turn *turn;
    ErrCode code = enter(s, run, &turn);
    if (!code) training_set_state(turn->t, RUN_QUEUED, ERR_NONE, "");
    return code;
}

Training *scheduler_find(const Scheduler *s, const char *id) {
    const Turn *turn = turn_of(s, id);
    return turn ? turn->t : NULL;
}

RunState scheduler_state(const Scheduler *s, const StoredRun *run) {
    const Turn *turn = turn_of(s, run->id);
    return turn ? turn->t->state : run->progress.state;
}

const Training *scheduler_unwritten(const Scheduler *s, const char *id) {
    const Turn *turn = turn_of(s, id);
    return turn && turn->t->stuck ? turn->t : NULL;
}

RunClaims *scheduler_claims(Scheduler *s) { return &s->claims; }

bool scheduler_full(const Scheduler *s) { return s->count >= s->server->config->max_queue; }

void scheduler_cancel(Scheduler *s, const char *id) {
    Turn *turn = turn_of(s, id);
    if (!turn) return;
    turn->cancelled = true;
    training_hurry(turn->t);
    if (turn->phase == LAUNCHING) atomic_store(&turn->launch->stop, true);
    if (turn->phase == WAITING) finish(turn, RUN_CANCELLED, ERR_NONE, "");
    stop(turn, CANCEL_NS);
}

void scheduler_wait(Scheduler *s, const char *id, RunWait *wait) {
    Turn *turn = turn_of(s, id);
    wait->on = true;
    wait->prev = NULL;
    wait->next = turn->waits;
    if (wait->next) wait->next->prev = wait;
    wait->head = &turn->waits;
    turn->waits = wait;
    training_retry(turn->t);
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
    for (const Turn *turn = s->first; turn; turn = turn->next) ++*(turn->t->state == RUN_QUEUED ? queued : running);
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
    Turn *turn;
    const bool entered = enter(s, &run, &turn) == ERR_NONE;
    if (entered && turn->ran) training_lost_attempt(turn->t);
    if (entered && turn->ran)
        training_set_state(turn->t, RUN_QUEUED, ERR_NONE, "The service was started again; the run goes on from its last checkpoint.");
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
    for (Turn *turn = s->first; turn; turn = turn->next) {
        if (turn->phase == LAUNCHING) atomic_store(&turn->launch->stop, true);
        stop(turn, DRAIN_NS);
    }
}

bool scheduler_drained(const Scheduler *s) {
    for (const Turn *turn = s->first; turn; turn = turn->next)
        if (turn->phase == LAUNCHING || turn->phase == TRAINING || turn->phase == ENDING || training_busy(turn->t)) return false;
    return true;
}

Scheduler *scheduler_new(Server *server, const PoolSpec *spec) {
    Scheduler *s = calloc(1, sizeof *s);
    PoolSpec own = *spec;
    own.events = (PoolEvents){.ready = on_ready, .frame = on_frame, .died = on_died};
    own.arg = s;
    own.background = true;
    if (s) *s = (Scheduler){.server = server, .rest = {.fire = on_rest, .arg = s}, .again = {.fire = on_again, .arg = s}};
    if (s) s->pool = pool_new(&own);
    if (s && s->pool) return s;
    free(s);
    return NULL;
}

void scheduler_free(Scheduler *s) {
    if (!s) return;
    for (Turn *turn = s->first, *after; turn; turn = after) {
        after = turn->next;
        turn_free(turn);
    }
    loop_untimer(s->server->loop, &s->rest);
    loop_untimer(s->server->loop, &s->again);
    map_release(&s->turns);
    pool_free(s->pool);
    free(s);
}
