/* Files and rows of data sets together: what is referred to is kept, all else goes; what is damaged is told and never served. */
#include "server/data/dataset_files.h"
#include "server/data/draft.h"
#include "tests/support/spoil.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const Log quiet = {.level = LOG_LEVELS, .fd = 2};
static const atomic_bool go_on = false;

typedef struct {
    char dir[64];
    Store *store;
    DatasetFiles *files;
} Box;

static void open_box(Box *box) {
    char why[300] = "";
    LostFound lost = {.data = box->dir, .log = &quiet};
    box->store = store_open(&(StoreSpec){.dir = box->dir, .version = "v1", .graph_bytes = 1 << 20, .log = &quiet}, why, sizeof why);
    assert_non_null(box->store);
    box->files = dataset_files_open(&lost, box->store, why, sizeof why);
    if (!box->files) fail_msg("%s", why);
}

static void close_box(Box *box) {
    dataset_files_close(box->files);
    store_close(box->store);
}

static int make(void **state) {
    Box *box = *state = calloc(1, sizeof *box);
    strcpy(box->dir, "/tmp/cajal-contents-XXXXXX");
    if (!mkdtemp(box->dir)) return -1;
    open_box(box);
    return 0;
}

static int drop(void **state) {
    Box *box = *state;
    char command[128];
    close_box(box);
    snprintf(command, sizeof command, "rm -rf '%s'", box->dir);
    int code = system(command);
    free(box);
    return code;
}

/* Runs SQL behind the store's back. */
static void meddle(const Box *box, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/cajal.db", box->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

static void file_path(const Box *box, const char *file, char out[256]) { snprintf(out, 256, "%s/datasets/%s", box->dir, file); }

/* How many files there are. */
static int files(const Box *box) {
    char path[256];
    int n = 0;
    file_path(box, "", path);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) n += *entry->d_name != '.';
    closedir(dir);
    return n;
}

/* Puts one column x of so many rows, all of them `fill`. */
static RowResult put_as(Box *box, const char *name, const char *base, uint8_t rows, unsigned char fill, char sha256[DATASET_SHA + 1], bool *fresh) {
    unsigned char body[256] = {0, 0, 8, 1, 0, 0, 0, rows};
    char path[DATASET_FILES_PATH];
    Draft draft;
    Dataset d;
    Err err = {0};
    memset(body + 8, fill, rows);
    int fd = dataset_files_temporary(box->files, path);
    assert_true(fd >= 0);
    if (!draft_read(&draft, body, 8 + (size_t)rows, "x", &err) || !draft_write(&draft, fd, &go_on, sha256, &err) || !dataset_read(fd, &d, &err))
        fail_msg("%s", err.message);
    strcpy(d.sha256, sha256);
    RowResult result = dataset_files_put(box->files, path, name, base, &d, fresh);
    if (result == ROW_DONE) assert_non_null(strstr(d.record, sha256));
    dataset_release(&d);
    draft_release(&draft);
    return result;
}

static void put(Box *box, const char *name, unsigned char fill, char sha256[DATASET_SHA + 1]) {
    bool fresh;
    assert_int_equal(put_as(box, name, NULL, 4, fill, sha256, &fresh), ROW_DONE);
}

/* The first byte of the data; -1: it is not found, with the code in *code. */
static int first_byte(Box *box, const char *name, ErrCode *code) {
    Dataset d;
    Err err = {0};
    unsigned char byte = 0;
    bool found = dataset_files_find(box->files, name, &d, &err);
    *code = err.code;
    if (!found) return -1;
    assert_non_null(strstr(d.record, d.sha256));
    assert_int_equal(pread(d.fd, &byte, 1, (off_t)d.columns->offset), 1);
    dataset_release(&d);
    return byte;
}

static void holds(Box *box, const char *name, int byte) {
    ErrCode code;
    assert_int_equal(first_byte(box, name, &code), byte);
}

