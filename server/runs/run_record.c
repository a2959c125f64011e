#include "server/runs/run_record.h"
#include "schema/base/time.h"
#include "schema/formats/json.h"
#include "server/http/errand.h"
#include "server/runs/run_find.h"
#include "server/runs/scheduler.h"
#include <stdio.h>

static void put_time(Buf *out, const char *key, int64_t us) {
    buf_printf(out, ",\"%s\":", key);
    if (us) time_put_json(out, us);
    else buf_puts(out, "null");
}

/* Of a run whose state cannot be written: what has become of it. One that is done is not said to be before its last checkpoint has its row. */
typedef struct {
    bool known;
    RunState state;
    ErrCode code;
    int64_t ended;
    uint64_t step;
    char reason[400];
} RunNow;

static RunNow run_now(const Server *server, const char *id) {
    const Training *t = scheduler_unwritten(server->scheduler, id);
    RunNow u = {.known = t};
    if (!t) return u;
    u = (RunNow){.known = true, .state = t->state, .code = t->code, .ended = t->ended, .step = t->step};
    snprintf(u.reason, sizeof u.reason, "%s", t->reason);
    if (t->state == RUN_DONE) {
        u.state = RUN_RUNNING;
        u.code = ERR_storage_full;
        u.ended = 0;
        snprintf(u.reason, sizeof u.reason, "It has done all its steps, but the disk is full: that is written as soon as there is room.");
    }
    return u;
}

/* Without the closing brace. */
static void put_head(Buf *out, const StoredRun *run, const RunNow *now) {
    RunProgress written = run->progress, *p = &written;
    if (now->known) p->state = now->state, p->code = now->code, p->ended = now->ended, p->step = now->step, p->reason = now->reason;
    buf_printf(out, "{\"id\":\"%s\",\"name\":", run->id);
    json_put_string(out, run->name);
    buf_printf(out, ",\"state\":\"%s\"", run_state_names[p->state]);
    if (p->code) buf_printf(out, ",\"code\":\"%s\"", err_name(p->code));
    if (*p->reason) {
        buf_puts(out, ",\"reason\":");
        json_put_string(out, p->reason);
    }
    put_time(out, "created", run->created);
    put_time(out, "started", p->started);
    put_time(out, "ended", p->ended);
    buf_printf(out, ",\"step\":%llu,\"steps\":%llu,\"epoch\":", (unsigned long long)p->step, (unsigned long long)p->steps);
    json_put_double(out, p->epoch);
    buf_printf(out, ",\"program\":\"%s\"", run->program);
    if (*run->forked_from) buf_printf(out, ",\"forked_from\":\"%s\"", run->forked_from);
    buf_printf(out, ",\"latest\":%s", p->latest);
}

void run_record_put(Buf *out, const Server *server, const StoredRun *run) {
    const RunNow now = run_now(server, run->id);
    put_head(out, run, &now);
    buf_putc(out, '}');
}

/* ---- the whole record ---- */

typedef struct {
    Errand errand;
    int64_t seq;
    RunNow now;
    Buf body, damaged; /* damaged: the steps of checkpoints that are known to be, with commas between */
} WholeRecord;

static void release(void *arg) {
    buf_release(&((WholeRecord *)arg)->body);
    buf_release(&((WholeRecord *)arg)->damaged);
}

static const ErrandKind kind = {.size = sizeof(WholeRecord), .release = release};

/* Megabytes of specification, perhaps. */
static bool read_run(void *arg) {
    WholeRecord *w = arg;
    const Call *call = w->errand.call;
    StoredRun run;
    ErrCode code = store_run_get_aside(call->server->store, call->param.text, &run);
    if (code) return run_not_read(&w->errand.err, code, call->param.text);
    put_head(&w->body, &run, &w->now);
    buf_printf(&w->body, ",\"spec\":%s,%s,\"versions\":%s,\"attempts\":[%s],\"checkpoints\":[", run.spec, run.facts, run.progress.versions,
               run.progress.attempts);
    stored_run_release(&run);
    return true;
}

static void put_step(void *arg, const RunCheckpoint *c) {
    WholeRecord *w = arg;
    const unsigned long long step = c->step;
    buf_printf(&w->body, w->body.len && w->body.data[w->body.len - 1] == '[' ? "%llu" : ",%llu", step);
    if (c->damaged) buf_printf(&w->damaged, w->damaged.len ? ",%llu" : "%llu", step);
}

/* The checkpoints are read last, so that a run which is done has its last one. */
static void run_read(void *arg) {
    WholeRecord *w = arg;
    Errand *e = &w->errand;
    ErrCode code = store_run_checkpoints(e->call->server->store, w->seq, put_step, w);
    buf_putc(&w->body, ']');
    if (w->damaged.len) buf_printf(&w->body, ",\"damaged_checkpoints\":[%s]", buf_text(&w->damaged));
    buf_putc(&w->body, '}');
    if (code) {
        run_not_read(&e->err, code, e->call->param.text);
        errand_refuse(w);
    } else if (!call_hold(e->call, w->body.len, &e->err)) {
        errand_refuse(w);
    } else {
        errand_answer(w, 200, "application/json", &w->body);
    }
}

void run_record_answer(Call *call) {
    StoredRun run;
    if (!run_find(call, store_run_head, &run)) return;
    WholeRecord *w = errand_begin(call, &kind);
    if (w) {
        w->seq = run.seq;
        w->now = run_now(call->server, run.id);
        buf_init(&w->body);
        buf_init(&w->damaged);
        errand_work(w, call->server->tasks, read_run, run_read);
    }
    stored_run_release(&run);
}
