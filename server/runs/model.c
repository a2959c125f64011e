#include "server/runs/model.h"
#include "compiler/language/canon.h"
#include "schema/base/heap.h"
#include "schema/formats/json.h"
#include "server/runs/runfile.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct Model {
    StoredRun run;
    RunFacts facts;
    RunCheckpoint checkpoint;
    bool stored;
    char *outputs;
    size_t outputs_len;
};

/* ---- the entry ---- */

enum { SUM = 32 };
#define PREFIX "model:"
_Static_assert(sizeof PREFIX + 2 * SUM <= ENTRY_HASH, "a model's name is an entry's");

/* Which checkpoint, and the hash of what is wanted. False: failure. */
static bool find(Store *store, const ModelWant *want, RunCheckpoint *checkpoint, char hash[ENTRY_HASH], Failure *failure) {
    unsigned char sum[SUM];
    crypto_generichash_state state;
    ErrCode code = store_run_checkpoint(store, want->run, want->at_step, want->step, checkpoint);
    if (code == ERR_not_found) failure_set(failure, code, "There is no run %.50s.", want->run);
    else if (code == ERR_conflict && want->at_step)
        failure_set(failure, ERR_not_found, "The run has no checkpoint of step %llu.", (unsigned long long)want->step);
    else if (code == ERR_conflict) failure_set(failure, code, "The run has no checkpoint yet.");
    else if (code) failure_set(failure, code, "The database does not answer.");
    if (code) return false;
    crypto_generichash_init(&state, NULL, 0, sizeof sum);
    crypto_generichash_update(&state, (const unsigned char *)want->run, strlen(want->run) + 1);
    crypto_generichash_update(&state, (const unsigned char *)&checkpoint->step, sizeof checkpoint->step);
    crypto_generichash_update(&state, checkpoint->sum, sizeof checkpoint->sum);
    crypto_generichash_update(&state, (const unsigned char *)&want->stored, sizeof want->stored);
    crypto_generichash_update(&state, (const unsigned char *)want->outputs, want->outputs_len);
    crypto_generichash_final(&state, sum, sizeof sum);
    strcpy(hash, PREFIX);
    sodium_bin2hex(hash + strlen(PREFIX), ENTRY_HASH - strlen(PREFIX), sum, sizeof sum);
    return true;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool copy_needed(ProgramInputs *out, JsonNode columns) {
    uint32_t n = 0;
    for (JsonNode at = columns->child; at; at = at->next) n++;
    *out = (ProgramInputs){.names = calloc(n + 1, sizeof *out->names), .smooth = calloc(n + 1, sizeof *out->smooth)};
    if (!out->names || !out->smooth) return false;
    for (JsonNode at = columns->child; at; at = at->next) {
        JsonNode name = json_get(at, "name"), needed = json_get(at, "needed");
        if (!name || json_kind(name) != JSON_STRING || !needed) return false;
        if (!cJSON_IsTrue(needed)) continue;
        out->names[out->n] = strdup(name->valuestring);
        if (!out->names[out->n]) return false;
        out->n++;
    }
    qsort(out->names, out->n, sizeof *out->names, by_name);
    return true;
}

/* From the record's members. */
static bool read_inputs(ProgramInputs *inputs, const Model *m) {
    Json json = {0};
    Err err = {0};
    Buf text;
    buf_init(&text);
    buf_printf(&text, "{%s}", m->run.facts);
    bool ok = !text.failed && json_parse(&json, (const char *)text.data, text.len, &err);
    JsonNode columns = ok ? json_get(json.root, "columns") : NULL;
    ok = columns && json_kind(columns) == JSON_ARRAY && copy_needed(inputs, columns);
    json_release(&json);
    buf_release(&text);
    return ok;
}

static bool set_outputs(Model *m, const ModelWant *want) {
    m->outputs = malloc(want->outputs_len + 1);
    m->outputs_len = want->outputs_len;
    if (m->outputs && want->outputs_len) memcpy(m->outputs, want->outputs, want->outputs_len);
    return m->outputs != NULL;
}

static void model_free(Model *m) {
    run_facts_release(&m->facts);
    stored_run_release(&m->run);
    free(m->outputs);
    free(m);
}

static Model *model_new(Store *store, const ModelWant *want, const RunCheckpoint *checkpoint) {
    Model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->checkpoint = *checkpoint;
    m->stored = want->stored;
    bool ok = store_run_get(store, want->run, &m->run) == ERR_NONE && run_facts_get(&m->facts, m->run.link, m->run.link_len) && set_outputs(m, want);
    if (ok) return m;
    model_free(m);
    return NULL;
}

static size_t model_bytes(const Model *m) {
    const StoredRun *r = &m->run;
    const void *parts[] = {m, m->outputs, r->canonical, r->link, r->spec, r->facts, r->name, r->program, r->progress.reason, r->progress.latest,
                           r->progress.versions, r->progress.attempts, m->facts.train.columns, m->facts.test.columns, m->facts.variables};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) bytes += heap_bytes(parts[i]);
    return bytes;
}

