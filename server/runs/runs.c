/* GET /runs, GET /runs/{id} */
#include "server/http/list.h"
#include "server/runs/run_record.h"
#include "server/routes.h"
#include <stdio.h>
#include <string.h>

static bool put_row(void *arg, const StoredRun *run) {
    List *list = arg;
    run_record_put(list_next(list), list->call->server, run);
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

void handle_run(Call *call) { run_record_answer(call); }
