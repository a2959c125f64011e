/* Data sets over HTTP: every form in and rows out, columns added, what is refused, what an upload that fails leaves behind (nothing). */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

/* Three rows: x u8 [2], label i32. */
static const unsigned char x_idx[] = {0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2, 3, 4, 5, 255};
static const unsigned char label_idx[] = {0, 0, 0x0c, 1, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff};

static void put(Ask *a, int status, const char *route, const void *body, size_t len) { ask_bytes(a, status, route, NULL, body, len); }

static void put_refused(Ask *a, const char *code, int status, const char *route, const void *body, size_t len) {
    put(a, status, route, body, len);
    ask_is_problem(a, code);
}

/* Files in the daemon's folder of data sets. */
static int files(const Ask *a) {
    char path[128];
    int n = 0;
    snprintf(path, sizeof path, "%s/data/datasets", a->daemon.dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) n += *entry->d_name != '.';
    closedir(dir);
    return n;
}

/* Until there are so many; for at most 10 s. */
static void wait_files(const Ask *a, int n) {
    for (int i = 0; i < 24000 && files(a) != n; i++) usleep(5000);
    assert_int_equal(files(a), n);
}

static void put_gzip(Buf *out, const void *bytes, size_t len) {
    z_stream z = {0};
    uLong most = compressBound((uLong)len) + 100;
    unsigned char *room = malloc(most);
    assert_non_null(room);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)bytes;
    z.avail_in = (uInt)len;
    z.next_out = room;
    z.avail_out = (uInt)most;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_init(out);
    buf_put(out, room, most - z.avail_out);
    deflateEnd(&z);
    free(room);
}

static void test_columns_one_by_one(void **state) {
    Ask *a = *state;
    put(a, 201, "PUT /datasets/tiny?column=x", x_idx, sizeof x_idx);
    ask_keys(a, "", "name rows bytes sha256 created columns");
    ask_part(a, "name", "'tiny'");
    ask_part(a, "columns", "[{'name': 'x', 'dtype': 'u8', 'shape': [2]}]");
    put(a, 200, "PUT /datasets/tiny?column=label", label_idx, sizeof label_idx);
    ask_part(a, "rows", "3");
    ask_part(a, "columns", "[{'name': 'label', 'dtype': 'i64', 'shape': []}, {'name': 'x', 'dtype': 'u8', 'shape': [2]}]");
    char sha256[65];
    snprintf(sha256, sizeof sha256, "%s", ask_text(a, "sha256"));
    ask(a, 200, "GET /datasets/tiny", NULL);
    assert_string_equal(ask_text(a, "sha256"), sha256);
    ask(a, 200, "GET /datasets/tiny/rows", NULL);
    ask_part(a, "", "{'from': 0, 'count': 3, 'columns': {'label': [7, 8, -1], 'x': [[1, 2], [3, 4], [5, 255]]}}");
    ask(a, 200, "GET /datasets/tiny/rows?from=2&count=1000", NULL);
    ask_part(a, "columns", "{'label': [-1], 'x': [[5, 255]]}");
    ask(a, 200, "GET /datasets/tiny/rows?from=3", NULL);
    ask_part(a, "columns", "{'label': [], 'x': []}");
    /* Again: the same bytes, the same content. */
    put(a, 200, "PUT /datasets/tiny?column=x", x_idx, sizeof x_idx);
    assert_string_equal(ask_text(a, "sha256"), sha256);
    assert_int_equal(files(a), 1);
    ask(a, 204, "DELETE /datasets/tiny", NULL);
    ask_refused(a, "not_found", "GET /datasets/tiny", NULL);
    ask_refused(a, "not_found", "GET /datasets/tiny/rows", NULL);
    ask_refused(a, "not_found", "DELETE /datasets/tiny", NULL);
    assert_int_equal(files(a), 0);
}

static void put_safetensors(Buf *out) {
    static const char header[] = "{\"f\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"BOOL\",\"shape\":[2],"
                                 "\"data_offsets\":[8,10]},\"__metadata__\":{\"made\":\"here\"}}";
    static const float data[] = {0.1f, -2};
    buf_init(out);
    buf_u64(out, sizeof header - 1);
    buf_puts(out, header);
    buf_put(out, data, sizeof data);
    buf_put(out, "\1\0", 2);
}

