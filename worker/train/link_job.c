#include "worker/train/link_job.h"
#include "compiler/language/canon.h"
#include "compiler/passes/optimise.h"
#include "compiler/passes/rewrite.h"
#include "compiler/training/spec_read.h"
#include "worker/train/file_map.h"
#include "worker/train/train_checkpoint.h"
#include "worker/train/train_model.h"
#include <string.h>

const LinkData *link_job_data(Cx *cx, const ColumnMsg *columns, uint32_t n, uint64_t rows) {
    LinkData *data = ARENA_NEW(&cx->arena, LinkData);
    LinkColumn *out = ARENA_ARRAY(&cx->arena, LinkColumn, n);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (LinkColumn){.name = arena_strndup(&cx->arena, (const char *)columns[i].name, columns[i].name_len),
                              .dtype = (DType)columns[i].dtype,
                              .rank = columns[i].rank};
        for (uint32_t d = 0; d < columns[i].rank; d++) out[i].dims[d] = (size_t)columns[i].dims[d];
    }
    *data = (LinkData){.columns = out, .ncolumns = n, .rows = rows};
    return data;
}

typedef struct {
    const LinkMsg *m;
    int area;
    unsigned threads;
    Cx cx;
    Spec spec;
    Err err; /* of reading the specification */
    char pointer[LINK_POINTER];
    FileMap file;
    Graph *graph, *forward;
    Buf info, types, bytes;
    uint32_t ninputs;
    double macs;
} LinkJob;

static _Noreturn void fail(LinkJob *job, const Err *err) { cx_fail(&job->cx, err->code, AT_NOWHERE, NULL, "%s", err->message); }

static Linked *link_spec(LinkJob *job) {
    Cx *cx = &job->cx;
    const LinkMsg *m = job->m;
    Program *program = canon_read(cx, m->program, m->program_len);
    Checked *checked = check_program(cx, program);
    const LinkData *train = link_job_data(cx, m->train, m->ntrain, m->train_rows);
    const LinkData *test = m->test_rows ? link_job_data(cx, m->test, m->ntest, m->test_rows) : NULL;
    return link_run(cx, &job->spec, program, checked, train, test, job->pointer);
}

/* ---- check ---- */

static void put_dims(Buf *out, const uint32_t *dims, uint32_t rank) {
    buf_puts(out, ",\"shape\":[");
    for (uint32_t d = 0; d < rank; d++) buf_printf(out, d ? ",%u" : "%u", dims[d]);
    buf_putc(out, ']');
}

static void put_type(Cx *cx, Buf *out, const Type *type) {
    size_t shape[LIMIT_TYPE_RANK];
    uint32_t dims[LIMIT_TYPE_RANK];
    const size_t rank = type_shape(type, shape);
    for (size_t d = 0; d < rank; d++) dims[d] = (uint32_t)shape[d]; /* linked: below LIMIT_SPACE */
    buf_puts(out, "\"type\":");
    json_put_string(out, type_text(cx, type));
    put_dims(out, dims, (uint32_t)rank);
}

static void put_origin(Buf *out, const LinkWeight *w) {
    if (!w->from_run) return;
    buf_puts(out, ",\"from\":{\"run\":");
    json_put_string(out, w->from_run);
    buf_puts(out, ",\"name\":");
    json_put_string(out, w->from_name);
    buf_putc(out, '}');
}

static void put_info(LinkJob *job, const Linked *linked, size_t bytes) {
    Buf *out = &job->info;
    size_t parameters = 0;
    buf_puts(out, "{\"output\":{");
    put_type(&job->cx, out, linked->output);
    buf_puts(out, "},\"columns\":[");
    for (uint32_t s = 0; s < linked->nslots; s++) {
        buf_puts(out, s ? ",{\"name\":" : "{\"name\":");
        json_put_string(out, linked->slots[s].name);
        buf_putc(out, ',');
        put_type(&job->cx, out, linked->slots[s].type);
        buf_printf(out, ",\"needed\":%s%s}", linked->slots[s].needed ? "true" : "false", linked->slots[s].probability ? ",\"probability\":true" : "");
    }
    buf_puts(out, "],\"weights\":[");
    for (uint32_t j = 0; j < linked->nweights; j++) {
        const LinkWeight *w = &linked->weights[j];
        buf_puts(out, j ? ",{\"name\":" : "{\"name\":");
        json_put_string(out, w->name);
        put_dims(out, w->dims, w->rank);
        buf_printf(out, ",\"train\":%s", w->train ? "true" : "false");
        put_origin(out, w);
        buf_putc(out, '}');
        parameters += w->train ? w->size : 0;
    }
    buf_printf(out, "],\"parameters\":%zu,\"macs\":%.17g,\"bytes\":%zu}", parameters, linked->macs * (double)job->spec.batch_size, bytes);
}

/* The step is planned as for training, so that a run which does not fit the memory is refused here. */
static void check_run(LinkJob *job) {
    Linked *linked = link_spec(job);
    Err err = {0};
    size_t bytes;
    job->graph = link_train(&job->cx, linked, job->spec.batch_size); /* freed with the job, as is the other */
    job->forward = optimise_graph(&job->cx, linked->forward);
    if (!model_measure(&job->spec, linked, job->graph, job->forward, job->threads, &bytes, &err)) {
        if (bytes) strcpy(job->pointer, "/batch_size"); /* else the weights alone are too much */
        fail(job, &err);
    }
    put_info(job, linked, bytes);
    graph_free(rewrite_give(&job->cx, linked->forward));
    if (job->info.failed) cx_fail(&job->cx, ERR_too_large, AT_NOWHERE, NULL, "This takes more memory than a worker may have.");
}

/* ---- serve ---- */

