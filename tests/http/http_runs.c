/* Runs over HTTP: what is refused and where, records and lists, events and metrics, weights, forks, trained models that serve. */
#include "tests/support/raw.h"
#include "server/store/store_sums.h"
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int setup(void **state) {
    if (ask_setup_empty(state) != 0) return -1;
    ask_start(*state, NULL);
    toy_data(*state);
    return 0;
}

/* The toy's specification with one text replaced by another. */
static const char *changed(char out[2000], const char *from, const char *to) {
    char spec[1000];
    toy_spec(spec, 20, 10);
    const char *at = strstr(spec, from);
    if (!at) fail_msg("the test's own specification has no %s", from);
    snprintf(out, 2000, "%.*s%s%s", (int)(at - spec), spec, to, at + strlen(from));
    return out;
}

static double runs_in_all(Ask *a) {
    ask(a, 200, "GET /runs?limit=100", NULL);
    return cJSON_GetArraySize(ask_find(a, "runs"));
}

/* ---- what is refused ---- */

#define SOURCE "{'source': 'f : !(R[4] -o R[4]), x : R[4] |- f x'}"

static void test_refused(void **state) {
    static const struct {
        const char *from, *to, *code, *pointer;
    } cases[] = {
        {"'seed': 7", "'sead': 7", "bad_run", "/sead"},
        {"'name': 'toy'", "'name': 'a\\u001bb'", "bad_run", "/name"},
        {"'name': 'toy'", "'name': 'a\\u007f'", "bad_run", "/name"},
        {"'name': 'toy'", "'name': '\\u0085'", "bad_run", "/name"},
        {"'batch_size': 16", "'batch_size': 257", "bad_run", "/batch_size"},
        {"'batch_size': 16", "'batch_size': 0", "bad_run", "/batch_size"},
        {"'lr': 0.01", "'lr': 'NaN'", "bad_run", "/optimizer/adam/lr"},
        {"'lr': 0.01", "'lr': -1", "bad_run", "/optimizer/adam/lr"},
        {"'train': 'toy'", "'train': 'nothing'", "bad_run", "/data/train"},
        {"'train': 'toy'", "'train': 'toy', 'test': 'nothing'", "bad_run", "/data/test"},
        {"{'column': 'x'}", "{'column': 'z'}", "bad_run", "/bind/x"},
        {"'target': 'y'", "'target': 'z'", "bad_run", "/loss/mse/target"},
        {"'steps': 20", "'steps': 20, 'epochs': 1", "bad_run", ""},
        {"'weights': {}", "'weights': {'run': 'r-nobody'}", "bad_run", "/bind/f/weights/run"},
        {"'bind': {'x': {'column': 'x'}, ", "'bind': {", "missing_input", "/bind"},
        {"'bind': {", "'bind': {'q': {'column': 'x'}, ", "unknown_input", "/bind/q"},
        {"|- f x", "|- λy:2. if y then f x else f x", "bad_run", "/program"},
        {SOURCE, "{'program': 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}",
         "bad_run", "/program/program"},
        {SOURCE, "{'term': 'x', 'context': {'x': 'R[4', 'f': '!R'}}", "parse_error", "/program/context/x"},
        {SOURCE, "{'term': {'app': ['f', 'z']}, 'context': {'x': 'R[4]', 'f': '!(R[4] -o R[4])'}}", "unbound_variable", "/program/term/app/1"},
        {SOURCE, "{'term': {'app': ['f', 'x']}, 'context': {'x': 'R[4]', 'f': '!(R[5] -o R[4])'}}", "type_mismatch", "/program/term/app/1"},
        {SOURCE, "{'source': 'f x', 'context': {'x': 'R[4]', 'f': '!(R[4] -o R[4'}}", "parse_error", "/program/context/f"},
        {SOURCE, "{'source': 'f x', 'nat': {'dim': 0}}", "bad_request", "/program/nat/dim"},
    };
    Ask *a = *state;
    double before = runs_in_all(a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char spec[2000];
        ask_refused(a, cases[i].code, "POST /runs", changed(spec, cases[i].from, cases[i].to));
        const cJSON *path = ask_find(a, "diagnostics.0.path");
        const char *at = path ? cJSON_GetStringValue(path) : "";
        if (strcmp(at, cases[i].pointer) != 0) fail_msg("%s: at %s instead of %s", cases[i].to, at, cases[i].pointer);
    }
    char spec[2000];
    ask_refused(a, "linear_unused", "POST /runs", changed(spec, "|- f x'", "|- f (λy:R[4]. x)'"));
    ask_refused(a, "bad_json", "POST /runs", "{");
    assert_true(runs_in_all(a) == before); /* none was queued */
}

