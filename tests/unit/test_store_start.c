/* A database that is lost, damaged or held by another process: what can be mended is, what cannot is refused and told, and nothing is thrown away. */
#include "compiler/language/canon.h"
#include "server/embedded.h"
#include "server/store/store_check.h"
#include "server/store/store_data.h"
#include "server/store/store_runs.h"
#include "tests/support/spoil.h"
#include <dirent.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { WHY = 700 };
static const Log quiet = {.level = LOG_LEVELS, .fd = 2};

typedef struct {
    char dir[64], why[WHY];
    Store *store;
} Box;

static bool open_box(Box *box, bool recover) {
    const StoreSpec spec = {.dir = box->dir, .version = "v1", .graph_bytes = 1 << 30, .log = &quiet, .recover = recover};
    *box->why = 0;
    box->store = store_open(&spec, box->why, sizeof box->why);
    return box->store != NULL;
}

static void close_box(Box *box) {
    store_close(box->store);
    box->store = NULL;
}

static int make(void **state) {
    Box *box = calloc(1, sizeof *box);
    strcpy(box->dir, "/tmp/cajal-damage-XXXXXX");
    *state = box;
    return sodium_init() < 0 || !mkdtemp(box->dir) || !open_box(box, false) ? -1 : 0;
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

static void opens(Box *box, bool recover) {
    if (!open_box(box, recover)) fail_msg("%s", box->why);
}

static void is_refused(Box *box, const char *word) {
    assert_false(open_box(box, false));
    if (!strstr(box->why, word) || !strstr(box->why, "/cajal.db") || !strstr(box->why, "--recover")) fail_msg("%s", box->why);
}

static void path_of(const Box *box, const char *name, char out[256]) { snprintf(out, 256, "%s/%s", box->dir, name); }

static bool is_there(const Box *box, const char *name) {
    char path[256];
    struct stat st;
    path_of(box, name, path);
    return lstat(path, &st) == 0;
}

static void program_name(int i, char canonical[32], char hash[CANON_HASH_TEXT]) {
    snprintf(canonical, 32, "program %d", i);
    canon_hash((const unsigned char *)canonical, strlen(canonical), hash);
}

static void put_programs(Store *store, int n) {
    char hash[CANON_HASH_TEXT], canonical[32], text[300];
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < n; i++) {
        program_name(i, canonical, hash);
        assert_int_equal(store_program_put(store, hash, canonical, strlen(canonical), "{\"record\":1", text), ERR_NONE);
        assert_int_equal(store_graph_put(store, hash, "*/none", "graph", 5), ERR_NONE);
    }
}

static int count_programs(Store *store, int n) {
    char hash[CANON_HASH_TEXT], canonical[32];
    int there = 0;
    for (int i = 0; i < n; i++) {
        StoredProgram p;
        program_name(i, canonical, hash);
        if (!store_program_get(store, hash, &p)) continue;
        there += p.record && p.canonical_len == strlen(canonical) && memcmp(p.canonical, canonical, p.canonical_len) == 0;
        stored_program_release(&p);
    }
    return there;
}

static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void put_dataset(Store *store, const char *name) {
    char before[DATASET_SHA + 1];
    assert_int_equal(store_dataset_put(store, &(DatasetRow){.name = name, .sha256 = sha, .record = "{}", .created = 1}, before), ROW_DONE);
}

static void has_dataset(Store *store, const char *name) {
    StoredDataset d;
    assert_int_equal(store_dataset_get(store, name, &d), ERR_NONE);
    assert_string_equal(d.sha256, sha);
    stored_dataset_release(&d);
}

static void test_indexes_are_made_again(void **state) {
    Box *box = *state;
    put_dataset(box->store, "a");
    assert_int_equal(store_state(box->store), STORE_SOUND);
    close_box(box);
    spoil_index(box->dir, "datasets_by_content");
    opens(box, false);
    assert_int_equal(store_state(box->store), STORE_REPAIRED);
    has_dataset(box->store, "a");
    close_box(box);
    opens(box, false);
    assert_int_equal(store_state(box->store), STORE_SOUND);
}

/* An index that is damaged while the service runs does not make a file that is used look unused. */
static void test_a_damaged_index_costs_no_content(void **state) {
    Box *box = *state;
    put_dataset(box->store, "a");
    spoil_index(box->dir, "datasets_by_content");
    assert_true(store_content_used(box->store, sha));
    assert_false(store_content_used(box->store, "none"));
}

