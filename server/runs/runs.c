/* GET /runs, GET and DELETE /runs/{id}, POST /runs/{id}/cancel and /resume, GET /runs/{id}/metrics and /events */
#include "schema/limits.h"
#include "server/runs/runfile.h"
#include "server/runs/events.h"
#include "server/routes.h"
#include "server/http/list.h"
#include "server/runs/run_facts.h"
#include "server/runs/run_record.h"
#include "server/runs/scheduler.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ---- */

static bool put_row(void *arg, const StoredRun *run) {
    List *list = arg;
    run_record_put(list_next(list), run);
    list->last.created = (uint64_t)run->seq;
    snprintf(list->last.key, sizeof list->last.key, "%s", run->id);
    return list_has_room(list);
}

static bool read_state(Call *call, RunState *out) {
    const char *name = call_query(call, "state");
    *out = RUN_STATES;
    if (!name) return true;
    for (int i = 0; i < RUN_STATES; i++)
        if (strcmp(run_state_names[i], name) == 0) *out = (RunState)i;
    if (*out < RUN_STATES) return true;
    call_fail(call, ERR_bad_request, "?state is one of queued, running, done, failed, cancelled.");
    return false;
}

void handle_runs(Call *call) {
    List list;
    RunState state;
    bool more = false;
    if (!read_state(call, &state) || !list_begin(&list, call, "runs")) return;
    const int64_t before = *list.after.key ? (int64_t)list.after.created : INT64_MAX;
    ErrCode code = store_runs(call->server->store, state, before, list.limit, put_row, &list, &more);
    if (!more) *list.last.key = 0;
    list_end(&list, code);
}

/* ---- one run ---- */

static void refuse(Call *call, ErrCode code) {
    if (code == ERR_not_found) call_fail(call, code, "There is no run %.100s.", call->param.text);
    else call_fail(call, code, "The run's record is damaged, or the database does not answer.");
}

typedef ErrCode GetRun(Store *store, const char *id, StoredRun *out);

/* Answers when there is none. get: store_run_get, store_run_head */
static bool find(Call *call, GetRun *get, StoredRun *run) {
    ErrCode code = get(call->server->store, call->param.text, run);
    if (code) refuse(call, code);
    return code == ERR_NONE;
}

typedef struct {
    Call *call;
    int64_t seq;
    Buf body;
    ErrCode code;
    bool cancelled;
    Task task;
} Record;

static void put_step(void *arg, const RunCheckpoint *c) {
    Buf *out = arg;
    buf_printf(out, out->len && out->data[out->len - 1] == '[' ? "%llu" : ",%llu", (unsigned long long)c->step);
}

static void read_record(void *arg) {
    Record *r = arg;
    StoredRun run;
    r->code = store_run_get_aside(r->call->server->store, r->call->param.text, &run);
    if (r->code) return;
    run_record_begin_whole(&r->body, &run);
    stored_run_release(&run);
}

/* The checkpoints are read last, so that a run which is done has its last one. */
static void record_read(void *arg) {
    Record *r = arg;
    if (!r->code) r->code = store_run_checkpoints(r->call->server->store, r->seq, put_step, &r->body);
    buf_puts(&r->body, "]}");
    call_on_cancel(r->call, NULL, NULL);
    if (!r->cancelled && r->code) refuse(r->call, r->code);
    else if (!r->cancelled && !call_hold(r->call, r->body.len)) call_fail(r->call, ERR_queue_full, "The requests in flight take too much memory.");
    else if (!r->cancelled) call_answer(r->call, 200, "application/json", &r->body);
    buf_release(&r->body);
    call_drop(r->call);
    free(r);
}

static void on_record_unwanted(void *arg) { ((Record *)arg)->cancelled = true; }

