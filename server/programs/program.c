#include "server/programs/program.h"
#include "schema/base/map.h"
#include "server/programs/record.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct Programs {
    Server *server;
    Map entries; /* by hash */
    Map models;  /* by model_find's key */
    Entry *newest, *oldest;
    size_t bytes;
    uint64_t keys;
};

static void start(Variant *v);

/* ---- entries ---- */

static void unlink_use(Programs *ps, Entry *e) {
    *(e->newer ? &e->newer->older : &ps->newest) = e->older;
    *(e->older ? &e->older->newer : &ps->oldest) = e->newer;
}

static void link_use(Programs *ps, Entry *e) {
    e->newer = NULL;
    e->older = ps->newest;
    *(ps->newest ? &ps->newest->newer : &ps->oldest) = e;
    ps->newest = e;
}

static void entry_free(Entry *e) {
    for (Variant *v = e->variants, *next; v; v = next) {
        next = v->next;
        variant_free(v);
    }
    inputs_release(&e->inputs);
    model_free(e->model);
    free(e->canonical);
    free(e->record);
    free(e->text);
    free(e);
}

/* Takes the entry out of the cache; it dies when nobody uses it any more. */
static void detach(Entry *e) {
    Programs *ps = e->programs;
    if (e->detached) return;
    map_remove(e->model ? &ps->models : &ps->entries, e->hash, strlen(e->hash));
    unlink_use(ps, e);
    ps->bytes -= e->bytes;
    e->detached = true;
    if (!e->refs) entry_free(e);
}

static void shrink(Programs *ps) {
    for (Entry *e = ps->oldest, *newer; e && ps->bytes > ps->server->config->memory_bytes; e = newer) {
        newer = e->newer;
        if (!e->refs) detach(e);
    }
}

static void account(Entry *e, size_t bytes) {
    e->bytes += bytes;
    if (!e->detached) e->programs->bytes += bytes;
}

static void unref(Entry *e) {
    if (--e->refs) return;
    if (e->detached) entry_free(e);
    else shrink(e->programs);
}

static char *print_text(const Cx *cx, const Program *p) {
    Buf text;
    buf_init(&text);
    syntax_print(&text, cx, p);
    return buf_take(&text, NULL);
}

/* A text for a program whose own is lost. */
static char *text_of(const unsigned char *canonical, size_t len) {
    Frontend f = {0};
    char *volatile text = NULL;
    cx_init(&f.cx);
    CX_TRY(&f.cx) { text = print_text(&f.cx, canon_read(&f.cx, canonical, len)); }
    frontend_release(&f);
    return text;
}

/* Takes canonical, record and text over. */
static Entry *entry_add(Programs *ps, const char *hash, unsigned char *canonical, size_t len, char *record, char *text) {
    Entry *e = calloc(1, sizeof *e);
    if (!e || !canonical || !text || !map_put(&ps->entries, hash, strlen(hash), e)) {
        free(canonical);
        free(record);
        free(text);
        free(e);
        return NULL;
    }
    *e = (Entry){.canonical = canonical, .canonical_len = len, .record = record, .text = text, .programs = ps};
    strcpy(e->hash, hash);
    link_use(ps, e);
    account(e, sizeof *e + len + strlen(text) + (record ? strlen(record) : 0));
    return e;
}

static Entry *entry_find(Programs *ps, const char *hash) {
    Entry *e = map_get(&ps->entries, hash, strlen(hash));
    if (e) {
        unlink_use(ps, e);
        link_use(ps, e);
        return e;
    }
    StoredProgram stored;
    if (!store_program_get(ps->server->store, hash, &stored)) return NULL;
    if (!stored.text) stored.text = text_of(stored.canonical, stored.canonical_len);
    e = entry_add(ps, hash, stored.canonical, stored.canonical_len, stored.record, stored.text);
    free(stored.hash);
    if (e) e->known = true;
    return e;
}

static Entry *entry_of_front(Programs *ps, const Frontend *frontend) {
    Entry *e = entry_find(ps, frontend->hash);
    if (e) return e;
    unsigned char *canonical = malloc(frontend->canonical_len);
    if (canonical) memcpy(canonical, frontend->canonical, frontend->canonical_len);
    return entry_add(ps, frontend->hash, canonical, frontend->canonical_len, NULL, print_text(&frontend->cx, frontend->program));
}

/* ---- waiting ---- */

static void wait_for(Resolve *r, Variant *v) {
    r->waiting = true;
    r->variant = v;
    r->prev = NULL;
    r->next = v->waiting;
    if (r->next) r->next->prev = r;
    v->waiting = r;
}

