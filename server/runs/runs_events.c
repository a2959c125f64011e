/* GET /runs/{id}/events: a run's events as they come, as Server-Sent Events or NDJSON, from any event on.
 *
 * Everything is read back from the database, so a reader sees what is committed, each event once and in order, whatever happened to it, to the
 * daemon or to the connection in between. A reader that is slow has one small buffer, and more is read when it has taken that. */
#include "server/runs/run_find.h"
#include "server/runs/scheduler.h"
#include "schema/base/time.h"
#include "server/routes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 64 * 1024, BEAT_SECONDS = 15, MOST_BEAT_SECONDS = 3600 };

typedef struct {
    Call *call;
    uint64_t after;  /* the last event read */
    bool sse;
    Buf out;
    size_t sent;
    Timer beat;
    int64_t pause;   /* nanoseconds from one heartbeat to the next */
    RunWatch watch;
} Watcher;

/* Appends it in the stream's form. */
static bool put_event(void *arg, const StoredEvent *e) {
    Watcher *w = arg;
    if (w->sse) buf_printf(&w->out, "id: %llu\nevent: %s\ndata: ", (unsigned long long)e->number, e->kind);
    buf_put(&w->out, e->line, e->len);
    buf_puts(&w->out, w->sse ? "\n\n" : "\n");
    w->after = e->number;
    return w->out.len < READ_BYTES;
}

/* False: the database does not answer. */
static bool refill(Watcher *w) {
    buf_clear(&w->out);
    w->sent = 0;
    return store_run_events(w->call->server->store, w->watch.seq, w->after, put_event, w) == ERR_NONE && !w->out.failed;
}

static ptrdiff_t read_events(void *arg, char *to, size_t room) {
    Watcher *w = arg;
    /* Asked first: what is written before a run is over is then read. */
    bool over = !scheduler_find(w->call->server->scheduler, w->call->param.text);
    if (w->sent == w->out.len && !refill(w)) return -1;
    size_t left = w->out.len - w->sent, n = left < room ? left : room;
    if (!n) return over ? -1 : 0;
    memcpy(to, w->out.data + w->sent, n);
    w->sent += n;
    return (ptrdiff_t)n;
}

/* Nothing happens: a comment, or a line that is no event of the run, so that nobody in between takes the connection for dead. */
static void on_beat(void *arg) {
    Watcher *w = arg;
    if (w->sent == w->out.len) {
        buf_clear(&w->out);
        w->sent = 0;
        buf_puts(&w->out, w->sse ? ":\n" : "{\"event\":\"heartbeat\",\"time\":");
        if (!w->sse) time_put_json(&w->out, time_epoch_us());
        buf_puts(&w->out, w->sse ? "\n" : "}\n");
        call_stream_more(w->call);
    }
    loop_timer(w->call->server->loop, &w->beat, loop_now() + w->pause);
}

static void on_closed(void *arg) {
    Watcher *w = arg;
    Server *server = w->call->server;
    scheduler_unwatch(server->scheduler, &w->watch);
    loop_untimer(server->loop, &w->beat);
    buf_release(&w->out);
    call_drop(w->call);
}

static void on_changed(void *arg) { call_stream_more(((Watcher *)arg)->call); }

static void stream(Call *call, int64_t seq, uint64_t after, int64_t pause) {
    Server *server = call->server;
    Watcher *w = call_alloc(call, 1, sizeof *w);
    if (!w) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    *w = (Watcher){.call = call, .after = after, .sse = call->form == FORM_SSE, .watch = {.seq = seq, .changed = on_changed, .arg = w},
                   .beat = {.fire = on_beat, .arg = w}, .pause = pause};
    buf_init(&w->out);
    call_keep(call);
    scheduler_watch(server->scheduler, &w->watch);
    loop_timer(server->loop, &w->beat, loop_now() + pause);
    call_answer_stream(call, form_type(call->form), &(Stream){.read = read_events, .closed = on_closed, .arg = w});
}

/* The number of the last event that the client has seen, 0 for none. False: answered. */
static bool read_after(Call *call, uint64_t *out) {
    const char *last = call->headers.last_event_id, *text = last ? last : call_query(call, "after");
    char *end;
    errno = 0;
    *out = text ? strtoull(text, &end, 10) : 0;
    if (!text || (*text >= '0' && *text <= '9' && !*end && !errno && *out <= INT64_MAX)) return true;
    call_fail(call, ERR_bad_request, "%s must be the number of an event.", last ? "Last-Event-ID" : "?after");
    return false;
}

void handle_run_events(Call *call) {
    StoredRun run;
    uint64_t after, beat;
    if (!read_after(call, &after) || !call_query_uint(call, "heartbeat", BEAT_SECONDS, 1, MOST_BEAT_SECONDS, &beat) || !run_find(call, store_run_head, &run)) return;
    const bool over = !scheduler_find(call->server->scheduler, run.id);
    /* 204 tells an EventSource not to come again. */
    if (over && call->form == FORM_SSE && after >= run.progress.events) call_answer(call, 204, NULL, &(Buf){0});
    else stream(call, run.seq, after, (int64_t)beat * 1000000000);
    stored_run_release(&run);
}