static void test_not_found(void **state) {
    Ask *a = *state;
    static const char *const routes[] = {"GET /runs/r-none", "DELETE /runs/r-none", "POST /runs/r-none/cancel", "POST /runs/r-none/resume",
                                         "GET /runs/r-none/metrics", "GET /runs/r-none/weights"};
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) ask_refused(a, "not_found", routes[i], NULL);
    ask_refused(a, "not_found", "POST /runs/r-none/fork", "{}");
    ask_refused(a, "not_found", "POST /eval", "{'run': 'r-none', 'inputs': {}}");
    ask_bytes(a, 404, "GET /runs/r-none/events", NULL, NULL, 0);
    ask_refused(a, "bad_request", "GET /runs?state=sleeping", NULL);
    ask_refused(a, "bad_request", "GET /runs?page_token=xyz", NULL);
}

/* ---- records ---- */

static void test_record(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    toy_post(a, 100, 10, id);
    ask_header(a, "Location", toy_route(route, "", id, "") + 1);
    assert_int_equal(strlen(id), 14);
    toy_wait(a, id, "done");
    ask_keys(a, "", "id name state created started ended step steps epoch program latest spec data output columns weights parameters macs bytes versions"
                    " attempts checkpoints");
    ask_part(a, "name", "'toy'");
    ask_part(a, "step", "100");
    ask_part(a, "epoch", "6.25");
    ask_part(a, "spec.seed", "7");
    ask_part(a, "data.train.rows", "256");
    ask_part(a, "weights", "[{'name': 'bind.f', 'shape': [4, 4], 'train': true}]");
    ask_part(a, "parameters", "16");
    ask_part(a, "checkpoints", "[0, 80, 90, 100]"); /* the first, the last, two more */
    assert_true(ask_number(a, "versions.threads") >= 1);
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(ask_find(a, "latest"), "train.loss");
    assert_true(loss && loss->valuedouble > 0 && loss->valuedouble < 10);
}

static void test_list(void **state) {
    Ask *a = *state;
    char ids[3][TOY_ID], route[300];
    for (int i = 0; i < 3; i++) toy_post(a, 10, 10, ids[i]);
    for (int i = 0; i < 3; i++) toy_wait(a, ids[i], "done");
    ask(a, 200, "GET /runs?limit=2&state=done", NULL);
    assert_string_equal(ask_text(a, "runs.0.id"), ids[2]);
    assert_string_equal(ask_text(a, "runs.1.id"), ids[1]);
    snprintf(route, sizeof route, "GET /runs?limit=2&state=done&page_token=%s", ask_text(a, "next_page_token"));
    ask(a, 200, route, NULL);
    assert_string_equal(ask_text(a, "runs.0.id"), ids[0]);
    ask(a, 200, "GET /runs?state=running", NULL);
    ask_part(a, "", "{'runs': [], 'next_page_token': null}");
}

