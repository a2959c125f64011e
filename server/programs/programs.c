/* GET /programs, GET and DELETE /programs/{hash}, GET /programs/{hash}/graph */
#include "schema/limits.h"
#include "server/programs/draw.h"
#include "server/http/handlers.h"
#include "server/http/list.h"
#include "server/programs/program.h"
#include "server/programs/record.h"
#include <stdlib.h>
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
    Call *call;
    Resolve resolve;
    Task task;
    int form;
    bool lowered; /* the graph before optimisation is wanted */
    Buf body;
    bool busy, cancelled;
} Lookup;
enum { GRAPH_JSON, GRAPH_DOT, GRAPH_SVG, GRAPH_FORMS, RECORD };
static const char *const graph_forms[GRAPH_FORMS] = {"json", "dot", "svg"};
static const char *const graph_types[GRAPH_FORMS] = {"application/json", "text/vnd.graphviz", "image/svg+xml"};

static void end(Lookup *l) {
    call_on_cancel(l->call, NULL, NULL);
    resolve_release(&l->resolve);
    buf_release(&l->body);
    call_drop(l->call);
    free(l);
}

static void on_cancel(void *arg) {
    Lookup *l = arg;
    l->cancelled = true;
    if (!l->busy) end(l);
}

static void draw(void *arg) {
    Lookup *l = arg;
    char why[200];
    const Variant *v = l->resolve.variant;
    Graph *g = graph_read(v->graph, v->graph_len, why, sizeof why);
    if (g && l->form == GRAPH_JSON) graph_json(&l->body, g);
    else if (g && l->form == GRAPH_DOT) graph_dot(&l->body, g);
    else if (g) draw_svg(&l->body, g);
    else l->body.failed = true;
    graph_free(g);
}

static void drawn(void *arg) {
    Lookup *l = arg;
    l->busy = false;
    if (!l->cancelled) call_answer(l->call, 200, graph_types[l->form], &l->body);
    end(l);
}

static void found(void *arg) {
    Lookup *l = arg;
    Resolve *r = &l->resolve;
    if (r->failure.code) {
        frontend_explain(NULL, l->call, &r->failure);
    } else if (l->form == RECORD) {
        record_finish(&l->body, r->entry->record, strlen(r->entry->record), r->hit);
        call_answer(l->call, 200, "application/json", &l->body);
    } else if (l->lowered) {
        l->lowered = false;
        programs_variant(l->call->server->programs, r, r->variant->total_args, DERIVE_LOWERED);
        return;
    } else {
        l->busy = true;
        l->task = (Task){.work = draw, .done = drawn, .arg = l};
        tasks_add(l->call->server->tasks, &l->task);
        return;
    }
    end(l);
}

static void look_up(Call *call, int form, bool lowered) {
    Lookup *l = calloc(1, sizeof *l);
    if (!l) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    *l = (Lookup){.call = call, .form = form, .lowered = lowered};
    l->resolve = (Resolve){.done = found, .arg = l, .patience = 2 * (call->deadline - call->started)};
    call_keep(call);
    call_on_cancel(call, on_cancel, l);
    if (form == RECORD) programs_known(call->server->programs, &l->resolve, call->param.text);
    else programs_base(call->server->programs, &l->resolve, NULL, call->param.text);
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
    Call *call;
    char hash[sizeof((RouteParam *)0)->text];
    ErrCode code;
    Task task;
} Deletion;

static void delete_row(void *arg) {
    Deletion *d = arg;
    d->code = store_program_delete(d->call->server->store, d->hash);
}

static void deleted(void *arg) {
    Deletion *d = arg;
    Buf none;
    buf_init(&none);
    if (d->code == ERR_NONE) programs_forget(d->call->server->programs, d->hash);
    if (d->code == ERR_NONE) call_answer(d->call, 204, NULL, &none);
    else if (d->code == ERR_not_found) call_fail(d->call, d->code, "There is no program %.100s.", d->hash);
    else if (d->code == ERR_conflict) call_fail(d->call, d->code, "A run that is queued or running uses this program.");
    else call_fail(d->call, d->code, "The database refused.");
    call_drop(d->call);
    free(d);
}

void handle_program_delete(Call *call) {
    Deletion *d = calloc(1, sizeof *d);
    if (!d) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    d->call = call;
    memcpy(d->hash, call->param.text, sizeof d->hash);
    call_keep(call);
    d->task = (Task){.work = delete_row, .done = deleted, .arg = d};
    tasks_add(call->server->tasks, &d->task);
}
