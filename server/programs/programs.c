/* GET /programs, GET and DELETE /programs/{hash}, GET /programs/{hash}/graph */
#include "schema/limits.h"
#include "server/programs/draw.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include "server/http/list.h"
#include "server/programs/program_build.h"
#include "server/programs/record.h"
#include <string.h>

/* ---- the list ---- */

static bool put_row(void *arg, const char *record, size_t len) {
    record_finish(list_next(arg), record, len, true);
    return list_has_room(arg);
}

void handle_programs(Call *call) {
    List list;
    if (list_begin(&list, call, "programs"))
        list_end(&list, store_programs(call->server->store, &list.after, list.limit, put_row, &list, &list.last));
}

/* ---- one program ---- */

typedef struct {
    Errand errand;
    Resolve resolve;
    int form;
    bool lowered; /* the graph before optimisation is wanted */
    Buf body;
} Lookup;
enum { GRAPH_JSON, GRAPH_DOT, GRAPH_SVG, GRAPH_FORMS, RECORD };
static const char *const graph_forms[GRAPH_FORMS] = {"json", "dot", "svg"};
static const char *const graph_types[GRAPH_FORMS] = {"application/json", "text/vnd.graphviz", "image/svg+xml"};

static void release(void *arg) {
    Lookup *l = arg;
    resolve_release(&l->resolve);
    buf_release(&l->body);
}

static const ErrandKind lookup = {.size = sizeof(Lookup), .release = release};

static bool draw(void *arg) {
    Lookup *l = arg;
    char why[200];
    const Variant *v = l->resolve.variant;
    Graph *g = graph_read(v->graph, v->graph_len, why, sizeof why);
    if (g && l->form == GRAPH_JSON) graph_json(&l->body, g);
    else if (g && l->form == GRAPH_DOT) graph_dot(&l->body, g);
    else if (g) draw_svg(&l->body, g);
    else l->body.failed = true;
    graph_free(g);
    return true;
}

static void drawn(void *arg) {
    Lookup *l = arg;
    errand_answer(l, 200, graph_types[l->form], &l->body);
}

static void found(void *arg) {
    Lookup *l = arg;
    Resolve *r = &l->resolve;
    if (r->failure.code) {
        frontend_explain(NULL, l->errand.call, &r->failure);
        errand_end(l);
    } else if (l->form == RECORD) {
        record_finish(&l->body, r->entry->record, strlen(r->entry->record), r->hit);
        errand_answer(l, 200, "application/json", &l->body);
    } else if (l->lowered) {
        l->lowered = false;
        resolve_applied(r, r->variant->total_args, DERIVE_LOWERED);
    } else {
        errand_work(l, l->errand.call->server->tasks, draw, drawn);
    }
}

static void look_up(Call *call, int form, bool lowered) {
    Lookup *l = errand_begin(call, &lookup);
    if (!l) return;
    l->form = form;
    l->lowered = lowered;
    l->resolve = (Resolve){.done = found, .arg = l, .party = call_party(call)};
    if (form == RECORD) program_known(call->server->programs, &l->resolve, call->param.text);
    else program_base(call->server->programs, &l->resolve, NULL, call->param.text);
}

void handle_program(Call *call) { look_up(call, RECORD, false); }

void handle_program_graph(Call *call) {
    const char *format = call_query(call, "format"), *stage = call_query(call, "stage");
    bool lowered = stage && strcmp(stage, "lowered") == 0;
    int form = 0;
    if (stage && !lowered && strcmp(stage, "optimised") != 0) {
        call_fail(call, ERR_bad_request, "?stage is one of optimised, lowered.");
        return;
    }
    while (format && form < GRAPH_FORMS && strcmp(format, graph_forms[form]) != 0) form++;
    if (form < GRAPH_FORMS) look_up(call, form, lowered);
    else call_fail(call, ERR_bad_request, "?format is one of json, dot, svg.");
}

/* ---- deleting ---- */

typedef struct {
    Errand errand;
    ErrCode code;
} Deletion;

static const ErrandKind deletion = {.size = sizeof(Deletion), .lasting = true};

static bool delete_row(void *arg) {
    Deletion *d = arg;
    Call *call = d->errand.call;
    d->code = store_program_delete(call->server->store, call->param.text);
    return true;
}

static void deleted(void *arg) {
    Deletion *d = arg;
    const char *hash = d->errand.call->param.text;
    Buf none = {0};
    if (d->code == ERR_NONE) programs_forget(d->errand.call->server->programs, hash);
    if (d->code == ERR_NONE) errand_answer(d, 204, NULL, &none);
    else if (d->code == ERR_not_found) errand_fail(d, d->code, "There is no program %.100s.", hash);
    else if (d->code == ERR_conflict) errand_fail(d, d->code, "A run that is queued or running uses this program.");
    else errand_fail(d, d->code, d->code == ERR_storage_busy ? "Another process holds the database." : "The database refused.");
}

void handle_program_delete(Call *call) {
    Deletion *d = errand_begin(call, &deletion);
    if (d) errand_work(d, call->server->writes, delete_row, deleted);
}
