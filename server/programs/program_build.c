#include "server/programs/program_build.h"
#include "server/programs/record.h"
#include <stdlib.h>
#include <string.h>

static void make(Variant *v);

/* ---- on a thread ---- */

/* Reads the blob, and writes what was built to the store. The entry's parts that change here are read by nobody before the base variant is settled. */
static void open_and_store(void *arg) {
    Variant *v = arg;
    Entry *e = v->entry;
    Store *store = e->programs->server->store;
    bool base = variant_is_base(v);
    if (!variant_open(v) || (base && !e->inputs.names && !inputs_read(&e->inputs, e->canonical, e->canonical_len))) {
        failure_set(&v->failure, ERR_internal, "The compiled program could not be read back.");
        return;
    }
    if (v->from_store) {
        store_touch(store, e->hash, v->name);
        return;
    }
    if (base) {
        Buf record;
        buf_init(&record);
        record_put(&record, e->hash, v, &e->inputs, e->text);
        v->record = buf_take(&record, NULL);
        if (!v->record) failure_set(&v->failure, ERR_internal, "Memory is short.");
        else v->stored = store_program_put(store, e->hash, e->canonical, e->canonical_len, v->record, e->text) == ERR_NONE;
    }
    ErrCode code = v->failure.code ? ERR_internal : store_graph_put(store, e->hash, v->name, v->blob.data, v->blob.len);
    v->stored = code == ERR_NONE && (v->stored || !base);
}

/* ---- in the loop ---- */

static void opened(void *arg) {
    Variant *v = arg;
    Entry *e = v->entry;
    if (v->failure.code && v->from_store) {
        failure_release(&v->failure);
        variant_close(v);
        v->from_store = false;
        make(v);
        return;
    }
    if (v->failure.code) {
        variant_failed(v);
        return;
    }
    if (!v->from_store && !v->stored) e->programs->server->metrics->store_failures++;
    if (v->record) {
        free(e->record);
        e->record = v->record;
        e->known = true;
        v->record = NULL;
    }
    variant_made(v);
}

static void built(void *arg, const JobResult *result) {
    Variant *v = arg;
    BuiltMsg m;
    v->job = NULL;
    if (result->err) {
        variant_fail(v, result->err->code, result->err->message);
    } else if (!wire_get_built(result->frame, &m)) {
        variant_fail(v, ERR_internal, "A worker's reply was malformed.");
    } else if (m.code) {
        failure_set_reply(&v->failure, m.code, m.message, m.message_len, m.hint, m.hint_len);
        v->failure.at = failure_at(m.at_kind, m.at_index);
        v->failure.other = failure_at(m.other_kind, m.other_index);
        variant_failed(v);
    } else {
        v->facts = (BuildFacts){m.neurons, m.weights, m.recurrent, m.compile_us, m.verify_us, m.macs, m.cases, m.exhaustive};
        v->entry->programs->server->metrics->builds++;
        variant_pack(&v->blob, &m);
        if (v->blob.failed) variant_fail(v, ERR_internal, "Memory is short.");
        else variant_work(v, open_and_store, opened);
    }
}

static void build(Variant *v) {
    Entry *e = v->entry;
    Server *server = e->programs->server;
    char culprit[VARIANT_CULPRIT];
    Err err = {0};
    JobSpec spec = {.type = FRAME_build, .reply = FRAME_built, .area = -1, .culprit = variant_culprit(culprit, e->hash, "", v),
                    .party = v->waiting->party, .done = built, .arg = v};
    wire_put_build(&spec.body, &(BuildMsg){.program = e->canonical, .program_len = e->canonical_len, .nargs = v->nargs,
                                           .derive = (uint8_t)v->derive, .verify = variant_is_base(v), .nat_limit = server->config->max_nat});
    server->metrics->cache_misses++;
    v->job = dispatch_submit(server->dispatch, &spec, &err);
    if (!v->job) variant_fail(v, err.code, err.message);
}