/* The queue is worked off in order; what waits can be cancelled, and what is used is kept. */
static void test_queue(void **state) {
    Ask *a = *state;
    char ids[3][TOY_ID], route[128], program[100];
    for (int i = 0; i < 3; i++) toy_post(a, 100000000, 1000000, ids[i]);
    toy_wait(a, ids[0], "running");
    snprintf(program, sizeof program, "DELETE /programs/%s", ask_text(a, "program"));
    ask(a, 200, toy_route(route, "POST", ids[1], "/cancel"), NULL);
    ask_part(a, "state", "'cancelled'");
    ask_part(a, "started", "null");
    ask_part(a, "attempts", "[]");
    ask_refused(a, "conflict", toy_route(route, "DELETE", ids[2], ""), NULL);
    ask_refused(a, "conflict", toy_route(route, "DELETE", ids[0], ""), NULL);
    ask_refused(a, "conflict", "DELETE /datasets/toy", NULL);
    ask_refused(a, "conflict", program, NULL);
    assert_true(ask_metric(a, "cajal_runs_running") == 1);
    assert_true(ask_metric(a, "cajal_runs_queued") == 1);
    ask(a, 200, toy_route(route, "POST", ids[0], "/cancel"), NULL);
    ask_part(a, "state", "'cancelled'");
    toy_wait(a, ids[2], "running");
    ask(a, 200, toy_route(route, "POST", ids[2], "/cancel"), NULL);
    ask_refused(a, "conflict", toy_route(route, "GET", ids[1], "/weights"), NULL); /* it never began */
    char body[200];
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [1, 2, 3, 4]}}", ids[1]);
    ask_refused(a, "conflict", "POST /eval", body);
    for (int i = 0; i < 3; i++) ask(a, 204, toy_route(route, "DELETE", ids[i], ""), NULL);
    ask_refused(a, "not_found", toy_route(route, "GET", ids[0], ""), NULL);
}

/* ---- events and metrics ---- */

static void test_events(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    const char *ndjson[] = {"Accept: application/x-ndjson", NULL}, *later[] = {"Accept: application/x-ndjson", "Last-Event-ID: 3", NULL};
    toy_post(a, 30, 10, id);
    toy_route(route, "GET", id, "/events");
    ask_bytes(a, 200, route, ndjson, NULL, 0); /* to the end */
    ask_header(a, "Content-Type", "application/x-ndjson");
    Buf all;
    buf_init(&all);
    buf_put(&all, a->response.body.data, a->response.body.len);
    int n = 0;
    for (const char *at = buf_text(&all); *at; at = strchr(at, '\n') + 1) {
        char begin[32];
        snprintf(begin, sizeof begin, "{\"seq\":%d,", ++n);
        assert_memory_equal(at, begin, strlen(begin));
    }
    assert_non_null(strstr(buf_text(&all), "\"event\":\"state\""));
    assert_non_null(strstr(buf_text(&all), "\"event\":\"checkpoint\""));
    assert_non_null(strstr(buf_text(&all), ",\"step\":20,\"epoch\":1.25,\"values\":{")); /* each evaluation */
    assert_non_null(strstr(buf_text(&all), "\"train.mae\":"));
    ask_bytes(a, 200, route, later, NULL, 0);
    const char *fourth = strstr(buf_text(&all), "{\"seq\":4,");
    assert_int_equal(a->response.body.len, strlen(fourth));
    assert_memory_equal(a->response.body.data, fourth, strlen(fourth));
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events?after=3"), NULL, NULL, 0);
    ask_header(a, "Content-Type", "text/event-stream");
    assert_memory_equal(a->response.body.data, "id: 4\nevent: ", 13);
    assert_non_null(strstr(buf_text(&a->response.body), "event: end\ndata: {\"seq\":"));
    ask_bytes(a, 204, toy_route(route, "GET", id, "/events?after=1000"), NULL, NULL, 0); /* nothing will ever come */
    ask_refused(a, "bad_request", toy_route(route, "GET", id, "/events?after=x"), NULL);
    buf_release(&all);
}

