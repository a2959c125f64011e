#include "tests/support/ask.h"
#include "schema/errors.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { SHOWN = 2000, POLL_US = 5000, POLLS = 24000 };

/* ---- daemons ---- */

int ask_setup_empty(void **state) {
    *state = calloc(1, sizeof(Ask));
    return *state ? 0 : -1;
}

int ask_setup(void **state) {
    if (ask_setup_empty(state) != 0) return -1;
    ask_start(*state, NULL);
    return 0;
}

void ask_start(Ask *a, const char *const *options) { daemon_start(&a->daemon, options); }

void ask_stop(Ask *a) {
    int code = daemon_stop(&a->daemon, SIGTERM);
    if (code != 0 || daemon_logged(&a->daemon, "Sanitizer") || daemon_logged(&a->daemon, "runtime error"))
        daemon_give_up(&a->daemon, "it did not end well");
}

void ask_ends_well(void **state) { ask_stop(*state); }

void ask_release(Ask *a) {
    daemon_release(&a->daemon);
    client_response_release(&a->response);
    cJSON_Delete(a->json);
    *a = (Ask){0};
}

int ask_teardown(void **state) {
    ask_release(*state);
    free(*state);
    return 0;
}

/* ---- requests ---- */

static char *with_quotes(const char *text) {
    char *out = text ? strdup(text) : NULL;
    for (char *p = out; p && *p; p++)
        if (*p == '\'') *p = '"';
    return out;
}

static void show(const Ask *a) {
    print_error("the answer was %d, %.*s\n", a->response.status, (int)(a->response.body.len < SHOWN ? a->response.body.len : SHOWN),
                a->response.body.data ? (const char *)a->response.body.data : "");
}

void ask_read(Ask *a) {
    cJSON_Delete(a->json);
    a->json = a->response.body.len ? cJSON_ParseWithLength((const char *)a->response.body.data, a->response.body.len) : NULL;
}

void ask_bytes(Ask *a, int status, const char *route, const char *const *headers, const void *body, size_t len) {
    char method[16] = "";
    const char *path = strchr(route, ' ');
    assert_non_null(path);
    snprintf(method, sizeof method, "%.*s", (int)(path - route), route);
    if (client_request(a->daemon.client, method, path + 1, headers, body, len, &a->response) != CLIENT_OK)
        fail_msg("%s: %s", route, client_error(a->daemon.client));
    ask_read(a);
    if (a->response.status == status) return;
    show(a);
    fail_msg("%s: status %d instead of %d", route, a->response.status, status);
}

void ask(Ask *a, int status, const char *route, const char *body) {
    char *json = with_quotes(body);
    const char *headers[] = {json ? "Content-Type: application/json" : NULL, NULL};
    ask_bytes(a, status, route, headers, json, json ? strlen(json) : 0);
    free(json);
}

/* ---- judgements ---- */

const cJSON *ask_find(const Ask *a, const char *path) {
    const cJSON *at = a->json;
    char key[128];
    while (at && *path) {
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)len, path);
        at = cJSON_IsArray(at) ? cJSON_GetArrayItem(at, atoi(key)) : cJSON_GetObjectItemCaseSensitive(at, key);
        path += len + (path[len] == '.');
    }
    return at;
}

static const cJSON *must_find(const Ask *a, const char *path) {
    const cJSON *item = ask_find(a, path);
    if (item) return item;
    show(a);
    fail_msg("there is no %s", path);
    return NULL;
}

/* Equal up to the tolerance; objects' members in any order. */
static bool same(const cJSON *x, const cJSON *y, double tolerance) {
    if ((x->type & 0xff) != (y->type & 0xff)) return false;
    if (cJSON_IsNumber(x)) return fabs(x->valuedouble - y->valuedouble) <= tolerance;
    if (cJSON_IsString(x)) return strcmp(x->valuestring, y->valuestring) == 0;
    if (!cJSON_IsArray(x) && !cJSON_IsObject(x)) return true;
    if (cJSON_GetArraySize(x) != cJSON_GetArraySize(y)) return false;
    const cJSON *q = y->child;
    for (const cJSON *p = x->child; p; p = p->next, q = q->next) {
        const cJSON *other = cJSON_IsObject(x) ? cJSON_GetObjectItemCaseSensitive(y, p->string) : q;
        if (!other || !same(p, other, tolerance)) return false;
    }
    return true;
}

void ask_near(const Ask *a, const char *path, const char *json, double tolerance) {
    const cJSON *item = must_find(a, path);
    char *text = with_quotes(json), *shown = cJSON_PrintUnformatted(item);
    cJSON *wanted = cJSON_Parse(text);
    if (!wanted) fail_msg("the test's own JSON does not parse: %s", text);
    bool ok = same(wanted, item, tolerance);
    if (!ok) print_error("%s is %.2000s instead of %s\n", *path ? path : "the answer", shown, text);
    cJSON_Delete(wanted);
    cJSON_free(shown);
    free(text);
    if (!ok) fail();
}