static void fails(Box *box, const char *name, ErrCode wanted) {
    ErrCode code;
    assert_int_equal(first_byte(box, name, &code), -1);
    assert_int_equal(code, wanted);
}

static void test_put_find_delete(void **state) {
    Box *box = *state;
    char sha256[DATASET_SHA + 1], other[DATASET_SHA + 1];
    bool fresh = false;
    fails(box, "a", ERR_not_found);
    assert_int_equal(put_as(box, "a", NULL, 4, 7, sha256, &fresh), ROW_DONE);
    assert_true(fresh);
    holds(box, "a", 7);
    assert_int_equal(put_as(box, "a", NULL, 4, 8, other, &fresh), ROW_DONE);
    assert_false(fresh);
    assert_string_not_equal(sha256, other);
    assert_int_equal(files(box), 1);
    close_box(box);
    open_box(box);
    holds(box, "a", 8);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_ABSENT);
    fails(box, "a", ERR_not_found);
    assert_int_equal(files(box), 0);
}

static void test_names_share_a_content(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1], b[DATASET_SHA + 1];
    put(box, "a", 7, a);
    put(box, "b", 7, b);
    assert_string_equal(a, b);
    assert_int_equal(files(box), 1);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    holds(box, "b", 7);
    put(box, "b", 9, b);
    assert_int_equal(files(box), 1);
    holds(box, "b", 9);
}

static void test_a_descriptor_outlives_its_data_set(void **state) {
    Box *box = *state;
    char sha256[DATASET_SHA + 1];
    Dataset d;
    Err err = {0};
    Buf rows = {0};
    put(box, "a", 7, sha256);
    assert_true(dataset_files_find(box->files, "a", &d, &err));
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    assert_true(dataset_put_rows(&rows, &d, 0, 1));
    assert_non_null(strstr(buf_text(&rows), "{\"x\":[7]}"));
    dataset_release(&d);
    buf_release(&rows);
}

static void test_a_run_holds_its_data(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1], b[DATASET_SHA + 1], sql[300];
    bool fresh;
    put(box, "a", 7, a);
    snprintf(sql, sizeof sql, "INSERT INTO run_data VALUES ('r-1', 'a', '%s', 1)", a);
    meddle(box, sql);
    assert_int_equal(put_as(box, "a", NULL, 4, 8, b, &fresh), ROW_HELD);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_HELD);
    assert_int_equal(put_as(box, "a", NULL, 4, 7, a, &fresh), ROW_DONE); /* nothing changes */
    holds(box, "a", 7);
    /* It has ended: the name goes on, its content stays. */
    meddle(box, "UPDATE run_data SET held = 0");
    put(box, "a", 8, b);
    holds(box, "a", 8);
    /* Taken up again, it holds what it had, not what the name has now. */
    meddle(box, "UPDATE run_data SET held = 1");
    put(box, "a", 9, b);
    meddle(box, "UPDATE run_data SET held = 0");
    put(box, "a", 8, b);
    Dataset d;
    Err err = {0};
    assert_true(dataset_files_find_sha(box->files, a, &d, &err));
    assert_null(d.record);
    assert_string_equal(d.sha256, a);
    dataset_release(&d);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    close_box(box);
    open_box(box);
    dataset_files_collect(box->files, a);
    assert_true(dataset_files_find_sha(box->files, a, &d, &err));
    dataset_release(&d);
    assert_false(dataset_files_find_sha(box->files, b, &d, &err));
    meddle(box, "DELETE FROM run_data");
    dataset_files_collect(box->files, a);
    assert_false(dataset_files_find_sha(box->files, a, &d, &err));
}

