/* POST /compile */
#include "schema/limits.h"
#include "server/http/handlers.h"
#include "server/programs/program.h"
#include "server/programs/record.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    Call *call;
    Json json;
    ProgramSpec spec;
    Err err;
    Frontend frontend;
    Resolve resolve;
    Task task;
    bool ok, busy, cancelled;
} Compile;

static const Field fields[] = {PROGRAM_FIELDS(Compile, spec), {NULL, 0, 0, false, NULL}};

static void end(Compile *c) {
    call_on_cancel(c->call, NULL, NULL);
    resolve_release(&c->resolve);
    frontend_release(&c->frontend);
    json_release(&c->json);
    call_drop(c->call);
    free(c);
}

static void on_cancel(void *arg) {
    Compile *c = arg;
    c->cancelled = true;
    if (!c->busy) end(c);
}

static void found(void *arg) {
    Compile *c = arg;
    Resolve *r = &c->resolve;
    if (r->failure.code) {
        frontend_explain(&c->frontend, c->call, &r->failure);
    } else {
        Buf body;
        buf_init(&body);
        record_finish(&body, r->entry->record, strlen(r->entry->record), r->hit);
        c->call->answer.cache = r->hit ? "cajal; hit" : r->stored ? "cajal; fwd=miss; stored" : "cajal; fwd=miss";
        call_answer(c->call, 200, "application/json", &body);
    }
    end(c);
}

static void parse(void *arg) {
    Compile *c = arg;
    const Body *body = &c->call->body;
    c->ok = json_parse(&c->json, (const char *)body->data, body->len, &c->err) && json_decode(c->json.root, "", fields, c, &c->err) &&
            frontend_make(&c->frontend, &c->json, &c->spec, c->call->server->config->max_nat);
}

static void parsed(void *arg) {
    Compile *c = arg;
    c->busy = false;
    if (c->cancelled) {
        end(c);
    } else if (!c->ok) {
        if (c->err.code) call_fail_err(c->call, &c->err);
        else frontend_refuse(&c->frontend, c->call);
        end(c);
    } else {
        c->resolve = (Resolve){.done = found, .arg = c, .patience = 2 * (c->call->deadline - c->call->started)};
        programs_record(c->call->server->programs, &c->resolve, &c->frontend);
    }
}

void handle_compile(Call *call) {
    Compile *c = calloc(1, sizeof *c);
    if (!c) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    c->call = call;
    call_keep(call);
    call_on_cancel(call, on_cancel, c);
    if (call->body.len <= LIMIT_LOOP_BYTES) {
        parse(c);
        parsed(c);
        return;
    }
    c->busy = true;
    c->task = (Task){.work = parse, .done = parsed, .arg = c};
    tasks_add(call->server->tasks, &c->task);
}