static void test_every_form(void **state) {
    Ask *a = *state;
    Buf body, gz;
    put_safetensors(&body);
    put(a, 201, "PUT /datasets/forms", body.data, body.len);
    ask(a, 200, "GET /datasets/forms/rows", NULL);
    ask_part(a, "columns", "{'f': [[0.1], [-2]], 'b': [1, 0]}");
    put_gzip(&gz, body.data, body.len);
    put(a, 200, "PUT /datasets/forms", gz.data, gz.len); /* told by its content */
    ask(a, 200, "GET /datasets/forms/rows?count=1", NULL);
    ask_part(a, "columns", "{'f': [[0.1]], 'b': [1]}");
    const char *const coded[] = {"Content-Encoding: gzip", "Content-Type: application/json", NULL};
    ask_bytes(a, 200, "PUT /datasets/forms", coded, gz.data, gz.len);
    ask_bytes(a, 400, "PUT /datasets/forms", coded, body.data, body.len);
    ask_is_problem(a, "bad_tensor");
    ask_bytes(a, 415, "PUT /datasets/forms", (const char *[]){"Content-Encoding: br", NULL}, gz.data, gz.len);
    ask_is_problem(a, "unsupported_media_type");
    put_refused(a, "bad_tensor", 400, "PUT /datasets/forms", gz.data, gz.len - 1);
    buf_release(&gz);
    static const char npy[] = "\x93NUMPY\1\0\x46\0{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }            \n"
                              "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0";
    put(a, 200, "PUT /datasets/forms?column=d", npy, sizeof npy - 1);
    ask(a, 200, "GET /datasets/forms/rows", NULL);
    ask_part(a, "columns", "{'d': [1, -2], 'f': [[0.1], [-2]], 'b': [1, 0]}");
    ask(a, 204, "DELETE /datasets/forms", NULL);
    buf_release(&body);
}

static void test_refused(void **state) {
    Ask *a = *state;
    Buf body;
    char longest[160] = "PUT /datasets/";
    put_safetensors(&body);
    put_refused(a, "bad_request", 400, "PUT /datasets/r", x_idx, sizeof x_idx);
    put_refused(a, "bad_request", 400, "PUT /datasets/r?column=x", body.data, body.len);
    put_refused(a, "bad_request", 400, "PUT /datasets/r?column=a%20b", x_idx, sizeof x_idx);
    put_refused(a, "bad_request", 400, "PUT /datasets/a%20b", body.data, body.len);
    put_refused(a, "bad_request", 400, "PUT /datasets/r?columns=x", x_idx, sizeof x_idx);
    memset(longest + strlen(longest), 'a', 101);
    put_refused(a, "bad_request", 400, longest, body.data, body.len);
    put_refused(a, "bad_tensor", 400, "PUT /datasets/r", "", 0);
    put_refused(a, "bad_tensor", 400, "PUT /datasets/r", "{\"rows\": 1}", 11);
    put_refused(a, "bad_tensor", 400, "PUT /datasets/r", body.data, body.len - 1);
    put_refused(a, "bad_tensor", 400, "PUT /datasets/r?column=x", x_idx, sizeof x_idx - 1);
    buf_release(&body);
    ask_refused(a, "not_found", "GET /datasets/r", NULL);
    put(a, 201, "PUT /datasets/r?column=x", x_idx, sizeof x_idx);
    put_refused(a, "shape_mismatch", 422, "PUT /datasets/r?column=y", "\0\0\x08\1\0\0\0\1y", 9);
    ask(a, 200, "GET /datasets/r", NULL);
    ask_part(a, "columns", "[{'name': 'x', 'dtype': 'u8', 'shape': [2]}]");
    const char *const bad[] = {"from=-1", "from=x", "count=0", "count=1001", "rows=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char route[64];
        snprintf(route, sizeof route, "GET /datasets/r/rows?%s", bad[i]);
        ask_refused(a, "bad_request", route, NULL);
    }
    ask(a, 204, "DELETE /datasets/r", NULL);
    assert_int_equal(files(a), 0);
    ask(a, 405, "POST /datasets/r", NULL);
    ask_header(a, "Allow", "GET, HEAD, PUT, DELETE");
}