static void answer_record(Call *call) {
    StoredRun run;
    if (!find(call, store_run_head, &run)) return;
    Record *r = calloc(1, sizeof *r);
    if (!r) {
        call_fail(call, ERR_internal, "Memory is short.");
    } else {
        *r = (Record){.call = call, .seq = run.seq, .task = {.work = read_record, .done = record_read, .arg = r}};
        buf_init(&r->body);
        call_keep(call);
        call_on_cancel(call, on_record_unwanted, r);
        tasks_add(call->server->tasks, &r->task);
    }
    stored_run_release(&run);
}

void handle_run(Call *call) { answer_record(call); }

struct RunDeletion {
    Call *call;
    char id[RUN_ID + 1], content[2][DATASET_SHA + 1]; /* of the data sets it may have been the last to use */
    ErrCode code;
    Task task;
    RunDeletion *prev, *next;
};

/* Whose row is about to go: nothing is begun with it any more. */
static bool is_being_deleted(const Server *server, const char *id) {
    for (const RunDeletion *d = server->deletions; d; d = d->next)
        if (strcmp(d->id, id) == 0) return true;
    return false;
}

/* The row's state may be behind. */
static const char *state_name(const Server *server, const StoredRun *run) {
    const Training *t = scheduler_find(server->scheduler, run->id);
    return run_state_names[t ? t->state : run->progress.state];
}

/* ---- cancel, resume ---- */

/* Answered when the run's new state is in the database, so that whoever asks next sees it. */
typedef struct {
    Call *call;
    RunWait wait;
} Order;

static void order_end(Order *o) {
    scheduler_unwait(&o->wait);
    call_on_cancel(o->call, NULL, NULL);
    call_drop(o->call);
    free(o);
}

static void on_call_gone(void *arg) { order_end(arg); }

static void cancelled(void *arg) {
    Order *o = arg;
    Call *call = o->call;
    call_keep(call);
    order_end(o);
    answer_record(call);
    call_drop(call);
}

static void resumed(void *arg) {
    Order *o = arg;
    Buf body;
    buf_init(&body);
    buf_printf(&body, "{\"id\":\"%s\",\"state\":\"queued\"}", o->call->param.text);
    call_answer(o->call, 202, "application/json", &body);
    order_end(o);
}

/* NULL: answered. */
static Order *order_new(Call *call, bool queued, void (*done)(void *arg)) {
    Order *o = calloc(1, sizeof *o);
    if (!o) {
        call_fail(call, ERR_internal, "Memory is short.");
        return NULL;
    }
    *o = (Order){.call = call, .wait = {.done = done, .arg = o, .queued = queued}};
    call_keep(call);
    call_on_cancel(call, on_call_gone, o);
    return o;
}

void handle_run_cancel(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    const char *id = call->param.text;
    if (!scheduler_find(scheduler, id)) {
        StoredRun run;
        if (!find(call, store_run_head, &run)) return;
        call_fail(call, ERR_conflict, "The run is %s; only a queued or running one can be cancelled.", run_state_names[run.progress.state]);
        stored_run_release(&run);
        return;
    }
    Order *o = order_new(call, false, cancelled);
    if (!o) return;
    scheduler_wait(scheduler, id, &o->wait);
    scheduler_cancel(scheduler, id);
}

static void resume(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    Order *o;
    if (!find(call, store_run_get, &run)) return;
    if (!scheduler_resume(scheduler, &run)) call_fail(call, ERR_internal, "Memory is short.");
    else if ((o = order_new(call, true, resumed))) scheduler_wait(scheduler, run.id, &o->wait);
    stored_run_release(&run);
}

void handle_run_resume(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    if (!find(call, store_run_head, &run)) return;
    RunState state = run.progress.state;
    if (scheduler_find(scheduler, run.id) || (state != RUN_CANCELLED && state != RUN_FAILED)) {
        call_fail(call, ERR_conflict, "The run is %s; only a cancelled or failed one can be resumed.", state_name(call->server, &run));
    } else if (is_being_deleted(call->server, run.id)) {
        call_fail(call, ERR_conflict, "The run is being deleted.");
    } else if (scheduler_full(scheduler)) {
        call_fail(call, ERR_queue_full, "Too many runs are waiting.");
    } else {
        resume(call);
    }
    stored_run_release(&run);
}