/* Looks in the store, once, then asks a worker. A base variant whose record is lost is built, which makes the record again. */
static void make(Variant *v) {
    Entry *e = v->entry;
    Server *server = e->programs->server;
    bool first = !v->looked;
    v->looked = true;
    if (first && (e->record || !variant_is_base(v)) && store_graph_get(server->store, e->hash, v->name, &v->blob)) {
        server->metrics->store_hits++;
        v->from_store = true;
        variant_work(v, open_and_store, opened);
        return;
    }
    buf_clear(&v->blob);
    if (v->waiting) build(v);
    else variant_fail(v, ERR_internal, "Nobody waits for it any more.");
}

static const EntryKind kind = {.make = make};

/* ---- entries ---- */

/* A text for a program whose own is lost. */
static char *text_of(const unsigned char *canonical, size_t len) {
    Cx cx;
    Buf text;
    cx_init(&cx);
    buf_init(&text);
    CX_TRY(&cx) { syntax_print(&text, &cx, canon_read(&cx, canonical, len)); }
    char *made = cx.diag.code ? NULL : buf_take(&text, NULL);
    buf_release(&text);
    cx_release(&cx);
    return made;
}

/* Takes canonical, record and text over. */
static Entry *add(Programs *ps, const char *hash, unsigned char *canonical, size_t len, char *record, char *text) {
    Entry *e = canonical && text ? entry_new(ps, &kind, hash) : NULL;
    if (!e) {
        free(canonical);
        free(record);
        free(text);
        return NULL;
    }
    e->canonical = canonical;
    e->canonical_len = len;
    e->record = record;
    e->text = text;
    entry_count(e);
    return e;
}

/* In memory, or in the store; NULL: in neither. */
static Entry *find(Programs *ps, const char *hash) {
    Entry *e = entry_get(ps, hash);
    if (e) return e;
    StoredProgram stored;
    if (!store_program_get(ps->server->store, hash, &stored)) return NULL;
    if (!stored.text) stored.text = text_of(stored.canonical, stored.canonical_len);
    e = add(ps, hash, stored.canonical, stored.canonical_len, stored.record, stored.text);
    free(stored.hash);
    if (e) e->known = true;
    return e;
}

static bool enter_hash(Programs *ps, Resolve *r, const char *hash) {
    Entry *e = find(ps, hash);
    if (e) {
        resolve_enter(r, e);
        return true;
    }
    if (store_healthy(ps->server->store)) failure_set(&r->failure, ERR_not_found, "There is no program %.100s.", hash);
    else failure_set(&r->failure, ERR_internal, "The database is damaged, or does not answer.");
    resolve_fail(r);
    return false;
}

static bool enter_frontend(Programs *ps, Resolve *r, Frontend *frontend) {
    Entry *e = find(ps, frontend->hash);
    if (!e) {
        unsigned char *canonical = malloc(frontend->canonical_len);
        if (canonical) memcpy(canonical, frontend->canonical, frontend->canonical_len);
        e = add(ps, frontend->hash, canonical, frontend->canonical_len, NULL, frontend_text(frontend));
    }
    if (e) {
        resolve_enter(r, e);
        return true;
    }
    failure_set(&r->failure, ERR_internal, "Memory is short.");
    resolve_fail(r);
    return false;
}

void program_record(Programs *ps, Resolve *r, Frontend *frontend) {
    if (enter_frontend(ps, r, frontend)) resolve_record(r);
}

void program_base(Programs *ps, Resolve *r, Frontend *frontend, const char *hash) {
    if (frontend ? enter_frontend(ps, r, frontend) : enter_hash(ps, r, hash)) resolve_variant(r, WIRE_ALL_ARGS, DERIVE_NONE);
}

void program_known(Programs *ps, Resolve *r, const char *hash) {
    if (enter_hash(ps, r, hash)) resolve_record(r);
}
