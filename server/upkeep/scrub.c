#include "server/upkeep/scrub.h"
#include "schema/base/time.h"
#include "server/runs/runfile.h"
#include "server/store/store_scrub.h"
#include "server/upkeep/file_check.h"
#include <errno.h>
#include <stdlib.h>

#define SECOND_NS ((int64_t)1000000000)
#define MINUTE_NS (60 * SECOND_NS)
#define DAY_US ((int64_t)86400000000)
enum { MOST_PIECE = 4 << 20, LEAST_COST = 4096 /* what looking something up counts as */, SAVE_US = 10000000 };

struct Scrub {
    Server *server;
    Timer timer;
    Task task;
    bool busy;
    /* the thread's while busy */
    ScrubPlace at, kept; /* kept: behind the last thing that is through */
    int64_t started, saved; /* microseconds of the Unix epoch */
    FileCheck *file;      /* under way; NULL: none */
    uint64_t read;        /* in this piece */
};

/* ---- on a thread ---- */

static void save(Scrub *s) {
    s->saved = time_epoch_us();
    store_scrub_put(s->server->store, &s->kept, s->started);
}

static void next_kind(Scrub *s) {
    s->at = (ScrubPlace){.kind = s->at.kind + 1};
    s->kept = s->at;
    if (s->at.kind < SCRUB_KINDS) return;
    save(s);
    log_put(&s->server->log, LOG_INFO, "scrub through", "began_us=%lld damaged_rows=%llu", (long long)s->started,
            (unsigned long long)store_damage(s->server->store));
}

/* What the file has come to. */
static void conclude(Scrub *s) {
    const FileCheck *f = s->file;
    Server *server = s->server;
    if (f->kind == FILE_CONTENT) dataset_files_note(server->dataset_files, s->at.key, f->fd, f->whole ? &f->blocks.sums : NULL);
    else if (f->whole == f->checkpoint.damaged) store_run_mark(server->store, s->at.a, f->checkpoint.step, !f->whole);
    if (!f->whole && f->kind == FILE_CHECKPOINT)
        log_put(&server->log, LOG_ERROR, "damaged checkpoint", "run=%s step=%llu", f->run, (unsigned long long)f->checkpoint.step);
    file_check_free(s->file);
    s->file = NULL;
    s->kept = s->at;
}

static ErrCode open_next(Scrub *s) {
    Server *server = s->server;
    RunCheckpoint row;
    char id[RUN_ID + 1];
    ErrCode code;
    if (s->at.kind == SCRUB_CONTENTS) {
        code = store_scrub_content(server->store, &s->at);
        if (!code) s->file = file_check_content(dataset_files_open_content(server->dataset_files, s->at.key), s->at.key);
    } else {
        code = store_scrub_checkpoint(server->store, &s->at, id, &row);
        if (!code) s->file = file_check_checkpoint(runfile_open_as_is(server->config->data, id, row.step), id, &row);
    }
    return code ? code : s->file ? ERR_NONE : ERR_internal;
}

/* A piece of what is next. False: not now. */
static bool step(Scrub *s, uint64_t most) {
    uint64_t bytes = 0;
    ErrCode code = ERR_NONE;
    if (s->file) {
        bytes = file_check_read(s->file, most);
        if (s->file->done) conclude(s);
    } else if (s->at.kind <= SCRUB_CHECKPOINTS) {
        code = open_next(s);
    } else {
        code = store_scrub_rows(s->server->store, &s->at, &bytes);
        if (!code) s->kept = s->at;
    }
    s->read += bytes + LEAST_COST;
    if (code == ERR_not_found) next_kind(s);
    return !code || code == ERR_not_found;
}

static uint64_t piece(const Scrub *s) {
    const uint64_t rate = s->server->config->scrub_bytes;
    return rate < MOST_PIECE ? rate : MOST_PIECE;
}

static void work(void *arg) {
    Scrub *s = arg;
    const int64_t now = time_epoch_us();
    if (s->at.kind == SCRUB_KINDS && (now - s->started >= DAY_US || now < s->started)) {
        s->at = s->kept = (ScrubPlace){0};
        s->started = now;
        save(s);
    }
    s->read = 0;
    while (s->at.kind < SCRUB_KINDS && s->read < piece(s) && step(s, piece(s) - s->read)) {}
    if (s->at.kind < SCRUB_KINDS && now - s->saved >= SAVE_US) save(s);
}

/* ---- in the loop ---- */

static void arm(Scrub *s, int64_t wait) { loop_timer(s->server->loop, &s->timer, loop_now() + wait); }

static void worked(void *arg) {
    Scrub *s = arg;
    s->busy = false;
    s->server->metrics->scrubbed_bytes += s->read;
    /* As long as reading so much may take. */
    const int64_t wait = (int64_t)((double)s->read / (double)s->server->config->scrub_bytes * (double)SECOND_NS);
    arm(s, s->at.kind == SCRUB_KINDS ? MINUTE_NS : wait > SECOND_NS / 100 ? wait : SECOND_NS / 100);
}

static void on_timer(void *arg) {
    Scrub *s = arg;
    if (s->busy || !s->server->bulk || s->server->draining) return;
    s->busy = true;
    s->task = (Task){.work = work, .done = worked, .arg = s};
    tasks_add(s->server->bulk, &s->task);
}

Scrub *scrub_new(Server *server) {
    Scrub *s = server->config->scrub_bytes ? calloc(1, sizeof *s) : NULL;
    if (!s) return NULL;
    *s = (Scrub){.server = server, .timer = {.fire = on_timer, .arg = s}};
    store_scrub_get(server->store, &s->at, &s->started);
    if (!s->started) s->started = time_epoch_us();
    s->kept = s->at;
    arm(s, SECOND_NS);
    return s;
}

void scrub_free(Scrub *s) {
    if (!s) return;
    loop_untimer(s->server->loop, &s->timer);
    file_check_free(s->file);
    free(s);
}
