/* The service itself: health, version, metrics, OpenAPI, workers; unknown routes and methods; who is let in; request ids; quotas. */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRUE "{\"source\": \"true\"}"

static void with_header(Ask *a, int status, const char *route, const char *header) {
    bool post = *route == 'P';
    ask_bytes(a, status, route, (const char *[]){header, NULL}, post ? TRUE : NULL, post ? sizeof TRUE - 1 : 0);
}

static void test_health(void **state) {
    Ask *a = *state;
    ask(a, 200, "GET /livez", NULL);
    ask(a, 200, "GET /readyz", NULL);
    ask(a, 200, "GET /readyz?verbose", NULL);
    ask_header(a, "Content-Type", "application/json");
    ask(a, 200, "HEAD /livez", NULL);
    assert_int_equal(0, a->response.body.len);
    ask(a, 200, "GET /version", NULL);
    assert_true(*ask_text(a, "version"));
}

static void test_openapi(void **state) {
    static const char *const paths[] = {"/compile", "/programs", "/programs/{hash}", "/programs/{hash}/graph", "/programs/{hash}/matrix", "/eval", "/grad",
                                        "/jvp", "/livez", "/readyz", "/version", "/metrics", "/openapi.json", "/workers"};
    Ask *a = *state;
    ask(a, 200, "GET /openapi.json", NULL);
    ask_header(a, "Content-Type", "application/json");
    assert_memory_equal("3.1", ask_text(a, "openapi"), 3);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!cJSON_GetObjectItemCaseSensitive(ask_find(a, "paths"), paths[i])) fail_msg("%s is not described", paths[i]);
}

static void test_metrics(void **state) {
    Ask *a = *state;
    double requests = ask_metric(a, "cajal_requests_total"), runs = ask_metric(a, "cajal_runs_total");
    ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [true]}");
    ask(a, 422, "POST /eval", "{'source': 'λx:2. x', 'args': [1]}");
    assert_true(ask_metric(a, "cajal_requests_total") >= requests + 3);
    assert_true(ask_metric(a, "cajal_runs_total") == runs + 1);
    ask(a, 200, "GET /metrics", NULL);
    assert_memory_equal("text/plain", client_header(&a->response, "Content-Type", &(size_t){0}), 10);
    ask_body_has(a, "cajal_requests_total{method=\"POST\",route=\"/eval\",code=\"422\"} 1\n");
    ask_body_has(a, "# TYPE cajal_request_seconds histogram\n");
    ask_body_has(a, "cajal_ready 1\n");
}

static void test_workers(void **state) {
    Ask *a = *state;
    ask(a, 200, "GET /workers", NULL);
    for (int i = 0; strcmp(ask_text(a, "workers.0.state"), "starting") == 0; i++) {
        assert_true(i < 60000);
        usleep(10000);
        ask(a, 200, "GET /workers", NULL);
    }
    assert_int_equal(0, kill((pid_t)ask_number(a, "workers.0.pid"), 0));
    assert_true(ask_number(a, "workers.0.threads") >= 1);
}

static void test_unknown_routes(void **state) {
    static const char *const paths[] = {"/nowhere", "/compile/", "/Compile", "/programs/", "/programs//graph", "/programs/a/b", "/compilee", "/eval/x",
                                        "/..", "/%2e%2e/etc/passwd", "/errors/not_found"};
    char route[100];
    Ask *a = *state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(route, sizeof route, "GET %s", paths[i]);
        ask_refused(a, "not_found", route, NULL);
    }
}

static void test_wrong_methods(void **state) {
    static const struct {
        const char *route, *allow;
    } cases[] = {
        {"GET /compile", "POST"},          {"DELETE /eval", "POST"},           {"PUT /grad", "POST"},
        {"PATCH /jvp", "POST"},            {"POST /programs", "GET, HEAD"},    {"POST /programs/x", "GET, HEAD, DELETE"},
        {"DELETE /livez", "GET, HEAD"},    {"POST /metrics", "GET, HEAD"},     {"DELETE /programs/x/graph", "GET, HEAD"},
        {"OPTIONS /compile", "POST"},
    };
    Ask *a = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask_refused(a, "method_not_allowed", cases[i].route, NULL);
        ask_header(a, "Allow", cases[i].allow);
    }
}

