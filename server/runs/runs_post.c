/* POST /runs and POST /runs/{id}/fork: everything that can be wrong with a run is found here, before it is queued.
 *
 *     parse          specification, inline program (on a thread)
 *     found          the program is compiled, or known; data sets and earlier runs are looked up, and those runs claimed (run_claim.h)
 *     linked         a worker has linked program, networks and data: shapes and costs
 *     check          values in data sets, weights in checkpoints (run_check.h; on the thread for what takes seconds)
 *     store          the row (on a thread); from here on it is carried through, whether the client waits or not
 *     stored         in the queue */
#include "compiler/language/canon.h"
#include "compiler/training/spec_read.h"
#include "schema/base/time.h"
#include "schema/formats/merge_patch.h"
#include "schema/limits.h"
#include "server/http/errand.h"
#include "server/programs/program_build.h"
#include "server/runs/run_check.h"
#include "server/runs/run_facts.h"
#include "server/runs/run_find.h"
#include "server/runs/runfile.h"
#include "server/runs/scheduler.h"
#include "server/routes.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Errand errand;
    StoredRun run, parent; /* parent: what is forked */
    bool fork, has_step;
    uint64_t from_step;
    RunCheckpoint begin;   /* of the parent's */
    Spec spec;
    Frontend frontend;
    Resolve resolve;
    Dataset train, test;
    ColumnMsg *columns[2];
    RunFacts facts;
    LaunchFile sources[LIMIT_RUN_SOURCES];
    RunClaim claims[LIMIT_RUN_SOURCES + 1]; /* of the sources, and of the parent whose checkpoint is taken */
    Buf types;             /* of the program's variables */
} Posting;

static void release(void *arg) {
    Posting *p = arg;
    for (uint32_t i = 0; i < p->facts.nsources; i++) launch_file_release(&p->sources[i]);
    for (uint32_t i = 0; i <= LIMIT_RUN_SOURCES; i++) run_claim_drop(&p->claims[i]);
    free(p->columns[0]);
    free(p->columns[1]);
    free(p->facts.variables);
    buf_release(&p->types);
    dataset_release(&p->train);
    dataset_release(&p->test);
    resolve_release(&p->resolve);
}

static void scrap(void *arg) {
    Posting *p = arg;
    frontend_release(&p->frontend);
    spec_release(&p->spec);
    stored_run_release(&p->run);
    stored_run_release(&p->parent);
}

static void refuse(void *arg) {
    Posting *p = arg;
    if (p->errand.err.code) call_fail_err(p->errand.call, &p->errand.err);
    else frontend_refuse(&p->frontend, p->errand.call);
}

static const ErrandKind kind = {.size = sizeof(Posting), .release = release, .scrap = scrap, .refuse = refuse};

static bool no_memory(Posting *p) { return err_set(&p->errand.err, ERR_internal, "Memory is short."); }

/* ---- the specification ---- */

/* The parent's specification with the patch; from_step is no part of it. */
static char *patched(Posting *p) {
    const Body *body = &p->errand.call->body;
    Json target = {0}, patch = {0};
    Buf text;
    buf_init(&text);
    bool ok = json_parse(&patch, (const char *)body->data, body->len, &p->errand.err) &&
              json_parse(&target, p->parent.spec, strlen(p->parent.spec), &p->errand.err);
    JsonNode step = ok && json_kind(patch.root) == JSON_OBJECT ? json_get(patch.root, "from_step") : NULL;
    p->has_step = step != NULL;
    p->from_step = 0;
    if (step && !json_natural(step, LIMIT_NUMERAL, &p->from_step))
        ok = err_at(&p->errand.err, ERR_bad_request, "/from_step", "from_step is the step of one of the run's checkpoints.");
    if (ok) merge_patch(&text, &target, &patch, "from_step");
    json_release(&patch);
    json_release(&target);
    char *made = ok ? buf_take(&text, NULL) : NULL;
    buf_release(&text);
    if (ok && !made) no_memory(p);
    return made;
}

