#include "server/runs/run_facts.h"
#include <stdlib.h>
#include <string.h>

/* With its NUL, so that it can be pointed at. */
static void put_text(Buf *out, const char *text) { buf_bytes(out, text, strlen(text) + 1); }

static const char *get_text(Reader *in) {
    size_t len;
    const unsigned char *text = read_bytes(in, &len);
    if (text && len && !text[len - 1]) return (const char *)text;
    in->failed = true;
    return "";
}

static void put_data(Buf *out, const RunDataFacts *d) {
    buf_u64(out, d->rows);
    if (!d->rows) return;
    put_text(out, d->name);
    put_text(out, d->sha256);
    buf_u64(out, d->bytes);
    buf_u32(out, d->ncolumns);
    for (uint32_t i = 0; i < d->ncolumns; i++) {
        const ColumnMsg *c = &d->columns[i];
        buf_bytes(out, c->name, c->name_len);
        buf_u8(out, c->dtype);
        buf_u32(out, c->rank);
        for (uint32_t axis = 0; axis < c->rank; axis++) buf_u64(out, c->dims[axis]);
        buf_u64(out, c->offset);
    }
}

static void get_column(Reader *in, ColumnMsg *c) {
    c->name = read_bytes(in, &c->name_len);
    c->dtype = read_u8(in);
    c->rank = read_u32(in);
    if (c->rank > LIMIT_ROW_RANK || c->dtype >= DT_COUNT) in->failed = true;
    for (uint32_t axis = 0; axis < c->rank && !in->failed; axis++) c->dims[axis] = read_u64(in);
    c->offset = read_u64(in);
}

static void get_data(Reader *in, RunDataFacts *d) {
    d->rows = read_u64(in);
    if (!d->rows) return;
    d->name = get_text(in);
    d->sha256 = get_text(in);
    d->bytes = read_u64(in);
    uint32_t n = read_u32(in);
    if (n > LIMIT_COLUMNS || in->failed || !(d->columns = calloc(n ? n : 1, sizeof *d->columns))) {
        in->failed = true;
        return;
    }
    for (; d->ncolumns < n && !in->failed; d->ncolumns++) get_column(in, &d->columns[d->ncolumns]);
}

void run_facts_put(Buf *out, const RunFacts *f) {
    put_data(out, &f->train);
    put_data(out, &f->test);
    buf_u64(out, f->keep);
    buf_u32(out, f->nsources);
    for (uint32_t i = 0; i < f->nsources; i++) put_text(out, f->sources[i]);
    buf_u32(out, f->nvariables);
    for (uint32_t i = 0; i < f->nvariables; i++) {
        put_text(out, f->variables[i].name);
        buf_bytes(out, f->variables[i].type, f->variables[i].type_len);
    }
}

static void get_variables(Reader *in, RunFacts *f) {
    uint32_t n = read_u32(in);
    if (n > LIMIT_GRAPH_SLOTS || in->failed || !(f->variables = calloc(n ? n : 1, sizeof *f->variables))) {
        in->failed = true;
        return;
    }
    for (; f->nvariables < n && !in->failed; f->nvariables++) {
        RunVariable *v = &f->variables[f->nvariables];
        v->name = get_text(in);
        v->type = read_bytes(in, &v->type_len);
    }
}

bool run_facts_get(RunFacts *f, const unsigned char *bytes, size_t len) {
    Reader in = reader_of(bytes, len);
    *f = (RunFacts){0};
    get_data(&in, &f->train);
    if (!in.failed) get_data(&in, &f->test);
    f->keep = read_u64(&in);
    uint32_t n = read_u32(&in);
    if (n > LIMIT_RUN_SOURCES) in.failed = true;
    for (; f->nsources < n && !in.failed; f->nsources++) f->sources[f->nsources] = get_text(&in);
    if (!in.failed) get_variables(&in, f);
    if (reader_done(&in)) return true;
    run_facts_release(f);
    return false;
}

void run_facts_release(RunFacts *f) {
    free(f->train.columns);
    free(f->test.columns);
    free(f->variables);
    *f = (RunFacts){0};
}

const ColumnMsg *run_data_column(const RunDataFacts *data, const char *name) {
    for (uint32_t i = 0; i < data->ncolumns; i++)
        if (data->columns[i].name_len == strlen(name) && memcmp(data->columns[i].name, name, strlen(name)) == 0) return &data->columns[i];
    return NULL;
}
