/* POST /runs/{id}/cancel and /resume: orders to the scheduler, answered when the database has the run's new state. */
#include "server/runs/run_find.h"
#include "server/runs/run_record.h"
#include "server/runs/run_wait.h"
#include "server/runs/scheduler.h"
#include "server/routes.h"

/* ---- cancel ---- */

void handle_run_cancel(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    if (scheduler_find(scheduler, call->param.text)) {
        if (run_wait(call, false, run_record_answer)) scheduler_cancel(scheduler, call->param.text);
    } else if (run_find(call, store_run_head, &run)) {
        call_fail(call, ERR_conflict, "The run is %s; only a queued or running one can be cancelled.", run_state_names[run.progress.state]);
        stored_run_release(&run);
    }
}

/* ---- resume ---- */

static void resumed(Call *call) {
    Buf body;
    buf_init(&body);
    buf_printf(&body, "{\"id\":\"%s\",\"state\":\"queued\"}", call->param.text);
    call_answer(call, 202, "application/json", &body);
}

static void resume(Call *call) {
    StoredRun run;
    if (!run_find(call, store_run_get, &run)) return;
    ErrCode code = scheduler_resume(call->server->scheduler, &run);
    if (code == ERR_conflict) call_fail(call, code, "The run, or one that it takes weights from, is being deleted.");
    else if (code) call_fail(call, code, "Memory is short.");
    else run_wait(call, true, resumed);
    stored_run_release(&run);
}

void handle_run_resume(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    StoredRun run;
    if (run_settles(call, handle_run_resume) || !run_find(call, store_run_head, &run)) return;
    RunState state = scheduler_state(scheduler, &run);
    if (state != RUN_CANCELLED && state != RUN_FAILED)
        call_fail(call, ERR_conflict, "The run is %s; only a cancelled or failed one can be resumed.", run_state_names[state]);
    else if (scheduler_full(scheduler)) call_fail(call, ERR_queue_full, "Too many runs are waiting.");
    else resume(call);
    stored_run_release(&run);
}