static bool read_program(Posting *p) {
    Spec *s = &p->spec;
    ProgramSpec program = {.source = s->source, .program = s->program, .term = s->term, .context = s->context, .nat = s->nat, .within = "/program"};
    if (s->program) return true;
    if (frontend_make(&p->frontend, &s->json, &program, p->errand.call->server->config->max_nat)) return true;
    if (!p->frontend.err.code) return false;
    char pointer[sizeof p->errand.err.pointer];
    snprintf(pointer, sizeof pointer, "/program%.150s", p->frontend.err.pointer);
    return err_at(&p->errand.err, p->frontend.err.code, pointer, "%s", p->frontend.err.message);
}

/* U+0001 to U+001F, U+007F to U+009F: what a terminal would obey. Not asked of runs that are there. */
static bool check_name(Posting *p) {
    for (const unsigned char *c = (const unsigned char *)p->spec.name; *c; c++)
        if (*c < 0x20 || *c == 0x7F || (*c == 0xC2 && c[1] < 0xA0))
            return err_at(&p->errand.err, ERR_bad_run, "/name", "A run's name has no control characters.");
    return true;
}

static bool parse(void *arg) {
    Posting *p = arg;
    const Body *body = &p->errand.call->body;
    p->run.spec = p->fork ? patched(p) : strndup((const char *)body->data, body->len);
    if (!p->run.spec) return p->errand.err.code ? false : no_memory(p);
    /* A NUL ends what was copied, not what was sent. */
    const size_t len = p->fork ? strlen(p->run.spec) : body->len;
    return spec_read(&p->spec, p->fork ? p->run.spec : (const char *)body->data, len, &p->errand.err) && check_name(p) && read_program(p);
}

/* ---- what it refers to ---- */

static bool find_data(Posting *p, const char *name, const char *pointer, Dataset *out) {
    Err err = {0};
    if (dataset_files_find(p->errand.call->server->dataset_files, name, out, &err)) return true;
    out->fd = -1;
    if (err.code == ERR_not_found) return err_at(&p->errand.err, ERR_bad_run, pointer, "There is no data set \"%.100s\".", name);
    return err_at(&p->errand.err, err.code, pointer, "%s", err.message);
}

/* For as long as this errand is under way; then the run is in the queue and has claims of its own. */
static bool claim(Posting *p, uint32_t i, const char *id, const char *pointer) {
    if (run_claim(scheduler_claims(p->errand.call->server->scheduler), &p->claims[i], RUN_USE, id)) return true;
    return err_at(&p->errand.err, ERR_conflict, pointer, "The run %.50s is being deleted.", id);
}

static void add_source(void *arg, const char *id, const char *pointer) {
    Posting *p = arg;
    RunFacts *f = &p->facts;
    if (p->errand.err.code) return;
    for (uint32_t i = 0; i < f->nsources; i++)
        if (strcmp(f->sources[i], id) == 0) return;
    if (f->nsources == LIMIT_RUN_SOURCES) {
        err_at(&p->errand.err, ERR_bad_run, pointer, "Weights come from at most %d runs.", LIMIT_RUN_SOURCES);
        return;
    }
    LaunchFile *file = &p->sources[f->nsources];
    if (launch_file_find(p->errand.call->server, id, file)) err_at(&p->errand.err, ERR_bad_run, pointer, "There is no run \"%.50s\".", id);
    else if (!file->n) err_at(&p->errand.err, ERR_bad_run, pointer, "The run %s has no checkpoint yet.", id);
    else claim(p, f->nsources, id, pointer);
    f->sources[f->nsources++] = id;
}

/* The parent's checkpoint of the step. */
static void match_step(void *arg, const RunCheckpoint *c) {
    Posting *p = arg;
    if (c->step == p->from_step) p->begin = *c;
}

static bool find_begin(Posting *p) {
    if (!p->has_step) return true;
    ErrCode code = store_run_checkpoints(p->errand.call->server->store, p->parent.seq, match_step, p);
    if (code) return err_set(&p->errand.err, code, "The database does not answer.");
    if (!claim(p, LIMIT_RUN_SOURCES, p->parent.id, "")) return false;
    return p->begin.bytes || err_at(&p->errand.err, ERR_conflict, "/from_step", "The run %s has no checkpoint of step %llu.", p->parent.id,
                                     (unsigned long long)p->from_step);
}