static void test_a_base_may_have_moved(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1], b[DATASET_SHA + 1], c[DATASET_SHA + 1];
    bool fresh;
    assert_int_equal(put_as(box, "a", "", 4, 7, a, &fresh), ROW_DONE);
    assert_int_equal(put_as(box, "a", "", 4, 8, b, &fresh), ROW_MOVED);
    assert_int_equal(put_as(box, "a", a, 4, 8, b, &fresh), ROW_DONE);
    assert_int_equal(put_as(box, "a", a, 4, 9, c, &fresh), ROW_MOVED);
    assert_int_equal(put_as(box, "gone", a, 4, 9, c, &fresh), ROW_MOVED);
    holds(box, "a", 8);
    assert_int_equal(files(box), 1);
}

static void write_file(const Box *box, const char *file, const char *text) {
    char path[256];
    file_path(box, file, path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

#define ORPHAN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.safetensors"

static bool is_lost(const Box *box, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/lost+found/%s", box->dir, name);
    return access(path, F_OK) == 0;
}

/* What was not finished goes; what nobody knows may be all that is left of something. */
static void test_the_folder_is_swept(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1];
    put(box, "a", 7, a);
    for (int i = 0; i < 2; i++) {
        close_box(box);
        write_file(box, "tmp-Ab3dE6", "half of it");
        write_file(box, ORPHAN, "a crash came before the row");
        write_file(box, "notes.txt", "somebody else's");
        open_box(box);
        assert_int_equal(files(box), 2);
        holds(box, "a", 7);
    }
    assert_true(is_lost(box, ORPHAN));
    assert_true(is_lost(box, ORPHAN ".2"));
    assert_false(is_lost(box, "tmp-Ab3dE6"));
    assert_int_equal(lost_found_count(box->dir), 2);
}

/* An index that does not say which contents are used makes none look unused: neither at the start nor when another name of it goes. */
static void test_a_damaged_index_costs_no_data(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1];
    put(box, "a", 7, a);
    put(box, "b", 7, a);
    spoil_index(box->dir, "datasets_by_content");
    dataset_files_collect(box->files, a);
    holds(box, "a", 7);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_FAILED);
    holds(box, "b", 7);
    close_box(box);
    open_box(box);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    holds(box, "b", 7);
    assert_int_equal(lost_found_count(box->dir), 0);
}

static void test_damaged_files_are_told(void **state) {
    Box *box = *state;
    char a[DATASET_SHA + 1], b[DATASET_SHA + 1], file[128], path[256], other[256];
    bool fresh;
    put(box, "a", 7, a);
    snprintf(file, sizeof file, "%s.safetensors", a);
    file_path(box, file, path);
    assert_int_equal(truncate(path, 60), 0);
    fails(box, "a", ERR_damaged);
    put(box, "a", 7, a); /* put again it is whole */
    holds(box, "a", 7);
    assert_int_equal(unlink(path), 0);
    fails(box, "a", ERR_damaged);
    put(box, "a", 7, a);
    /* A file that is sound, but another one. */
    assert_int_equal(put_as(box, "b", NULL, 5, 7, b, &fresh), ROW_DONE);
    snprintf(file, sizeof file, "%s.safetensors", b);
    file_path(box, file, other);
    assert_int_equal(rename(other, path), 0);
    fails(box, "a", ERR_damaged);
    assert_int_equal(dataset_files_delete(box->files, "a"), ROW_DONE);
    meddle(box, "UPDATE datasets SET record = '{}'");
    fails(box, "b", ERR_damaged);
}

enum { MANY = 10 };

