/* A database that an earlier version left, opened by this one: what it says stays what it was. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ndjson[] = {"Accept: application/x-ndjson", NULL}, *const sse[] = {"Accept: text/event-stream", NULL};

static char *events(Ask *a, const char *id, const char *rest, const char *const *headers) {
    char route[128];
    ask_bytes(a, 200, toy_route(route, "GET", id, rest), headers, NULL, 0);
    char *copy = malloc(a->response.body.len + 1);
    assert_non_null(copy);
    memcpy(copy, a->response.body.data, a->response.body.len);
    copy[a->response.body.len] = 0;
    return copy;
}

static void same_events(Ask *a, const char *id, const char *rest, const char *const *headers, const char *before) {
    char *now = events(a, id, rest, headers);
    assert_string_equal(now, before);
    free(now);
}

/* The tables as version 4 had them: the events of a write in one row, their kinds nowhere but in their text. */
static void make_older(const Ask *a) {
    static const char sql[] = /* of version 8 */
                              "DROP TABLE scrub; DROP INDEX contents_damaged; DROP INDEX run_checkpoints_damaged;"
                              "CREATE TABLE old (run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE, last INTEGER NOT NULL, lines TEXT NOT NULL,"
                              " UNIQUE (run, last));"
                              "INSERT INTO old SELECT run, max(last), group_concat(lines, '') FROM (SELECT * FROM run_events ORDER BY run, first)"
                              " GROUP BY run, first / 7;"
                              "DROP TABLE run_events; ALTER TABLE old RENAME TO run_events; PRAGMA user_version = 4;"
                              /* of version 6 */
                              "ALTER TABLE runs DROP COLUMN head_sum; ALTER TABLE runs DROP COLUMN progress_sum; ALTER TABLE run_checkpoints DROP COLUMN damaged;"
                              "ALTER TABLE run_points DROP COLUMN head_sum; ALTER TABLE run_points DROP COLUMN points_sum; DROP TABLE contents;"
                              /* of version 7 */
                              "DROP TABLE run_series; ALTER TABLE runs DROP COLUMN event_rows; ALTER TABLE runs DROP COLUMN event_bytes";
    char path[200], *why = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
    sqlite3_close(db);
}

static void test_events_of_version_4(void **state) {
    Ask *a = *state;
    char id[TOY_ID];
    toy_data(a);
    toy_run(a, 200, 10, id);
    char *lines = events(a, id, "/events", ndjson), *stream = events(a, id, "/events", sse), *behind = events(a, id, "/events?after=9", sse);
    assert_non_null(strstr(stream, "\nevent: checkpoint\ndata: {\"seq\":"));
    ask_stop(a);
    make_older(a);
    daemon_start(&a->daemon, NULL);
    same_events(a, id, "/events", ndjson, lines);
    same_events(a, id, "/events", sse, stream);
    same_events(a, id, "/events?after=9", sse, behind);
    free(lines);
    free(stream);
    free(behind);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_events_of_version_4), cmocka_unit_test(ask_ends_well)};
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