/* Deletes are durable before their files go; and so is what was put: the log is flushed with each. */
static void test_damage_is_refused_and_salvaged(void **state) {
    enum { N = 1000 };
    Box *box = *state;
    put_programs(box->store, N);
    put_dataset(box->store, "a");
    close_box(box);
    spoil_leaves(box->dir, "programs", 1);
    is_refused(box, "damaged");
    is_refused(box, "damaged"); /* and again: it is as it was */
    opens(box, true);
    assert_int_equal(store_state(box->store), STORE_REPAIRED);
    assert_true(is_there(box, "lost+found/cajal.db"));
    has_dataset(box->store, "a");
    const int there = count_programs(box->store, N);
    assert_in_range(there, N - 50, N - 1);
    close_box(box);
    opens(box, false);
    assert_int_equal(store_state(box->store), STORE_SOUND);
    assert_int_equal(count_programs(box->store, N), there);
    /* What referred to a lost row is not there either; what is there can be used. */
    put_programs(box->store, N);
    assert_int_equal(count_programs(box->store, N), N);
}

static void test_what_cannot_be_read_at_all_is_begun_anew(void **state) {
    Box *box = *state;
    char path[256];
    put_dataset(box->store, "a");
    close_box(box);
    path_of(box, "cajal.db", path);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (int i = 0; i < 4096; i++) fputc(0xa5, f);
    fclose(f);
    is_refused(box, "not a database");
    opens(box, true);
    assert_true(is_there(box, "lost+found/cajal.db"));
    StoredDataset d;
    assert_int_equal(store_dataset_get(box->store, "a", &d), ERR_not_found);
}

/* A salvage that a crash has interrupted is ended at the next start, with or without the flag. */
static void test_a_salvage_is_ended(void **state) {
    Box *box = *state;
    char from[256], to[256];
    put_dataset(box->store, "a");
    close_box(box);
    path_of(box, "cajal.db", from);
    path_of(box, "recovered.db", to);
    assert_int_equal(rename(from, to), 0);
    opens(box, false); /* the old one had been moved away */
    has_dataset(box->store, "a");
    close_box(box);
    char command[1000];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
    spoil_tables(box->dir);
    snprintf(command, sizeof command, "echo log > '%s-wal' && echo half > '%s/tmp-recovered.db'", from, box->dir);
    assert_int_equal(system(command), 0);
    opens(box, false);
    has_dataset(box->store, "a");
    assert_true(is_there(box, "lost+found/cajal.db"));
    assert_true(is_there(box, "lost+found/cajal.db-wal"));
    assert_false(is_there(box, "tmp-recovered.db"));
    assert_false(is_there(box, "recovered.db"));
}

static void test_a_lost_database_is_missed(void **state) {
    static const char *const beside[] = {"runs", "datasets"};
    Box *box = *state;
    char path[256], within[300];
    for (int i = 0; i < 2; i++) {
        path_of(box, "cajal.db", path);
        close_box(box);
        assert_int_equal(truncate(path, 0), 0);
        if (i) assert_int_equal(unlink(path), 0);
        opens(box, false); /* there is nothing that it would have to know */
        close_box(box);
        assert_int_equal(unlink(path), 0);
        path_of(box, beside[i], path);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(within, sizeof within, "%s/tmp-x", path);
        assert_int_equal(mkdir(within, 0700), 0);
        opens(box, false); /* nor of what was not finished */
        close_box(box);
        path_of(box, "cajal.db", path);
        assert_int_equal(unlink(path), 0);
        path_of(box, beside[i], path);
        snprintf(within, sizeof within, "%s/r-1", path);
        assert_int_equal(mkdir(within, 0700), 0);
        is_refused(box, "missing or empty");
        assert_false(is_there(box, "cajal.db"));
        path_of(box, "cajal.db-wal", path);
        FILE *f = fopen(path, "w");
        fputs("what it had written last", f);
        fclose(f);
        is_refused(box, "missing or empty");
        opens(box, true);
        assert_true(is_there(box, i ? "lost+found/cajal.db-wal.2" : "lost+found/cajal.db-wal"));
        close_box(box);
        opens(box, false);
        assert_int_equal(rmdir(within), 0);
    }
}