/* ---- deleting ---- */

static void delete_run(void *arg) {
    RunDeletion *d = arg;
    Server *server = d->call->server;
    d->code = store_run_delete(server->store, d->id);
    if (d->code) return;
    runfile_remove_all(server->config->data, d->id);
    for (int i = 0; i < 2; i++)
        if (*d->content[i]) dataset_files_collect(server->dataset_files, d->content[i]);
}

static void deleted(void *arg) {
    RunDeletion *d = arg;
    Buf none = {0};
    *(d->prev ? &d->prev->next : &d->call->server->deletions) = d->next;
    if (d->next) d->next->prev = d->prev;
    if (d->code == ERR_NONE) call_answer(d->call, 204, NULL, &none);
    else if (d->code == ERR_not_found) call_fail(d->call, d->code, "There is no run %s.", d->id);
    else if (d->code == ERR_conflict) call_fail(d->call, d->code, "The run is queued or running; cancel it first.");
    else call_fail(d->call, d->code, "The database refused.");
    call_drop(d->call);
    free(d);
}

static void note_contents(RunDeletion *d, const StoredRun *run) {
    RunFacts facts;
    if (!run_facts_get(&facts, run->link, run->link_len)) return;
    if (facts.train.rows) snprintf(d->content[0], sizeof d->content[0], "%s", facts.train.sha256);
    if (facts.test.rows) snprintf(d->content[1], sizeof d->content[1], "%s", facts.test.sha256);
    run_facts_release(&facts);
}

void handle_run_delete(Call *call) {
    StoredRun run;
    if (!find(call, store_run_get, &run)) return;
    RunDeletion *d = calloc(1, sizeof *d);
    if (!d) {
        call_fail(call, ERR_internal, "Memory is short.");
    } else if (scheduler_find(call->server->scheduler, run.id)) {
        call_fail(call, ERR_conflict, "The run is %s; cancel it first.", state_name(call->server, &run));
        free(d);
    } else if (scheduler_needs(call->server->scheduler, run.id)) {
        call_fail(call, ERR_conflict, "A queued or running run takes weights from this one.");
        free(d);
    } else {
        d->call = call;
        d->next = call->server->deletions;
        if (d->next) d->next->prev = d;
        call->server->deletions = d;
        strcpy(d->id, run.id);
        note_contents(d, &run);
        call_keep(call);
        d->task = (Task){.work = delete_run, .done = deleted, .arg = d};
        tasks_add(call->server->tasks, &d->task);
    }
    stored_run_release(&run);
}

/* ---- events ---- */

static bool read_number(Call *call, const char *text, const char *what, uint64_t *out) {
    char *end;
    errno = 0;
    *out = text ? strtoull(text, &end, 10) : 0;
    if (!text || (*text >= '0' && *text <= '9' && !*end && !errno && *out <= INT64_MAX)) return true;
    call_fail(call, ERR_bad_request, "%s must be the number of an event.", what);
    return false;
}

void handle_run_events(Call *call) {
    StoredRun run;
    uint64_t after;
    const char *last = call->headers.last_event_id, *from = call_query(call, "after");
    if (!read_number(call, last ? last : from, last ? "Last-Event-ID" : "?after", &after) || !find(call, store_run_head, &run)) return;
    bool over = !scheduler_find(call->server->scheduler, run.id);
    if (over && call->form == FORM_SSE && after >= run.progress.events) {
        /* Tells an EventSource not to come again. */
        Buf none = {0};
        call_answer(call, 204, NULL, &none);
    } else {
        events_answer(call, run.seq, run.id, after);
    }
    stored_run_release(&run);
}
