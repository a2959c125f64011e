/* A run that never ends: what the database keeps of its metrics and events is bounded, and is the same however it came. */
#include "server/store/store_purge.h"
#include "server/store/store_runs.h"
#include <math.h>
#include <setjmp.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static const Log quiet = {.level = LOG_LEVELS, .fd = 2};
static const char keys[2][RUN_KEY + 1] = {"loss", "rare"};
static const uint64_t share = LIMIT_RUN_POINTS / 8;

typedef struct {
    char dir[64];
    Store *store;
    sqlite3 *beside; /* another connection */
    uint64_t events;
} Box;

static Store *open_box(const Box *box, char *why, size_t room) {
    return store_open(&(StoreSpec){.dir = box->dir, .version = "v1", .graph_bytes = 1 << 20, .log = &quiet}, why, room);
}

static int make(void **state) {
    Box *box = calloc(1, sizeof *box);
    char why[300] = "", path[100];
    strcpy(box->dir, "/tmp/cajal-growth-XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(box->dir)) return -1;
    box->store = open_box(box, why, sizeof why);
    snprintf(path, sizeof path, "%s/cajal.db", box->dir);
    *state = box;
    if (!box->store || sqlite3_open(path, &box->beside) != SQLITE_OK) return -1;
    return sqlite3_exec(box->beside, "INSERT INTO runs (seq, id, name, spec, program, canonical, facts, link, forked_from, checksum, created, state, reason,"
                                     " started, ended, step, steps, epoch, latest, versions, attempts, events) VALUES (1, 'r', 'n', '{}', 'h', x'00', '', x'00',"
                                     " '', x'00', 1, 'running', '', 1, 0, 3, 4, 0.5, '{}', '{}', '', 0), (2, 'q', 'n', '{}', 'h', x'00', '', x'00', '', x'00', 1,"
                                     " 'running', '', 1, 0, 3, 4, 0.5, '{}', '{}', '', 0)", NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static int drop(void **state) {
    Box *box = *state;
    char command[128];
    sqlite3_close(box->beside);
    store_close(box->store);
    snprintf(command, sizeof command, "rm -rf '%s'", box->dir);
    int code = system(command);
    free(box);
    return code;
}

static int64_t number(const Box *box, const char *sql) {
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(box->beside, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    const int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

static void flush(const Box *box, RunFlush *f) {
    RunEvents none = {0};
    f->id = "r";
    f->keys = keys;
    f->nkeys = 2;
    if (!f->events) f->events = &none;
    f->progress = (RunProgress){.reason = "", .latest = "{}", .versions = "{}", .attempts = "", .events = box->events};
    assert_int_equal(store_run_flush(box->store, f), ERR_NONE);
}

/* ---- points ---- */

enum { PEAK = 777777, PIT = 111111 };

/* A step's loss: a wave with a peak and a pit of one step each. */
static double loss_at(uint64_t step) { return step == PEAK ? 1e6 : step == PIT ? -1e6 : sin((double)step * 1e-3) + (double)(step % 7); }

/* Steps `from` to `to`, of which every hundredth has a rare value, too, in writes of `size`. */
static void train(const Box *box, int64_t run, uint64_t from, uint64_t to, size_t size) {
    KeyedPoint *points = malloc(2 * size * sizeof *points);
    assert_non_null(points);
    for (uint64_t step = from; step <= to;) {
        size_t n = 0;
        for (size_t i = 0; i < size && step <= to; i++, step++) {
            points[n++] = (KeyedPoint){0, {step, loss_at(step)}};
            if (step % 100 == 0) points[n++] = (KeyedPoint){1, {step, (double)step}};
        }
        flush(box, &(RunFlush){.seq = run, .points = points, .npoints = n});
    }
    free(points);
}

static void read_points(const Box *box, int64_t run, const char *key, uint64_t most, Thinner *out, uint64_t stride) {
    RunPoints about;
    assert_int_equal(store_run_points(box->store, run, key, 0, most, out, &about), ERR_NONE);
    assert_int_equal(about.stride, stride);
    assert_false(about.damaged);
}

static void check_ascending(const Thinner *t) {
    for (size_t i = 1; i < t->n; i++) assert_true(t->points[i].step > t->points[i - 1].step);
}

static void test_points_are_bounded(void **state) {
    enum { STEPS = 1500000 };
    Box *box = *state;
    Thinner t;
    train(box, 1, 1, STEPS, 7919);
    const int64_t kept = number(box, "SELECT sum(n) FROM run_points WHERE run = 1 AND key = 'loss'");
    assert_in_range(kept, share / 2 - 2, share);
    assert_int_equal(number(box, "SELECT sum(length(points)) / 16 FROM run_points WHERE run = 1 AND key = 'loss'"), kept);
    assert_int_equal(number(box, "SELECT n FROM run_series WHERE run = 1 AND key = 'loss'"), kept);
    read_points(box, 1, "loss", 2 * share, &t, 4);
    check_ascending(&t);
    bool peak = false, pit = false;
    for (size_t i = 0; i < t.n; i++) {
        assert_true(t.points[i].value == loss_at(t.points[i].step));
        peak |= t.points[i].step == PEAK;
        pit |= t.points[i].step == PIT;
    }
    assert_true(peak);
    assert_true(pit);
    assert_in_range(t.points[0].step, 1, 8);
    assert_int_equal(t.points[t.n - 1].step, STEPS);
    thin_release(&t);
    read_points(box, 1, "loss", 100, &t, 4);
    assert_in_range(t.n, 50, 100);
    check_ascending(&t);
    thin_release(&t);
    read_points(box, 1, "rare", 2 * share, &t, 1);
    assert_int_equal(t.n, STEPS / 100);
    thin_release(&t);
}

static void test_points_do_not_depend_on_writes(void **state) {
    Box *box = *state;
    train(box, 1, 1, 1200000, 50021);
    train(box, 2, 1, 1200000, 1013);
    assert_int_equal(number(box, "SELECT count(*) FROM run_points WHERE run = 1"), number(box, "SELECT count(*) FROM run_points WHERE run = 2"));
    assert_int_equal(number(box, "SELECT count(*) FROM run_points a JOIN run_points b ON a.key = b.key AND a.first = b.first AND a.points <> b.points"), 0);
    assert_int_equal(number(box, "SELECT count(*) FROM run_points a JOIN run_points b ON a.run = 1 AND b.run = 2 AND a.key = b.key AND a.points = b.points"),
                     number(box, "SELECT count(*) FROM run_points WHERE run = 1"));
    assert_int_equal(number(box, "SELECT count(DISTINCT hex(bucket)) FROM run_series WHERE key = 'loss'"), 1);
}

/* A run that goes on from an earlier step has nothing beyond it, and goes on with as many points. */
static void test_points_are_dropped(void **state) {
    Box *box = *state;
    Thinner t;
    train(box, 1, 1, 700000, 5000);
    flush(box, &(RunFlush){.seq = 1, .drop = true, .drop_after = 600001});
    read_points(box, 1, "loss", 2 * share, &t, 2);
    assert_true(t.points[t.n - 1].step <= 600001 && t.points[t.n - 1].step > 599990);
    assert_int_equal(number(box, "SELECT n FROM run_series WHERE run = 1 AND key = 'loss'"), number(box, "SELECT sum(n) FROM run_points WHERE run = 1 AND key = 'loss'"));
    thin_release(&t);
    train(box, 1, 600002, 1500000, 5000);
    read_points(box, 1, "loss", 2 * share, &t, 4);
    check_ascending(&t);
    assert_in_range(t.n, share / 2 - 2, share + 3);
    thin_release(&t);
    flush(box, &(RunFlush){.seq = 1, .drop = true, .drop_after = 0});
    read_points(box, 1, "loss", 2 * share, &t, 1);
    assert_int_equal(t.n, 0);
}

/* With many keys each has a smaller share. */
static void test_all_keys_together(void **state) {
    Box *box = *state;
    enum { POINTS = 20000 };
    char many[LIMIT_RUN_KEYS][RUN_KEY + 1];
    static KeyedPoint points[LIMIT_RUN_KEYS * POINTS];
    RunEvents none = {0};
    for (uint32_t k = 0; k < LIMIT_RUN_KEYS; k++) snprintf(many[k], sizeof many[k], "k%u", k);
    for (uint64_t from = 0; from < 6; from++) {
        size_t n = 0;
        for (uint64_t i = 0; i < POINTS; i++)
            for (uint32_t k = 0; k < LIMIT_RUN_KEYS; k++) points[n++] = (KeyedPoint){k, {from * POINTS + i + 1, (double)i}};
        RunFlush f = {.seq = 1, .id = "r", .keys = (const char(*)[RUN_KEY + 1])many, .nkeys = LIMIT_RUN_KEYS, .points = points, .npoints = n, .events = &none,
                      .progress = {.reason = "", .latest = "{}", .versions = "{}", .attempts = ""}};
        assert_int_equal(store_run_flush(box->store, &f), ERR_NONE);
    }
    assert_in_range(number(box, "SELECT sum(n) FROM run_points"), LIMIT_RUN_POINTS / 2, LIMIT_RUN_POINTS);
}

/* ---- events ---- */

static void say(Box *box, RunEventKind kind, size_t n, size_t len) {
    RunEvents events = {0};
    char members[1000];
    snprintf(members, sizeof members, ",\"text\":\"%0*d\"", (int)len, 0);
    for (size_t i = 0; i < n; i++) run_events_add(&events, ++box->events, kind, members);
    flush(box, &(RunFlush){.seq = 1, .events = &events});
    run_events_release(&events);
}

typedef struct {
    uint64_t last, gaps, missing, states, logs, metrics;
    uint64_t first_gap; /* where it ends */
} Read;

static bool see(void *arg, const StoredEvent *e) {
    Read *r = arg;
    const bool gap = strcmp(e->kind, "gap") == 0;
    char begin[64];
    if (gap) {
        snprintf(begin, sizeof begin, ",\"from\":%llu,\"to\":%llu}", (unsigned long long)r->last + 1, (unsigned long long)e->number);
        assert_non_null(strstr(e->line, begin));
        if (!r->gaps++) r->first_gap = e->number;
        r->missing += e->number - r->last;
    } else {
        assert_int_equal(e->number, r->last + 1);
    }
    snprintf(begin, sizeof begin, "{\"seq\":%llu,\"event\":\"%s\",\"time\":\"", (unsigned long long)e->number, e->kind);
    assert_memory_equal(e->line, begin, strlen(begin));
    r->last = e->number;
    r->states += strcmp(e->kind, "state") == 0;
    r->logs += strcmp(e->kind, "log") == 0;
    r->metrics += strcmp(e->kind, "metric") == 0;
    return true;
}

static Read read_events(const Box *box, uint64_t after) {
    Read r = {.last = after};
    assert_int_equal(store_run_events(box->store, 1, after, see, &r), ERR_NONE);
    assert_int_equal(r.last, after > box->events ? after : box->events);
    return r;
}

static void check_bounds(const Box *box) {
    assert_true(number(box, "SELECT sum(length(CAST(lines AS BLOB))) FROM run_events") <= (int64_t)LIMIT_RUN_EVENT_BYTES);
    assert_true(number(box, "SELECT count(*) FROM run_events") <= (int64_t)LIMIT_RUN_EVENT_ROWS);
    assert_int_equal(number(box, "SELECT event_rows FROM runs WHERE seq = 1"), number(box, "SELECT count(*) FROM run_events"));
    assert_int_equal(number(box, "SELECT event_bytes FROM runs WHERE seq = 1"), number(box, "SELECT sum(length(CAST(lines AS BLOB))) FROM run_events"));
}

/* The oldest metrics go; states and what was logged stay, and whoever reads is told what is missing. */
static void test_events_are_bounded(void **state) {
    Box *box = *state;
    for (int i = 0; i < 200; i++) {
        say(box, EVENT_STATE, 1, 10);
        say(box, EVENT_METRIC, 900, 200);
        say(box, EVENT_LOG, 1, 100);
    }
    check_bounds(box);
    const Read all = read_events(box, 0), behind = read_events(box, all.first_gap), within = read_events(box, all.first_gap - 3);
    assert_int_equal(all.states, 200);
    assert_int_equal(all.logs, 200);
    assert_true(all.gaps > 10 && all.missing + all.metrics == 200 * 900);
    assert_true(all.metrics > 20000);
    assert_int_equal(behind.gaps, all.gaps - 1);
    assert_int_equal(within.gaps, all.gaps);
    assert_int_equal(read_events(box, box->events).gaps, 0);
}

/* Whatever the kind; many small writes as few large ones. */
static void test_all_events_are_bounded(void **state) {
    Box *box = *state;
    for (int i = 0; i < 60; i++) say(box, EVENT_LOG, 900, 600);
    check_bounds(box);
    assert_true(read_events(box, 0).gaps == 1);
    for (int i = 0; i < 60; i++) say(box, EVENT_STATE, 900, 600);
    check_bounds(box);
    assert_int_equal(number(box, "SELECT count(*) FROM run_events WHERE kind = 'log'"), 0);
    /* Small ones. */
    assert_int_equal(sqlite3_exec(box->beside, "DELETE FROM run_events; UPDATE runs SET event_rows = 0, event_bytes = 0;"
                                               " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 65536)"
                                               " INSERT INTO run_events (run, first, last, kind, lines) SELECT 1, i, i, 'metric', 'x' FROM n;"
                                               " UPDATE runs SET event_rows = 65536, event_bytes = 65536 WHERE seq = 1", NULL, NULL, NULL), SQLITE_OK);
    say(box, EVENT_METRIC, 1, 10);
    check_bounds(box);
    assert_in_range(number(box, "SELECT count(*) FROM run_events"), LIMIT_RUN_EVENT_ROWS / 4, LIMIT_RUN_EVENT_ROWS * 3 / 4);
}

/* ---- deletion ---- */

static int64_t file_size(const Box *box, const char *name) {
    char path[100];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", box->dir, name);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static void no_run(void *arg, const char *id) {
    (void)arg;
    fail_msg("the run %s is still there", id);
}

static void one_run(void *arg, const char *id) {
    assert_string_equal(id, "r");
    ++*(int *)arg;
}

static bool is_q(void *arg, const StoredRun *run) {
    assert_string_equal(run->id, "q");
    return arg == NULL;
}

static void check_gone(const Box *box) {
    StoredRun run;
    RunCheckpoint c;
    bool more;
    assert_int_equal(store_run_head(box->store, "r", &run), ERR_not_found);
    assert_int_equal(store_run_exists(box->store, "r"), ERR_not_found);
    assert_int_equal(store_run_delete(box->store, "r", false), ERR_not_found);
    assert_int_equal(store_run_checkpoint(box->store, "r", false, 0, &c), ERR_not_found);
    assert_int_equal(store_runs(box->store, RUN_STATES, INT64_MAX, 10, is_q, NULL, &more), ERR_NONE);
}

/* A run of 100 MB goes at once for everybody, its rows in pieces: the file never grows for it, what is written beside it stays small, a restart in the
 * middle changes nothing, and the space returns. */
static void test_deletion_returns_space(void **state) {
    Box *box = *state;
    int ids = 0;
    bool more = true;
    char why[300] = "";
    assert_int_equal(sqlite3_exec(box->beside, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
                                               " INSERT INTO run_points (run, key, first, last, least, most, n, points_sum, head_sum, points)"
                                               " SELECT 1 + (i > 2900), 'loss', i, i, i, i, 1, x'', x'', zeroblob(16384) FROM n;"
                                               "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
                                               " INSERT INTO run_events (run, first, last, kind, lines) SELECT 1, i, i, 'log', hex(zeroblob(16384)) FROM n;"
                                               "UPDATE runs SET state = 'done'; PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL), SQLITE_OK);
    const int64_t full = file_size(box, "cajal.db");
    assert_true(full > 90 << 20);
    assert_int_equal(store_run_delete(box->store, "r", false), ERR_NONE);
    check_gone(box);
    for (int i = 0; i < 5; i++) assert_int_equal(store_purge(box->store, &more), ERR_NONE);
    assert_true(more);
    store_close(box->store);
    box->store = open_box(box, why, sizeof why);
    assert_non_null(box->store);
    check_gone(box);
    assert_int_equal(store_purge_runs(box->store, one_run, &ids), ERR_NONE);
    assert_int_equal(ids, 1);
    int pieces = 0;
    for (; more; pieces++) {
        assert_int_equal(store_purge(box->store, &more), ERR_NONE);
        assert_true(file_size(box, "cajal.db") <= full);
        assert_true(file_size(box, "cajal.db-wal") < 20 << 20);
    }
    assert_in_range(pieces, 20, 400);
    assert_int_equal(store_purge_runs(box->store, no_run, NULL), ERR_NONE);
    assert_true(file_size(box, "cajal.db") < 3 << 20);
    assert_int_equal(number(box, "SELECT count(*) FROM run_points"), 100);
    assert_int_equal(store_purge(box->store, &more), ERR_NONE);
    assert_false(more);
}

/* A file of an earlier version is made anew, once. */
static void test_older_files_are_made_anew(void **state) {
    Box *box = *state;
    char why[300] = "";
    store_close(box->store);
    assert_int_equal(sqlite3_exec(box->beside, "PRAGMA auto_vacuum = NONE; VACUUM; INSERT INTO run_points (run, key, first, last, least, most, n, points_sum,"
                                               " head_sum, points) VALUES (1, 'loss', 1, 1, 1, 1, 1, x'', x'', zeroblob(10000000)); DELETE FROM run_points;"
                                               " PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(number(box, "PRAGMA auto_vacuum"), 0);
    assert_true(file_size(box, "cajal.db") > 10000000);
    sqlite3_close(box->beside);
    box->store = open_box(box, why, sizeof why);
    assert_non_null(box->store);
    char path[100];
    snprintf(path, sizeof path, "%s/cajal.db", box->dir);
    assert_int_equal(sqlite3_open(path, &box->beside), SQLITE_OK);
    assert_int_equal(number(box, "PRAGMA auto_vacuum"), 2);
    assert_int_equal(number(box, "SELECT count(*) FROM runs"), 2);
    assert_true(file_size(box, "cajal.db") < 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_points_are_bounded, make, drop),
        cmocka_unit_test_setup_teardown(test_points_do_not_depend_on_writes, make, drop),
        cmocka_unit_test_setup_teardown(test_points_are_dropped, make, drop),
        cmocka_unit_test_setup_teardown(test_all_keys_together, make, drop),
        cmocka_unit_test_setup_teardown(test_events_are_bounded, make, drop),
        cmocka_unit_test_setup_teardown(test_all_events_are_bounded, make, drop),
        cmocka_unit_test_setup_teardown(test_deletion_returns_space, make, drop),
        cmocka_unit_test_setup_teardown(test_older_files_are_made_anew, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