/* Columns as frames have them. */
static bool set_data(RunDataFacts *out, ColumnMsg **columns, const char *name, const Dataset *d) {
    *columns = calloc(d->ncolumns ? d->ncolumns : 1, sizeof **columns);
    if (!*columns) return false;
    for (size_t i = 0; i < d->ncolumns; i++) {
        const DatasetColumn *c = &d->columns[i];
        ColumnMsg *m = &(*columns)[i];
        *m = (ColumnMsg){.name = (const unsigned char *)c->name, .name_len = strlen(c->name), .dtype = (uint8_t)c->dtype, .rank = (uint32_t)c->rank,
                         .offset = c->offset};
        for (size_t axis = 0; axis < c->rank; axis++) m->dims[axis] = c->dims[axis];
    }
    *out = (RunDataFacts){.name = name, .sha256 = d->sha256, .rows = d->rows, .bytes = d->bytes, .columns = *columns, .ncolumns = (uint32_t)d->ncolumns};
    return true;
}

/* The sized types of the program's variables, for those who ask for their values later. */
static bool set_variables(Posting *p) {
    const Variant *v = p->resolve.variant;
    const ProgramInputs *inputs = &p->resolve.entry->inputs;
    size_t *ends = calloc(v->ninputs + 1, sizeof *ends);
    p->facts.variables = calloc(v->ninputs + 1, sizeof *p->facts.variables);
    bool ok = ends && p->facts.variables;
    for (uint32_t i = 0; ok && i < v->ninputs; i++) {
        canon_put_type(&p->types, v->inputs[i]);
        ends[i + 1] = p->types.len;
    }
    ok = ok && !p->types.failed;
    for (uint32_t i = 0; ok && i < v->ninputs; i++)
        p->facts.variables[i] = (RunVariable){inputs->names[i], p->types.data + ends[i], ends[i + 1] - ends[i]};
    p->facts.nvariables = ok ? v->ninputs : 0;
    free(ends);
    return ok;
}

static bool look_up(Posting *p) {
    Spec *s = &p->spec;
    p->facts.keep = s->checkpoint_keep;
    spec_each_run(s, add_source, p);
    if (p->errand.err.code || !find_begin(p) || !find_data(p, s->train_data, "/data/train", &p->train)) return false;
    if (s->test_data && !find_data(p, s->test_data, "/data/test", &p->test)) return false;
    bool ok = set_data(&p->facts.train, &p->columns[0], s->train_data, &p->train) &&
              (!s->test_data || set_data(&p->facts.test, &p->columns[1], s->test_data, &p->test)) && set_variables(p);
    return ok || no_memory(p);
}

/* ---- the row ---- */

static void put_data(Buf *out, const char *key, const RunDataFacts *d) {
    buf_printf(out, "%s\"%s\":{\"name\":\"%s\",\"sha256\":\"%s\",\"rows\":%llu}", out->data[out->len - 1] == '{' ? "" : ",", key, d->name, d->sha256,
               (unsigned long long)d->rows);
}

/* The record's members that do not change. info: the worker's, an object. */
static char *make_facts(const Posting *p, const unsigned char *info, size_t len) {
    Json json = {0};
    Err err = {0};
    Buf out;
    buf_init(&out);
    buf_puts(&out, "\"data\":{");
    put_data(&out, "train", &p->facts.train);
    if (p->facts.test.rows) put_data(&out, "test", &p->facts.test);
    buf_puts(&out, "},");
    bool ok = len > 2 && *info == '{' && info[len - 1] == '}' && json_parse(&json, (const char *)info, len, &err);
    json_release(&json);
    if (ok) buf_put(&out, info + 1, len - 2);
    char *made = ok ? buf_take(&out, NULL) : NULL;
    buf_release(&out);
    return made;
}

/* "r-" and twelve random letters and digits. */
static void make_id(char id[RUN_ID + 1]) {
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char raw[RUN_ID - 2];
    randombytes_buf(raw, sizeof raw);
    strcpy(id, "r-");
    for (size_t i = 0; i < sizeof raw; i++) id[2 + i] = digits[raw[i] & 31];
    id[RUN_ID] = 0;
}