static void test_the_list_has_pages(void **state) {
    Ask *a = *state;
    char route[300], seen[5] = "";
    for (int i = 0; i < 5; i++) {
        snprintf(route, sizeof route, "PUT /datasets/list-%d?column=x", i);
        put(a, 201, route, x_idx, sizeof x_idx);
    }
    ask(a, 200, "GET /datasets?limit=2", NULL);
    ask_part(a, "datasets.0.name", "'list-4'"); /* newest first */
    for (int pages = 1;; pages++) {
        for (const cJSON *d = ask_find(a, "datasets")->child; d; d = d->next)
            seen[cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(d, "name"))[5] - '0']++;
        if (cJSON_IsNull(ask_find(a, "next_page_token"))) {
            assert_int_equal(pages, 3);
            break;
        }
        snprintf(route, sizeof route, "GET /datasets?limit=2&page_token=%s", ask_text(a, "next_page_token"));
        ask(a, 200, route, NULL);
    }
    assert_memory_equal(seen, "\1\1\1\1\1", 5);
    assert_int_equal(files(a), 1); /* one content, five names */
    ask_refused(a, "bad_request", "GET /datasets?page_token=nonsense", NULL);
    for (int i = 0; i < 5; i++) {
        snprintf(route, sizeof route, "DELETE /datasets/list-%d", i);
        ask(a, 204, route, NULL);
    }
    assert_int_equal(files(a), 0);
}

/* Rows whose JSON would be larger than an answer may be. */
static void test_rows_are_bounded(void **state) {
    Ask *a = *state;
    enum { ROWS = 20, ROW = 500000 };
    size_t len = 12 + (size_t)ROWS * ROW;
    unsigned char *body = calloc(1, len);
    assert_non_null(body);
    memcpy(body, (const unsigned char[]){0, 0, 8, 2, 0, 0, 0, ROWS, 0, 0x07, 0xa1, 0x20}, 12);
    body[len - 1] = 9;
    put(a, 201, "PUT /datasets/wide?column=x", body, len);
    free(body);
    ask_refused(a, "too_large", "GET /datasets/wide/rows", NULL);
    ask(a, 200, "GET /datasets/wide/rows?from=19&count=1", NULL);
    const cJSON *row = ask_find(a, "columns.x.0");
    assert_int_equal(cJSON_GetArraySize(row), ROW);
    assert_int_equal(cJSON_GetArrayItem(row, ROW - 1)->valueint, 9);
    ask(a, 204, "DELETE /datasets/wide", NULL);
}

/* ---- what is left of uploads that end early ---- */

static void test_a_cut_upload_leaves_nothing(void **state) {
    Ask *a = *state;
    enum { LEN = 4 << 20 };
    char *half = calloc(1, LEN / 2);
    assert_non_null(half);
    memcpy(half, x_idx, sizeof x_idx);
    for (int i = 0; i < 2; i++) {
        int fd = raw_open(a->daemon.url);
        static const char declared[] = "PUT /datasets/cut?column=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n";
        static const char chunked[] = "PUT /datasets/cut?column=x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n";
        raw_send(fd, i ? chunked : declared, (i ? sizeof chunked : sizeof declared) - 1);
        raw_send(fd, half, LEN / 2);
        close(fd);
    }
    free(half);
    ask_refused(a, "not_found", "GET /datasets/cut", NULL);
    wait_files(a, 0);
}

/* The daemon is killed while uploads are written: at the next start every data set is whole, and nothing else is there. */
static void test_a_killed_daemon_leaves_whole_data_sets(void **state) {
    Ask *a = *state;
    enum { LEN = 8 << 20, ROUNDS = 3 };
    unsigned char *body = calloc(1, 12 + LEN);
    assert_non_null(body);
    memcpy(body, (const unsigned char[]){0, 0, 8, 2, 0, 0, 0x20, 0, 0, 0, 4, 0}, 12);
    for (int round = 0; round < ROUNDS; round++) {
        ask_start(a, NULL);
        put(a, round ? 200 : 201, "PUT /datasets/kept?column=x", x_idx, sizeof x_idx);
        int fd[4];
        for (int i = 0; i < 4; i++) {
            char head[160];
            body[12] = (unsigned char)(16 * round + i);
            int n = snprintf(head, sizeof head, "PUT /datasets/kill-%d-%d?column=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
                             round, i, 12 + LEN);
            fd[i] = raw_open(a->daemon.url);
            raw_send(fd[i], head, (size_t)n);
            raw_send(fd[i], body, 12 + LEN);
        }
        usleep(5000u << 2 * round);
        daemon_stop(&a->daemon, SIGKILL);
        for (int i = 0; i < 4; i++) close(fd[i]);
    }
    free(body);
    ask_start(a, NULL);
    ask(a, 200, "GET /datasets?limit=100", NULL);
    int n = cJSON_GetArraySize(ask_find(a, "datasets"));
    assert_int_equal(files(a), n);
    char names[ROUNDS * 4 + 1][64];
    assert_in_range(n, 1, ROUNDS * 4 + 1);
    for (int i = 0; i < n; i++) {
        char path[32];
        snprintf(path, sizeof path, "datasets.%d.name", i);
        snprintf(names[i], sizeof names[i], "%.60s", ask_text(a, path));
    }
    for (int i = 0; i < n; i++) {
        char route[80];
        snprintf(route, sizeof route, "GET /datasets/%.60s", names[i]);
        ask(a, 200, route, NULL);
    }
    ask(a, 200, "GET /datasets/kept/rows", NULL);
    ask_part(a, "columns", "{'x': [[1, 2], [3, 4], [5, 255]]}");
    ask_stop(a);
}

