#include "server/runs/training.h"
#include "server/runs/runfile.h"
#include "schema/base/time.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_NS ((int64_t)1000000000) /* between attempts to write */
/* Points that wait to be written: 48 MiB, seconds of the fastest training. More means that the disk does not follow. */
enum { MOST_POINTS = 1 << 21 };

static void start_flush(Training *t);
static void start_write(Training *t);
static void on_write_again(void *arg) { start_write(arg); }
static void put_rest(Training *t);

/* ---- life ---- */

static void on_due(void *arg) {
    Training *t = arg;
    if (!t->flushing) start_flush(t);
}

static void unwritten_release(Unwritten *u) {
    run_events_release(&u->events);
    buf_release(&u->attempts);
    free(u->latest);
    free(u->versions);
    free(u->reason);
    free(u->points);
    free(u->pruned);
    *u = (Unwritten){0};
}

static bool keep_step(Training *t, uint64_t step) {
    uint64_t *kept = realloc(t->kept, (t->nkept + 1) * sizeof *kept);
    if (!kept) return false;
    t->kept = kept;
    if (t->nkept && kept[t->nkept - 1] == step) return true;
    kept[t->nkept++] = step;
    return true;
}

static void note_checkpoint(void *arg, const RunCheckpoint *c) { keep_step(arg, c->step); }

static bool read_sources(Training *t, const StoredRun *run) {
    RunFacts facts;
    if (!run_facts_get(&facts, run->link, run->link_len)) return false;
    t->keep = facts.keep;
    for (uint32_t i = 0; i < facts.nsources; i++) snprintf(t->sources[i], sizeof t->sources[i], "%s", facts.sources[i]);
    run_facts_release(&facts);
    return true;
}

/* The last values, as the record has them. */
static void read_latest(Training *t, const char *latest) {
    Json json = {0};
    Err err = {0};
    if (json_parse(&json, latest, strlen(latest), &err) && json_kind(json.root) == JSON_OBJECT)
        for (JsonNode at = json.root->child; at; at = at->next) {
            uint32_t key = training_key(t, at->string, strlen(at->string));
            if (key < LIMIT_RUN_KEYS) t->values[key] = json_kind(at) == JSON_NUMBER ? at->valuedouble : __builtin_nan("");
        }
    json_release(&json);
}

Training *training_new(Server *server, const StoredRun *run) {
    Training *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    const RunProgress *p = &run->progress;
    *t = (Training){.server = server, .seq = run->seq, .state = p->state, .code = p->code, .started = p->started, .ended = p->ended, .step = p->step,
                    .steps = p->steps, .epoch = p->epoch, .events = p->events, .versions = strdup(p->versions)};
    t->timer = (Timer){.fire = on_due, .arg = t};
    t->write_again = (Timer){.fire = on_write_again, .arg = t};
    strcpy(t->id, run->id);
    snprintf(t->reason, sizeof t->reason, "%s", p->reason);
    buf_init(&t->attempts);
    buf_puts(&t->attempts, p->attempts);
    read_latest(t, p->latest);
    if (t->versions && !t->attempts.failed && read_sources(t, run) && store_run_checkpoints(server->store, t->seq, note_checkpoint, t) == ERR_NONE) return t;
    training_free(t);
    return NULL;
}

void training_free(Training *t) {
    loop_untimer(t->server->loop, &t->timer);
    loop_untimer(t->server->loop, &t->write_again);
    for (size_t i = 0; i < t->narrived; i++) close(t->arrived[i].fd);
    unwritten_release(&t->next);
    unwritten_release(&t->now);
    buf_release(&t->attempts);
    free(t->versions);
    free(t->kept);
    free(t);
}

bool training_busy(const Training *t) { return t->flushing || t->writing || t->narrived || t->next.dirty || t->now.dirty; }

/* ---- writing ---- */

static void put_latest(Buf *out, const Training *t) {
    buf_putc(out, '{');
    for (uint32_t k = 0; k < t->nkeys; k++) {
        if (k) buf_putc(out, ',');
        json_put_string(out, t->keys[k]);
        buf_putc(out, ':');
        json_put_double(out, t->values[k]);
    }
    buf_putc(out, '}');
}

