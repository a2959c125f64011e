/* The database: what is put comes back; what is damaged, outdated or evicted does not. */
#include "compiler/language/canon.h"
#include "server/embedded.h"
#include "server/store/store_runs.h"
#include "server/store/store_sums.h"
#include "tests/support/spoil.h"
#include <setjmp.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROOM = 4000, WHY = 600 };
static const Log quiet = {.level = LOG_LEVELS, .fd = 2};

typedef struct {
    char dir[64];
    Store *store;
} Box;

static Store *open_at(const char *dir, const char *version, uint64_t bytes) {
    char why[WHY] = "";
    Store *store = store_open(&(StoreSpec){.dir = dir, .version = version, .graph_bytes = bytes, .log = &quiet}, why, sizeof why);
    if (!store) print_message("%s\n", why);
    return store;
}

static Store *try_open(const char *dir, char why[WHY]) {
    return store_open(&(StoreSpec){.dir = dir, .version = "v1", .graph_bytes = ROOM, .log = &quiet}, why, WHY);
}

static int make(void **state) {
    Box *box = calloc(1, sizeof *box);
    strcpy(box->dir, "/tmp/cajal-store-XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(box->dir)) return -1;
    box->store = open_at(box->dir, "v1", 10 * ROOM);
    *state = box;
    return box->store ? 0 : -1;
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

static void reopen(Box *box, const char *version) {
    store_close(box->store);
    box->store = open_at(box->dir, version, 10 * ROOM);
    assert_non_null(box->store);
}

/* Runs SQL behind the store's back; the rows that the last statement changed. */
static int meddle_all(const Box *box, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/cajal.db", box->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_true(store_sums_register(db));
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    const int changes = sqlite3_changes(db);
    sqlite3_close(db);
    return changes;
}

static void meddle(const Box *box, const char *sql) { assert_true(meddle_all(box, sql) > 0 || strncmp(sql, "PRAGMA", 6) == 0); }

static void put_program(Store *store, const char *canonical, char hash[CANON_HASH_TEXT]) {
    char record[100];
    canon_hash((const unsigned char *)canonical, strlen(canonical), hash);
    snprintf(record, sizeof record, "{\"program\":\"%s\"", hash);
    assert_int_equal(store_program_put(store, hash, canonical, strlen(canonical), record, "a text"), ERR_NONE);
}

static void test_program_comes_back(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT];
    StoredProgram p;
    put_program(box->store, "some bytes", hash);
    reopen(box, "v1");
    assert_true(store_program_get(box->store, hash, &p));
    assert_int_equal(p.canonical_len, 10);
    assert_memory_equal(p.canonical, "some bytes", 10);
    assert_non_null(strstr(p.record, hash));
    assert_string_equal(p.text, "a text");
    stored_program_release(&p);
    assert_false(store_program_get(box->store, "sha256:0", &p));
    assert_true(store_healthy(box->store));
}

static void test_outdated_record_is_not_used(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT];
    StoredProgram p;
    Buf blob = {0};
    put_program(box->store, "some bytes", hash);
    assert_int_equal(store_graph_put(box->store, hash, "*/none", "graph", 5), ERR_NONE);
    reopen(box, "v2");
    assert_true(store_program_get(box->store, hash, &p));
    assert_null(p.record);
    assert_string_equal(p.text, "a text");
    stored_program_release(&p);
    assert_false(store_graph_get(box->store, hash, "*/none", &blob));
}

static void test_damage_is_found(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT];
    StoredProgram p;
    Buf blob = {0};
    put_program(box->store, "some bytes", hash);
    assert_int_equal(store_graph_put(box->store, hash, "*/none", "graph", 5), ERR_NONE);
    assert_true(store_graph_get(box->store, hash, "*/none", &blob));
    assert_int_equal(blob.len, 5);
    buf_release(&blob);
    meddle(box, "UPDATE graphs SET blob = x'67726170FF'");
    assert_false(store_graph_get(box->store, hash, "*/none", &blob));
    meddle(box, "UPDATE programs SET record = '{'");
    assert_true(store_program_get(box->store, hash, &p));
    assert_null(p.record);
    stored_program_release(&p);
    meddle(box, "UPDATE programs SET canonical = x'00'");
    assert_false(store_program_get(box->store, hash, &p));
    /* Putting it again mends it. */
    put_program(box->store, "some bytes", hash);
    assert_true(store_program_get(box->store, hash, &p));
    assert_non_null(p.record);
    stored_program_release(&p);
}