static void test_request_ids(void **state) {
    static const char *const bad[] = {"X-Request-Id: a b", "X-Request-Id: <script>", "X-Request-Id: \"", "X-Request-Id;",
                                      "X-Request-Id: 01234567890123456789012345678901234567890123456789012345678901234"};
    Ask *a = *state;
    char first[100];
    size_t len;
    with_header(a, 200, "GET /livez", "X-Request-Id: tracing-7_3.x");
    ask_header(a, "X-Request-Id", "tracing-7_3.x");
    with_header(a, 404, "GET /nowhere", "X-Request-Id: tracing-8");
    ask_header(a, "X-Request-Id", "tracing-8");
    ask_part(a, "request_id", "'tracing-8'");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) { /* not echoed: replaced */
        with_header(a, 200, "GET /livez", bad[i]);
        const char *id = client_header(&a->response, "X-Request-Id", &len);
        assert_non_null(id);
        assert_true(len >= 8 && len <= 64 && !memmem(bad[i], strlen(bad[i]), id, len));
    }
    ask(a, 200, "GET /livez", NULL);
    const char *id = client_header(&a->response, "X-Request-Id", &len);
    snprintf(first, sizeof first, "%.*s", (int)len, id);
    ask(a, 200, "GET /livez", NULL);
    id = client_header(&a->response, "X-Request-Id", &len);
    assert_true(len == strlen(first) && memcmp(first, id, len) != 0);
}

/* A web page must not drive a local server. */
static void test_strangers(void **state) {
    static const char *const strangers[] = {"Origin: http://evil.example", "Origin: null", "Origin: https://localhost.evil.example", "Host: evil.example",
                                            "Host: 127.0.0.1.evil.example", "Host: localhost.evil.example:8420", "Origin: http://127.0.0.1:1"};
    static const char *const locals[] = {"Host: localhost", "Host: localhost:8420", "Host: 127.0.0.1", "Host: [::1]:8420", "Host: LOCALHOST:1"};
    Ask *a = *state;
    char own[160];
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        static const char *const routes[] = {"POST /compile", "GET /livez", "GET /nowhere", "OPTIONS /compile"};
        for (int r = 0; r < 4; r++) {
            with_header(a, 403, routes[r], strangers[i]);
            ask_is_problem(a, "forbidden");
            assert_null(client_header(&a->response, "Access-Control-Allow-Origin", &(size_t){0}));
        }
    }
    for (size_t i = 0; i < sizeof locals / sizeof *locals; i++) with_header(a, 200, "POST /compile", locals[i]);
    snprintf(own, sizeof own, "Origin: %s", a->daemon.url);
    with_header(a, 200, "POST /compile", own);
}

static void test_admitted_origin(void **state) {
    Ask *a = *state;
    ask_start(a, (const char *[]){"--allow-origin", "https://notebook.example", NULL});
    with_header(a, 200, "POST /compile", "Origin: https://notebook.example");
    ask_header(a, "Access-Control-Allow-Origin", "https://notebook.example");
    with_header(a, 204, "OPTIONS /compile", "Origin: https://notebook.example");
    ask_header(a, "Access-Control-Allow-Origin", "https://notebook.example");
    assert_non_null(client_header(&a->response, "Access-Control-Allow-Methods", &(size_t){0}));
    with_header(a, 403, "POST /compile", "Origin: https://evil.example");
    with_header(a, 200, "POST /compile", "Origin: https://notebook.example");
    ask_stop(a);
}

/* /livez and /readyz are for monitors, which have no token. */
static void test_token(void **state) {
    Ask *a = *state;
    char path[100];
    snprintf(path, sizeof path, "/tmp/cajal-token-%d", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("open sesame\n", f);
    fclose(f);
    setenv("CAJAL_TOKEN", "", 1);
    ask_start(a, (const char *[]){"--token-file", path, NULL});
    unlink(path);
    static const char *const wrong[] = {"Authorization: Bearer open barley", "Authorization: Bearer ", "Authorization: Basic open sesame",
                                        "Authorization: Bearer open sesame!", "Authorization: open sesame", NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        with_header(a, 401, "POST /compile", wrong[i]);
        ask_is_problem(a, "unauthorized");
        ask_header(a, "WWW-Authenticate", "Bearer");
        with_header(a, 200, "GET /livez", wrong[i]);
        with_header(a, 200, "GET /readyz", wrong[i]);
        with_header(a, 401, "GET /programs", wrong[i]);
    }
    with_header(a, 200, "POST /compile", "Authorization: Bearer open sesame");
    with_header(a, 200, "POST /compile", "Authorization: bearer open sesame");
    ask_stop(a);
}

/* Requests whose bodies are still on their way count as in flight. */
static void test_quota(void **state) {
    Ask *a = *state;
    int held[2];
    ask_start(a, (const char *[]){"--max-inflight", "2", NULL});
    for (int i = 0; i < 2; i++) {
        static const char begun[] = "POST /compile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{";
        held[i] = raw_open(a->daemon.url);
        raw_send(held[i], begun, sizeof begun - 1);
    }
    for (int i = 0;; i++) { /* until both are in */
        client_request(a->daemon.client, "GET", "/programs", NULL, NULL, 0, &a->response);
        if (a->response.status == 429) break;
        assert_true(i < 60000);
        usleep(5000);
    }
    ask_refused(a, "quota", "POST /compile", "{'source': 'true'}");
    ask_header(a, "Retry-After", "1");
    ask(a, 200, "GET /livez", NULL); /* who watches the service is not counted */
    ask(a, 200, "GET /readyz", NULL);
    ask(a, 200, "GET /metrics", NULL);
    for (int i = 0; i < 2; i++) {
        ClientResponse answer = {0};
        raw_send(held[i], "\"source\": \"true\"}", 17);
        assert_true(raw_answer(held[i], &answer));
        assert_int_equal(200, answer.status);
        client_response_release(&answer);
        close(held[i]);
    }
    ask(a, 200, "POST /compile", "{'source': 'true'}");
    ask_stop(a);
}

static void test_deadline_header(void **state) {
    static const char *const bad[] = {"X-Deadline-Ms: 0", "X-Deadline-Ms: -1", "X-Deadline-Ms: soon", "X-Deadline-Ms: 1.5", "X-Deadline-Ms: 99999999999999999999"};
    Ask *a = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        with_header(a, 400, "POST /compile", bad[i]);
        ask_is_problem(a, "bad_request");
    }
    with_header(a, 200, "POST /compile", "X-Deadline-Ms: 20000");
}

