#include "server/programs/model.h"
#include "compiler/language/canon.h"
#include "schema/formats/json.h"
#include "server/runs/runfile.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool model_find(Store *store, const ModelWant *want, RunCheckpoint *checkpoint, char key[MODEL_KEY], Failure *failure) {
    unsigned char sum[32];
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
    strcpy(key, "model:");
    sodium_bin2hex(key + 6, MODEL_KEY - 6, sum, sizeof sum);
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
static bool read_inputs(Model *m) {
    Json json = {0};
    Err err;
    Buf text;
    buf_init(&text);
    buf_printf(&text, "{%s}", m->run.facts);
    bool ok = !text.failed && json_parse(&json, (const char *)text.data, text.len, &err);
    JsonNode columns = ok ? json_get(json.root, "columns") : NULL;
    ok = columns && json_kind(columns) == JSON_ARRAY && copy_needed(&m->inputs, columns);
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

Model *model_new(Store *store, const ModelWant *want, const RunCheckpoint *checkpoint, Failure *failure) {
    Model *m = calloc(1, sizeof *m);
    if (!m) {
        failure_set(failure, ERR_internal, "Memory is short.");
        return NULL;
    }
    m->checkpoint = *checkpoint;
    m->stored = want->stored;
    bool ok = store_run_get(store, want->run, &m->run) == ERR_NONE && run_facts_get(&m->facts, m->run.link, m->run.link_len) && read_inputs(m) &&
              set_outputs(m, want);
    if (ok) return m;
    failure_set(failure, ERR_internal, "The run's record is damaged, or memory is short.");
    model_free(m);
    return NULL;
}

void model_free(Model *m) {
    if (!m) return;
    run_facts_release(&m->facts);
    stored_run_release(&m->run);
    inputs_release(&m->inputs);
    free(m->outputs);
    free(m);
}

int model_open(const Model *m, const char *data) { return runfile_open(data, m->run.id, &m->checkpoint); }

void model_put_link(Buf *out, const Model *m, Derive derive, uint64_t nat_limit) {
    const RunFacts *f = &m->facts;
    wire_put_link(out, &(LinkMsg){.want = LINK_SERVE, .program = m->run.canonical, .program_len = m->run.canonical_len,
                                  .spec = (const unsigned char *)m->run.spec, .spec_len = strlen(m->run.spec), .nat_limit = nat_limit,
                                  .train_rows = f->train.rows, .test_rows = f->test.rows, .ntrain = f->train.ncolumns, .ntest = f->test.ncolumns,
                                  .train = f->train.columns, .test = f->test.columns, .area_size = m->checkpoint.bytes, .derive = (uint8_t)derive,
                                  .stored = m->stored, .outputs = (const unsigned char *)m->outputs, .outputs_len = m->outputs_len});
}

void model_pack(Buf *out, const LinkedMsg *linked) {
    variant_pack(out, &(BuiltMsg){.ninputs = linked->ninputs, .types = linked->types, .types_len = linked->types_len, .graph = linked->graph,
                                  .graph_len = linked->graph_len});
}

static void read_bound(const Model *m, Variant *v) {
    v->bound = ARENA_ARRAY(&v->cx.arena, const Type *, m->facts.nvariables);
    for (uint32_t i = 0; i < m->facts.nvariables; i++) {
        Reader in = reader_of(m->facts.variables[i].type, m->facts.variables[i].type_len);
        v->bound[i] = canon_get_type(&v->cx, &in);
    }
    v->nbound = m->facts.nvariables;
}

bool model_open_bound(const Model *m, Variant *v) {
    CX_TRY(&v->cx) { read_bound(m, v); }
    return v->cx.diag.code == ERR_NONE && v->ninputs == m->inputs.n;
}

bool model_has_number(const Model *m, const char *name) {
    const ColumnMsg *column = run_data_column(&m->facts.train, name);
    return column && column->rank == 0;
}

uint32_t model_variable(const Model *m, const char *name) {
    for (uint32_t i = 0; i < m->facts.nvariables; i++)
        if (strcmp(m->facts.variables[i].name, name) == 0) return i;
    return UINT32_MAX;
}