static const double *const *read_weights(LinkJob *job, const Linked *linked) {
    Cx *cx = &job->cx;
    Err err = {0};
    const double **weights = ARENA_ARRAY(&cx->arena, const double *, linked->nweights);
    if (!file_map_open(&job->file, job->area, job->m->area_size))
        cx_fail(cx, ERR_internal, AT_NOWHERE, NULL, "The checkpoint cannot be mapped.");
    for (uint32_t j = 0; j < linked->nweights; j++) {
        const LinkWeight *w = &linked->weights[j];
        double *values = ARENA_ARRAY(&cx->arena, double, w->size);
        if (!checkpoint_weight(job->file.data, job->file.size, w->name, w->dims, w->rank, values, &err)) fail(job, &err);
        weights[j] = values;
    }
    return weights;
}

/* By variable: is it one of the outputs asked for? */
static bool *read_outputs(LinkJob *job, const Linked *linked) {
    bool *wanted = ARENA_ARRAY(&job->cx.arena, bool, linked->nvariables);
    const char *name = (const char *)job->m->outputs, *end = name + job->m->outputs_len;
    for (; name < end; name += strlen(name) + 1) {
        uint32_t v = 0;
        while (v < linked->nvariables && strcmp(linked->names[v], name) != 0) v++;
        if (v == linked->nvariables || !linked->variables[v])
            cx_fail(&job->cx, ERR_unknown_input, AT_NOWHERE, NULL, "The program has no variable \"%.100s\" with a value of its own.", name);
        wanted[v] = true;
    }
    return wanted;
}

static void put_types(LinkJob *job, const Linked *linked) {
    canon_put_type(&job->types, linked->output); /* without arguments it is the program's type */
    for (uint32_t s = 0; s < linked->nslots; s++) {
        if (!linked->slots[s].needed) continue;
        canon_put_type(&job->types, linked->slots[s].type);
        job->ninputs++;
    }
    canon_put_type(&job->types, linked->output);
}

static void put_variables(LinkJob *job, const Linked *linked, const bool *wanted) {
    bool first = true;
    buf_puts(&job->info, "{\"variables\":[");
    for (uint32_t v = 0; v < linked->nvariables; v++) {
        if (!wanted[v]) continue;
        buf_printf(&job->info, "%s{\"index\":%u,\"name\":", first ? "" : ",", v);
        json_put_string(&job->info, linked->names[v]);
        buf_putc(&job->info, ',');
        put_type(&job->cx, &job->info, linked->variables[v]);
        buf_putc(&job->info, '}');
        first = false;
    }
    buf_puts(&job->info, "]}");
}

static void serve_run(LinkJob *job) {
    Linked *linked = link_spec(job);
    const LinkServe serve = {.weights = read_weights(job, linked), .stored = job->m->stored, .wanted = read_outputs(job, linked),
                             .derive = (Derive)job->m->derive};
    job->graph = link_serve(&job->cx, linked, &serve);
    graph_free(rewrite_give(&job->cx, linked->forward));
    put_types(job, linked);
    put_variables(job, linked, serve.wanted);
    job->macs = graph_stats(job->graph).macs;
    if (!graph_write(job->graph, &job->bytes)) cx_fail(&job->cx, ERR_too_large, AT_NOWHERE, NULL, "The trained model does not fit into memory.");
    if (job->types.failed || job->info.failed) cx_fail(&job->cx, ERR_too_large, AT_NOWHERE, NULL, "This takes more memory than a worker may have.");
}

/* ---- the answer ---- */

static void put_failure(const LinkJob *job, Buf *out) {
    const Diag *diag = &job->cx.diag;
    const bool unread = job->err.code != ERR_NONE;
    const char *message = unread ? job->err.message : diag->message, *pointer = unread ? job->err.pointer : job->pointer;
    LinkedMsg linked = {.code = (uint16_t)(unread ? job->err.code : diag->code),
                        .at_kind = (uint8_t)diag->at.kind,
                        .other_kind = (uint8_t)diag->other.kind,
                        .at_index = diag->at.index,
                        .other_index = diag->other.index,
                        .message = (const unsigned char *)message,
                        .hint = (const unsigned char *)diag->hint,
                        .pointer = (const unsigned char *)pointer,
                        .message_len = message ? strlen(message) : 0,
                        .hint_len = diag->hint ? strlen(diag->hint) : 0,
                        .pointer_len = strlen(pointer)};
    wire_put_linked(out, &linked);
}

static void put_success(const LinkJob *job, Buf *out) {
    LinkedMsg linked = {.info = job->info.data,
                        .info_len = job->info.len,
                        .graph = job->bytes.data,
                        .graph_len = job->bytes.len,
                        .types = job->types.data,
                        .types_len = job->types.len,
                        .ninputs = job->ninputs,
                        .macs = job->macs};
    wire_put_linked(out, &linked);
}

void link_job_answer(const LinkMsg *m, int area, unsigned threads, Buf *out) {
    LinkJob job = {.m = m, .area = area, .threads = threads};
    cx_init(&job.cx);
    if (m->nat_limit) job.cx.nat_limit = m->nat_limit;
    if (spec_read(&job.spec, (const char *)m->spec, m->spec_len, &job.err)) {
        CX_TRY(&job.cx) {
            if (m->want == LINK_CHECK) check_run(&job);
            else serve_run(&job);
        }
    }
    if (job.err.code || job.cx.diag.code) put_failure(&job, out);
    else put_success(&job, out);
    graph_free(job.graph);
    graph_free(job.forward);
    file_map_release(&job.file);
    buf_release(&job.info);
    buf_release(&job.types);
    buf_release(&job.bytes);
    cx_release(&job.cx);
    spec_release(&job.spec);
}
