/* POST /runs and POST /runs/{id}/fork: everything that can be wrong with a run is found here, before it is queued.
 *
 *     parse          specification, inline program (on a thread)
 *     found          the program is compiled, or known; data sets and earlier runs are looked up
 *     linked         a worker has linked program, networks and data: shapes and costs
 *     check          contents of data sets and checkpoints (run_check.h; on the thread for what takes seconds)
 *     store          the row (on a thread)
 *     stored         in the queue */
#include "compiler/language/canon.h"
#include "compiler/training/spec.h"
#include "server/runs/runfile.h"
#include "server/routes.h"
#include "schema/formats/merge_patch.h"
#include "server/programs/program_build.h"
#include "server/runs/run_check.h"
#include "server/runs/run_facts.h"
#include "server/runs/scheduler.h"
#include "schema/base/time.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Call *call;
    StoredRun run, parent; /* parent: what is forked */
    bool fork, has_step;
    uint64_t from_step;
    RunCheckpoint begin;   /* of the parent's */
    Spec spec;
    Err err;
    Frontend frontend;
    Resolve resolve;
    Dataset train, test;
    ColumnMsg *columns[2];
    RunFacts facts;
    LaunchFile sources[RUN_SOURCES];
    Buf types;             /* of the program's variables */
    Job *job;
    Task task;
    ErrCode code;
    bool ok, busy, cancelled;
} Posting;

static void end(Posting *p) {
    Server *server = p->call->server;
    call_on_cancel(p->call, NULL, NULL);
    if (p->job) dispatch_cancel(server->dispatch, p->job, p->resolve.patience / 2);
    free(p->columns[0]);
    free(p->columns[1]);
    free(p->facts.variables);
    for (uint32_t i = 0; i < p->facts.nsources; i++) launch_file_release(&p->sources[i]);
    buf_release(&p->types);
    dataset_release(&p->train);
    dataset_release(&p->test);
    resolve_release(&p->resolve);
    frontend_release(&p->frontend);
    spec_release(&p->spec);
    stored_run_release(&p->run);
    stored_run_release(&p->parent);
    call_drop(p->call);
    free(p);
}

static void on_cancel(void *arg) {
    Posting *p = arg;
    p->cancelled = true;
    if (!p->busy) end(p);
}

static void refuse(Posting *p) {
    if (p->err.code) call_fail_err(p->call, &p->err);
    else frontend_refuse(&p->frontend, p->call);
    end(p);
}

static void no_memory(Posting *p) {
    call_fail(p->call, ERR_internal, "Memory is short.");
    end(p);
}

/* ---- the specification ---- */

/* The parent's specification with the patch; from_step is no part of it. */
static char *patched(Posting *p) {
    const Body *body = &p->call->body;
    Json target = {0}, patch = {0};
    Buf text;
    buf_init(&text);
    bool ok = json_parse(&patch, (const char *)body->data, body->len, &p->err) &&
              json_parse(&target, p->parent.spec, strlen(p->parent.spec), &p->err);
    JsonNode step = ok && json_kind(patch.root) == JSON_OBJECT ? json_get(patch.root, "from_step") : NULL;
    double v = step && json_kind(step) == JSON_NUMBER ? step->valuedouble : -1;
    p->has_step = step != NULL;
    if (step && !(v >= 0 && v <= 9007199254740992.0 && v == (double)(uint64_t)v))
        ok = err_set(&p->err, ERR_bad_request, "/from_step", "from_step is the step of one of the run's checkpoints.");
    if (ok) p->from_step = step ? (uint64_t)v : 0;
    if (ok) merge_patch(&text, &target, &patch, "from_step");
    json_release(&patch);
    json_release(&target);
    char *made = ok ? buf_take(&text, NULL) : NULL;
    buf_release(&text);
    if (ok && !made) err_set(&p->err, ERR_internal, "", "Memory is short.");
    return made;
}

static bool read_program(Posting *p) {
    Spec *s = &p->spec;
    ProgramSpec program = {.source = s->source, .program = s->program, .term = s->term, .context = s->context, .nat = s->nat, .within = "/program"};
    if (s->program) return true;
    if (frontend_make(&p->frontend, &s->json, &program, p->call->server->config->max_nat)) return true;
    if (!p->frontend.err.code) return false;
    char pointer[sizeof p->err.pointer];
    snprintf(pointer, sizeof pointer, "/program%.150s", p->frontend.err.pointer);
    return err_set(&p->err, p->frontend.err.code, pointer, "%s", p->frontend.err.message);
}