/* Reads what there is, for at most `ms` after the last of it. */
static void receive(int fd, Buf *out, int ms) {
    char chunk[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, ms) == 1) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n <= 0) return;
        buf_put(out, chunk, (size_t)n);
    }
}

/* Events come as they happen; a reader that goes, or does not read, is no matter. */
static void test_live(void **state) {
    Ask *a = *state;
    char id[TOY_ID], path[128], route[128];
    Buf seen;
    buf_init(&seen);
    toy_post(a, 1000000000, 1000000000, id);
    snprintf(path, sizeof path, "/runs/%s/events", id);
    int idle[20], fd = raw_open(a->daemon.url);
    for (int i = 0; i < 20; i++) {
        idle[i] = raw_open(a->daemon.url);
        raw_request(idle[i], "GET", path, "Accept: application/x-ndjson\r\n", NULL);
    }
    raw_request(fd, "GET", path, "Accept: text/event-stream\r\n", NULL);
    toy_wait(a, id, "running");
    for (int i = 0; i < 100 && !strstr(buf_text(&seen), "event: metric"); i++) receive(fd, &seen, 50);
    assert_non_null(strstr(buf_text(&seen), "event: metric"));
    assert_null(strstr(buf_text(&seen), "event: end"));
    for (int i = 0; i < 10; i++) close(idle[i]);
    ask(a, 200, "GET /livez", NULL);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    receive(fd, &seen, 2000);
    assert_non_null(strstr(buf_text(&seen), "event: end"));
    assert_non_null(strstr(buf_text(&seen), "\r\n0\r\n\r\n")); /* the stream has its end */
    for (int i = 10; i < 20; i++) close(idle[i]);
    for (int i = 0; i < 12000 && ask_metric(a, "cajal_requests_inflight") > 1; i++) usleep(5000);
    assert_true(ask_metric(a, "cajal_requests_inflight") == 1);
    close(fd);
    buf_release(&seen);
}

/* While nothing happens, which is as long as a run waits for its turn. */
static void test_heartbeat(void **state) {
    Ask *a = *state;
    static const char *const forms[][2] = {{"Accept: text/event-stream\r\n", "\r\n:\n\n"}, {"Accept: application/x-ndjson\r\n", "{\"event\":\"heartbeat\",\"time\":\"20"}};
    char first[TOY_ID], id[TOY_ID], path[128], route[128];
    toy_post(a, 1000000000, 1000000000, first);
    toy_wait(a, first, "running");
    toy_post(a, 1000000000, 1000000000, id);
    snprintf(path, sizeof path, "/runs/%s/events?heartbeat=1", id);
    for (int form = 0; form < 2; form++) {
        Buf seen;
        buf_init(&seen);
        int fd = raw_open(a->daemon.url);
        raw_request(fd, "GET", path, forms[form][0], NULL);
        for (int i = 0; i < 600 && !strstr(buf_text(&seen), forms[form][1]); i++) receive(fd, &seen, 100);
        if (!strstr(buf_text(&seen), forms[form][1])) fail_msg("no heartbeat in %s", buf_text(&seen));
        close(fd);
        buf_release(&seen);
    }
    ask_refused(a, "bad_request", toy_route(route, "GET", id, "/events?heartbeat=0"), NULL);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    ask(a, 200, toy_route(route, "POST", first, "/cancel"), NULL);
}