/* ---- limits ---- */

static void test_bodies_are_limited(void **state) {
    Ask *a = *state;
    enum { MOST = 1 << 20 };
    Buf gz;
    unsigned char *zeros = calloc(1, MOST + 13);
    assert_non_null(zeros);
    memcpy(zeros, (const unsigned char[]){0, 0, 8, 1, 0, 0x10, 0, 5}, 8); /* 1 MiB + 5 rows */
    ask_start(a, (const char *[]){"--max-body", "1M", NULL});
    put_refused(a, "body_too_large", 413, "PUT /datasets/big?column=x", zeros, MOST + 13);
    put_gzip(&gz, zeros, MOST + 13);
    assert_true(gz.len < 10000);
    put_refused(a, "body_too_large", 413, "PUT /datasets/big?column=x", gz.data, gz.len);
    ask_body_has(a, "1048576");
    buf_release(&gz);
    put_gzip(&gz, zeros, MOST);
    put_refused(a, "bad_tensor", 400, "PUT /datasets/big?column=x", gz.data, gz.len);
    buf_release(&gz);
    free(zeros);
    assert_int_equal(files(a), 0);
    ask_stop(a);
}

/* ---- several at once ---- */

typedef struct {
    char url[128], path[64];
    int status;
} Upload;

static void *upload(void *arg) {
    Upload *u = arg;
    ClientResponse response = {0};
    Client *client = client_new(u->url, NULL);
    if (client && client_request(client, "PUT", u->path, NULL, x_idx, sizeof x_idx, &response) == CLIENT_OK) u->status = response.status;
    client_response_release(&response);
    client_free(client);
    return NULL;
}

static void test_columns_added_at_once_are_all_there(void **state) {
    Ask *a = *state;
    enum { N = 12 };
    Upload uploads[N];
    pthread_t threads[N];
    int created = 0;
    for (int i = 0; i < N; i++) {
        uploads[i] = (Upload){0};
        snprintf(uploads[i].url, sizeof uploads[i].url, "%s", a->daemon.url);
        snprintf(uploads[i].path, sizeof uploads[i].path, "/datasets/many?column=c%d", i);
        assert_int_equal(pthread_create(&threads[i], NULL, upload, &uploads[i]), 0);
    }
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < N; i++) {
        assert_true(uploads[i].status == 200 || uploads[i].status == 201);
        created += uploads[i].status == 201;
    }
    assert_int_equal(created, 1);
    ask(a, 200, "GET /datasets/many", NULL);
    assert_int_equal(cJSON_GetArraySize(ask_find(a, "columns")), N);
    assert_int_equal(files(a), 1);
    ask(a, 204, "DELETE /datasets/many", NULL);
}

/* ---- damage, use, a full disk ---- */