static void test_eviction_takes_the_least_recently_used(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT], variant[24], blob[ROOM] = "";
    Buf out = {0};
    put_program(box->store, "some bytes", hash);
    for (int i = 0; i < 10; i++) {
        snprintf(variant, sizeof variant, "%d/none", i);
        assert_int_equal(store_graph_put(box->store, hash, variant, blob, sizeof blob), ERR_NONE);
        usleep(2);
    }
    assert_int_equal(store_touch(box->store, hash, "0/none"), ERR_NONE);
    assert_int_equal(store_graph_put(box->store, hash, "10/none", blob, sizeof blob), ERR_NONE);
    assert_true(store_graph_get(box->store, hash, "0/none", &out));
    assert_false(store_graph_get(box->store, hash, "1/none", &out));
    assert_true(store_graph_get(box->store, hash, "2/none", &out));
    assert_true(store_graph_get(box->store, hash, "10/none", &out));
    buf_release(&out);
    StoredProgram p;
    assert_true(store_program_get(box->store, hash, &p));
    stored_program_release(&p);
    /* Pinned ones stay, even over the limit. */
    meddle(box, "UPDATE programs SET pinned = 1");
    assert_int_equal(store_graph_put(box->store, hash, "11/none", blob, sizeof blob), ERR_NONE);
    assert_true(store_graph_get(box->store, hash, "2/none", &out));
    buf_release(&out);
}

static bool count_row(void *arg, const char *record, size_t len) {
    assert_true(len > 10 && record[0] == '{');
    return ++*(int *)arg > 0;
}

static void test_pages_cover_everything_once(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT], canonical[32];
    for (int i = 0; i < 23; i++) {
        snprintf(canonical, sizeof canonical, "program %d", i);
        put_program(box->store, canonical, hash);
    }
    StorePlace after = {0}, last = {0};
    int rows = 0, pages = 0;
    do {
        assert_int_equal(store_programs(box->store, &after, 5, count_row, &rows, &last), ERR_NONE);
        if (pages++ == 0) assert_true(last.created > 0);
        after = last;
    } while (*last.key);
    assert_int_equal(rows, 23);
    assert_int_equal(pages, 5);
    after = (StorePlace){0};
    rows = -1000; /* count_row says no at once */
    assert_int_equal(store_programs(box->store, &after, 23, count_row, &rows, &last), ERR_NONE);
    assert_int_equal(rows, -999);
    assert_true(*last.key);
    rows = 0;
    assert_int_equal(store_programs(box->store, &after, 23, count_row, &rows, &last), ERR_NONE);
    assert_int_equal(rows, 23);
    assert_string_equal(last.key, "");
}

static void test_delete_takes_the_graphs_along(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT];
    Buf blob = {0};
    StoredProgram p;
    put_program(box->store, "some bytes", hash);
    assert_int_equal(store_graph_put(box->store, hash, "*/none", "graph", 5), ERR_NONE);
    assert_int_equal(store_program_delete(box->store, hash), ERR_NONE);
    assert_int_equal(store_program_delete(box->store, hash), ERR_not_found);
    assert_false(store_program_get(box->store, hash, &p));
    assert_false(store_graph_get(box->store, hash, "*/none", &blob));
}

static void test_a_later_schema_is_refused(void **state) {
    Box *box = *state;
    char why[WHY] = "";
    meddle(box, "PRAGMA user_version = 1000");
    store_close(box->store);
    box->store = NULL;
    assert_null(try_open(box->dir, why));
    assert_non_null(strstr(why, "later version"));
    assert_null(try_open("/dev/null/nowhere", why));
}