static void test_metrics(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[200];
    const char *csv[] = {"Accept: text/csv", NULL};
    toy_run(a, 3000, 1000, id);
    ask(a, 200, toy_route(route, "GET", id, "/metrics?max_points=100000"), NULL);
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(ask_find(a, "metrics"), "train.loss");
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(loss, "steps"), *values = cJSON_GetObjectItemCaseSensitive(loss, "values");
    assert_int_equal(cJSON_GetArraySize(steps), 3000);
    assert_int_equal(cJSON_GetArraySize(values), 3000);
    int expected = 0;
    double most = 0;
    for (const cJSON *s = steps->child, *v = values->child; s; s = s->next, v = v->next) {
        assert_true(s->valuedouble == ++expected);
        if (v->valuedouble > most) most = v->valuedouble;
    }
    ask(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.loss,none&max_points=50"), NULL);
    ask_part(a, "metrics.none", "{'steps': [], 'values': [], 'stride': 1}");
    loss = cJSON_GetObjectItemCaseSensitive(ask_find(a, "metrics"), "train.loss");
    int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(loss, "values"));
    assert_in_range(n, 30, 50);
    double top = 0;
    for (const cJSON *v = cJSON_GetObjectItemCaseSensitive(loss, "values")->child; v; v = v->next) top = v->valuedouble > top ? v->valuedouble : top;
    assert_true(top == most);
    ask(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.loss&from=2999"), NULL);
    loss = cJSON_GetObjectItemCaseSensitive(ask_find(a, "metrics"), "train.loss");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(loss, "steps")), 2);
    ask_bytes(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.mae"), csv, NULL, 0);
    ask_header(a, "Content-Type", "text/csv");
    assert_memory_equal(a->response.body.data, "key,step,value\ntrain.mae,1000,", 30);
    ask_refused(a, "bad_request", toy_route(route, "GET", id, "/metrics?max_points=3"), NULL);
    char many[1000];
    int at = snprintf(many, sizeof many, "GET /runs/%s/metrics?max_points=100000&keys=k", id);
    for (int i = 0; i < 40; i++) at += snprintf(many + at, sizeof many - (size_t)at, ",k%d", i);
    ask_refused(a, "too_large", many, NULL);
}

/* A million points list and thin in a moment. */
static void test_many_points(void **state) {
    Ask *a = *state;
    char id[TOY_ID], path[200], route[128], sql[600];
    sqlite3 *db;
    sqlite3_stmt *s;
    Buf block;
    toy_run(a, 10, 10, id);
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_true(store_sums_register(db));
    snprintf(sql, sizeof sql, "INSERT INTO run_points (run, key, first, first_value, last, last_value, least, least_value, most, most_value, n, points,"
                              " points_sum, head_sum)"
                              " SELECT seq, 'big', ?1, 0.0, ?1 + 999, 999.0, ?1, 0.0, ?1 + 999, 999.0, 1000, ?2, blake(?2),"
                              " blake_parts(seq, 'big', ?1, 0.0, ?1 + 999, 999.0, ?1, 0.0, ?1 + 999, 999.0, 1000, blake(?2)) FROM runs WHERE id = '%s'", id);
    assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    buf_init(&block);
    for (int b = 0; b < 1000; b++) {
        buf_clear(&block);
        for (int i = 0; i < 1000; i++) {
            double v = i;
            uint64_t bits;
            memcpy(&bits, &v, sizeof bits);
            buf_u64(&block, (uint64_t)(b * 1000 + i));
            buf_u64(&block, bits);
        }
        sqlite3_bind_int(s, 1, b * 1000);
        sqlite3_bind_blob(s, 2, block.data, (int)block.len, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(s), SQLITE_DONE);
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    buf_release(&block);
    ask(a, 200, toy_route(route, "GET", id, "/metrics?keys=big"), NULL);
    assert_in_range(cJSON_GetArraySize(ask_find(a, "metrics.big.steps")), 500, 1000);
    assert_true(ask_number(a, "metrics.big.steps.0") == 0);
}

/* ---- forks, weights ---- */

static void test_fork(void **state) {
    Ask *a = *state;
    char id[TOY_ID], fork[TOY_ID], half[TOY_ID], route[128];
    Buf whole, again;
    buf_init(&whole);
    buf_init(&again);
    toy_run(a, 100, 50, id);
    toy_weights(a, id, &whole);
    ask(a, 202, toy_route(route, "POST", id, "/fork"), "{}");
    snprintf(fork, sizeof fork, "%s", ask_text(a, "id"));
    toy_wait(a, fork, "done");
    ask_part(a, "steps", "100");
    assert_string_equal(ask_text(a, "forked_from"), id);
    toy_weights(a, fork, &again);
    assert_int_equal(again.len, whole.len);
    assert_memory_equal(again.data, whole.data, whole.len); /* the same specification, the same bits */
    ask(a, 202, toy_route(route, "POST", id, "/fork"),
        "{'from_step': 50, 'name': 'slower', 'evaluate': null, 'optimizer': {'adam': null, 'sgd': {'lr': 0.001}}}");
    snprintf(half, sizeof half, "%s", ask_text(a, "id"));
    toy_wait(a, half, "done");
    ask_part(a, "name", "'slower'");
    ask_part(a, "spec.optimizer", "{'sgd': {'lr': 0.001}}");
    assert_null(ask_find(a, "spec.evaluate"));
    ask_part(a, "attempts.0.from_step", "50");
    ask(a, 200, toy_route(route, "GET", half, "/metrics?keys=train.loss"), NULL);
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(ask_find(a, "metrics"), "train.loss");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(loss, "steps")), 50);
    ask_refused(a, "conflict", toy_route(route, "POST", id, "/fork"), "{'from_step': 51}");
    ask_refused(a, "bad_request", toy_route(route, "POST", id, "/fork"), "{'from_step': 0.5}");
    ask_refused(a, "bad_run", toy_route(route, "POST", id, "/fork"), "{'sead': 1}");
    ask(a, 200, toy_route(route, "GET", id, "/weights?step=0"), NULL);
    assert_int_equal(a->response.body.len, whole.len);
    assert_memory_not_equal(a->response.body.data, whole.data, whole.len);
    assert_null(memmem(whole.data, whole.len, "optimizer", 9));
    ask_refused(a, "not_found", toy_route(route, "GET", id, "/weights?step=7"), NULL);
    buf_release(&whole);
    buf_release(&again);
}

