/* Rows of the database whose bytes were changed: none is ever read as if it were right. */
#include "server/store/store_data.h"
#include "server/store/store_runs.h"
#include "server/store/store_sums.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const Log quiet = {.level = LOG_LEVELS, .fd = 2};
static const char keys[][RUN_KEY + 1] = {"loss", "accuracy"};

typedef struct {
    char dir[64];
    Store *store;
    int64_t seq; /* of the run r-sound */
} Box;

static void add_run(Box *box, const char *id) {
    RunEvents events = {0};
    StoredRun run = {.name = (char *)"a name", .spec = (char *)"{}", .program = (char *)"sha256:1", .facts = (char *)"\"a\":1",
                     .canonical = (unsigned char *)"c", .link = (unsigned char *)"link", .canonical_len = 1, .link_len = 4, .created = 77,
                     .progress = {.reason = "", .latest = "{}", .versions = "{}", .attempts = "", .epoch = -0.0, .steps = 9, .events = 1}};
    strcpy(run.id, id);
    run_events_add(&events, 1, EVENT_STATE, "");
    assert_int_equal(store_run_add(box->store, &run, NULL, 0, NULL, &events), ERR_NONE);
    run_events_release(&events);
    box->seq = run.seq;
}

static int make(void **state) {
    char why[300] = "";
    Box *box = *state = calloc(1, sizeof *box);
    strcpy(box->dir, "/tmp/cajal-damage-XXXXXX");
    if (!mkdtemp(box->dir) || !(box->store = store_open(&(StoreSpec){.dir = box->dir, .version = "v1", .graph_bytes = 1 << 20, .log = &quiet}, why, sizeof why))) return -1;
    add_run(box, "r-other");
    add_run(box, "r-sound");
    return 0;
}

static int drop(void **state) {
    Box *box = *state;
    char command[128];
    store_close(box->store);
    snprintf(command, sizeof command, "rm -rf '%s'", box->dir);
    int code = system(command);
    free(box);
    return code;
}

/* Runs SQL behind the store's back: one row changes. */
static void meddle(const Box *box, const char *format, ...) {
    char path[128], sql[600];
    va_list args;
    sqlite3 *db;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    snprintf(path, sizeof path, "%s/cajal.db", box->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_changes(db), 1);
    sqlite3_close(db);
}

static bool count_run(void *arg, const StoredRun *run) {
    ++*(int *)arg;
    assert_string_equal(run->name, "a name");
    return true;
}

static int runs_listed(const Box *box) {
    int n = 0;
    bool more;
    assert_int_equal(store_runs(box->store, RUN_STATES, INT64_MAX, 10, count_run, &n, &more), ERR_NONE);
    return n;
}

/* Whatever of a record is changed: it is not served, alone or in a list; set right, it is again. */
static void test_records(void **state) {
    static const struct {
        const char *column, *wrong, *right;
        bool whole; /* only the whole record has it */
    } changes[] = {{"name", "'b name'", "'a name'", false}, {"program", "'sha256:0'", "'sha256:1'", false}, {"forked_from", "'r-b'", "''", false},
                   {"created", "78", "77", false}, {"state", "'done'", "'queued'", false}, {"reason", "'x'", "''", false}, {"started", "1", "0", false},
                   {"ended", "1", "0", false}, {"step", "256", "0", false}, {"steps", "8", "9", false}, {"epoch", "0.5", "0", false},
                   {"latest", "'{\"loss\":1}'", "'{}'", false}, {"versions", "'[]'", "'{}'", false}, {"attempts", "'{}'", "''", false},
                   {"events", "2", "1", false}, {"code", "'internal'", "''", false}, {"spec", "'[]'", "'{}'", true},
                   {"facts", "'\"a\":2'", "'\"a\":1'", true}, {"canonical", "x'00'", "x'63'", true}, {"link", "x'00'", "x'6c696e6b'", true}};
    Box *box = *state;
    StoredRun run;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const uint64_t before = store_damage(box->store);
        meddle(box, "UPDATE runs SET %s = %s WHERE id = 'r-sound'", changes[i].column, changes[i].wrong);
        if (store_run_get(box->store, "r-sound", &run) != ERR_damaged) fail_msg("%s may be changed", changes[i].column);
        assert_int_equal(store_run_get_aside(box->store, "r-sound", &run), ERR_damaged);
        if (!changes[i].whole) assert_int_equal(store_run_head(box->store, "r-sound", &run), ERR_damaged);
        assert_int_equal(runs_listed(box), changes[i].whole ? 2 : 1);
        assert_true(store_damage(box->store) > before);
        meddle(box, "UPDATE runs SET %s = %s WHERE id = 'r-sound'", changes[i].column, changes[i].right);
        assert_int_equal(store_run_get(box->store, "r-sound", &run), ERR_NONE);
        stored_run_release(&run);
        assert_int_equal(runs_listed(box), 2);
    }
    /* What never changes is not taken for right because the progress is written anew. */
    RunFlush flush = {.seq = box->seq, .id = "r-sound", .events = &(RunEvents){0}, .progress = {.state = RUN_DONE, .reason = "", .latest = "{}", .versions = "{}", .attempts = ""}};
    meddle(box, "UPDATE runs SET name = 'b name' WHERE id = 'r-sound'");
    assert_int_equal(store_run_flush(box->store, &flush), ERR_NONE);
    assert_int_equal(store_run_head(box->store, "r-sound", &run), ERR_damaged);
    /* It can be deleted. */
    assert_int_equal(store_run_delete(box->store, "r-sound", true), ERR_NONE);
}