/* Behind those that have ended the present one as it is. */
static void put_attempt(Buf *out, const Training *t) {
    if (!t->attempt) return;
    if (out->len) buf_putc(out, ',');
    buf_printf(out, "{\"from_step\":%llu,\"started\":", (unsigned long long)t->attempt_from);
    time_put_json(out, t->attempt);
    buf_putc(out, '}');
}

/* Completes it with the record as it is now. False: memory is short. */
static bool seal(Training *t, Unwritten *u) {
    Buf latest;
    buf_init(&latest);
    put_latest(&latest, t);
    u->latest = buf_take(&latest, NULL);
    u->versions = strdup(t->versions);
    u->reason = strdup(t->reason);
    buf_put(&u->attempts, t->attempts.data, t->attempts.len);
    put_attempt(&u->attempts, t);
    u->nkeys = t->nkeys;
    u->progress = (RunProgress){.state = t->state, .code = t->code, .reason = u->reason, .started = t->started, .ended = t->ended, .step = t->step,
                                .steps = t->steps, .epoch = t->epoch, .latest = u->latest, .versions = u->versions, .attempts = buf_text(&u->attempts),
                                .events = t->events};
    return u->latest && u->versions && u->reason && !u->attempts.failed && !run_events_failed(&u->events);
}

static void flush_work(void *arg) {
    Training *t = arg;
    Unwritten *u = &t->now;
    const char *data = t->server->config->data;
    RunFlush f = {.seq = t->seq, .id = t->id, .progress = u->progress, .drop = u->drop, .drop_after = u->drop_after, .events = &u->events,
                  .keys = t->keys, .nkeys = u->nkeys, .points = u->points, .npoints = u->npoints, .checkpoints = u->checkpoints,
                  .ncheckpoints = u->ncheckpoints, .pruned = u->pruned, .npruned = u->npruned};
    t->outcome = store_run_flush(t->server->store, &f);
    for (size_t i = 0; i < u->npruned && !t->outcome; i++) runfile_remove(data, t->id, u->pruned[i]);
}

static void say_trouble(Training *t, ErrCode code, const char *text) {
    if (!t->trouble) snprintf(t->trouble_text, sizeof t->trouble_text, "%s", text);
    if (!t->trouble) t->trouble = code;
    log_put(&t->server->log, LOG_ERROR, "run not written", "id=%s cause=\"%s\"", t->id, text);
}

/* On a full disk a run ends; of what it has to say, its metrics since the last flush are left out, so that the rest is small enough for the reserve. */
static void shed_points(Training *t) {
    Unwritten *u = &t->now;
    if (!u->npoints) return;
    training_log(t, "The disk is full: %zu points of metrics are left out.", u->npoints);
    u->npoints = 0;
    start_flush(t);
}

static void flush_done(void *arg) {
    Training *t = arg;
    const bool small = !t->now.npoints;
    t->flushing = false;
    t->flushed = loop_now();
    t->stuck = t->outcome == ERR_storage_full && small;
    if (t->outcome == ERR_NONE) {
        unwritten_release(&t->now);
        if (t->next.dirty) training_save(t, t->state > RUN_RUNNING);
        start_write(t);
        t->committed(t);
    } else {
        t->server->metrics->store_failures++;
        /* Another process's lock ends some time: nothing is lost till then. */
        if (t->outcome != ERR_storage_busy) say_trouble(t, t->outcome, t->outcome == ERR_storage_full ? "The disk is full." : "The database refused.");
        loop_timer(t->server->loop, &t->timer, loop_now() + AGAIN_NS);
        if (t->outcome == ERR_storage_full) shed_points(t);
    }
    t->changed(t);
}

/* What failed is tried again as it was: its events have their numbers. */
static void start_flush(Training *t) {
    bool again = t->now.dirty;
    if ((!again && !t->next.dirty) || !t->server->writes) return;
    if (!again) {
        put_rest(t);
        t->now = t->next;
        t->next = (Unwritten){0};
    }
    if (!again && !seal(t, &t->now)) {
        say_trouble(t, ERR_internal, "Memory is short.");
        unwritten_release(&t->now);
        t->changed(t);
        return;
    }
    t->flushing = true;
    loop_untimer(t->server->loop, &t->timer);
    t->flush = (Task){.work = flush_work, .done = flush_done, .arg = t};
    tasks_add(t->server->writes, &t->flush);
}