/* Weights of one run are where another one begins. */
static void test_weights_of_another(void **state) {
    Ask *a = *state;
    char id[TOY_ID], with[200], spec[2000], route[128];
    toy_run(a, 100, 50, id);
    snprintf(with, sizeof with, "'weights': {'run': '%s', 'name': 'bind.f'}", id);
    ask(a, 202, "POST /runs", changed(spec, "'weights': {}", with));
    char second[TOY_ID];
    snprintf(second, sizeof second, "%s", ask_text(a, "id"));
    toy_wait(a, second, "done");
    Buf first;
    buf_init(&first);
    toy_weights(a, id, &first);
    ask(a, 200, toy_route(route, "GET", second, "/weights?step=0"), NULL);
    assert_int_equal(a->response.body.len, first.len);
    assert_memory_equal(a->response.body.data, first.data, first.len);
    buf_release(&first);
}

/* ---- serving ---- */

static void test_serving(void **state) {
    Ask *a = *state;
    char id[TOY_ID], spec[2000], body[400];
    ask(a, 202, "POST /runs", changed(spec, "'batch_size': 16, 'steps': 20", "'batch_size': 16, 'steps': 2000"));
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "done");
    snprintf(body, sizeof body, "{'run': '%s', 'columns': {'x': [[1, 0, 0, 0], [0, 1, 0, 0]]}}", id);
    ask(a, 200, "POST /eval", body);
    ask_near(a, "data", "[[-1, 0, 0, 2], [2, -1, 0, 0]]", 0.05); /* what it has learned */
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [1, 0, 0, 0]}, 'outputs': ['f', 'x'], 'dtype': 'f64'}", id);
    ask(a, 200, "POST /eval", body);
    ask_part(a, "shape", "[4]");
    ask_part(a, "outputs.x", "{'type': 'R[4]', 'shape': [4], 'data': [1, 0, 0, 0]}");
    ask_part(a, "outputs.f.shape", "[4, 4]");
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [[1, 0, 0, 0], [0, 1, 0, 0]]}, 'outputs': ['f']}", id);
    ask(a, 200, "POST /eval", body);
    ask_part(a, "outputs.f.shape", "[4, 4]"); /* the same for all rows */
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [1, 0, 0, 0]}, 'cotangent': [1, 0, 0, 0]}", id);
    ask(a, 200, "POST /grad", body);
    ask_near(a, "grads.inputs.x.data", "[-1, 2, 0, 0]", 0.05);
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [1, 0, 0, 0]}, 'tangents': {'inputs': {'x': [0, 1, 0, 0]}}}", id);
    ask(a, 200, "POST /jvp", body);
    ask_near(a, "tangent.data", "[2, -1, 0, 0]", 0.05);
    snprintf(body, sizeof body, "{'run': '%s', 'inputs': {'x': [1, 0, 0, 0]}, 'step': 0}", id);
    ask(a, 200, "POST /eval", body);
    static const struct {
        const char *code, *rest;
    } wrong[] = {{"not_found", "'inputs': {'x': [1, 0, 0, 0]}, 'step': 3"},
                 {"missing_input", "'columns': {}"},
                 {"unknown_input", "'inputs': {'x': [1, 0, 0, 0], 'y': [1, 0, 0, 0]}"},
                 {"unknown_input", "'inputs': {'x': [1, 0, 0, 0]}, 'outputs': ['z']"},
                 {"bad_request", "'inputs': {'x': [1, 0, 0, 0]}, 'columns': {'x': [1, 0, 0, 0]}"},
                 {"bad_request", "'inputs': {'x': [1, 0, 0, 0]}, 'source': 'true'"},
                 {"bad_request", "'inputs': {'x': [1, 0, 0, 0]}, 'engine': 'interpreter'"},
                 {"too_many_args", "'inputs': {'x': [1, 0, 0, 0]}, 'args': [true]"},
                 {"shape_mismatch", "'inputs': {'x': [1, 0, 0]}"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(body, sizeof body, "{'run': '%s', %s}", id, wrong[i].rest);
        ask_refused(a, wrong[i].code, "POST /eval", body);
    }
    ask_refused(a, "bad_request", "POST /eval", "{'source': 'true', 'step': 1}");
}

