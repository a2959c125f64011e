#include "server/runs/run_wait.h"
#include "server/http/errand.h"
#include "server/runs/scheduler.h"

typedef struct {
    Errand errand;
    RunWait wait;
    void (*then)(Call *call);
} Waiting;

static void release(void *arg) { scheduler_unwait(&((Waiting *)arg)->wait); }

static const ErrandKind kind = {.size = sizeof(Waiting), .release = release};

static void done(void *arg, ErrCode code) {
    Waiting *w = arg;
    Call *call = w->errand.call;
    void (*then)(Call *) = w->then;
    if (code) {
        errand_fail(w, code, code == ERR_storage_full ? "What has become of the run cannot be written: the disk is full, and so is its reserve."
                                                      : "What has become of the run cannot be written: the database refuses.");
        return;
    }
    call_keep(call);
    errand_end(arg);
    then(call);
    call_drop(call);
}

bool run_wait(Call *call, bool queued, void (*then)(Call *call)) {
    Waiting *w = errand_begin(call, &kind);
    if (!w) return false;
    w->then = then;
    w->wait = (RunWait){.done = done, .arg = w, .queued = queued};
    scheduler_wait(call->server->scheduler, call->param.text, &w->wait);
    return true;
}

bool run_settles(Call *call, void (*then)(Call *call)) {
    const Training *t = scheduler_find(call->server->scheduler, call->param.text);
    if (!t || t->state <= RUN_RUNNING) return false;
    run_wait(call, false, then);
    return true;
}