static bool make_row(Posting *p, const LinkedMsg *m) {
    const Entry *e = p->resolve.entry;
    StoredRun *r = &p->run;
    Buf link;
    buf_init(&link);
    run_facts_put(&link, &p->facts);
    make_id(r->id);
    strcpy(r->forked_from, p->fork ? p->parent.id : "");
    r->name = strdup(p->spec.name);
    r->program = strdup(e->hash);
    r->facts = make_facts(p, m->info, m->info_len);
    r->canonical = malloc(e->canonical_len + 1);
    r->canonical_len = e->canonical_len;
    if (r->canonical) memcpy(r->canonical, e->canonical, e->canonical_len);
    r->link = (unsigned char *)buf_take(&link, &r->link_len);
    r->created = time_epoch_us();
    /* An epoch has whole batches only; linking has seen to it that there is one. */
    uint64_t steps = p->spec.steps ? p->spec.steps : p->spec.epochs * (p->train.rows / p->spec.batch_size);
    r->progress = (RunProgress){.state = RUN_QUEUED, .reason = strdup(""), .step = p->from_step, .steps = steps, .latest = strdup("{}"),
                                .versions = strdup("{}"), .attempts = strdup("")};
    const RunProgress *g = &r->progress;
    return r->name && r->program && r->facts && r->canonical && r->link && g->reason && g->latest && g->versions && g->attempts;
}

static bool check(void *arg) {
    Posting *p = arg;
    LaunchFile begin = {.seq = p->parent.seq, .rows = &p->begin, .n = 1, .fd = -1};
    strcpy(begin.id, p->parent.id);
    const RunCheck check = {.server = p->errand.call->server, .facts = p->run.facts, .data = &p->facts, .train = &p->train, .test = &p->test, .stop = &p->errand.cancelled,
                            .sources = p->sources, .begin = p->has_step ? &begin : NULL, .spec = &p->spec, .steps = p->run.progress.steps};
    const bool ok = run_check(&check, &p->errand.err);
    if (begin.fd >= 0) close(begin.fd);
    return ok;
}

static bool not_stored(Err *err, ErrCode code) {
    return err_set(err, code, code == ERR_conflict       ? "A data set of the run was replaced or deleted meanwhile."
                   : code == ERR_storage_full ? "There is no room to store the run."
                   : code == ERR_storage_busy ? "Another process holds the database."
                                              : "The database refused.");
}

static bool store(void *arg) {
    Posting *p = arg;
    const Server *server = p->errand.call->server;
    const char *data = server->config->data;
    RunData used[2] = {{p->facts.train.name, p->facts.train.sha256}, {p->facts.test.name, p->facts.test.sha256}};
    char members[64];
    RunEvents events = {0};
    if (p->has_step && !runfile_share(data, p->parent.id, p->run.id, p->from_step, &p->errand.err)) return false;
    snprintf(members, sizeof members, ",\"state\":\"queued\",\"step\":%llu", (unsigned long long)p->from_step);
    run_events_add(&events, ++p->run.progress.events, EVENT_STATE, members);
    ErrCode code = run_events_failed(&events) ? ERR_internal
                                 : store_run_add(server->store, &p->run, used, p->facts.test.rows ? 2 : 1, p->has_step ? &p->begin : NULL, &events);
    run_events_release(&events);
    if (code && p->has_step) runfile_remove_all(data, p->run.id);
    return !code || not_stored(&p->errand.err, code);
}

static void stored(void *arg) {
    Posting *p = arg;
    Call *call = p->errand.call;
    Buf body;
    buf_init(&body);
    buf_printf(&body, "{\"id\":\"%s\",\"state\":\"queued\"}", p->run.id);
    snprintf(call->answer.location, sizeof call->answer.location, "/runs/%s", p->run.id);
    if (!scheduler_add(call->server->scheduler, &p->run))
        log_put(&call->server->log, LOG_ERROR, "run not queued before the next start", "id=%s cause=memory", p->run.id);
    errand_answer(p, 202, "application/json", &body);
}

static void checked(void *arg) {
    Posting *p = arg;
    p->errand.lasting = true;
    errand_work(p, p->errand.call->server->writes, store, stored);
}

/* ---- linking ---- */