static void test_serving_binary(void **state) {
    static const char header[] = "{\"columns.x\":{\"dtype\":\"F32\",\"shape\":[1,4],\"data_offsets\":[0,16]}}  ";
    static const float x[] = {1, 0, 0, 0};
    const char *headers[] = {"Content-Type: application/vnd.safetensors", "Accept: application/vnd.safetensors", NULL};
    Ask *a = *state;
    char id[TOY_ID], route[200];
    Buf body;
    toy_run(a, 10, 10, id);
    buf_init(&body);
    buf_u64(&body, sizeof header - 1);
    buf_puts(&body, header);
    buf_put(&body, x, sizeof x);
    snprintf(route, sizeof route, "POST /eval?run=%s&step=10&outputs=f,x", id);
    ask_bytes(a, 200, route, headers, body.data, body.len);
    ask_body_has(a, "\"outputs.f\":{\"dtype\":\"F32\",\"shape\":[4,4]");
    ask_body_has(a, "\"outputs.x\":{\"dtype\":\"F32\",\"shape\":[1,4]");
    ask_body_has(a, "\"output\":{\"dtype\":\"F32\",\"shape\":[1,4]");
    ask_bytes(a, 400, "POST /eval?step=1", headers, body.data, body.len);
    buf_release(&body);
}

static void bulk_body(Buf *body, const char *header, const void *bytes, size_t len) {
    buf_init(body);
    buf_u64(body, strlen(header));
    buf_puts(body, header);
    buf_put(body, bytes, len);
}