/* ---- events ---- */

static void add_events(Box *box, uint64_t first, uint64_t last, RunEventKind kind) {
    RunEvents events = {0};
    for (uint64_t i = first; i <= last; i++) run_events_add(&events, i, kind, ",\"step\":1");
    RunFlush flush = {.seq = box->seq, .id = "r-sound", .events = &events,
                      .progress = {.reason = "", .latest = "{}", .versions = "{}", .attempts = "", .events = last}};
    assert_int_equal(store_run_flush(box->store, &flush), ERR_NONE);
    run_events_release(&events);
}

typedef struct {
    char text[400]; /* the events' numbers; those that stand for damaged ones in brackets */
    size_t most;
} Seen;

static bool see(void *arg, const StoredEvent *e) {
    Seen *seen = arg;
    char number[32];
    const bool gap = memmem(e->line, e->len, "\"damaged\":true", 14) != NULL;
    snprintf(number, sizeof number, gap ? "[%llu] " : "%llu ", (unsigned long long)e->number);
    strcat(seen->text, number);
    if (gap) assert_string_equal(e->kind, "log");
    return --seen->most > 0;
}

static void events_are(const Box *box, uint64_t after, const char *wanted) {
    Seen seen = {.most = 1000};
    assert_int_equal(store_run_events(box->store, box->seq, after, see, &seen), ERR_NONE);
    assert_string_equal(seen.text, wanted);
}

static void test_events(void **state) {
    Box *box = *state;
    add_events(box, 2, 3, EVENT_METRIC);
    add_events(box, 4, 6, EVENT_LOG);
    add_events(box, 7, 7, EVENT_END);
    events_are(box, 0, "1 2 3 4 5 6 7 ");
    meddle(box, "UPDATE run_events SET kind = 'metri' WHERE run = %d AND last = 3", (int)box->seq);
    events_are(box, 0, "1 [3] 4 5 6 7 ");
    events_are(box, 2, "[3] 4 5 6 7 ");
    events_are(box, 3, "4 5 6 7 ");
    meddle(box, "UPDATE run_events SET lines = replace(lines, 'step', 'stop') WHERE run = %d AND last = 6", (int)box->seq);
    events_are(box, 0, "1 [6] 7 ");
    meddle(box, "UPDATE run_events SET last = 1000000 WHERE run = %d AND last = 7", (int)box->seq);
    events_are(box, 0, "1 [7] ");
    events_are(box, 6, "[7] ");
    events_are(box, 7, "");
    meddle(box, "UPDATE run_events SET first = 2 WHERE run = %d AND last = 1", (int)box->seq);
    events_are(box, 0, "[7] ");
}

/* ---- points ---- */

static void add_points(Box *box, uint32_t key, uint64_t from, uint64_t to) {
    KeyedPoint points[2000];
    size_t n = 0;
    for (uint64_t step = from; step <= to; step++) points[n++] = (KeyedPoint){key, {step, 1 / (double)step}};
    RunFlush flush = {.seq = box->seq, .id = "r-sound", .events = &(RunEvents){0}, .keys = keys, .nkeys = 2, .points = points, .npoints = n,
                      .progress = {.reason = "", .latest = "{}", .versions = "{}", .attempts = ""}};
    assert_int_equal(store_run_flush(box->store, &flush), ERR_NONE);
}

static size_t count_points(const Box *box, const char *key, uint64_t most, bool *damaged) {
    Thinner t;
    RunPoints about;
    assert_int_equal(store_run_points(box->store, box->seq, key, 0, most, &t, &about), ERR_NONE);
    *damaged = about.damaged;
    for (size_t i = 0; i < t.n; i++) assert_true(t.points[i].value == 1 / (double)t.points[i].step);
    const size_t n = t.n;
    thin_release(&t);
    return n;
}

static void points_are(const Box *box, const char *key, size_t wanted, bool damaged) {
    bool are;
    assert_int_equal(count_points(box, key, 100000, &are), wanted);
    assert_int_equal(are, damaged);
    count_points(box, key, 4, &are); /* for which whole blocks will do */
    assert_int_equal(are, damaged);
}

