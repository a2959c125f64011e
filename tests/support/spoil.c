#include "tests/support/spoil.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { PAGE = 4096, MOST = 100, SPOILT = 2000 };

/* The first column of what the SQL finds. */
static int find_pages(const char *path, const char *sql, int pages[MOST]) {
    sqlite3 *db;
    sqlite3_stmt *s;
    int n = 0;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW && n < MOST) pages[n++] = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static void spoil_pages(const char *path, const int *pages, int n) {
    char nonsense[SPOILT];
    memset(nonsense, 0xa5, sizeof nonsense);
    assert_true(n > 0);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        fseek(f, (long)(pages[i] - 1) * PAGE, SEEK_SET);
        assert_int_equal(fwrite(nonsense, 1, sizeof nonsense, f), sizeof nonsense);
    }
    fclose(f);
}

void spoil_tables(const char *dir) {
    char path[4096];
    int pages[MOST];
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    spoil_pages(path, pages, find_pages(path, "SELECT rootpage FROM sqlite_schema WHERE rootpage > 0", pages));
}

void spoil_leaves(const char *dir, const char *table, size_t n) {
    char path[4096], sql[300];
    int pages[MOST];
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    snprintf(sql, sizeof sql, "SELECT pageno FROM dbstat WHERE name = '%s' AND pagetype = 'leaf' ORDER BY path LIMIT %zu OFFSET 3", table, n);
    spoil_pages(path, pages, find_pages(path, sql, pages));
}

void spoil_index(const char *dir, const char *index) {
    char path[4096], sql[300];
    int root[MOST];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    snprintf(sql, sizeof sql, "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", index);
    assert_int_equal(find_pages(path, sql, root), 1);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    /* A table of this connection alone that has the index's pages. */
    sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 1, root[0]);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE imposter (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_test_control(SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 0);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM imposter WHERE 1", NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

sqlite3 *hold_database(const char *dir) {
    char path[4096];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}
