#include "server/http/errand.h"
#include "schema/limits.h"
#include <stdarg.h>

static void scrap_work(void *arg) {
    Errand *e = arg;
    e->kind->scrap(e);
}

static void scrap_done(void *arg) { call_drop(((Errand *)arg)->call); }

/* A tree of a million nodes takes longer to be freed than the loop may be held up. */
static void scrap(Errand *e) {
    Tasks *tasks = e->call->server->tasks;
    e->task = (Task){.work = scrap_work, .done = scrap_done, .arg = e};
    if (tasks && (e->large || (e->call->body.kind == BODY_JSON && e->call->body.len > LIMIT_LOOP_BYTES))) {
        tasks_add(tasks, &e->task);
    } else {
        scrap_work(e);
        scrap_done(e);
    }
}

void errand_end(void *arg) {
    Errand *e = arg;
    Call *call = e->call;
    call_on_cancel(call, NULL, NULL);
    if (e->job) {
        e->abandoned = true;
        dispatch_cancel(call->server->dispatch, e->job);
    }
    if (e->kind->release) e->kind->release(e);
    if (e->kind->scrap) scrap(e);
    else call_drop(call);
}

static void on_cancel(void *arg) {
    Errand *e = arg;
    atomic_store(&e->cancelled, true);
    if (!e->busy && !e->lasting) errand_end(e);
}

void *errand_begin(Call *call, const ErrandKind *kind) {
    Errand *e = call_alloc(call, 1, kind->size);
    if (!e) {
        call_fail(call, ERR_internal, "Memory is short.");
        return NULL;
    }
    e->call = call;
    e->kind = kind;
    e->lasting = kind->lasting;
    call_keep(call);
    call_on_cancel(call, on_cancel, e);
    return e;
}

static void work(void *arg) {
    Errand *e = arg;
    e->ok = e->work(e);
}

static void done(void *arg) {
    Errand *e = arg;
    e->busy = false;
    if (atomic_load(&e->cancelled) && !e->lasting) errand_end(e);
    else if (e->ok) e->next(e);
    else errand_refuse(e);
}

void errand_work(void *arg, Tasks *tasks, bool (*step)(void *arg), void (*next)(void *arg)) {
    Errand *e = arg;
    e->work = step;
    e->next = next;
    e->busy = tasks != NULL;
    if (!tasks) {
        work(e);
        done(e);
        return;
    }
    e->task = (Task){.work = work, .done = done, .arg = e};
    tasks_add(tasks, &e->task);
}

static void job_done(void *arg, const JobResult *result) {
    Errand *e = arg;
    e->job = NULL;
    if (result->err) {
        e->err = *result->err;
        errand_refuse(e);
    } else {
        e->job_done(e, result);
    }
}

void errand_job(void *arg, JobSpec *spec, void (*done)(void *arg, const JobResult *result)) {
    Errand *e = arg;
    spec->party = call_party(e->call);
    spec->done = job_done;
    spec->arg = e;
    e->job_done = done;
    e->job = dispatch_submit(e->call->server->dispatch, spec, &e->err);
    if (!e->job) errand_refuse(e);
}

void errand_answer(void *arg, int status, const char *type, Buf *body) {
    Errand *e = arg;
    call_answer(e->call, status, type, body);
    errand_end(e);
}

void errand_fail(void *arg, ErrCode code, const char *format, ...) {
    Errand *e = arg;
    va_list args;
    va_start(args, format);
    call_vfail(e->call, code, format, args);
    va_end(args);
    errand_end(e);
}

void errand_refuse(void *arg) {
    Errand *e = arg;
    if (e->kind->refuse) e->kind->refuse(e);
    else call_fail_err(e->call, &e->err);
    errand_end(e);
}
