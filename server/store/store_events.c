#include "server/store/store_events.h"
#include "schema/base/time.h"
#include "server/store/store_sql.h"
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

/* The events of a row, which may begin with some that are known. False: enough. */
static bool read_row(sqlite3_stmt *s, uint64_t after, EventRow *row, void *arg) {
    StoredEvent e = {.number = (uint64_t)sqlite3_column_int64(s, 0), .kind = store_column_text(s, 1), .line = store_column_text(s, 2)};
    for (const char *end; (end = strchr(e.line, '\n')); e.line = end + 1, e.number++) {
        e.len = (size_t)(end - e.line);
        if (e.number > after && !row(arg, &e)) return false;
    }
    return true;
}

ErrCode store_run_events(Store *store, int64_t run, uint64_t after, EventRow *row, void *arg) {
    sqlite3_stmt *s = store->run_events;
    StoreStep at;
    sqlite3_bind_int64(s, 1, run);
    sqlite3_bind_int64(s, 2, (int64_t)after);
    while ((at = store_step(store, s, "events")) == STEP_ROW && read_row(s, after, row, arg)) {}
    store_finish(s);
    return at == STEP_FAILED ? ERR_internal : ERR_NONE;
}