/* Changes one byte of the file. */
static void flip(const Box *box, const char *sha256, off_t at) {
    char file[128], path[256];
    unsigned char byte;
    snprintf(file, sizeof file, "%s.safetensors", sha256);
    file_path(box, file, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A column of MANY rows of 64 KiB each. */
static void put_long(Box *box, char sha256[DATASET_SHA + 1]) {
    enum { ROW = 64 << 10 };
    unsigned char *body = calloc(1, 12 + MANY * ROW);
    char path[DATASET_FILES_PATH];
    Draft draft;
    Dataset d;
    Err err = {0};
    bool fresh;
    assert_non_null(body);
    memcpy(body, (const unsigned char[]){0, 0, 8, 2, 0, 0, 0, MANY, 0, 1, 0, 0}, 12);
    for (size_t i = 0; i < MANY * ROW; i++) body[12 + i] = (unsigned char)(i * 7 + i / 1000);
    int fd = dataset_files_temporary(box->files, path);
    if (!draft_read(&draft, body, 12 + MANY * ROW, "x", &err) || !draft_write(&draft, fd, &go_on, sha256, &err) || !dataset_read(fd, &d, &err))
        fail_msg("%s", err.message);
    strcpy(d.sha256, sha256);
    d.content = draft.content;
    draft.content = (StoredContent){0};
    assert_int_equal(dataset_files_put(box->files, path, "long", NULL, &d, &fresh), ROW_DONE);
    dataset_release(&d);
    draft_release(&draft);
    free(body);
}

static ErrCode verified(Box *box, uint64_t from, uint64_t count) {
    Dataset d;
    Err err = {0};
    assert_true(dataset_files_find(box->files, "long", &d, &err));
    if (count) dataset_files_verify_rows(box->files, &d, from, count, &go_on, &err);
    else dataset_files_verify(box->files, &d, &go_on, &err);
    dataset_release(&d);
    return err.code;
}

static void record_says(Box *box, bool damaged) {
    Buf record = {0};
    Err err = {0};
    assert_true(dataset_files_record(box->files, "long", &record, &err));
    assert_int_equal(strstr(buf_text(&record), ",\"damaged\":true}") != NULL, damaged);
    buf_release(&record);
}

/* The bytes are held against their sums: all of them, or those of the blocks that have the rows and the header, whatever lies between. */
static void test_contents_are_held_against_their_sums(void **state) {
    enum { ROW = 64 << 10 };
    Box *box = *state;
    char sha256[DATASET_SHA + 1];
    put_long(box, sha256);
    assert_int_equal(verified(box, 0, 0), ERR_NONE);
    record_says(box, false);
    const off_t there = 300 + 5 * ROW; /* in row 5, or 4 */
    flip(box, sha256, there);
    assert_int_equal(verified(box, 0, 2), ERR_NONE);
    assert_int_equal(verified(box, 8, 2), ERR_NONE);
    assert_int_equal(verified(box, 100, 2), ERR_NONE);
    record_says(box, false);
    assert_int_equal(verified(box, 4, 2), ERR_damaged);
    record_says(box, true);
    assert_int_equal(verified(box, 0, 0), ERR_damaged);
    flip(box, sha256, there);
    assert_int_equal(verified(box, 4, 2), ERR_NONE);
    record_says(box, true); /* one look at a part does not say that all is well */
    assert_int_equal(verified(box, 0, 0), ERR_NONE);
    record_says(box, false);
    for (int i = 0; i < 4; i++) {
        const off_t at = (const off_t[]){MANY * ROW + 10, 9, 20, ROW + 3}[i];
        flip(box, sha256, at);
        Dataset d;
        Err err = {0};
        if (dataset_files_find(box->files, "long", &d, &err)) {
            assert_false(dataset_files_verify(box->files, &d, &go_on, &err));
            dataset_release(&d);
        }
        assert_int_equal(err.code, ERR_damaged);
        flip(box, sha256, at);
    }
    /* Put again it is whole. */
    flip(box, sha256, there);
    assert_int_equal(verified(box, 0, 0), ERR_damaged);
    put_long(box, sha256);
    assert_int_equal(verified(box, 0, 0), ERR_NONE);
    record_says(box, false);
}

/* What an earlier version put has no sums of blocks: its name is its sum, until it has them. */
static void test_contents_of_earlier_versions(void **state) {
    Box *box = *state;
    char sha256[DATASET_SHA + 1];
    StoredContent content;
    put_long(box, sha256);
    for (int damaged = 1; damaged >= 0; damaged--) {
        meddle(box, "DELETE FROM contents");
        if (damaged) flip(box, sha256, 500000);
        assert_int_equal(verified(box, 0, 2), damaged ? ERR_damaged : ERR_NONE);
        if (damaged) flip(box, sha256, 500000);
        assert_int_equal(store_content_get(box->store, sha256, &content), damaged ? ERR_not_found : ERR_NONE);
        assert_int_equal(content.damaged, damaged);
        stored_content_release(&content);
    }
    flip(box, sha256, 500000);
    assert_int_equal(verified(box, 0, 2), ERR_NONE);
    assert_int_equal(verified(box, 0, 0), ERR_damaged);
    /* A row of sums that is damaged is none. */
    meddle(box, "UPDATE contents SET sums = zeroblob(length(sums)), damaged = 0");
    assert_int_equal(verified(box, 0, 2), ERR_damaged);
    flip(box, sha256, 500000);
    assert_int_equal(verified(box, 0, 2), ERR_NONE);
    /* What is known of a content goes with it. */
    assert_int_equal(dataset_files_delete(box->files, "long"), ROW_DONE);
    assert_int_equal(store_content_get(box->store, sha256, &content), ERR_not_found);
}

static bool count_row(void *arg, const char *record, size_t len, bool damaged) {
    assert_false(damaged);
    assert_int_equal(record[0], '{');
    assert_int_equal(record[len - 1], '}');
    ++*(int *)arg;
    return true;
}

static void test_pages(void **state) {
    Box *box = *state;
    char name[8], sha256[DATASET_SHA + 1];
    int rows = 0, pages = 0;
    StorePlace after = {0}, last = {0};
    for (unsigned char i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "d%d", i);
        put(box, name, i, sha256);
    }
    do {
        assert_int_equal(store_datasets(box->store, &after, 3, count_row, &rows, &last), ERR_NONE);
        after = last;
        pages++;
    } while (*last.key);
    assert_int_equal(rows, 7);
    assert_int_equal(pages, 3);
    meddle(box, "UPDATE datasets SET record = '{}' WHERE name = 'd3'");
    after = (StorePlace){0};
    rows = 0;
    assert_int_equal(store_datasets(box->store, &after, 10, count_row, &rows, &last), ERR_NONE);
    assert_int_equal(rows, 6);
}

static void test_the_folder_must_be_usable(void **state) {
    Box *box = *state;
    char why[300] = "", path[256];
    dataset_files_close(box->files);
    file_path(box, "", path);
    path[strlen(path) - 1] = 0;
    assert_int_equal(rmdir(path), 0);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fclose(out);
    box->files = dataset_files_open(&(LostFound){.data = box->dir, .log = &quiet}, box->store, why, sizeof why);
    assert_null(box->files);
    assert_non_null(strstr(why, "datasets"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_find_delete, make, drop),
        cmocka_unit_test_setup_teardown(test_names_share_a_content, make, drop),
        cmocka_unit_test_setup_teardown(test_a_descriptor_outlives_its_data_set, make, drop),
        cmocka_unit_test_setup_teardown(test_a_run_holds_its_data, make, drop),
        cmocka_unit_test_setup_teardown(test_a_base_may_have_moved, make, drop),
        cmocka_unit_test_setup_teardown(test_the_folder_is_swept, make, drop),
        cmocka_unit_test_setup_teardown(test_a_damaged_index_costs_no_data, make, drop),
        cmocka_unit_test_setup_teardown(test_damaged_files_are_told, make, drop),
        cmocka_unit_test_setup_teardown(test_contents_are_held_against_their_sums, make, drop),
        cmocka_unit_test_setup_teardown(test_contents_of_earlier_versions, make, drop),
        cmocka_unit_test_setup_teardown(test_pages, make, drop),
        cmocka_unit_test_setup_teardown(test_the_folder_must_be_usable, make, drop),
    };
    if (sodium_init() < 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
