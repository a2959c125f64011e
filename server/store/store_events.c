#include "server/store/store_events.h"
#include "schema/base/time.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <string.h>

enum { ROW_BYTES = 32 * 1024 };

static const char *const kinds[] = {
    [EVENT_STATE] = "state", [EVENT_METRIC] = "metric", [EVENT_LOG] = "log", [EVENT_CHECKPOINT] = "checkpoint", [EVENT_END] = "end"};

typedef struct {
    RunEventKind kind;
    size_t end; /* of its line */
} RunEvent;

void run_events_add(RunEvents *events, uint64_t number, RunEventKind kind, const char *members) {
    Buf *out = &events->lines;
    if (!events->items.len) events->first = number;
    buf_printf(out, "{\"seq\":%llu,\"event\":\"%s\",\"time\":", (unsigned long long)number, kinds[kind]);
    time_put_json(out, time_epoch_us());
    buf_puts(out, members);
    buf_puts(out, "}\n");
    buf_put(&events->items, &(RunEvent){kind, out->len}, sizeof(RunEvent));
}

bool run_events_failed(const RunEvents *events) { return events->lines.failed || events->items.failed; }

void run_events_release(RunEvents *events) {
    buf_release(&events->lines);
    buf_release(&events->items);
}

/* ---- writing ---- */

static ErrCode put_row(Store *store, int64_t run, const RunEvents *events, size_t from, size_t to) {
    const RunEvent *items = (const RunEvent *)events->items.data;
    const size_t begin = from ? items[from - 1].end : 0;
    sqlite3_stmt *s = store->put_events;
    sqlite3_bind_int64(s, 1, run);
    sqlite3_bind_int64(s, 2, (int64_t)(events->first + from));
    sqlite3_bind_int64(s, 3, (int64_t)(events->first + to - 1));
    store_bind_text(s, 4, kinds[items[from].kind]);
    sqlite3_bind_text64(s, 5, (const char *)events->lines.data + begin, items[to - 1].end - begin, SQLITE_STATIC, SQLITE_UTF8);
    return store_outcome(store, s, "events");
}

/* Behind the last event that goes into a row with event `from`: of its kind, and ROW_BYTES together unless it is longer by itself. */
static size_t row_end(const RunEvents *events, size_t from) {
    const RunEvent *items = (const RunEvent *)events->items.data;
    const size_t n = events->items.len / sizeof *items, begin = from ? items[from - 1].end : 0;
    size_t to = from + 1;
    while (to < n && items[to].kind == items[from].kind && items[to].end - begin <= ROW_BYTES) to++;
    return to;
}

ErrCode store_events_put(Store *store, int64_t run, const RunEvents *events) {
    const size_t n = events->items.len / sizeof(RunEvent);
    ErrCode code = ERR_NONE;
    for (size_t at = 0, to; at < n && !code; at = to) {
        to = row_end(events, at);
        code = put_row(store, run, events, at, to);
    }
    return code;
}

/* ---- reading ---- */

typedef struct {
    Store *store;
    int64_t run;
    uint64_t at;  /* the last event that was passed on, or left out */
    bool damaged; /* a row behind it is */
    EventRow *row;
    void *arg;
} Reading;

/* Instead of those from the one behind `at` to `last`. False: enough. */
static bool tell_gap(Reading *r, uint64_t last) {
    const unsigned long long from = r->at + 1, to = last;
    Buf line;
    buf_init(&line);
    buf_printf(&line, "{\"seq\":%llu,\"event\":\"%s\",\"time\":", to, kinds[EVENT_LOG]);
    time_put_json(&line, time_epoch_us());
    buf_printf(&line, ",\"damaged\":true,\"text\":\"The events %llu to %llu are damaged in the database, and left out.\"}", from, to);
    r->at = last;
    r->damaged = false;
    const bool more = !line.failed && r->row(r->arg, &(StoredEvent){last, kinds[EVENT_LOG], (const char *)line.data, line.len});
    buf_release(&line);
    return more;
}

/* The events of a row, which may begin with some that are known. False: enough. */
static bool read_row(sqlite3_stmt *s, Reading *r) {
    StoredEvent e = {.number = (uint64_t)sqlite3_column_int64(s, 0), .kind = store_column_text(s, 1), .line = store_column_text(s, 2)};
    if (r->damaged && e.number > r->at + 1 && !tell_gap(r, e.number - 1)) return false;
    r->damaged = false;
    for (const char *end; (end = strchr(e.line, '\n')); e.line = end + 1, e.number++) {
        e.len = (size_t)(end - e.line);
        if (e.number <= r->at) continue;
        r->at = e.number;
        if (!r->row(r->arg, &e)) return false;
    }
    return true;
}

/* After the last row: how many events there are the run knows. */
static void read_end(Reading *r) {
    sqlite3_stmt *s = r->store->events_known;
    sqlite3_bind_int64(s, 1, r->run);
    const uint64_t last = store_step(r->store, s, "run") == STEP_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    store_finish(s);
    if (last > r->at) tell_gap(r, last);
}

ErrCode store_run_events(Store *store, int64_t run, uint64_t after, EventRow *row, void *arg) {
    sqlite3_stmt *s = store->run_events;
    Reading r = {.store = store, .run = run, .at = after, .row = row, .arg = arg};
    StoreStep at = STEP_END;
    bool more = true;
    char which[32];
    snprintf(which, sizeof which, "%lld", (long long)run);
    sqlite3_bind_int64(s, 1, run);
    sqlite3_bind_int64(s, 2, (int64_t)after);
    while (more && (at = store_step(store, s, "events")) == STEP_ROW) {
        if (store_intact(store, s, 3, "events", which)) more = read_row(s, &r);
        else r.damaged = true;
    }
    store_finish(s);
    if (more && r.damaged) read_end(&r);
    return more && at == STEP_FAILED ? ERR_internal : ERR_NONE;
}