static void test_queries(void **state) {
    static const char *const bad[] = {"GET /livez?verbose",       "GET /programs?limt=3",           "GET /programs?limit=3&limit=3",  "GET /readyz?verbose&verbose",
                                      "GET /programs?limit=3%00", "GET /programs?limit%00=3",       "GET /programs?page_token=%00",   "POST /compile?nat=4",
                                      "POST /eval?decode=true",   "GET /programs/x/graph?dtype=f64", "GET /programs/x/matrix?stage=lowered", "GET /metrics?=1",
                                      "POST /eval?wrt=f"};
    Ask *a = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ask_refused(a, "bad_request", bad[i], *bad[i] == 'P' ? "{'source': 'true'}" : NULL);
    ask_refused(a, "not_found", "GET /livez%00", NULL);
    ask_refused(a, "not_found", "GET /programs/%00", NULL);
    ask(a, 200, "GET /%6civez", NULL);
    ask(a, 200, "GET /programs?%6cimit=%33", NULL);
}

static void test_contradicting_headers(void **state) {
    static const char *const pairs[] = {"Host: localhost\r\nHost: evil.example", "Host: localhost\r\nContent-Length: 18\r\nContent-Length: 19",
                                        "Host: localhost\r\nX-Deadline-Ms: 1\r\nX-Deadline-Ms: 2"};
    Ask *a = *state;
    ClientResponse answer = {0};
    char request[300];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int fd = raw_open(a->daemon.url);
        snprintf(request, sizeof request, "GET /version HTTP/1.1\r\n%s\r\n\r\n{\"source\": \"true\"}   ", pairs[i]);
        raw_send(fd, request, strlen(request));
        assert_true(raw_answer(fd, &answer));
        assert_int_equal(400, answer.status);
        close(fd);
    }
    client_response_release(&answer);
    with_header(a, 415, "POST /compile", "Content-Encoding: gzip");
    ask_is_problem(a, "unsupported_media_type");
    with_header(a, 200, "POST /compile", "Content-Encoding: Identity");
}

/* The exit code of a daemon that is not to start; what it says is in a->daemon.dir/said. */
static int start_in_vain(const Ask *a, const char *options) {
    const char *build = getenv("CAJAL_BUILD");
    char command[600];
    snprintf(command, sizeof command, "timeout 20 %s/cajald %s >%s/said 2>&1", build ? build : "build", options, a->daemon.dir);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_refusing_to_start(void **state) {
    static const char *const bad[] = {"--listen '127.0.0.1: 80'", "--listen :+0", "--allow-origin notebook.example", "--workers many"};
    Ask *a = *state;
    char options[300], path[100], said[500] = "";
    snprintf(path, sizeof path, "%s/other", a->daemon.dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(options, sizeof options, "--data %s %s", path, bad[i]);
        assert_int_equal(2, start_in_vain(a, options));
        assert_int_not_equal(0, access(path, F_OK));
    }
    snprintf(options, sizeof options, "--listen 127.0.0.1:0 --data %s/data", a->daemon.dir);
    assert_int_equal(1, start_in_vain(a, options));
    snprintf(path, sizeof path, "%s/said", a->daemon.dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(said, 1, sizeof said - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(said, "another cajald is using"));
}

/* A terminal's Ctrl-C goes to a process group: the workers must outlive it while the daemon drains. */
static void test_workers_have_their_own_groups(void **state) {
    Ask *a = *state;
    pid_t worker = ask_worker(a, 0);
    assert_true(worker > 0 && getpgid(worker) == worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_unknown_routes),
        cmocka_unit_test(test_wrong_methods),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_deadline_header),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_contradicting_headers),
        cmocka_unit_test(test_refusing_to_start),
        cmocka_unit_test(test_workers_have_their_own_groups),
        cmocka_unit_test_setup_teardown(test_admitted_origin, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_token, ask_setup_empty, ask_teardown),
        cmocka_unit_test_setup_teardown(test_quota, ask_setup_empty, ask_teardown),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
