#include "tests/support/spoil.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { PAGE = 4096, MOST = 100, SPOILT = 2000 };

static int find_pages(const char *path, int pages[MOST]) {
    sqlite3 *db;
    sqlite3_stmt *s;
    int n = 0;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_schema WHERE rootpage > 0", -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW && n < MOST) pages[n++] = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

void spoil_tables(const char *dir) {
    char path[4096], nonsense[SPOILT];
    int pages[MOST];
    snprintf(path, sizeof path, "%s/cajal.db", dir);
    memset(nonsense, 0xa5, sizeof nonsense);
    int n = find_pages(path, pages);
    assert_true(n > 0);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        fseek(f, (long)(pages[i] - 1) * PAGE, SEEK_SET);
        assert_int_equal(fwrite(nonsense, 1, sizeof nonsense, f), sizeof nonsense);
    }
    fclose(f);
}
