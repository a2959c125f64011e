#include "server/store/store_events.h"
#include "schema/base/time.h"
#include "schema/limits.h"
#include "server/store/store_sql.h"
#include <stdio.h>
#include <string.h>

enum { ROW_BYTES = 32 * 1024, EVENTS_RANKS = 2 };

static const char *const kinds[] = {
    [EVENT_STATE] = "state", [EVENT_METRIC] = "metric", [EVENT_LOG] = "log", [EVENT_CHECKPOINT] = "checkpoint", [EVENT_END] = "end"};

typedef struct {
    RunEventKind kind;
    size_t end; /* of its line */
} RunEvent;

static void put_begin(Buf *out, uint64_t number, const char *kind) {
    buf_printf(out, "{\"seq\":%llu,\"event\":\"%s\",\"time\":", (unsigned long long)number, kind);
    time_put_json(out, time_epoch_us());
}

void run_events_add(RunEvents *events, uint64_t number, RunEventKind kind, const char *members) {
    Buf *out = &events->lines;
    if (!events->items.len) events->first = number;
    put_begin(out, number, kinds[kind]);
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

/* ---- what is kept ---- */

typedef struct {
    uint64_t rows, bytes;
} EventsTake;

/* What a run's events take, by the statement; it is finished. */
static ErrCode read_take(Store *store, sqlite3_stmt *s, EventsTake *out) {
    StoreStep at = store_step(store, s, "events");
    *out = (EventsTake){0};
    if (at == STEP_ROW) *out = (EventsTake){(uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1)};
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}

static ErrCode set_take(Store *store, int64_t run, const EventsTake *take) {
    sqlite3_stmt *s = store->set_take;
    sqlite3_bind_int64(s, 1, run);
    sqlite3_bind_int64(s, 2, (int64_t)take->rows);
    sqlite3_bind_int64(s, 3, (int64_t)take->bytes);
    return store_outcome(store, s, "events");
}

/* Of the older half of the rows those of kinds up to `rank` go. Kinds are the more telling the higher their rank is. */
static ErrCode drop_older(Store *store, int64_t run, int rank, EventsTake *take) {
    sqlite3_bind_int64(store->drop_events, 1, run);
    sqlite3_bind_int64(store->drop_events, 2, (int64_t)take->rows / 2);
    sqlite3_bind_int(store->drop_events, 3, rank);
    ErrCode code = store_outcome(store, store->drop_events, "events");
    if (code) return code;
    sqlite3_bind_int64(store->events_take, 1, run);
    return read_take(store, store->events_take, take);
}

static bool is_much(const EventsTake *take, uint64_t parts) {
    return take->rows > LIMIT_RUN_EVENT_ROWS / 4 * parts || take->bytes > LIMIT_RUN_EVENT_BYTES / 4 * parts;
}

/* What was to be is written in `rows` rows of `bytes`: if all is more than the bound by now, as much goes as leaves room for a while. */
static ErrCode keep_bounds(Store *store, int64_t run, const EventsTake *more) {
    EventsTake take;
    sqlite3_bind_int64(store->run_take, 1, run);
    ErrCode code = read_take(store, store->run_take, &take);
    take.rows += more->rows;
    take.bytes += more->bytes;
    if (is_much(&take, 4))
        for (int rank = 0; rank <= EVENTS_RANKS && !code && is_much(&take, 3); rank++) code = drop_older(store, run, rank, &take);
    return code ? code : set_take(store, run, &take);
}

ErrCode store_events_put(Store *store, int64_t run, const RunEvents *events) {
    const size_t n = events->items.len / sizeof(RunEvent);
    EventsTake more = {.bytes = events->lines.len};
    ErrCode code = ERR_NONE;
    for (size_t at = 0, to; at < n && !code; at = to, more.rows++) {
        to = row_end(events, at);
        code = put_row(store, run, events, at, to);
    }
    return code || !n ? code : keep_bounds(store, run, &more);
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

/* Instead of those from the one behind `at` to `last`, which are damaged or have gone. False: enough. */
static bool tell_gap(Reading *r, uint64_t last) {
    const unsigned long long from = r->at + 1, to = last;
    const char *kind = r->damaged ? kinds[EVENT_LOG] : "gap";
    Buf line;
    buf_init(&line);
    put_begin(&line, last, kind);
    if (r->damaged) buf_printf(&line, ",\"damaged\":true,\"text\":\"The events %llu to %llu are damaged in the database, and left out.\"}", from, to);
    else buf_printf(&line, ",\"from\":%llu,\"to\":%llu}", from, to);
    r->at = last;
    r->damaged = false;
    const bool more = !line.failed && r->row(r->arg, &(StoredEvent){last, kind, (const char *)line.data, line.len});
    buf_release(&line);
    return more;
}

/* The events of a row, which may begin with some that are known. False: enough. */
static bool read_row(sqlite3_stmt *s, Reading *r) {
    StoredEvent e = {.number = (uint64_t)sqlite3_column_int64(s, 0), .kind = store_column_text(s, 1), .line = store_column_text(s, 2)};
    if (e.number > r->at + 1 && !tell_gap(r, e.number - 1)) return false;
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