static void release(Entry *e) {
    if (e->own) model_free(e->own);
}

/* ---- its variants ---- */

static void read_bound(const Model *m, Variant *v) {
    v->bound = ARENA_ARRAY(&v->cx.arena, const Type *, m->facts.nvariables);
    for (uint32_t i = 0; i < m->facts.nvariables; i++) {
        Reader in = reader_of(m->facts.variables[i].type, m->facts.variables[i].type_len);
        v->bound[i] = canon_get_type(&v->cx, &in);
    }
    v->nbound = m->facts.nvariables;
}

/* On a thread. */
static void open_linked(void *arg) {
    Variant *v = arg;
    const Model *m = v->entry->own;
    bool ok = variant_open(v);
    if (ok) {
        CX_TRY(&v->cx) { read_bound(m, v); }
    }
    if (!ok || v->cx.diag.code || v->ninputs != v->entry->inputs.n)
        failure_set(&v->failure, ERR_internal, "The trained model could not be read back.");
}

static void opened(void *arg) {
    Variant *v = arg;
    if (v->failure.code) variant_failed(v);
    else variant_made(v);
}

static void close_file(Variant *v) {
    if (v->file >= 0) close(v->file);
    v->file = -1;
}

static void linked(void *arg, const JobResult *result) {
    Variant *v = arg;
    LinkedMsg m;
    v->job = NULL;
    close_file(v);
    if (result->err) {
        variant_fail(v, result->err->code, result->err->message);
    } else if (!wire_get_linked(result->frame, &m)) {
        variant_fail(v, ERR_internal, "A worker's reply was malformed.");
    } else if (m.code) {
        failure_set_reply(&v->failure, m.code, m.message, m.message_len, m.hint, m.hint_len);
        variant_failed(v);
    } else {
        variant_pack(&v->blob, &(BuiltMsg){.ninputs = m.ninputs, .types = m.types, .types_len = m.types_len, .graph = m.graph, .graph_len = m.graph_len});
        if (v->blob.failed) variant_fail(v, ERR_internal, "Memory is short.");
        else variant_work(v, open_linked, opened);
    }
}

static void put_link(Buf *out, const Model *m, Derive derive, uint64_t nat_limit) {
    const RunFacts *f = &m->facts;
    wire_put_link(out, &(LinkMsg){.want = LINK_SERVE, .program = m->run.canonical, .program_len = m->run.canonical_len,
                                  .spec = (const unsigned char *)m->run.spec, .spec_len = strlen(m->run.spec), .nat_limit = nat_limit,
                                  .train_rows = f->train.rows, .test_rows = f->test.rows, .ntrain = f->train.ncolumns, .ntest = f->test.ncolumns,
                                  .train = f->train.columns, .test = f->test.columns, .area_size = m->checkpoint.bytes, .derive = (uint8_t)derive,
                                  .stored = m->stored, .outputs = (const unsigned char *)m->outputs, .outputs_len = m->outputs_len});
}