static bool see_run(void *arg, const StoredRun *run) {
    assert_string_equal(run->id, "r-old");
    assert_string_equal(run->progress.reason, "why");
    assert_int_equal(run->progress.state, RUN_FAILED);
    assert_int_equal(run->progress.code, ERR_NONE);
    ++*(int *)arg;
    return true;
}

/* A run's events as the database had them before their kind had a column (up to version 4): in rows as they were written. */
#define LINE_1 "{\"seq\":1,\"event\":\"state\",\"time\":\"t\",\"state\":\"queued\",\"step\":0}"
#define LINE_2 "{\"seq\":2,\"event\":\"log\",\"time\":\"t\",\"text\":\"it says \\\"event\\\":\\\"end\\\" \\n \303\251\"}"
#define LINE_3 "{\"seq\":3,\"event\":\"metric\",\"time\":\"t\",\"step\":1,\"values\":{\"a\":1e-05}}"
#define LINE_10 "{\"seq\":10,\"event\":\"end\",\"time\":\"t\"}"
#define GAP_9 "{\"seq\":9,\"event\":\"gap\",\"time\":" /* and when, from and to */
static const char *const old_events[] = {
    "INSERT INTO run_events (run, last, lines) VALUES (1, 1, '" LINE_1 "' || char(10))",
    "INSERT INTO run_events (run, last, lines) VALUES (1, 3, '" LINE_2 "' || char(10) || '" LINE_3 "' || char(10))",
    "INSERT INTO run_events (run, last, lines) VALUES (1, 4, 'no event, no newline')",
    "INSERT INTO run_events (run, last, lines) VALUES (1, 10, '" LINE_10 "' || char(10))"};
/* And as version 5 had them. */
static const char *const kept_events[] = {
    "INSERT INTO run_events (run, first, last, kind, lines) VALUES (1, 1, 1, 'state', '" LINE_1 "' || char(10))",
    "INSERT INTO run_events (run, first, last, kind, lines) VALUES (1, 2, 2, 'log', '" LINE_2 "' || char(10))",
    "INSERT INTO run_events (run, first, last, kind, lines) VALUES (1, 3, 3, 'metric', '" LINE_3 "' || char(10))",
    "INSERT INTO run_events (run, first, last, kind, lines) VALUES (1, 10, 10, 'end', '" LINE_10 "' || char(10))"};
/* From version 6 on rows have their sums. */
static const char sums[] = "UPDATE runs SET head_sum = blake_parts(seq, id, name, program, forked_from, created),"
                           " progress_sum = blake_parts(seq, state, reason, started, ended, step, steps, epoch, latest, versions, attempts, events, code);"
                           "UPDATE run_events SET checksum = blake_parts(run, first, last, kind, lines)";
/* A block of two points. */
#define OLD_POINTS \
    "INSERT INTO run_points (run, key, first, first_value, last, last_value, least, least_value, most, most_value, n, points)" \
    " VALUES (1, 'loss', 1, 0.5, 2, NULL, 1, 0.5, 1, 0.5, 2, x'0100000000000000000000000000e03f02000000000000000000000000000080')"
static const StoredEvent events[] = {{1, "state", LINE_1, 0}, {2, "log", LINE_2, 0}, {3, "metric", LINE_3, 0}, {9, "gap", GAP_9, 0},
                                     {10, "end", LINE_10, 0}};

typedef struct {
    size_t next, most;
} Seen;

static bool see_event(void *arg, const StoredEvent *e) {
    Seen *seen = arg;
    const StoredEvent *due = &events[seen->next++];
    assert_int_equal(e->number, due->number);
    assert_string_equal(e->kind, due->kind);
    const bool gap = strcmp(e->kind, "gap") == 0;
    if (!gap) assert_int_equal(e->len, strlen(due->line));
    else assert_non_null(strstr(e->line, ",\"from\":4,\"to\":9}"));
    assert_memory_equal(e->line, due->line, strlen(due->line));
    return seen->next < seen->most;
}