/* U+0001 to U+001F, U+007F to U+009F: what a terminal would obey. Not asked of runs that are there. */
static bool check_name(Posting *p) {
    for (const unsigned char *c = (const unsigned char *)p->spec.name; *c; c++)
        if (*c < 0x20 || *c == 0x7F || (*c == 0xC2 && c[1] < 0xA0))
            return err_set(&p->err, ERR_bad_run, "/name", "A run's name has no control characters.");
    return true;
}

static bool parse(Posting *p) {
    const Body *body = &p->call->body;
    p->run.spec = p->fork ? patched(p) : strndup((const char *)body->data, body->len);
    if (!p->run.spec) return p->err.code ? false : err_set(&p->err, ERR_internal, "", "Memory is short.");
    /* A NUL ends what was copied, not what was sent. */
    const size_t len = p->fork ? strlen(p->run.spec) : body->len;
    return spec_read(&p->spec, p->fork ? p->run.spec : (const char *)body->data, len, &p->err) && check_name(p) && read_program(p);
}

static void parse_work(void *arg) {
    Posting *p = arg;
    p->ok = parse(p);
}

/* ---- what it refers to ---- */

static bool find_data(Posting *p, const char *name, const char *pointer, Dataset *out) {
    Err err = {0};
    if (dataset_files_find(p->call->server->dataset_files, name, out, &err)) return true;
    out->fd = -1;
    if (err.code == ERR_not_found) return err_set(&p->err, ERR_bad_run, pointer, "There is no data set \"%.100s\".", name);
    return err_set(&p->err, err.code, pointer, "%s", err.message);
}

static void add_source(void *arg, const char *id, const char *pointer) {
    Posting *p = arg;
    RunFacts *f = &p->facts;
    if (p->err.code) return;
    for (uint32_t i = 0; i < f->nsources; i++)
        if (strcmp(f->sources[i], id) == 0) return;
    if (f->nsources == RUN_SOURCES) {
        err_set(&p->err, ERR_bad_run, pointer, "Weights come from at most %d runs.", RUN_SOURCES);
        return;
    }
    LaunchFile *file = &p->sources[f->nsources];
    if (launch_file_find(p->call->server, id, file)) err_set(&p->err, ERR_bad_run, pointer, "There is no run \"%.50s\".", id);
    else if (!file->n) err_set(&p->err, ERR_bad_run, pointer, "The run %s has no checkpoint yet.", id);
    f->sources[f->nsources++] = id;
}

/* The parent's checkpoint of the step. */
static void match_step(void *arg, const RunCheckpoint *c) {
    Posting *p = arg;
    if (c->step == p->from_step) p->begin = *c;
}