static void link_variant(Variant *v) {
    Server *server = v->entry->programs->server;
    char culprit[VARIANT_CULPRIT];
    Err err = {0};
    JobSpec spec = {.type = FRAME_link, .reply = FRAME_linked, .area = v->file, .culprit = variant_culprit(culprit, v->entry->hash, "", v),
                    .party = v->waiting->party, .done = linked, .arg = v};
    put_link(&spec.body, v->entry->own, v->derive, server->config->max_nat);
    v->job = dispatch_submit(server->dispatch, &spec, &err);
    if (v->job) return;
    close_file(v);
    variant_fail(v, err.code, err.message);
}

/* On a thread: the file is read through. */
static void open_file(void *arg) {
    Variant *v = arg;
    const Model *m = v->entry->own;
    Server *server = v->entry->programs->server;
    v->file = runfile_open(server->config->data, m->run.id, &m->checkpoint);
    const int cause = v->file < 0 ? errno : 0;
    if (cause == EBADMSG) store_run_mark(server->store, m->run.seq, m->checkpoint.step, true);
    else if (cause && cause != ENOENT) failure_set(&v->failure, failure_short(cause), "%s", failure_short_text(cause));
}

static void file_opened(void *arg) {
    Variant *v = arg;
    const Model *m = v->entry->own;
    RunCheckpoint row;
    if (v->failure.code) {
        variant_failed(v);
    } else if (v->file >= 0 && v->waiting) {
        link_variant(v);
    } else if (v->file >= 0) {
        close_file(v);
        variant_fail(v, ERR_internal, "Nobody waits for it any more.");
    } else if (store_run_checkpoint(v->entry->programs->server->store, m->run.id, true, m->checkpoint.step, &row) != ERR_NONE) {
        variant_fail(v, ERR_conflict, "The checkpoint was pruned at this moment; ask again.");
    } else {
        variant_fail(v, ERR_damaged, "The checkpoint is damaged.");
    }
}

static void make(Variant *v) { variant_work(v, open_file, file_opened); }

static const EntryKind kind = {.make = make, .release = release};

static Entry *add(Programs *ps, const char *hash, const ModelWant *want, const RunCheckpoint *checkpoint, Failure *failure) {
    Model *m = model_new(ps->server->store, want, checkpoint);
    ProgramInputs inputs = {0};
    Entry *e = m && read_inputs(&inputs, m) ? entry_new(ps, &kind, hash) : NULL;
    if (!e) {
        failure_set(failure, ERR_internal, "The run's record is damaged, or memory is short.");
        inputs_release(&inputs);
        if (m) model_free(m);
        return NULL;
    }
    e->own = m;
    e->inputs = inputs;
    e->own_bytes = model_bytes(m);
    entry_count(e);
    return e;
}

void model_resolve(Programs *ps, Resolve *r, const ModelWant *want, Derive derive) {
    RunCheckpoint checkpoint;
    char hash[ENTRY_HASH];
    Entry *e = NULL;
    if (find(ps->server->store, want, &checkpoint, hash, &r->failure) && !(e = entry_get(ps, hash))) e = add(ps, hash, want, &checkpoint, &r->failure);
    if (!e) {
        resolve_fail(r);
        return;
    }
    resolve_enter(r, e);
    resolve_variant(r, WIRE_ALL_ARGS, derive);
}

/* ---- what is known of it ---- */

const Model *model_of(const Entry *e) { return e->kind == &kind ? e->own : NULL; }

uint64_t model_checkpoint_step(const Model *m) { return m->checkpoint.step; }

bool model_has_number(const Model *m, const char *name) {
    const ColumnMsg *column = run_data_column(&m->facts.train, name);
    return column && column->rank == 0;
}

uint32_t model_variable(const Model *m, const char *name) {
    for (uint32_t i = 0; i < m->facts.nvariables; i++)
        if (strcmp(m->facts.variables[i].name, name) == 0) return i;
    return UINT32_MAX;
}

const char *model_variable_name(const Model *m, uint32_t variable) { return m->facts.variables[variable].name; }