static void see_events(Store *store, uint64_t after, Seen seen, size_t end) {
    assert_int_equal(store_run_events(store, 1, after, see_event, &seen), ERR_NONE);
    assert_int_equal(seen.next, end);
}

static void see_points(Store *store) {
    Thinner points;
    RunPoints about;
    assert_int_equal(store_run_points(store, 1, "loss", 0, 100, &points, &about), ERR_NONE);
    assert_true(!about.damaged && about.stride == 1);
    assert_int_equal(points.n, 2);
    assert_int_equal(points.points[1].step, 2);
    assert_true(points.points[0].value == 0.5 && points.points[1].value == 0);
    thin_release(&points);
}

/* A database as each earlier version left it, with a program and (from 3 on) a run, is brought to the present one. */
static void test_an_older_schema_is_migrated(void **state) {
    static const char *const rows[] = {
        "INSERT INTO programs (hash, canonical, record, text, version, checksum, created) VALUES ('h', x'00', '{}', 't', 'v0', x'00', 1)",
        "INSERT INTO datasets (name, sha256, record, checksum, created) VALUES ('d', 's', '{}', x'00', 1)",
        "INSERT INTO runs (id, name, spec, program, canonical, facts, link, forked_from, checksum, created, state, reason, started, ended, step, steps,"
        " epoch, latest, versions, attempts, events) VALUES ('r-old', 'n', '{}', 'h', x'00', '', x'00', '', x'00', 1, 'failed', 'why', 1, 2, 3, 4, 0.5,"
        " '{}', '{}', '', 7)"};
    Box *box = *state;
    for (size_t version = 1; version < embedded_nmigrations; version++) {
        Box old = {0};
        char command[128];
        bool more;
        int runs = 0;
        snprintf(old.dir, sizeof old.dir, "%.40s/old", box->dir);
        assert_int_equal(mkdir(old.dir, 0700), 0);
        for (size_t i = 0; i < version; i++) meddle_all(&old, embedded_migrations[i]);
        for (size_t i = 0; i < version && i < sizeof rows / sizeof *rows; i++) meddle(&old, rows[i]);
        for (size_t i = 0; (version == 3 || version == 4) && i < sizeof old_events / sizeof *old_events; i++) meddle(&old, old_events[i]);
        for (size_t i = 0; version > 4 && i < sizeof kept_events / sizeof *kept_events; i++) meddle(&old, kept_events[i]);
        if (version == 3 || version == 5) meddle(&old, OLD_POINTS);
        if (version > 5) meddle(&old, sums);
        snprintf(command, sizeof command, "PRAGMA user_version = %zu", version);
        meddle(&old, command);
        old.store = open_at(old.dir, "v1", ROOM);
        assert_non_null(old.store);
        assert_true(store_healthy(old.store));
        assert_int_equal(store_runs(old.store, RUN_STATES, INT64_MAX, 10, see_run, &runs, &more), ERR_NONE);
        assert_int_equal(runs, version >= 3);
        if (runs) {
            see_events(old.store, 0, (Seen){0, 9}, 5);
            see_events(old.store, 2, (Seen){2, 9}, 5);
            see_events(old.store, 0, (Seen){0, 2}, 2);
            see_events(old.store, 10, (Seen){5, 9}, 5);
        }
        if (version == 3 || version == 5) see_points(old.store);
        assert_int_equal(store_damage(old.store), 0);
        store_close(old.store);
        snprintf(command, sizeof command, "rm -rf '%.60s'", old.dir);
        assert_int_equal(system(command), 0);
    }
}

typedef struct {
    uint64_t next;
    size_t bytes;
} Written;

static bool see_written(void *arg, const StoredEvent *e) {
    Written *w = arg;
    assert_int_equal(e->number, w->next);
    assert_string_equal(e->kind, e->number % 100 == 0 ? "checkpoint" : "metric");
    assert_memory_equal(e->line, "{\"seq\":", 7);
    assert_int_equal(strtoull(e->line + 7, NULL, 10), e->number);
    assert_true(e->line[e->len - 1] == '}');
    w->next++;
    w->bytes += e->len;
    return true;
}