static bool find_begin(Posting *p) {
    if (!p->has_step) return true;
    ErrCode code = store_run_checkpoints(p->call->server->store, p->parent.seq, match_step, p);
    if (code) return err_set(&p->err, code, "", "The database does not answer.");
    return p->begin.bytes || err_set(&p->err, ERR_conflict, "/from_step", "The run %s has no checkpoint of step %llu.", p->parent.id,
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
    if (p->err.code || !find_begin(p) || !find_data(p, s->train_data, "/data/train", &p->train)) return false;
    if (s->test_data && !find_data(p, s->test_data, "/data/test", &p->test)) return false;
    bool ok = set_data(&p->facts.train, &p->columns[0], s->train_data, &p->train) &&
              (!s->test_data || set_data(&p->facts.test, &p->columns[1], s->test_data, &p->test)) && set_variables(p);
    return ok || err_set(&p->err, ERR_internal, "", "Memory is short.");
}

/* ---- the row ---- */

static void put_data(Buf *out, const char *key, const RunDataFacts *d) {
    buf_printf(out, "%s\"%s\":{\"name\":\"%s\",\"sha256\":\"%s\",\"rows\":%llu}", out->data[out->len - 1] == '{' ? "" : ",", key, d->name, d->sha256,
               (unsigned long long)d->rows);
}

/* The record's members that do not change. info: the worker's, an object. */
static char *make_facts(const Posting *p, const unsigned char *info, size_t len) {
    Json json = {0};
    Err err;
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

static void check_work(void *arg) {
    Posting *p = arg;
    LaunchFile begin = {.rows = &p->begin, .n = 1, .fd = -1};
    strcpy(begin.id, p->parent.id);
    const RunCheck check = {.server = p->call->server, .facts = p->run.facts, .data = &p->facts, .train = p->train.fd, .test = p->test.fd,
                            .sources = p->sources, .begin = p->has_step ? &begin : NULL, .spec = &p->spec, .steps = p->run.progress.steps};
    p->ok = run_check(&check, &p->err);
    if (begin.fd >= 0) close(begin.fd);
}

static void store_work(void *arg) {
    Posting *p = arg;
    Server *server = p->call->server;
    const char *data = server->config->data;
    RunData used[2] = {{p->facts.train.name, p->facts.train.sha256}, {p->facts.test.name, p->facts.test.sha256}};
    char members[64];
    Buf events;
    buf_init(&events);
    if (p->has_step && !runfile_share(data, p->parent.id, p->run.id, p->from_step, &p->err)) return;
    snprintf(members, sizeof members, ",\"state\":\"queued\",\"step\":%llu", (unsigned long long)p->from_step);
    training_put_event(&events, ++p->run.progress.events, "state", members);
    p->code = events.failed ? ERR_internal
                            : store_run_add(server->store, &p->run, used, p->facts.test.rows ? 2 : 1, p->has_step ? &p->begin : NULL, &events);
    buf_release(&events);
    if (p->code && p->has_step) runfile_remove_all(data, p->run.id);
}

static void stored(void *arg) {
    Posting *p = arg;
    Call *call = p->call;
    p->busy = false;
    if (p->err.code) {
        refuse(p);
        return;
    }
    if (p->code == ERR_conflict) {
        call_fail(call, p->code, "A data set of the run was replaced or deleted meanwhile.");
    } else if (p->code) {
        call_fail(call, p->code, p->code == ERR_storage_full ? "There is no room to store the run." : "The database refused.");
    } else {
        Buf body;
        buf_init(&body);
        buf_printf(&body, "{\"id\":\"%s\",\"state\":\"queued\"}", p->run.id);
        snprintf(call->answer.location, sizeof call->answer.location, "/runs/%s", p->run.id);
        call_answer(call, 202, "application/json", &body);
        if (!scheduler_add(call->server->scheduler, &p->run))
            log_put(&call->server->log, LOG_ERROR, "run not queued before the next start", "id=%s cause=memory", p->run.id);
    }
    end(p);
}

static void run_task(Posting *p, Tasks *tasks, void (*work)(void *arg), void (*done)(void *arg)) {
    p->busy = true;
    p->task = (Task){.work = work, .done = done, .arg = p};
    tasks_add(tasks, &p->task);
}

static void checked(void *arg) {
    Posting *p = arg;
    p->busy = false;
    if (p->cancelled) end(p);
    else if (!p->ok) refuse(p);
    else run_task(p, p->call->server->tasks, store_work, stored);
}

/* ---- linking ---- */

/* What the worker has against it: the program's place, or the specification's. */
static void explain_link(Posting *p, const LinkedMsg *m) {
    Failure failure = {0};
    ErrCode code = m->code < ERR_COUNT ? (ErrCode)m->code : ERR_internal;
    const Entry *e = p->resolve.entry;
    if (m->at_kind == AT_NOTHING) {
        char pointer[sizeof p->err.pointer];
        snprintf(pointer, sizeof pointer, "%.*s", (int)m->pointer_len, (const char *)m->pointer);
        err_set(&p->err, code, pointer, "%.*s", (int)m->message_len, (const char *)m->message);
        refuse(p);
        return;
    }
    failure_set_reply(&failure, m->code, m->message, m->message_len, m->hint, m->hint_len);
    failure.at = failure_at(m->at_kind, m->at_index);
    failure.other = failure_at(m->other_kind, m->other_index);
    if (!p->frontend.program) frontend_restore(&p->frontend, e->canonical, e->canonical_len, e->text);
    frontend_explain(&p->frontend, p->call, &failure);
    failure_release(&failure);
    end(p);
}

static void linked(void *arg, const JobResult *result) {
    Posting *p = arg;
    LinkedMsg m;
    p->job = NULL;
    if (result->code) {
        call_fail(p->call, result->code, "%s", result->message);
        end(p);
    } else if (!wire_get_linked(result->frame, &m)) {
        call_fail(p->call, ERR_internal, "A worker's reply was malformed.");
        end(p);
    } else if (m.code) {
        explain_link(p, &m);
    } else if (scheduler_full(p->call->server->scheduler)) {
        call_fail(p->call, ERR_queue_full, "Too many runs are waiting.");
        end(p);
    } else if (!make_row(p, &m)) {
        no_memory(p);
    } else {
        run_task(p, p->call->server->bulk, check_work, checked);
    }
}

static void check(Posting *p) {
    Server *server = p->call->server;
    const Entry *e = p->resolve.entry;
    const RunFacts *f = &p->facts;
    ErrCode why;
    const char *message;
    char culprit[CANON_HASH_TEXT + 32];
    LinkMsg m = {.want = LINK_CHECK, .program = e->canonical, .program_len = e->canonical_len, .spec = (const unsigned char *)p->run.spec,
                 .spec_len = strlen(p->run.spec), .nat_limit = server->config->max_nat, .train_rows = f->train.rows, .test_rows = f->test.rows,
                 .ntrain = f->train.ncolumns, .ntest = f->test.ncolumns, .train = f->train.columns, .test = f->test.columns};
    strcpy(stpcpy(culprit, e->hash), " link");
    JobSpec spec = {.type = FRAME_link, .area = -1, .culprit = culprit, .patience = p->resolve.patience, .done = linked, .arg = p};
    wire_put_link(&spec.body, &m);
    p->job = dispatch_submit(server->dispatch, &spec, &why, &message);
    if (p->job) return;
    call_fail(p->call, why, "%s", message);
    end(p);
}

static void found(void *arg) {
    Posting *p = arg;
    Resolve *r = &p->resolve;
    if (r->failure.code == ERR_not_found && p->spec.program) {
        err_set(&p->err, ERR_bad_run, "/program/program", "There is no program %.100s.", p->spec.program);
        refuse(p);
    } else if (r->failure.code) {
        frontend_explain(&p->frontend, p->call, &r->failure);
        end(p);
    } else if (!look_up(p)) {
        refuse(p);
    } else {
        check(p);
    }
}

static void parsed(void *arg) {
    Posting *p = arg;
    p->busy = false;
    if (p->cancelled) end(p);
    else if (!p->ok) refuse(p);
    else program_base(p->call->server->programs, &p->resolve, p->frontend.program ? &p->frontend : NULL, p->spec.program);
}

/* ---- handlers ---- */

static Posting *begin(Call *call) {
    Posting *p = calloc(1, sizeof *p);
    if (!p) {
        call_fail(call, ERR_internal, "Memory is short.");
        return NULL;
    }
    p->call = call;
    p->train.fd = p->test.fd = -1;
    p->resolve = (Resolve){.done = found, .arg = p, .patience = 2 * (call->deadline - call->started)};
    buf_init(&p->types);
    call_keep(call);
    call_on_cancel(call, on_cancel, p);
    return p;
}

static void go(Posting *p, size_t bytes) {
    if (bytes <= LIMIT_LOOP_BYTES) {
        p->busy = true;
        parse_work(p);
        parsed(p);
    } else {
        run_task(p, p->call->server->tasks, parse_work, parsed);
    }
}

void handle_run_post(Call *call) {
    Posting *p = begin(call);
    if (p) go(p, call->body.len);
}

void handle_run_fork(Call *call) {
    Posting *p = begin(call);
    if (!p) return;
    ErrCode code = store_run_get(call->server->store, call->param.text, &p->parent);
    if (code) {
        call_fail(call, code, code == ERR_not_found ? "There is no run %.100s." : "The record of run %.100s cannot be read.", call->param.text);
        end(p);
        return;
    }
    p->fork = true;
    go(p, call->body.len + strlen(p->parent.spec));
}
