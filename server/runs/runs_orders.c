/* POST /runs/{id}/cancel and /resume: orders to the scheduler, answered when the run's new state is in the database, so that whoever asks next sees
 * it. */
#include "server/http/errand.h"
#include "server/runs/run_find.h"
#include "server/runs/run_record.h"
#include "server/runs/scheduler.h"
#include "server/routes.h"

typedef struct {
    Errand errand;
    RunWait wait;
} RunOrder;

static void release(void *arg) { scheduler_unwait(&((RunOrder *)arg)->wait); }

static const ErrandKind kind = {.size = sizeof(RunOrder), .release = release};

/* `queued`: the state to wait for is that of being queued, else the run's end. NULL: answered. */
static RunOrder *order_begin(Call *call, bool queued, void (*done)(void *arg)) {
    RunOrder *o = errand_begin(call, &kind);
    if (!o) return NULL;
    o->wait = (RunWait){.done = done, .arg = o, .queued = queued};
    scheduler_wait(call->server->scheduler, call->param.text, &o->wait);
    return o;
}

/* ---- cancel ---- */

static void cancelled(void *arg) {
    Call *call = ((RunOrder *)arg)->errand.call;
    call_keep(call);
    errand_end(arg);
    run_record_answer(call);
    call_drop(call);
}

void handle_run_cancel(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    if (scheduler_find(scheduler, call->param.text)) {
        if (order_begin(call, false, cancelled)) scheduler_cancel(scheduler, call->param.text);
    } else if (run_find(call, store_run_head, &run)) {
        call_fail(call, ERR_conflict, "The run is %s; only a queued or running one can be cancelled.", run_state_names[run.progress.state]);
        stored_run_release(&run);
    }
}

/* ---- resume ---- */

static void resumed(void *arg) {
    const Call *call = ((RunOrder *)arg)->errand.call;
    Buf body;
    buf_init(&body);
    buf_printf(&body, "{\"id\":\"%s\",\"state\":\"queued\"}", call->param.text);
    errand_answer(arg, 202, "application/json", &body);
}

static void resume(Call *call) {
    StoredRun run;
    if (!run_find(call, store_run_get, &run)) return;
    ErrCode code = scheduler_resume(call->server->scheduler, &run);
    if (code == ERR_conflict) call_fail(call, code, "The run, or one that it takes weights from, is being deleted.");
    else if (code) call_fail(call, code, "Memory is short.");
    else order_begin(call, true, resumed);
    stored_run_release(&run);
}

void handle_run_resume(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    if (!run_find(call, store_run_head, &run)) return;
    RunState state = scheduler_state(scheduler, &run);
    if (scheduler_find(scheduler, run.id) || (state != RUN_CANCELLED && state != RUN_FAILED))
        call_fail(call, ERR_conflict, "The run is %s; only a cancelled or failed one can be resumed.", run_state_names[state]);
    else if (scheduler_full(scheduler)) call_fail(call, ERR_queue_full, "Too many runs are waiting.");
    else resume(call);
    stored_run_release(&run);
}
