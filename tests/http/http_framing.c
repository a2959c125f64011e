/* Where one message ends and the next begins, who is heard before others, and what becomes of connections that say little. */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define BODY "{\"source\":\"true\"}"
#define CHUNKED "11\r\n" BODY "\r\n0\r\n\r\n"

/* Sends the bytes and reads one answer; its status. *fd stays open, the caller's. */
static int exchange(Ask *a, const char *bytes, int *fd) {
    *fd = raw_open(a->daemon.url);
    raw_send(*fd, bytes, strlen(bytes));
    assert_true(raw_answer(*fd, &a->response));
    return a->response.status;
}

static void expect(Ask *a, int status, bool kept, const char *bytes) {
    int fd, got = exchange(a, bytes, &fd);
    if (got != status) fail_msg("%d instead of %d for\n%s", got, status, bytes);
    if (kept) {
        raw_request(fd, "GET", "/livez", "", NULL);
        if (!raw_answer(fd, &a->response) || a->response.status != 200) fail_msg("the connection is not kept after\n%s", bytes);
    } else if (!raw_ended(fd)) {
        fail_msg("the connection is kept after\n%s", bytes);
    }
    close(fd);
}

static void test_framing(void **state) {
    Ask *a = *state;
#define POST "POST /eval HTTP/1.1\r\nHost: localhost\r\n"
    expect(a, 200, true, POST "Transfer-Encoding: chunked\r\n\r\n" CHUNKED);
    expect(a, 200, true, POST "Transfer-Encoding: Chunked\r\n\r\n" CHUNKED);
    /* The chunks are the body, and the connection is done for: what follows could be anybody's. */
    expect(a, 200, false, POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKED);
    /* Codings that libmicrohttpd does not know it reads as none at all. */
    expect(a, 400, false, POST "Transfer-Encoding: chunked \r\n\r\n" CHUNKED);
    expect(a, 400, false, POST "Transfer-Encoding: identity\r\nContent-Length: 17\r\n\r\n" BODY);
    expect(a, 400, false, POST "Transfer-Encoding: gzip, chunked\r\n\r\n" CHUNKED);
    expect(a, 400, false, POST "Transfer-Encoding: xchunked\r\n\r\n" CHUNKED);
    /* Lengths that are none it refuses by itself, and closes. (0.9.75 sends the head of that answer twice, which nothing in front of it can help.) */
    static const char *const lengths[] = {"17, 17", "-17", "0x11", "17 17", "+17"};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char bytes[200], rest[1000];
        int fd;
        snprintf(bytes, sizeof bytes, POST "Content-Length: %s\r\n\r\n" BODY, lengths[i]);
        assert_int_equal(exchange(a, bytes, &fd), 400);
        while (read(fd, rest, sizeof rest) > 0) {}
        assert_true(raw_ended(fd));
        close(fd);
    }
#undef POST
}

static void test_blanks_behind_values(void **state) {
    Ask *a = *state;
    expect(a, 200, true, "GET /version HTTP/1.1\r\nHost: localhost \r\n\r\n");
    expect(a, 200, true, "GET /version HTTP/1.1\r\nHost:\tlocalhost\t \r\n\r\n");
    expect(a, 200, true, "GET /version HTTP/1.1\r\nHost: localhost\r\nX-Deadline-Ms: 2000 \r\n\r\n");
    expect(a, 200, true, "POST /eval HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json \r\nContent-Encoding: identity \r\nContent-Length: 17\r\n\r\n" BODY);
}