void training_retry(Training *t) {
    if (t->now.dirty && !t->flushing) start_flush(t);
}

void training_save(Training *t, bool now) {
    int64_t at = loop_now(), due = t->flushed + TRAINING_FLUSH_NS;
    t->next.dirty = true;
    if (t->flushing || t->now.dirty) return;
    if (now || due < at) due = at;
    if (!t->timer.on || t->timer.due > due) loop_timer(t->server->loop, &t->timer, due);
}

/* ---- events ---- */

void training_event(Training *t, RunEventKind kind, const char *members) {
    RunEvents *out = &t->next.events;
    run_events_add(out, ++t->events, kind, members);
    training_save(t, false);
}

void training_log(Training *t, const char *format, ...) {
    char text[1000];
    Buf members;
    va_list args;
    if (t->next.logs++ >= TRAINING_EVENTS) {
        t->next.unsaid++;
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_init(&members);
    buf_puts(&members, ",\"text\":");
    json_put_string(&members, text);
    training_event(t, EVENT_LOG, buf_text(&members));
    buf_release(&members);
}

void training_set_state(Training *t, RunState state, ErrCode code, const char *reason) {
    Buf members;
    t->state = state;
    t->code = code;
    snprintf(t->reason, sizeof t->reason, "%s", reason);
    if (state == RUN_RUNNING && !t->started) t->started = time_epoch_us();
    t->ended = state > RUN_RUNNING ? time_epoch_us() : 0;
    buf_init(&members);
    buf_printf(&members, ",\"state\":\"%s\",\"step\":%llu", run_state_names[state], (unsigned long long)t->step);
    if (code) buf_printf(&members, ",\"code\":\"%s\"", err_name(code));
    if (*reason) {
        buf_puts(&members, ",\"reason\":");
        json_put_string(&members, reason);
    }
    training_event(t, EVENT_STATE, buf_text(&members));
    if (state > RUN_RUNNING) training_event(t, EVENT_END, buf_text(&members));
    buf_release(&members);
    training_save(t, true);
}

static void put_metric(Training *t, const TrainingMetric *m) {
    Buf members;
    bool first = true;
    buf_init(&members);
    buf_printf(&members, ",\"step\":%llu,\"epoch\":", (unsigned long long)m->step);
    json_put_double(&members, m->epoch);
    buf_puts(&members, ",\"values\":{");
    for (uint32_t k = 0; k < t->nkeys; k++) {
        if (!m->wanted[k]) continue;
        if (!first) buf_putc(&members, ',');
        first = false;
        json_put_string(&members, t->keys[k]);
        buf_putc(&members, ':');
        json_put_double(&members, t->values[k]);
    }
    buf_putc(&members, '}');
    if (!first) training_event(t, EVENT_METRIC, buf_text(&members));
    buf_release(&members);
}

void training_metric(Training *t, const TrainingMetric *m) {
    Unwritten *u = &t->next;
    if (u->metrics == TRAINING_EVENTS) {
        u->held = *m;
        return;
    }
    u->metrics++;
    put_metric(t, m);
}

/* What found no room: the newest of the metrics, and how much was not logged. */
static void put_rest(Training *t) {
    const Unwritten *u = &t->next;
    char members[100];
    if (u->held.step) put_metric(t, &u->held);
    snprintf(members, sizeof members, ",\"text\":\"%llu lines more are left out.\"", (unsigned long long)u->unsaid);
    if (u->unsaid) training_event(t, EVENT_LOG, members);
    t->next.held.step = t->next.unsaid = 0;
}

/* ---- progress ---- */

void training_begin_attempt(Training *t, uint64_t from_step) {
    t->attempt = time_epoch_us();
    t->attempt_from = from_step;
}

void training_end_attempt(Training *t, const char *how) {
    if (!t->attempt) return;
    put_attempt(&t->attempts, t);
    if (!t->attempts.failed) t->attempts.len--; /* its brace */
    buf_printf(&t->attempts, ",\"to_step\":%llu,\"ended\":", (unsigned long long)t->step);
    time_put_json(&t->attempts, time_epoch_us());
    if (how) {
        buf_puts(&t->attempts, ",\"cause\":");
        json_put_string(&t->attempts, how);
    }
    buf_putc(&t->attempts, '}');
    t->attempt = 0;
    t->next.dirty = true;
}

/* The last of the attempts has no end, and no cause from an earlier start of the service. */
static bool is_open(const Buf *attempts) {
    Json json = {0};
    Err err = {0};
    Buf array;
    buf_init(&array);
    buf_putc(&array, '[');
    buf_put(&array, attempts->data, attempts->len);
    buf_putc(&array, ']');
    bool open = false;
    if (!array.failed && json_parse(&json, (const char *)array.data, array.len, &err))
        for (JsonNode at = json.root->child; at; at = at->next) open = !json_get(at, "ended") && !json_get(at, "cause");
    json_release(&json);
    buf_release(&array);
    return open;
}

void training_lost_attempt(Training *t) {
    if (!is_open(&t->attempts)) return;
    t->attempts.len--; /* its brace */
    buf_puts(&t->attempts, ",\"cause\":\"The service was gone.\"}");
}

void training_resume_at(Training *t, uint64_t step) {
    t->step = step;
    t->next.drop = t->next.dirty = true;
    t->next.drop_after = step;
    while (t->nkept && t->kept[t->nkept - 1] > step) t->nkept--;
}

static bool key_ok(const char *key, size_t len) {
    if (!len || len > RUN_KEY) return false;
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~' || key[i] == ',') return false;
    return true;
}

uint32_t training_key(Training *t, const char *key, size_t len) {
    for (uint32_t k = 0; k < t->nkeys; k++)
        if (strlen(t->keys[k]) == len && memcmp(t->keys[k], key, len) == 0) return k;
    if (t->nkeys == LIMIT_RUN_KEYS || !key_ok(key, len)) return LIMIT_RUN_KEYS;
    memcpy(t->keys[t->nkeys], key, len);
    t->keys[t->nkeys][len] = 0;
    return t->nkeys++;
}

/* Behind the first n, which are no more than those that have been looked at. Empties the bucket. */
static size_t keep_points(Unwritten *u, size_t n, uint32_t key, SeriesSummary *bucket) {
    Point kept[2];
    const size_t nkept = series_keep(bucket, kept);
    for (size_t i = 0; i < nkept; i++) u->points[n++] = (KeyedPoint){key, kept[i]};
    *bucket = (SeriesSummary){0};
    return n;
}

/* As the database keeps fewer (series.h): of each key two of four. They stay in their order. */
static void halve_points(Training *t) {
    Unwritten *u = &t->next;
    SeriesSummary buckets[LIMIT_RUN_KEYS] = {0};
    size_t n = 0;
    for (size_t i = 0; i < u->npoints; i++) {
        const uint32_t key = u->points[i].key;
        series_add(&buckets[key], u->points[i].point);
        if (buckets[key].n == 4) n = keep_points(u, n, key, &buckets[key]);
    }
    for (uint32_t key = 0; key < t->nkeys; key++)
        if (buckets[key].n) n = keep_points(u, n, key, &buckets[key]);
    u->npoints = n;
    training_log(t, "The disk does not follow: of the metrics half is left out.");
}

void training_point(Training *t, const char *key, size_t len, Point point) {
    Unwritten *u = &t->next;
    uint32_t k = training_key(t, key, len);
    if (k == LIMIT_RUN_KEYS || point.step > INT64_MAX) return;
    t->values[k] = point.value;
    if (u->npoints == MOST_POINTS) halve_points(t);
    if (u->npoints == u->room) {
        size_t room = u->room ? u->room * 2 : 1024, bytes;
        KeyedPoint *points = __builtin_mul_overflow(room, sizeof *points, &bytes) ? NULL : realloc(u->points, bytes);
        if (!points) {
            say_trouble(t, ERR_internal, "Memory is short.");
            return;
        }
        u->points = points;
        u->room = room;
    }
    u->points[u->npoints++] = (KeyedPoint){k, point};
    u->dirty = true;
}

void training_set_versions(Training *t, const char *json, size_t len) {
    Json read = {0};
    Err err = {0};
    bool object = json_parse(&read, json, len, &err) && json_kind(read.root) == JSON_OBJECT;
    char *copy = object ? strndup(json, len) : NULL;
    json_release(&read);
    if (!copy) return;
    free(t->versions);
    t->versions = copy;
    training_save(t, false);
}

/* ---- checkpoints ---- */

/* The disk, and what the checkpoints of all runs may take of it. */
static bool may_write(Training *t, const Arrived *a) {
    const uint64_t most = t->server->config->checkpoint_bytes;
    const unsigned long long step = a->step;
    if (!disk_has_room(t->server->disk, a->bytes))
        return err_set(&t->err, ERR_storage_full, "The checkpoint of step %llu could not be written: the disk is full.", step);
    if (store_checkpoint_bytes(t->server->store) + a->bytes <= most) return true;
    return err_set(&t->err, ERR_storage_full, "The checkpoint of step %llu could not be written: the runs' checkpoints may have %llu bytes together"
                   " (--max-checkpoints); delete some runs first.", step, (unsigned long long)most);
}

static void write_work(void *arg) {
    Training *t = arg;
    const Arrived *a = &t->arrived[0];
    t->err = (Err){0};
    if (!may_write(t, a)) return;
    runfile_write(t->server->config->data, t->id, a->step, a->fd, a->bytes, &t->written, &t->err);
}

/* All but the first, the last, and `keep` before that go; fewer are kept where they would take more than one run's share. */
static void prune(Training *t) {
    Unwritten *u = &t->next;
    const uint64_t share = t->server->config->checkpoint_bytes / LIMIT_RUN_CHECKPOINT_PART / (t->written.bytes ? t->written.bytes : 1);
    const uint64_t most = share < t->keep + 2 ? share : t->keep + 2;
    while (t->nkept > 2 && t->nkept > most) {
        uint64_t *pruned = realloc(u->pruned, (u->npruned + 1) * sizeof *pruned);
        if (!pruned) return;
        u->pruned = pruned;
        u->pruned[u->npruned++] = t->kept[1];
        memmove(t->kept + 1, t->kept + 2, (t->nkept - 2) * sizeof *t->kept);
        t->nkept--;
    }
}

static void write_done(void *arg) {
    Training *t = arg;
    char members[64];
    t->writing = false;
    if (t->err.code == ERR_queue_full && !t->hurry) { /* no file descriptor: there will be some */
        log_put(&t->server->log, LOG_WARN, "checkpoint waits", "id=%s cause=\"%s\"", t->id, t->err.message);
        loop_timer(t->server->loop, &t->write_again, loop_now() + AGAIN_NS);
        return;
    }
    close(t->arrived[0].fd);
    memmove(t->arrived, t->arrived + 1, --t->narrived * sizeof *t->arrived);
    if (t->err.code && (t->err.code != ERR_queue_full || !t->hurry)) {
        say_trouble(t, t->err.code, t->err.message);
    } else if (t->err.code) {
        training_log(t, "%s", t->err.message);
    } else {
        t->server->metrics->checkpoints++;
        t->next.checkpoints[t->next.ncheckpoints++] = t->written;
        if (keep_step(t, t->written.step)) prune(t);
        snprintf(members, sizeof members, ",\"step\":%llu", (unsigned long long)t->written.step);
        training_event(t, EVENT_CHECKPOINT, members);
        training_save(t, true);
    }
    t->saved(t);
    start_write(t);
    t->changed(t);
}

/* One at a time, and as many as one flush can take. */
static void start_write(Training *t) {
    if (t->writing || t->write_again.on || !t->narrived || !t->server->tasks || t->next.ncheckpoints == TRAINING_CHECKPOINTS) return;
    t->writing = true;
    t->write = (Task){.work = write_work, .done = write_done, .arg = t};
    tasks_add(t->server->tasks, &t->write);
}

void training_hurry(Training *t) {
    t->hurry = true;
    loop_untimer(t->server->loop, &t->write_again);
    start_write(t);
}

bool training_checkpoint(Training *t, uint64_t step, uint64_t bytes, int fd) {
    if (t->narrived == WIRE_CHECKPOINTS) {
        close(fd);
        return false;
    }
    t->arrived[t->narrived++] = (Arrived){step, bytes, fd};
    start_write(t);
    return true;
}