static void stop_waiting(Resolve *r) {
    *(r->prev ? &r->prev->next : &r->variant->waiting) = r->next;
    if (r->next) r->next->prev = r->prev;
    r->waiting = false;
}

static void unlink_variant(Variant *v) {
    Variant **at = &v->entry->variants;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
}

/* The variant is settled: everyone who waits hears of it. The entry's reference taken in `start` ends here. */
static void settle(Variant *v) {
    Entry *e = v->entry;
    bool failed = v->failure.code != ERR_NONE;
    if (failed) unlink_variant(v);
    else v->state = VARIANT_READY;
    while (v->waiting) {
        Resolve *r = v->waiting;
        stop_waiting(r);
        r->variant = failed ? NULL : v;
        r->hit = v->from_store;
        r->stored = v->stored;
        if (failed) failure_copy(&r->failure, &v->failure);
        r->done(r->arg);
    }
    /* A program that does not compile has no identity to be asked for. */
    if (failed && variant_is_base(v) && !e->known) detach(e);
    if (failed) variant_free(v);
    unref(e);
}

static void give_up(Variant *v, ErrCode code, const char *message) {
    failure_set(&v->failure, code, "%s", message);
    settle(v);
}

/* ---- store and worker ---- */

/* On a thread. The entry's parts that change here are read by nobody before the base variant is settled. */
static void open_and_store(void *arg) {
    Variant *v = arg;
    Entry *e = v->entry;
    Store *store = e->programs->server->store;
    bool base = variant_is_base(v);
    if (e->model) {
        if (!variant_open(v) || !model_open_bound(e->model, v)) failure_set(&v->failure, ERR_internal, "The trained model could not be read back.");
        return;
    }
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

static void opened(void *arg) {
    Variant *v = arg;
    Entry *e = v->entry;
    v->busy = false;
    if (v->failure.code && v->from_store) {
        failure_release(&v->failure);
        variant_close(v);
        v->from_store = false;
        start(v);
        return;
    }
    if (!v->failure.code) {
        if (!v->from_store && !v->stored && !e->model) e->programs->server->metrics->store_failures++;
        account(e, sizeof *v + v->blob.len + v->cx.arena.used);
        if (v->record) {
            free(e->record);
            e->record = v->record;
            e->known = true;
            v->record = NULL;
            account(e, strlen(e->record));
        }
    }
    settle(v);
}

static void hand_over(Variant *v) {
    v->busy = true;
    v->task = (Task){.work = open_and_store, .done = opened, .arg = v};
    tasks_add(v->entry->programs->server->tasks, &v->task);
}

static At at_of(uint8_t kind, uint32_t index) { return kind <= AT_PLACE ? AT((AtKind)kind, index) : AT_NOWHERE; }

static void built(void *arg, const JobResult *result) {
    Variant *v = arg;
    BuiltMsg m;
    v->job = NULL;
    if (result->code) {
        give_up(v, result->code, result->message);
    } else if (!wire_get_built(result->frame, &m)) {
        give_up(v, ERR_internal, "A worker's reply was malformed.");
    } else if (m.code) {
        ErrCode code = m.code < ERR_COUNT ? (ErrCode)m.code : ERR_internal;
        failure_set_n(&v->failure, code, m.message, m.message_len, m.hint, m.hint_len);
        v->failure.at = at_of(m.at_kind, m.at_index);
        v->failure.other = at_of(m.other_kind, m.other_index);
        settle(v);
    } else {
        v->facts = (BuildFacts){m.neurons, m.weights, m.recurrent, m.compile_us, m.verify_us, m.macs, m.cases, m.exhaustive};
        v->entry->programs->server->metrics->builds++;
        variant_pack(&v->blob, &m);
        if (v->blob.failed) give_up(v, ERR_internal, "Memory is short.");
        else hand_over(v);
    }
}

static void build(Variant *v) {
    Entry *e = v->entry;
    Server *server = e->programs->server;
    char culprit[CANON_HASH_TEXT + 32];
    ErrCode why;
    const char *message;
    JobSpec spec = {.type = FRAME_build, .area = -1, .culprit = culprit,
                    .patience = 2 * (int64_t)server->config->deadline_ms * 1000000, .done = built, .arg = v};
    strcpy(stpcpy(stpcpy(culprit, e->hash), " "), v->name);
    wire_put_build(&spec.body, &(BuildMsg){.program = e->canonical, .program_len = e->canonical_len, .nargs = v->nargs,
                                           .derive = (uint8_t)v->derive, .verify = variant_is_base(v), .nat_limit = server->config->max_nat});
    server->metrics->cache_misses++;
    v->job = dispatch_submit(server->dispatch, &spec, &why, &message);
    if (!v->job) give_up(v, why, message);
}

/* ---- trained models ---- */

static void close_file(Variant *v) {
    if (v->file > 0) close(v->file);
    v->file = 0;
}

static void linked(void *arg, const JobResult *result) {
    Variant *v = arg;
    LinkedMsg m;
    v->job = NULL;
    close_file(v);
    if (result->code) {
        give_up(v, result->code, result->message);
    } else if (!wire_get_linked(result->frame, &m)) {
        give_up(v, ERR_internal, "A worker's reply was malformed.");
    } else if (m.code) {
        failure_set_n(&v->failure, m.code < ERR_COUNT ? (ErrCode)m.code : ERR_internal, m.message, m.message_len, m.hint, m.hint_len);
        settle(v);
    } else {
        model_pack(&v->blob, &m);
        if (v->blob.failed) give_up(v, ERR_internal, "Memory is short.");
        else hand_over(v);
    }
}

static void link_model(Variant *v) {
    Entry *e = v->entry;
    Server *server = e->programs->server;
    char culprit[CANON_HASH_TEXT + 32];
    ErrCode why;
    const char *message;
    strcpy(stpcpy(stpcpy(culprit, e->hash), " "), v->name);
    JobSpec spec = {.type = FRAME_link, .area = v->file, .culprit = culprit,
                    .patience = 2 * (int64_t)server->config->deadline_ms * 1000000, .done = linked, .arg = v};
    model_put_link(&spec.body, e->model, v->derive, server->config->max_nat);
    v->job = dispatch_submit(server->dispatch, &spec, &why, &message);
    if (v->job) return;
    close_file(v);
    give_up(v, why, message);
}

static void open_file(void *arg) {
    Variant *v = arg;
    v->file = model_open(v->entry->model, v->entry->programs->server->config->data);
}

static void file_opened(void *arg) {
    Variant *v = arg;
    v->busy = false;
    if (v->file > 0 && v->waiting) {
        link_model(v);
        return;
    }
    const Model *model = v->entry->model;
    RunCheckpoint row;
    bool unread = v->file < 0;
    bool pruned = unread && store_run_checkpoint(v->entry->programs->server->store, model->run.id, true, model->checkpoint.step, &row) != ERR_NONE;
    close_file(v);
    if (pruned) give_up(v, ERR_conflict, "The checkpoint was pruned at this moment; ask again.");
    else give_up(v, ERR_internal, unread ? "The checkpoint is damaged." : "Nobody waits for it any more.");
}

static void start_model(Variant *v) {
    v->busy = true;
    v->task = (Task){.work = open_file, .done = file_opened, .arg = v};
    tasks_add(v->entry->programs->server->tasks, &v->task);
}

/* Looks in the store, then asks a worker. A base variant whose record is lost is built, which makes the record again. */
static void start(Variant *v) {
    Entry *e = v->entry;
    Server *server = e->programs->server;
    bool first = !v->looked;
    if (e->model) {
        start_model(v);
        return;
    }
    v->looked = true;
    if (first && (e->record || !variant_is_base(v)) && store_graph_get(server->store, e->hash, v->name, &v->blob)) {
        server->metrics->store_hits++;
        v->from_store = true;
        hand_over(v);
        return;
    }
    buf_clear(&v->blob);
    if (v->waiting) build(v);
    else give_up(v, ERR_internal, "Nobody waits for it any more.");
}

static void want(Resolve *r, uint32_t nargs, Derive derive) {
    Entry *e = r->entry;
    Programs *ps = e->programs;
    Variant *v = e->variants;
    while (v && !(v->nargs == nargs && v->derive == derive)) v = v->next;
    if (v && v->state == VARIANT_READY) {
        ps->server->metrics->memory_hits++;
        r->variant = v;
        r->hit = true;
        r->done(r->arg);
        return;
    }
    bool fresh = !v;
    if (fresh) {
        v = calloc(1, sizeof *v);
        if (!v) {
            failure_set(&r->failure, ERR_internal, "Memory is short.");
            r->done(r->arg);
            return;
        }
        *v = (Variant){.entry = e, .next = e->variants, .nargs = nargs, .derive = derive, .key = ++ps->keys};
        cx_init(&v->cx);
        variant_name(v->name, nargs, derive);
        e->variants = v;
        e->refs++;
    }
    wait_for(r, v);
    if (fresh) start(v);
}

/* ---- the interface ---- */

static bool enter(Programs *ps, Resolve *r, Entry *e, const char *hash) {
    r->entry = e;
    if (e) {
        e->refs++;
        return true;
    }
    if (store_healthy(ps->server->store)) failure_set(&r->failure, ERR_not_found, "There is no program %.100s.", hash);
    else failure_set(&r->failure, ERR_internal, "The database is damaged, or does not answer.");
    r->done(r->arg);
    return false;
}

static bool enter_front(Resolve *r, Programs *ps, const Frontend *frontend) {
    Entry *e = entry_of_front(ps, frontend);
    if (e) return enter(ps, r, e, frontend->hash);
    failure_set(&r->failure, ERR_internal, "Memory is short.");
    r->done(r->arg);
    return false;
}

/* Takes the model over. */
static Entry *model_add(Programs *ps, const char *key, Model *model) {
    Entry *e = calloc(1, sizeof *e);
    if (!e || !map_put(&ps->models, key, strlen(key), e)) {
        model_free(model);
        free(e);
        return NULL;
    }
    *e = (Entry){.model = model, .programs = ps};
    strcpy(e->hash, key);
    link_use(ps, e);
    account(e, sizeof *e + sizeof *model + model->run.canonical_len + strlen(model->run.spec));
    return e;
}

void programs_model(Programs *ps, Resolve *r, const ModelWant *wanted, Derive derive) {
    RunCheckpoint checkpoint;
    char key[MODEL_KEY];
    Entry *e = NULL;
    if (model_find(ps->server->store, wanted, &checkpoint, key, &r->failure)) {
        e = map_get(&ps->models, key, strlen(key));
        Model *model = e ? NULL : model_new(ps->server->store, wanted, &checkpoint, &r->failure);
        if (model && !(e = model_add(ps, key, model))) failure_set(&r->failure, ERR_internal, "Memory is short.");
    }
    if (!e) {
        r->done(r->arg);
        return;
    }
    unlink_use(ps, e);
    link_use(ps, e);
    e->refs++;
    r->entry = e;
    want(r, WIRE_ALL_ARGS, derive);
}

const ProgramInputs *entry_inputs(const Entry *e) { return e->model ? &e->model->inputs : &e->inputs; }

static void want_record(Resolve *r) {
    if (!r->entry->record) {
        want(r, WIRE_ALL_ARGS, DERIVE_NONE);
        return;
    }
    r->entry->programs->server->metrics->memory_hits++;
    r->hit = true;
    r->done(r->arg);
}

void programs_record(Programs *ps, Resolve *r, const Frontend *frontend) {
    if (enter_front(r, ps, frontend)) want_record(r);
}

void programs_base(Programs *ps, Resolve *r, const Frontend *frontend, const char *hash) {
    if (frontend ? enter_front(r, ps, frontend) : enter(ps, r, entry_find(ps, hash), hash)) want(r, WIRE_ALL_ARGS, DERIVE_NONE);
}

void programs_variant(Programs *ps, Resolve *r, uint32_t nargs, Derive derive) {
    (void)ps;
    bool all = nargs == r->variant->total_args;
    want(r, all ? WIRE_ALL_ARGS : nargs, derive);
}

void programs_known(Programs *ps, Resolve *r, const char *hash) {
    if (enter(ps, r, entry_find(ps, hash), hash)) want_record(r);
}

void programs_forget(Programs *ps, const char *hash) {
    Entry *e = map_get(&ps->entries, hash, strlen(hash));
    if (e) detach(e);
}

void resolve_cancel(Resolve *r) {
    if (!r->waiting) return;
    Variant *v = r->variant;
    stop_waiting(r);
    r->variant = NULL;
    /* A build that nobody waits for is not worth a worker's time; what a thread has in hand is finished and kept. */
    if (v->waiting || v->busy || !v->job) return;
    dispatch_cancel(v->entry->programs->server->dispatch, v->job, r->patience / 2);
    close_file(v);
    unlink_variant(v);
    unref(v->entry);
    variant_free(v);
}

void resolve_release(Resolve *r) {
    resolve_cancel(r);
    failure_release(&r->failure);
    if (r->entry) unref(r->entry);
    r->entry = NULL;
    r->variant = NULL;
}

Programs *programs_new(Server *server) {
    Programs *ps = calloc(1, sizeof *ps);
    if (ps) ps->server = server;
    return ps;
}

void programs_free(Programs *ps) {
    if (!ps) return;
    size_t at = 0;
    for (Entry *e; (e = map_next(&ps->entries, &at));) entry_free(e);
    at = 0;
    for (Entry *e; (e = map_next(&ps->models, &at));) entry_free(e);
    map_release(&ps->entries);
    map_release(&ps->models);
    free(ps);
}

size_t programs_bytes(const Programs *ps) { return ps->bytes; }