static void meddle(const Ask *a, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_a_used_data_set_stays(void **state) {
    Ask *a = *state;
    put(a, 201, "PUT /datasets/used?column=x", x_idx, sizeof x_idx);
    meddle(a, "INSERT INTO run_data SELECT 'r-1', name, sha256, 1 FROM datasets WHERE name = 'used'");
    ask_refused(a, "conflict", "DELETE /datasets/used", NULL);
    put_refused(a, "conflict", 409, "PUT /datasets/used?column=y", x_idx, sizeof x_idx);
    put(a, 200, "PUT /datasets/used?column=x", x_idx, sizeof x_idx);
    meddle(a, "DELETE FROM run_data");
    ask(a, 204, "DELETE /datasets/used", NULL);
    assert_int_equal(files(a), 0);
}

static void test_a_damaged_file_is_told(void **state) {
    Ask *a = *state;
    char path[256];
    put(a, 201, "PUT /datasets/hurt?column=x", x_idx, sizeof x_idx);
    snprintf(path, sizeof path, "%s/data/datasets/%s.safetensors", a->daemon.dir, ask_text(a, "sha256"));
    ask(a, 200, "GET /datasets/hurt", NULL);
    assert_null(strstr(buf_text(&a->response.body), "damaged"));
    assert_int_equal(truncate(path, 20), 0);
    ask(a, 200, "GET /datasets/hurt", NULL);
    ask_part(a, "damaged", "true");
    ask_refused(a, "damaged", "GET /datasets/hurt/rows", NULL);
    put_refused(a, "damaged", 500, "PUT /datasets/hurt?column=y", x_idx, sizeof x_idx);
    ask(a, 204, "DELETE /datasets/hurt", NULL);
    put(a, 201, "PUT /datasets/hurt?column=x", x_idx, sizeof x_idx);
    /* One bit of the last row: what the header says is as it was. */
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -1, SEEK_END);
    const int last = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(last ^ 1, f);
    fclose(f);
    ask_refused(a, "damaged", "GET /datasets/hurt/rows", NULL);
    ask(a, 200, "GET /datasets/hurt", NULL);
    ask_part(a, "damaged", "true");
    ask(a, 200, "GET /datasets", NULL);
    ask_part(a, "datasets.0.damaged", "true");
    /* A column more would give the damage a hash of its own. */
    put_refused(a, "damaged", 500, "PUT /datasets/hurt?column=y", x_idx, sizeof x_idx);
    put(a, 200, "PUT /datasets/hurt?column=x", x_idx, sizeof x_idx);
    ask(a, 200, "GET /datasets/hurt/rows", NULL);
    ask(a, 200, "GET /datasets/hurt", NULL);
    assert_null(strstr(buf_text(&a->response.body), "damaged"));
    ask(a, 204, "DELETE /datasets/hurt", NULL);
}

static void fill_the_disk(Ask *a) {
    enum { LEN = 6 << 20 };
    Buf gz;
    unsigned char *body = calloc(1, 8 + LEN);
    assert_non_null(body);
    memcpy(body, (const unsigned char[]){0, 0, 8, 1, 0, 0x60, 0, 0}, 8);
    ask_start(a, NULL);
    put(a, 201, "PUT /datasets/small?column=x", x_idx, sizeof x_idx);
    put_refused(a, "storage_full", 507, "PUT /datasets/big?column=x", body, 8 + LEN);
    put_gzip(&gz, body, 8 + LEN);
    put_refused(a, "storage_full", 507, "PUT /datasets/big?column=x", gz.data, gz.len);
    buf_release(&gz);
    free(body);
    assert_int_equal(files(a), 1);
    ask_refused(a, "not_found", "GET /datasets/big", NULL);
    ask(a, 200, "GET /datasets/small/rows?count=1", NULL);
    put(a, 200, "PUT /datasets/small?column=y", x_idx, sizeof x_idx); /* small ones still fit */
    ask_stop(a);
}

static void test_a_full_disk(void **state) {
    Ask *a = *state;
    if (!daemon_small_disk(&a->daemon, "4m")) {
        print_message("storage_full: no file system can be mounted here (%s)\n", strerror(errno));
        skip();
    }
    fill_the_disk(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_one_by_one),
        cmocka_unit_test(test_every_form),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_the_list_has_pages),
        cmocka_unit_test(test_rows_are_bounded),
        cmocka_unit_test(test_a_cut_upload_leaves_nothing),
        cmocka_unit_test(test_columns_added_at_once_are_all_there),
        cmocka_unit_test(test_a_used_data_set_stays),
        cmocka_unit_test(test_a_damaged_file_is_told),
        cmocka_unit_test_setup_teardown(test_a_killed_daemon_leaves_whole_data_sets, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_bodies_are_limited, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, ask_setup_empty, ask_teardown),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
