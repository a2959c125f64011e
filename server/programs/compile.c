/* POST /compile */
#include "schema/limits.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include "server/programs/program_build.h"
#include "server/programs/record.h"
#include <string.h>

typedef struct {
    Errand errand;
    Json json;
    ProgramSpec spec;
    Frontend frontend;
    Resolve resolve;
} Compile;

static const Field fields[] = {PROGRAM_FIELDS(Compile, spec), {NULL, 0, 0, false, NULL}};

static void release(void *arg) {
    Compile *c = arg;
    resolve_release(&c->resolve);
}

static void scrap(void *arg) {
    Compile *c = arg;
    frontend_release(&c->frontend);
    json_release(&c->json);
}

static void refuse(void *arg) {
    Compile *c = arg;
    if (c->errand.err.code) call_fail_err(c->errand.call, &c->errand.err);
    else frontend_refuse(&c->frontend, c->errand.call);
}

static const ErrandKind kind = {.size = sizeof(Compile), .release = release, .scrap = scrap, .refuse = refuse};

static void found(void *arg) {
    Compile *c = arg;
    Resolve *r = &c->resolve;
    Call *call = c->errand.call;
    if (r->failure.code) {
        frontend_explain(&c->frontend, call, &r->failure);
        errand_end(c);
        return;
    }
    Buf body;
    buf_init(&body);
    record_finish(&body, r->entry->record, strlen(r->entry->record), r->hit);
    call->answer.cache = r->hit ? "cajal; hit" : r->stored ? "cajal; fwd=miss; stored" : "cajal; fwd=miss";
    errand_answer(c, 200, "application/json", &body);
}

static bool parse(void *arg) {
    Compile *c = arg;
    const Body *body = &c->errand.call->body;
    Err *err = &c->errand.err;
    return json_parse(&c->json, (const char *)body->data, body->len, err) && json_decode(c->json.root, "", fields, c, err) &&
           frontend_make(&c->frontend, &c->json, &c->spec, c->errand.call->server->config->max_nat);
}

static void parsed(void *arg) {
    Compile *c = arg;
    Call *call = c->errand.call;
    c->resolve = (Resolve){.done = found, .arg = c, .party = call_party(call)};
    program_record(call->server->programs, &c->resolve, &c->frontend);
}

void handle_compile(Call *call) {
    Compile *c = errand_begin(call, &kind);
    if (c) errand_work(c, call->body.len > LIMIT_LOOP_BYTES ? call->server->tasks : NULL, parse, parsed);
}