static void test_points(void **state) {
    static const char *const changes[] = {"least_value = 0", "first_value = NULL", "n = n + 1", "most = most + 1", "points_sum = x'00'"};
    Box *box = *state;
    char right[200];
    bool damaged;
    add_points(box, 0, 1, 1024);
    add_points(box, 0, 1025, 1500);
    add_points(box, 1, 1, 10);
    points_are(box, "loss", 1500, false);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        meddle(box, "CREATE TABLE kept AS SELECT * FROM run_points WHERE key = 'loss' AND first = 1; UPDATE run_points SET %s WHERE key = 'loss' AND first = 1",
               changes[i]);
        points_are(box, "loss", 1500 - 1024, true);
        snprintf(right, sizeof right, "DELETE FROM run_points WHERE key = 'loss' AND first = 1; INSERT INTO run_points SELECT * FROM kept");
        meddle(box, "%s", right);
        meddle(box, "DELETE FROM kept");
        meddle(box, "DROP TABLE kept; UPDATE runs SET reason = '' WHERE id = 'r-other'");
    }
    points_are(box, "loss", 1500, false);
    /* The points themselves, when they are read. */
    meddle(box, "UPDATE run_points SET points = zeroblob(length(points)) WHERE key = 'loss' AND first = 1");
    assert_int_equal(count_points(box, "loss", 100000, &damaged), 1500 - 1024);
    assert_true(damaged);
    /* A block of one key is none of another, nor of another run. */
    meddle(box, "UPDATE run_points SET key = 'accuracy' WHERE key = 'loss' AND first = 1025");
    points_are(box, "accuracy", 10, true);
    /* What is known of a key besides its blocks. */
    meddle(box, "UPDATE run_points SET key = 'loss' WHERE key = 'accuracy' AND first = 1025");
    meddle(box, "UPDATE run_series SET n = 7 WHERE key = 'accuracy'");
    points_are(box, "accuracy", 10, true);
    add_points(box, 1, 11, 11);
    points_are(box, "accuracy", 11, false);
    /* A damaged block is not built upon. */
    meddle(box, "UPDATE run_points SET points = zeroblob(length(points)) WHERE key = 'accuracy' AND first = 1");
    add_points(box, 1, 12, 20);
    assert_int_equal(count_points(box, "accuracy", 100000, &damaged), 9);
    assert_true(damaged);
}

/* ---- graphs, contents ---- */

/* One compiled form is not taken for another. */
static void test_graphs(void **state) {
    Box *box = *state;
    Buf blob = {0};
    assert_int_equal(store_program_put(box->store, "h", "c", 1, "{\"a\":1", "text"), ERR_NONE);
    assert_int_equal(store_graph_put(box->store, "h", "1/none", "graph", 5), ERR_NONE);
    assert_true(store_graph_get(box->store, "h", "1/none", &blob));
    buf_release(&blob);
    meddle(box, "UPDATE graphs SET variant = '0/none'");
    assert_false(store_graph_get(box->store, "h", "0/none", &blob));
}

static void test_contents(void **state) {
    Box *box = *state;
    StoredContent c = {.bytes = 10, .block = 5, .sums = (unsigned char *)"0123456789abcdef0123456789abcdef", .len = 32}, got;
    assert_int_equal(store_content_get(box->store, "s", &got), ERR_not_found);
    assert_int_equal(store_content_put(box->store, "s", &c), ERR_NONE);
    assert_int_equal(store_content_get(box->store, "s", &got), ERR_NONE);
    assert_int_equal(got.bytes, 10);
    assert_int_equal(got.block, 5);
    assert_int_equal(got.len, 32);
    assert_memory_equal(got.sums, c.sums, 32);
    assert_false(got.damaged);
    stored_content_release(&got);
    assert_int_equal(store_content_mark(box->store, "s"), ERR_NONE);
    assert_int_equal(store_content_get_aside(box->store, "s", &got), ERR_NONE);
    assert_true(got.damaged);
    stored_content_release(&got);
    meddle(box, "UPDATE contents SET block = 6");
    assert_int_equal(store_content_get(box->store, "s", &got), ERR_not_found);
    assert_true(got.damaged);
    assert_int_equal(store_content_put(box->store, "s", &c), ERR_NONE);
    assert_int_equal(store_content_get(box->store, "s", &got), ERR_NONE);
    assert_false(got.damaged);
    stored_content_release(&got);
    assert_int_equal(store_content_mark(box->store, "t"), ERR_NONE);
    assert_int_equal(store_content_get(box->store, "t", &got), ERR_not_found);
    assert_true(got.damaged);
    assert_int_equal(store_content_delete(box->store, "t"), ERR_NONE);
    assert_int_equal(store_content_get(box->store, "t", &got), ERR_not_found);
    assert_false(got.damaged);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records, make, drop), cmocka_unit_test_setup_teardown(test_events, make, drop),
        cmocka_unit_test_setup_teardown(test_points, make, drop),  cmocka_unit_test_setup_teardown(test_graphs, make, drop),
        cmocka_unit_test_setup_teardown(test_contents, make, drop),
    };
    if (sodium_init() < 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