/* Rows are of one kind, and small; every event comes back once, from wherever one reads on. */
static void test_events_come_back(void **state) {
    enum { EVENTS = 1000, LONG = 40000 };
    Box *box = *state;
    RunEvents out = {0};
    static char members[LONG];
    meddle(box, "INSERT INTO runs (seq, id, name, spec, program, canonical, facts, link, forked_from, checksum, created, state, reason, started, ended,"
                " step, steps, epoch, latest, versions, attempts, events) VALUES (1, 'r', 'n', '{}', 'h', x'00', '', x'00', '', x'00', 1, 'running', '', 1,"
                " 0, 3, 4, 0.5, '{}', '{}', '', 0)");
    for (uint64_t i = 1; i <= EVENTS; i++) {
        size_t len = i == 550 ? sizeof members - 1 : 200; /* one is longer than a row */
        memset(members, 'x', len);
        memcpy(members, ",\"x\":\"", 6);
        members[len - 1] = '"';
        members[len] = 0;
        run_events_add(&out, i, i % 100 ? EVENT_METRIC : EVENT_CHECKPOINT, members);
    }
    RunFlush flush = {.seq = 1, .id = "r", .events = &out,
                      .progress = {.reason = "", .latest = "{}", .versions = "{}", .attempts = "", .events = EVENTS}};
    assert_int_equal(store_run_flush(box->store, &flush), ERR_NONE);
    run_events_release(&out);
    for (uint64_t after = 0; after <= EVENTS; after += 77) {
        Written w = {.next = after + 1};
        assert_int_equal(store_run_events(box->store, 1, after, see_written, &w), ERR_NONE);
        assert_int_equal(w.next, EVENTS + 1);
    }
    assert_int_equal(meddle_all(box, "UPDATE run_events SET run = 1 WHERE length(lines) > 32768"), 1);
    assert_in_range(meddle_all(box, "UPDATE run_events SET run = 1"), 20, 40);
}

static void test_one_at_a_time(void **state) {
    Box *box = *state;
    char why[WHY] = "";
    assert_null(try_open(box->dir, why));
    assert_non_null(strstr(why, "another cajald"));
    reopen(box, "v1");
}

static void test_damaged_pages_are_told(void **state) {
    Box *box = *state;
    char hash[CANON_HASH_TEXT], canonical[32];
    StorePlace after = {0}, last = {0};
    StoredProgram p;
    int rows = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(canonical, sizeof canonical, "program %d", i);
        put_program(box->store, canonical, hash);
    }
    assert_true(store_healthy(box->store));
    reopen(box, "v1");
    assert_true(store_healthy(box->store));
    spoil_tables(box->dir);
    assert_int_equal(store_programs(box->store, &after, 5, count_row, &rows, &last), ERR_internal);
    assert_false(store_healthy(box->store));
    assert_false(store_program_get(box->store, hash, &p));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_program_comes_back, make, drop),
        cmocka_unit_test_setup_teardown(test_outdated_record_is_not_used, make, drop),
        cmocka_unit_test_setup_teardown(test_damage_is_found, make, drop),
        cmocka_unit_test_setup_teardown(test_eviction_takes_the_least_recently_used, make, drop),
        cmocka_unit_test_setup_teardown(test_pages_cover_everything_once, make, drop),
        cmocka_unit_test_setup_teardown(test_delete_takes_the_graphs_along, make, drop),
        cmocka_unit_test_setup_teardown(test_a_later_schema_is_refused, make, drop),
        cmocka_unit_test_setup_teardown(test_an_older_schema_is_migrated, make, drop),
        cmocka_unit_test_setup_teardown(test_events_come_back, make, drop),
        cmocka_unit_test_setup_teardown(test_one_at_a_time, make, drop),
        cmocka_unit_test_setup_teardown(test_damaged_pages_are_told, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