void ask_part(const Ask *a, const char *path, const char *json) { ask_near(a, path, json, 0); }

const char *ask_text(const Ask *a, const char *path) {
    const char *text = cJSON_GetStringValue(must_find(a, path));
    if (!text) fail_msg("%s is no string", path);
    return text;
}

double ask_number(const Ask *a, const char *path) {
    const cJSON *item = must_find(a, path);
    if (!cJSON_IsNumber(item)) fail_msg("%s is no number", path);
    return item->valuedouble;
}

void ask_keys(const Ask *a, const char *path, const char *keys) {
    char found[512] = "";
    size_t at = 0;
    for (const cJSON *p = must_find(a, path)->child; p && at < sizeof found - 1; p = p->next)
        at += (size_t)snprintf(found + at, sizeof found - at, at ? " %s" : "%s", p->string ? p->string : "?");
    assert_string_equal(keys, found);
}

void ask_header(const Ask *a, const char *name, const char *value) {
    size_t len = 0;
    const char *got = client_header(&a->response, name, &len);
    if (!got || len != strlen(value) || strncasecmp(value, got, len) != 0)
        fail_msg("%s is \"%.*s\" instead of \"%s\"", name, (int)len, got ? got : "", value);
}

void ask_body_has(const Ask *a, const char *text) {
    const Buf *body = &a->response.body;
    if (body->len && memmem(body->data, body->len, text, strlen(text))) return;
    show(a);
    fail_msg("there is no %s in it", text);
}

void ask_is_problem(const Ask *a, const char *code) {
    ErrCode known = err_from_name(code);
    char type[64];
    size_t len;
    if (!ask_find(a, "code") || strcmp(ask_text(a, "code"), code) != 0) {
        show(a);
        fail_msg("code %s was expected", code);
    }
    assert_int_equal(err_status(known), a->response.status);
    ask_header(a, "Content-Type", "application/problem+json");
    snprintf(type, sizeof type, "/errors/%s", code);
    assert_string_equal(type, ask_text(a, "type"));
    assert_string_equal(err_title(known), ask_text(a, "title"));
    assert_int_equal(a->response.status, ask_number(a, "status"));
    assert_true(*ask_text(a, "detail"));
    ask_header(a, "X-Request-Id", ask_text(a, "request_id"));
    bool later = a->response.status == 429 || a->response.status == 503; /* api.md, Errors */
    assert_int_equal(later, client_header(&a->response, "Retry-After", &len) != NULL);
    for (int i = 0; i < cJSON_GetArraySize(ask_find(a, "diagnostics")); i++) {
        char path[64];
        snprintf(path, sizeof path, "diagnostics.%d.code", i);
        assert_string_equal(code, ask_text(a, path));
        snprintf(path, sizeof path, "diagnostics.%d.message", i);
        assert_true(*ask_text(a, path));
    }
}

void ask_refused(Ask *a, const char *code, const char *route, const char *body) {
    ask(a, err_status(err_from_name(code)), route, body);
    ask_is_problem(a, code);
}

/* ---- what tests often want to know ---- */

void ask_compile(Ask *a, const char *body, char hash[80]) {
    ask(a, 200, "POST /compile", body);
    snprintf(hash, 80, "%s", ask_text(a, "program"));
}

double ask_metric(Ask *a, const char *name) {
    double sum = 0;
    size_t len = strlen(name);
    ask(a, 200, "GET /metrics", NULL);
    for (const char *line = buf_text(&a->response.body); *line;) {
        size_t rest = strcspn(line, "\n");
        if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == '{')) {
            const char *value = line + rest;
            while (value > line && value[-1] != ' ') value--;
            sum += strtod(value, NULL);
        }
        line += rest + (line[rest] == '\n');
    }
    return sum;
}

pid_t ask_worker(Ask *a, int id) {
    char path[32];
    ask(a, 200, "GET /workers", NULL);
    snprintf(path, sizeof path, "workers.%d.pid", id);
    return (pid_t)ask_number(a, path);
}

void ask_wait_busy(Ask *a, int workers) {
    for (int i = 0; i < POLLS; i++) {
        ask(a, 200, "GET /workers", NULL);
        int busy = 0;
        for (const cJSON *w = ask_find(a, "workers")->child; w; w = w->next)
            busy += strcmp(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(w, "state")), "busy") == 0;
        if (busy == workers) return;
        usleep(POLL_US);
    }
    fail_msg("there were never %d busy workers", workers);
}
