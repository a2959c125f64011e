/* The daemon's life: what it remembers over a restart, how it ends, whom it lets in, what a dying worker costs. */
#include "tests/support/daemon.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT "{\"source\": \"\\\\x:2. if x then false else true\"}"

static int teardown(void **state) {
    daemon_release(*state);
    return 0;
}

/* Each test has a Daemon, still to be started. */
static int setup(void **state) {
    static Daemon daemon; /* one test at a time */
    daemon = (Daemon){0};
    *state = &daemon;
    return 0;
}

static void copy_text(const ClientResponse *response, const char *key, char *out, size_t room) {
    cJSON *answer = cJSON_ParseWithLength((const char *)response->body.data, response->body.len);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, key));
    assert_non_null(text);
    snprintf(out, room, "%s", text);
    cJSON_Delete(answer);
}

static void assert_code(const ClientResponse *response, const char *code) {
    char text[64];
    copy_text(response, "code", text, sizeof text);
    assert_string_equal(code, text);
}

static void test_remembers(void **state) {
    Daemon *d = *state;
    ClientResponse response = {0};
    char hash[100], path[200], again[100];
    size_t len = 0;
    daemon_start(d, NULL);
    daemon_ask(d, 200, "POST", "/compile", NOT, &response);
    copy_text(&response, "program", hash, sizeof hash);
    assert_int_equal(0, daemon_stop(d, SIGTERM));

    daemon_start(d, NULL);
    snprintf(path, sizeof path, "/programs/%s", hash);
    daemon_ask(d, 200, "GET", path, NULL, &response);
    daemon_ask(d, 200, "POST", "/compile", NOT, &response);
    copy_text(&response, "program", again, sizeof again);
    assert_string_equal(hash, again);
    const char *cache = client_header(&response, "Cache-Status", &len);
    assert_non_null(cache);
    assert_int_equal(10, len);
    assert_memory_equal("cajal; hit", cache, 10);
    client_response_release(&response);
}

static void test_survives_a_kill(void **state) {
    Daemon *d = *state;
    ClientResponse response = {0};
    char hash[100], path[200];
    daemon_start(d, NULL);
    daemon_ask(d, 200, "POST", "/compile", NOT, &response);
    copy_text(&response, "program", hash, sizeof hash);
    usleep(500000); /* the write follows the answer */
    assert_int_equal(128 + SIGKILL, daemon_stop(d, SIGKILL));
    daemon_start(d, NULL);
    snprintf(path, sizeof path, "/programs/%s", hash);
    daemon_ask(d, 200, "GET", path, NULL, &response);
    client_response_release(&response);
}

static void test_token(void **state) {
    Daemon *d = *state;
    ClientResponse response = {0};
    setenv("CAJAL_TOKEN", "open sesame", 1);
    daemon_start(d, NULL);
    daemon_ask(d, 200, "GET", "/version", NULL, &response);
    setenv("CAJAL_TOKEN", "open barley", 1);
    Client *stranger = client_new(d->url, NULL);
    unsetenv("CAJAL_TOKEN");
    assert_int_equal(CLIENT_OK, client_json(stranger, "POST", "/compile", NOT, &response));
    assert_int_equal(401, response.status);
    assert_code(&response, "unauthorized");
    assert_int_equal(CLIENT_OK, client_json(stranger, "GET", "/livez", NULL, &response));
    assert_int_equal(200, response.status);
    client_free(stranger);
    client_response_release(&response);
}

static void ask_with(Daemon *d, const char *header, int status, const char *code) {
    ClientResponse response = {0};
    const char *headers[] = {header, NULL};
    assert_int_equal(CLIENT_OK, client_request(d->client, "POST", "/compile", headers, NOT, strlen(NOT), &response));
    assert_int_equal(status, response.status);
    if (code) assert_code(&response, code);
    client_response_release(&response);
}

static void test_web_pages(void **state) {
    Daemon *d = *state;
    daemon_start(d, NULL);
    ask_with(d, "Origin: http://evil.example", 403, "forbidden");
    ask_with(d, "Host: evil.example", 403, "forbidden");
    ask_with(d, "Origin: null", 403, "forbidden");
    ask_with(d, "Host: localhost", 200, NULL);
}

static void test_body_too_large(void **state) {
    Daemon *d = *state;
    ClientResponse response = {0};
    size_t len = LIMIT_JSON_BYTES + 1;
    char *body = malloc(len + 1);
    assert_non_null(body);
    memset(body, ' ', len);
    body[len] = 0;
    daemon_start(d, NULL);
    daemon_ask(d, 413, "POST", "/compile", body, &response);
    assert_code(&response, "body_too_large");
    daemon_ask(d, 200, "POST", "/compile", NOT, &response);
    free(body);
    client_response_release(&response);
}

/* The first worker's process id, from /workers. */
static pid_t worker_pid(Daemon *d) {
    ClientResponse response = {0};
    daemon_ask(d, 200, "GET", "/workers", NULL, &response);
    cJSON *answer = cJSON_ParseWithLength((const char *)response.body.data, response.body.len);
    const cJSON *worker = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "workers"), 0);
    const cJSON *pid = cJSON_GetObjectItemCaseSensitive(worker, "pid");
    assert_true(cJSON_IsNumber(pid) && pid->valueint > 1);
    pid_t found = (pid_t)pid->valueint;
    cJSON_Delete(answer);
    client_response_release(&response);
    return found;
}

static void test_worker_dies(void **state) {
    Daemon *d = *state;
    ClientResponse response = {0};
    const char *one_worker[] = {"--workers", "1", NULL};
    daemon_start(d, one_worker);
    daemon_ask(d, 200, "POST", "/compile", NOT, &response);
    pid_t before = worker_pid(d);
    assert_int_equal(0, kill(before, SIGKILL));
    daemon_ask(d, 200, "POST", "/eval", "{\"source\": \"\\\\x:2. if x then false else true\", \"args\": [true]}", &response);
    assert_int_not_equal(before, worker_pid(d));
    client_response_release(&response);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_remembers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_survives_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_web_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker_dies, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