/* The same look at a large database while it serves. */
static void test_a_large_one_is_checked_beside(void **state) {
    Box *box = *state;
    for (int round = 0; round < 2; round++) {
        char path[256];
        sqlite3 *reader;
        if (round == 0) put_dataset(box->store, "a");
        close_box(box);
        opens(box, false);
        assert_false(store_checking(box->store));
        if (round == 0) spoil_index(box->dir, "datasets_by_content");
        else spoil_tables(box->dir);
        path_of(box, "cajal.db", path);
        assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL), SQLITE_OK);
        assert_true(store_checker_start(box->store, reader));
        while (store_checking(box->store)) usleep(1000);
        assert_int_equal(store_state(box->store), round == 0 ? STORE_REPAIRED : STORE_DAMAGED);
        store_checker_stop(box->store);
    }
}

static void test_a_checker_stops(void **state) {
    Box *box = *state;
    char path[256];
    sqlite3 *reader;
    put_programs(box->store, 200);
    path_of(box, "cajal.db", path);
    assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL), SQLITE_OK);
    assert_true(store_checker_start(box->store, reader));
    close_box(box);
    opens(box, false);
    assert_int_equal(store_state(box->store), STORE_SOUND);
}

/* ---- another process's lock ---- */

static void *put_late(void *arg) {
    Box *box = arg;
    put_dataset(box->store, "late");
    return NULL;
}

static void test_a_lock_is_waited_for(void **state) {
    Box *box = *state;
    pthread_t thread;
    put_programs(box->store, 1);
    put_dataset(box->store, "a");
    sqlite3 *other = hold_database(box->dir);
    assert_int_equal(pthread_create(&thread, NULL, put_late, box), 0);
    /* Reading goes on meanwhile, on either connection; what can be made again waits for nobody. */
    for (int i = 0; i < 20; i++) {
        has_dataset(box->store, "a");
        assert_true(store_content_used(box->store, sha));
        assert_int_equal(store_graph_put(box->store, "sha256:0", "*/none", "graph", 5), ERR_storage_busy);
        assert_int_equal(store_touch(box->store, "sha256:0", "*/none"), ERR_storage_busy);
        usleep(1000);
    }
    sqlite3_close(other);
    assert_int_equal(pthread_join(thread, NULL), 0);
    has_dataset(box->store, "late");
}

/* It is given up after a while; and the next one at once, as long as it lasts. */
static void test_a_lock_that_lasts_is_told(void **state) {
    Box *box = *state;
    char before[DATASET_SHA + 1];
    const DatasetRow row = {.name = "a", .sha256 = sha, .record = "{}", .created = 1};
    sqlite3 *other = hold_database(box->dir);
    assert_int_equal(store_dataset_put(box->store, &row, before), ROW_BUSY);
    assert_int_equal(store_dataset_delete(box->store, "a", before), ROW_BUSY);
    assert_int_equal(store_run_delete(box->store, "r-1", false), ERR_storage_busy);
    assert_int_equal(store_program_delete(box->store, "sha256:0"), ERR_storage_busy);
    assert_true(store_healthy(box->store));
    sqlite3_close(other);
    assert_int_equal(store_dataset_put(box->store, &row, before), ROW_DONE);
    assert_int_equal(store_run_delete(box->store, "r-1", false), ERR_not_found);
}

/* ---- the write-ahead log ---- */

static void test_the_log_does_not_stay_long(void **state) {
    enum { BIG = 40 << 20 };
    Box *box = *state;
    char path[256];
    struct stat st;
    unsigned char *blob = calloc(1, BIG);
    put_programs(box->store, 1);
    char hash[CANON_HASH_TEXT], canonical[32];
    program_name(0, canonical, hash);
    assert_int_equal(store_graph_put(box->store, hash, "1/none", blob, BIG), ERR_NONE);
    put_dataset(box->store, "a");
    path_of(box, "cajal.db-wal", path);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 0, 20 << 20);
    free(blob);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_indexes_are_made_again),   TEST(test_a_damaged_index_costs_no_content), TEST(test_damage_is_refused_and_salvaged),
        TEST(test_what_cannot_be_read_at_all_is_begun_anew), TEST(test_a_salvage_is_ended), TEST(test_a_lost_database_is_missed),
        TEST(test_a_large_one_is_checked_beside), TEST(test_a_checker_stops), TEST(test_a_lock_is_waited_for),
        TEST(test_a_lock_that_lasts_is_told), TEST(test_the_log_does_not_stay_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
