/* DELETE /runs/{id} */
#include "server/data/dataset_files.h"
#include "server/http/errand.h"
#include "server/runs/purge.h"
#include "server/runs/run_facts.h"
#include "server/runs/run_find.h"
#include "server/runs/run_wait.h"
#include "server/runs/runfile.h"
#include "server/runs/scheduler.h"
#include "server/routes.h"
#include <stdio.h>

typedef struct {
    Errand errand;
    RunClaim claim;
    bool damaged;
    char sums[2][DATASET_SHA + 1]; /* of the data sets that it may have been the last to use; "": none */
} RunDeletion;

static void release(void *arg) { run_claim_drop(&((RunDeletion *)arg)->claim); }

static const ErrandKind kind = {.size = sizeof(RunDeletion), .release = release, .lasting = true};

static bool delete_run(void *arg) {
    RunDeletion *d = arg;
    Server *server = d->errand.call->server;
    Err *err = &d->errand.err;
    const char *id = d->claim.id;
    ErrCode code = store_run_delete(server->store, id, d->damaged);
    if (code == ERR_conflict) return err_set(err, code, "The run is queued or running; cancel it first.");
    if (code == ERR_not_found) return run_not_read(err, code, id);
    if (code == ERR_storage_full) return err_set(err, code, "The disk is full, and so is its reserve.");
    if (code) return err_set(err, code, code == ERR_storage_busy ? "Another process holds the database." : "The database refused.");
    runfile_remove_all(server->config->data, id);
    for (int i = 0; i < 2; i++)
        if (*d->sums[i]) dataset_files_collect(server->dataset_files, d->sums[i]);
    return true;
}

static void deleted(void *arg) {
    purge_begin(((RunDeletion *)arg)->errand.call->server->purge);
    errand_answer(arg, 204, NULL, &(Buf){0});
}

static void note_data(RunDeletion *d, const StoredRun *run) {
    RunFacts facts;
    if (!run_facts_get(&facts, run->link, run->link_len)) return;
    if (facts.train.rows) snprintf(d->sums[0], sizeof d->sums[0], "%s", facts.train.sha256);
    if (facts.test.rows) snprintf(d->sums[1], sizeof d->sums[1], "%s", facts.test.sha256);
    run_facts_release(&facts);
}

/* A run whose record is damaged can be deleted, too; a content that it may have been the last to use is found at the next start. */
void handle_run_delete(Call *call) {
    Scheduler *scheduler = call->server->scheduler;
    const char *id = call->param.text;
    StoredRun run;
    RunDeletion *d;
    if (run_settles(call, handle_run_delete)) return;
    const ErrCode code = store_run_get(call->server->store, id, &run);
    if (code && code != ERR_damaged) {
        Err err = {0};
        run_not_read(&err, code, id);
        call_fail_err(call, &err);
    } else if (scheduler_find(scheduler, id)) {
        call_fail(call, ERR_conflict, "The run is queued or running; cancel it first.");
    } else if ((d = errand_begin(call, &kind))) {
        d->damaged = code == ERR_damaged;
        if (!d->damaged) note_data(d, &run);
        if (run_claim(scheduler_claims(scheduler), &d->claim, RUN_DELETION, id)) errand_work(d, call->server->writes, delete_run, deleted);
        else errand_fail(d, ERR_conflict, "A run that is queued, running or being made takes weights from this one.");
    }
    stored_run_release(&run);
}