/* What the worker has against it: the program's place, or the specification's. */
static void explain_link(Posting *p, const LinkedMsg *m) {
    Failure failure = {0};
    ErrCode code = m->code < ERR_COUNT ? (ErrCode)m->code : ERR_internal;
    const Entry *e = p->resolve.entry;
    if (m->at_kind == AT_NOTHING) {
        char pointer[sizeof p->errand.err.pointer];
        snprintf(pointer, sizeof pointer, "%.*s", (int)m->pointer_len, (const char *)m->pointer);
        err_at(&p->errand.err, code, pointer, "%.*s", (int)m->message_len, (const char *)m->message);
        errand_refuse(p);
        return;
    }
    failure_set_reply(&failure, m->code, m->message, m->message_len, m->hint, m->hint_len);
    failure.at = failure_at(m->at_kind, m->at_index);
    failure.other = failure_at(m->other_kind, m->other_index);
    if (!p->frontend.program) frontend_restore(&p->frontend, e->canonical, e->canonical_len, e->text);
    frontend_explain(&p->frontend, p->errand.call, &failure);
    failure_release(&failure);
    errand_end(p);
}

static void linked(void *arg, const JobResult *result) {
    Posting *p = arg;
    Server *server = p->errand.call->server;
    LinkedMsg m;
    if (!wire_get_linked(result->frame, &m)) errand_fail(p, ERR_internal, "A worker's reply was malformed.");
    else if (m.code) explain_link(p, &m);
    else if (scheduler_full(server->scheduler)) errand_fail(p, ERR_queue_full, "Too many runs are waiting.");
    else if (!make_row(p, &m)) errand_fail(p, ERR_internal, "Memory is short.");
    else errand_work(p, server->bulk, check, checked);
}

static void submit(Posting *p) {
    const Server *server = p->errand.call->server;
    const Entry *e = p->resolve.entry;
    const RunFacts *f = &p->facts;
    char culprit[CANON_HASH_TEXT + 32];
    LinkMsg m = {.want = LINK_CHECK, .program = e->canonical, .program_len = e->canonical_len, .spec = (const unsigned char *)p->run.spec,
                 .spec_len = strlen(p->run.spec), .nat_limit = server->config->max_nat, .train_rows = f->train.rows, .test_rows = f->test.rows,
                 .ntrain = f->train.ncolumns, .ntest = f->test.ncolumns, .train = f->train.columns, .test = f->test.columns};
    strcpy(stpcpy(culprit, e->hash), " link");
    JobSpec spec = {.type = FRAME_link, .reply = FRAME_linked, .area = -1, .culprit = culprit};
    wire_put_link(&spec.body, &m);
    errand_job(p, &spec, linked);
}

static void found(void *arg) {
    Posting *p = arg;
    Resolve *r = &p->resolve;
    if (r->failure.code == ERR_not_found && p->spec.program) {
        err_at(&p->errand.err, ERR_bad_run, "/program/program", "There is no program %.100s.", p->spec.program);
        errand_refuse(p);
    } else if (r->failure.code) {
        frontend_explain(&p->frontend, p->errand.call, &r->failure);
        errand_end(p);
    } else if (!look_up(p)) {
        errand_refuse(p);
    } else {
        submit(p);
    }
}

static void parsed(void *arg) {
    Posting *p = arg;
    program_base(p->errand.call->server->programs, &p->resolve, p->frontend.program ? &p->frontend : NULL, p->spec.program);
}

/* ---- handlers ---- */

/* NULL: answered. */
static Posting *begin(Call *call) {
    Posting *p = errand_begin(call, &kind);
    if (!p) return NULL;
    p->train.fd = p->test.fd = -1;
    p->resolve = (Resolve){.done = found, .arg = p, .party = call_party(call)};
    buf_init(&p->types);
    return p;
}

static void go(Posting *p, size_t bytes) {
    errand_work(p, bytes > LIMIT_LOOP_BYTES ? p->errand.call->server->tasks : NULL, parse, parsed);
}

void handle_run_post(Call *call) {
    Posting *p = begin(call);
    if (p) go(p, call->body.len);
}

void handle_run_fork(Call *call) {
    StoredRun parent;
    if (!run_find(call, store_run_get, &parent)) return;
    Posting *p = begin(call);
    if (!p) {
        stored_run_release(&parent);
        return;
    }
    p->parent = parent;
    p->fork = true;
    p->errand.large = true; /* its parent's specification may be */
    go(p, call->body.len + strlen(parent.spec));
}