/* Columns in the dtypes that a data set may have: the same values, however they are written. */
static void test_serving_dtypes(void **state) {
    static const unsigned char u8[] = {3, 0, 255, 1};
    static const int64_t i64[] = {3, 0, 255, 1}, pick[] = {1};
    static const struct {
        const char *dtype;
        const void *bytes;
        size_t len;
    } forms[] = {{"U8", u8, sizeof u8}, {"I64", i64, sizeof i64}};
    Ask *a = *state;
    char id[TOY_ID], route[200], text[300];
    const char *headers[] = {"Content-Type: application/vnd.safetensors", "Accept: application/json", NULL};
    Buf body, expected;
    toy_run(a, 10, 10, id);
    snprintf(text, sizeof text, "{'run': '%s', 'columns': {'x': [[3, 0, 255, 1]]}}", id);
    ask(a, 200, "POST /eval", text);
    buf_init(&expected);
    buf_put(&expected, a->response.body.data, a->response.body.len);
    snprintf(route, sizeof route, "POST /eval?run=%s", id);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "{\"columns.x\":{\"dtype\":\"%s\",\"shape\":[1,4],\"data_offsets\":[0,%zu]}}", forms[i].dtype, forms[i].len);
        bulk_body(&body, text, forms[i].bytes, forms[i].len);
        ask_bytes(a, 200, route, headers, body.data, body.len);
        assert_string_equal(buf_text(&a->response.body), buf_text(&expected));
        buf_release(&body);
    }
    buf_release(&expected);
    /* A column of one integer a row is that also as JSON. */
    ask(a, 202, "POST /runs",
        "{'program': {'source': 'k : N[2], f : !(N[2] -o R[4]) |- f k'}, 'bind': {'k': {'column': 'label'}, 'f': {'weights': {}}},"
        " 'data': {'train': 'toy'}, 'loss': {'mse': {'target': 'y'}}, 'optimizer': {'adam': {}}, 'batch_size': 16, 'steps': 10}");
    snprintf(id, sizeof id, "%s", ask_text(a, "id"));
    toy_wait(a, id, "done");
    snprintf(text, sizeof text, "{'run': '%s', 'columns': {'k': [1]}}", id);
    ask_refused(a, "unknown_input", "POST /eval", text);
    snprintf(text, sizeof text, "{'run': '%s', 'columns': {'label': [1]}}", id);
    ask(a, 200, "POST /eval", text);
    ask_part(a, "shape", "[1, 4]");
    buf_init(&expected);
    buf_put(&expected, a->response.body.data, a->response.body.len);
    bulk_body(&body, "{\"columns.label\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", pick, sizeof pick);
    snprintf(route, sizeof route, "POST /eval?run=%s", id);
    ask_bytes(a, 200, route, headers, body.data, body.len);
    assert_string_equal(buf_text(&a->response.body), buf_text(&expected));
    buf_release(&body);
    buf_release(&expected);
}

/* An evaluation beside a run that trains is answered as ever. */
static void test_beside_training(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    toy_post(a, 1000000000, 1000000000, id);
    toy_wait(a, id, "running");
    for (int i = 0; i < 50; i++) ask(a, 200, "POST /eval", "{'source': 'λx:2. x', 'args': [true]}");
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    ask_part(a, "state", "'running'");
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_not_found),         cmocka_unit_test(test_record),
        cmocka_unit_test(test_list),         cmocka_unit_test(test_queue),             cmocka_unit_test(test_events),
        cmocka_unit_test(test_live), cmocka_unit_test(test_heartbeat),         cmocka_unit_test(test_metrics),           cmocka_unit_test(test_many_points),
        cmocka_unit_test(test_fork),         cmocka_unit_test(test_weights_of_another), cmocka_unit_test(test_serving),
        cmocka_unit_test(test_serving_binary), cmocka_unit_test(test_serving_dtypes), cmocka_unit_test(test_beside_training), cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