static void test_absolute_form(void **state) {
    Ask *a = *state;
    expect(a, 200, true, "GET http://127.0.0.1:8420/livez HTTP/1.1\r\nHost: 127.0.0.1:8420\r\n\r\n");
    expect(a, 200, true, "GET HTTP://localhost/programs?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    /* The authority is what is asked for, whatever Host says. */
    expect(a, 200, true, "GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    expect(a, 403, true, "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(a, 404, true, "GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(a, 404, true, "GET ftp://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

static void test_caches_are_told(void **state) {
    Ask *a = *state;
    ask(a, 200, "GET /version", NULL);
    ask_header(a, "Cache-Control", "no-store");
    assert_null(client_header(&a->response, "Vary", &(size_t){0}));
    ask(a, 200, "POST /eval", "{'source': 'true'}");
    ask_header(a, "Vary", "Accept");
}

/* ---- refusals while the body still comes ---- */

static void start_with_token(Ask *a, const char *const *options) {
    setenv("CAJAL_TOKEN", "secret", 1);
    ask_start(a, options);
    setenv("CAJAL_TOKEN", "", 1);
}

/* Without a token nobody holds anything, however many half requests they leave. */
static void test_token_first(void **state) {
    Ask *a = *state;
    int held[6];
    start_with_token(a, (const char *[]){"--max-inflight", "2", NULL});
    for (int i = 0; i < 6; i++)
        assert_int_equal(exchange(a, "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{", &held[i]), 401);
    for (int i = 0; i < 6; i++) {
        assert_true(raw_ended(held[i]));
        close(held[i]);
    }
    expect(a, 200, true, "POST /compile HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret \r\nContent-Length: 17\r\n\r\n" BODY);
    daemon_stop(&a->daemon, SIGTERM);
}

/* The client sends all it has before it looks at the answer. */
static void upload(Ask *a, const char *head, bool chunked, size_t pieces, int status) {
    enum { PIECE = 65536 };
    char *piece = calloc(1, PIECE + 16);
    int fd = raw_open(a->daemon.url);
    raw_send(fd, head, strlen(head));
    size_t at = chunked ? (size_t)sprintf(piece, "%x\r\n", PIECE) : 0;
    memset(piece + at, ' ', PIECE);
    if (chunked) memcpy(piece + at + PIECE, "\r\n", 2);
    for (size_t i = 0; i < pieces; i++) raw_send(fd, piece, at + PIECE + (chunked ? 2 : 0));
    if (chunked) raw_send(fd, "0\r\n\r\n", 5);
    assert_true(raw_answer(fd, &a->response));
    assert_int_equal(a->response.status, status);
    assert_true(raw_ended(fd));
    close(fd);
    free(piece);
}

static void test_refused_uploads_hear_why(void **state) {
    Ask *a = *state;
    start_with_token(a, (const char *[]){"--max-body", "1M", NULL});
    upload(a, "PUT /datasets/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", true, 320, 401);
    upload(a, "PUT /datasets/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20971520\r\n\r\n", false, 320, 401);
#define TOKEN "Authorization: Bearer secret\r\n"
    upload(a, "PUT /datasets/x HTTP/1.1\r\nHost: localhost\r\n" TOKEN "Content-Length: 20971520\r\n\r\n", false, 320, 413);
    upload(a, "PUT /datasets/x HTTP/1.1\r\nHost: localhost\r\n" TOKEN "Transfer-Encoding: chunked\r\n\r\n", true, 320, 413);
    upload(a, "PUT /nothing HTTP/1.1\r\nHost: localhost\r\n" TOKEN "Transfer-Encoding: chunked\r\n\r\n", true, 320, 404);
#undef TOKEN
    daemon_stop(&a->daemon, SIGTERM);
}

/* What is refused early says as much as what is refused late. */
static void test_early_answers_are_whole(void **state) {
    Ask *a = *state;
    int fd;
    ask_start(a, (const char *[]){"--allow-origin", "https://app.example", NULL});
    assert_int_equal(exchange(a, "POST /eval HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\nX-Deadline-Ms: 100\r\nContent-Length: 1000\r\n\r\n{", &fd), 504);
    ask_header(a, "Access-Control-Allow-Origin", "https://app.example");
    ask_header(a, "Vary", "Accept, Origin");
    ask_header(a, "Connection", "close");
    ask_read(a);
    ask_is_problem(a, "deadline");
    close(fd);
    ask_stop(a);
}

/* ---- parties ---- */

static void test_clients_behind_a_proxy(void **state) {
    Ask *a = *state;
    int held[3], fd;
    static const char request[] = "POST /compile HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.%d\r\nContent-Length: 17\r\n\r\n%s";
    char bytes[300];
    ask_start(a, (const char *[]){"--trust-proxy", "127.0.0.1", "--max-inflight", "1", NULL});
    for (int i = 0; i < 3; i++) {
        held[i] = raw_open(a->daemon.url);
        snprintf(bytes, sizeof bytes, request, i, "{");
        raw_send(held[i], bytes, strlen(bytes));
    }
    for (int i = 0;; i++) { /* until the first of them is in */
        snprintf(bytes, sizeof bytes, request, 0, BODY);
        const int status = exchange(a, bytes, &fd);
        close(fd);
        if (status == 429) break;
        assert_true(i < 60000);
        usleep(5000);
    }
    snprintf(bytes, sizeof bytes, request, 9, BODY);
    assert_int_equal(exchange(a, bytes, &fd), 200);
    close(fd);
    for (int i = 0; i < 3; i++) {
        raw_send(held[i], BODY + 1, strlen(BODY) - 1);
        assert_true(raw_answer(held[i], &a->response));
        assert_int_equal(a->response.status, 200);
        close(held[i]);
    }
    ask_stop(a);
}

/* Connections that say nothing, or half a head, make room for others; one with a request under way is left alone. */
static void test_full_of_silent_connections(void **state) {
    enum { MOST = 16, MANY = 200 };
    Ask *a = *state;
    int silent[MANY], busy;
    ask_start(a, (const char *[]){"--max-connections", "16", NULL});
    busy = raw_open(a->daemon.url);
    static const char begun[] = "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{";
    raw_send(busy, begun, sizeof begun - 1);
    while (ask_metric(a, "cajal_requests_inflight") < 2) usleep(1000);
    for (int i = 0; i < MANY; i++) {
        silent[i] = raw_open(a->daemon.url);
        if (i % 2) raw_send(silent[i], "GET /livez HT", 13);
    }
    for (int i = 0; i < 20; i++) expect(a, 200, true, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw_send(busy, BODY + 1, strlen(BODY) - 1);
    assert_true(raw_answer(busy, &a->response));
    assert_int_equal(a->response.status, 200);
    close(busy);
    for (int i = 0; i < MANY; i++) close(silent[i]);
    ask_stop(a);
}

/* When all connections are at work, those who watch the service still have one; others hear that there is no room. */
static void test_room_for_monitors(void **state) {
    enum { MOST = 8 };
    Ask *a = *state;
    int busy[MOST], fd;
    ask_start(a, (const char *[]){"--max-connections", "8", NULL});
    for (int i = 0; i < MOST; i++) {
        static const char begun[] = "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{";
        busy[i] = raw_open(a->daemon.url);
        raw_send(busy[i], begun, sizeof begun - 1);
    }
    for (int i = 0;; i++) { /* until the last of them is in */
        const int status = exchange(a, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n", &fd);
        close(fd);
        if (status == 503) break;
        assert_true(i < 60000);
        usleep(5000);
    }
    assert_int_equal(exchange(a, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", &fd), 200);
    close(fd);
    for (int i = 0; i < MOST; i++) {
        raw_send(busy[i], BODY + 1, strlen(BODY) - 1);
        assert_true(raw_answer(busy[i], &a->response));
        assert_int_equal(a->response.status, 200);
        close(busy[i]);
    }
    daemon_stop(&a->daemon, SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_blanks_behind_values),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_caches_are_told),
        cmocka_unit_test_setup_teardown(test_token_first, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_refused_uploads_hear_why, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_early_answers_are_whole, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_clients_behind_a_proxy, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_full_of_silent_connections, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_room_for_monitors, ask_setup_empty, ask_teardown),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
