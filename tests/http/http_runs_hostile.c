/* Runs that nobody should ask for: values in data sets and weights in checkpoints that do not fit, runs deleted while others need them, streams that nobody
 * reads. */
#include "tests/support/raw.h"
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LABELS = 100000, TARGETS = 20000, LONG = 1000000000 };

static int setup(void **state) {
    if (ask_setup(state) != 0) return -1;
    toy_data(*state);
    return 0;
}

/* The toy's specification with one text replaced by another. */
static const char *changed(char out[2000], uint64_t steps, const char *from, const char *to) {
    char spec[1000];
    toy_spec(spec, steps, steps < 1000 ? 10 : 1000);
    const char *at = strstr(spec, from);
    if (!at) fail_msg("the test's own specification has no %s", from);
    snprintf(out, 2000, "%.*s%s%s", (int)(at - spec), spec, to, at + strlen(from));
    return out;
}

static void refused_at(Ask *a, const char *pointer, const char *says, const char *route, const char *body) {
    ask_refused(a, "bad_run", route, body);
    assert_string_equal(ask_text(a, "diagnostics.0.path"), pointer);
    ask_body_has(a, says);
}

static void post(Ask *a, const char *spec, char id[TOY_ID]) {
    ask(a, 202, "POST /runs", spec);
    snprintf(id, TOY_ID, "%s", ask_text(a, "id"));
}

/* ---- values ---- */

/* x zeros, and a column beside it; shape: a row's, ",4". */
static void put_set(Ask *a, const char *route, size_t rows, const char *column, const char *dtype, const char *shape, const Buf *values) {
    const size_t zeros = rows * 4 * sizeof(float);
    Buf header, body;
    buf_init(&header);
    buf_init(&body);
    buf_printf(&header, "{\"x\":{\"dtype\":\"F32\",\"shape\":[%zu,4],\"data_offsets\":[0,%zu]},\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu%s],\"data_offsets\":[%zu,%zu]}}",
               rows, zeros, column, dtype, rows, shape, zeros, zeros + values->len);
    buf_u64(&body, header.len);
    buf_put(&body, header.data, header.len);
    for (size_t i = 0; i < zeros; i++) buf_u8(&body, 0);
    buf_put(&body, values->data, values->len);
    ask_bytes(a, 201, route, NULL, body.data, body.len);
    buf_release(&header);
    buf_release(&body);
}

/* l a class a row, all 3 but the last. */
static void put_labels(Ask *a, const char *route, int64_t last, bool wide) {
    Buf values;
    buf_init(&values);
    for (int i = 0; i < LABELS; i++) {
        const int64_t v = i < LABELS - 1 ? 3 : last;
        if (wide) buf_u64(&values, (uint64_t)v);
        else buf_u8(&values, (uint8_t)v);
    }
    put_set(a, route, LABELS, "l", wide ? "I64" : "U8", "", &values);
    buf_release(&values);
}

/* t four numbers a row, all 0 but the last. */
static void put_targets(Ask *a, const char *route, const char *dtype, double last) {
    Buf values;
    buf_init(&values);
    for (int i = 0; i < 4 * TARGETS; i++) {
        const double v = i < 4 * TARGETS - 1 ? 0 : last;
        const float f = (float)v;
        if (strcmp(dtype, "F64") == 0) buf_put(&values, &v, sizeof v);
        else if (strcmp(dtype, "F32") == 0) buf_put(&values, &f, sizeof f);
        else if (strcmp(dtype, "I64") == 0) buf_u64(&values, (uint64_t)(int64_t)v);
        else buf_u8(&values, (uint8_t)v);
    }
    put_set(a, route, TARGETS, "t", dtype, ",4", &values);
    buf_release(&values);
}

static void test_classes(void **state) {
    Ask *a = *state;
    char spec[2000];
    static const char of[] = "'data': {'train': 'toy'}, 'loss': {'mse': {'target': 'y'}}, 'optimizer': {'adam': {'lr': 0.01}}, 'batch_size': 16";
    static const char with[] = "'data': {'train': '%s', 'test': '%s'}, 'loss': {'cross_entropy': {'target': 'l'}}, 'optimizer': {'adam': {'lr': 0.01}},"
                               " 'batch_size': 16";
    static const struct {
        const char *train, *test, *pointer, *says;
    } cases[] = {{"four", "good", "/data/train", "has 4 in row 99999; here it is from 0 to 3"},
                 {"good", "four", "/data/test", "has 4 in row 99999"},
                 {"least", "good", "/data/train", "has -9223372036854775808 in row 99999"}};
    put_labels(a, "PUT /datasets/good", 0, false);
    put_labels(a, "PUT /datasets/four", 4, false);
    put_labels(a, "PUT /datasets/least", INT64_MIN, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char to[300];
        snprintf(to, sizeof to, with, cases[i].train, cases[i].test);
        refused_at(a, cases[i].pointer, cases[i].says, "POST /runs", changed(spec, 10, of, to));
    }
}

/* Targets of bce are probabilities once they are scaled; not quite exact scales will do. */
static void test_probabilities(void **state) {
    Ask *a = *state;
    char spec[2000], to[400], id[TOY_ID];
    static const char of[] = "'data': {'train': 'toy'}, 'loss': {'mse': {'target': 'y'}}";
    static const char with[] = "'data': {'train': '%s', 'test': '%s', 'columns': {'t': {'scale': %s}}}, 'loss': {'bce': {'target': 't'}}";
    static const struct {
        const char *train, *test, *scale, *pointer, *says;
    } cases[] = {{"f32", "f64", "1", "/data/train", "is 32 in row 19999; as a target of bce it is from 0 to 1"},
                 {"f64", "f32", "0.0315", "/data/train", "is 1.008 in row 19999"},
                 {"i64", "u8", "-0.03125", "/data/train", "is -1 in row 19999"},
                 {"u8", "f64", "0.0315", "/data/train", "is 1.008 in row 19999"},
                 {"u8", "many", "0.03125", "/data/test", "is 2 in row 19999"},
                 {"nan", "u8", "0.03125", "/data/train", "nan in row 19999"},
                 {"f32", "i64", "0.03125001", NULL, NULL},
                 {"u8", "f64", "0.03125", NULL, NULL}};
    put_targets(a, "PUT /datasets/f32", "F32", 32);
    put_targets(a, "PUT /datasets/f64", "F64", 32);
    put_targets(a, "PUT /datasets/i64", "I64", 32);
    put_targets(a, "PUT /datasets/u8", "U8", 32);
    put_targets(a, "PUT /datasets/many", "F32", 64);
    put_targets(a, "PUT /datasets/nan", "F32", NAN);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(to, sizeof to, with, cases[i].train, cases[i].test, cases[i].scale);
        if (cases[i].pointer) refused_at(a, cases[i].pointer, cases[i].says, "POST /runs", changed(spec, 2, of, to));
        else post(a, changed(spec, 2, of, to), id);
    }
    ask(a, 200, toy_route(to, "GET", id, ""), NULL);
    ask_body_has(a, "\"needed\":false,\"probability\":true");
}

static void test_weights_that_do_not_fit(void **state) {
    Ask *a = *state;
    char id[TOY_ID], spec[2000], weights[200], net[400];
    toy_run(a, 20, 10, id);
    snprintf(weights, sizeof weights, "'weights': {'run': '%s', 'name': 'bind.g'}", id);
    refused_at(a, "/bind/f/weights", "no weight", "POST /runs", changed(spec, 10, "'weights': {}", weights));
    snprintf(net, sizeof net,
             "f : !(!R[4] -o R[4]), x : !R[4] |- f x'}, 'nets': {'n': {'layers': [{'linear': {'out': 4, 'bias': false}}], 'weights': {'run': '%s'}}},"
             " 'bind': {'x': {'column': 'x'}, 'f': {'net': 'n'}}",
             id);
    refused_at(a, "/nets/n/weights", "no weight", "POST /runs",
               changed(spec, 10, "f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}}", net));
    snprintf(net, sizeof net,
             "f : !(R[4] -o R[4]), g : R[4], x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'g': {'weights': {'run': '%s', 'name': 'bind.f'}}, 'f': {'weights': {}}}", id);
    ask_refused(a, "linear_unused", "POST /runs",
                changed(spec, 10, "f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}}", net));
    snprintf(net, sizeof net,
             "f : !R[4], x : !R[4] |- f'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {'run': '%s'}}}", id);
    refused_at(a, "/bind/f/weights", "another shape", "POST /runs",
               changed(spec, 10, "f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}}", net));
}

static void test_forks_that_do_not_fit(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    toy_run(a, 40, 10, id);
    toy_route(route, "POST", id, "/fork");
    refused_at(a, "/from_step", "only 29 steps", route, "{'from_step': 30, 'steps': 29}");
    refused_at(a, "/from_step", "shape and dtype", route, "{'from_step': 30, 'dtype': 'f64'}");
    char spec[2000];
    post(a, changed(spec, 20, "'bind': {'x': {'column': 'x'}", "'nets': {'n': {'layers': ['bias']}}, 'bind': {'x': {'net': 'n', 'of': 'x'}"), id);
    toy_wait(a, id, "done");
    refused_at(a, "/from_step", "that this run has not", toy_route(route, "POST", id, "/fork"),
               "{'from_step': 20, 'nets': null, 'bind': {'x': {'net': null, 'of': null, 'column': 'x'}}}");
}

static void cut_off(Ask *a, const char *id, int step) {
    char path[300];
    snprintf(path, sizeof path, "%s/data/runs/%s/%d.safetensors", a->daemon.dir, id, step);
    assert_int_equal(truncate(path, 8), 0);
}

/* Damaged checkpoints are found before a run is queued that needs them, and no older one is taken in their place. */
static void test_damaged_checkpoints(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128], spec[2000], weights[200];
    toy_run(a, 20, 10, id);
    snprintf(weights, sizeof weights, "'weights': {'run': '%s'}", id);
    ask_bytes(a, 200, toy_route(route, "GET", id, "/weights"), NULL, NULL, 0);
    ask_header(a, "X-Run-Step", "20");
    ask(a, 202, "POST /runs", changed(spec, 10, "'weights': {}", weights));
    cut_off(a, id, 20);
    ask_refused(a, "damaged", toy_route(route, "POST", id, "/fork"), "{'from_step': 20}");
    assert_string_equal(ask_text(a, "diagnostics.0.path"), "/from_step");
    ask(a, 202, toy_route(route, "POST", id, "/fork"), "{'from_step': 10}");
    ask_refused(a, "damaged", "POST /runs", changed(spec, 10, "'weights': {}", weights));
    assert_string_equal(ask_text(a, "diagnostics.0.path"), "/bind/f/weights/run");
    ask_refused(a, "damaged", toy_route(route, "GET", id, "/weights"), NULL);
    assert_non_null(strstr(ask_text(a, "detail"), "of step 20, is damaged"));
    ask_refused(a, "damaged", toy_route(route, "GET", id, "/weights?step=20"), NULL);
    ask_bytes(a, 200, toy_route(route, "GET", id, "/weights?step=10"), NULL, NULL, 0);
    ask_header(a, "X-Run-Step", "10");
    snprintf(weights, sizeof weights, "{'run': '%s', 'inputs': {'x': [1, 2, 3, 4]}}", id);
    ask_refused(a, "damaged", "POST /eval", weights);
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    ask_part(a, "damaged_checkpoints", "[20]");
    ask_part(a, "checkpoints", "[0, 10, 20]");
}

/* What stands behind a NUL is part of the body. */
static void test_nul(void **state) {
    Ask *a = *state;
    char spec[1000];
    toy_spec(spec, 10, 10);
    for (char *at = spec; *at; at++)
        if (*at == '\'') *at = '"';
    ask_bytes(a, 400, "POST /runs", NULL, spec, strlen(spec) + 1);
    ask_is_problem(a, "bad_json");
}

/* A specification of megabytes, most of it blanks, comes back as it was sent. */
static void test_long_record(void **state) {
    enum { BLANKS = 3000000 };
    Ask *a = *state;
    char id[TOY_ID], route[128];
    Buf spec;
    buf_init(&spec);
    assert_true(buf_reserve(&spec, 1000 + BLANKS));
    toy_spec((char *)spec.data, 10, 10);
    spec.len = strlen((char *)spec.data);
    for (size_t i = 0; i < spec.len; i++)
        if (spec.data[i] == '\'') spec.data[i] = '"';
    memset(spec.data + spec.len, ' ', BLANKS);
    spec.len += BLANKS;
    ask_bytes(a, 202, "POST /runs", NULL, spec.data, spec.len);
    snprintf(id, TOY_ID, "%s", ask_text(a, "id"));
    ask_bytes(a, 200, toy_route(route, "GET", id, ""), NULL, NULL, 0);
    assert_true(a->response.body.len > spec.len);
    assert_non_null(memmem(a->response.body.data, a->response.body.len, spec.data, spec.len));
    buf_release(&spec);
}

/* ---- deleting ---- */

/* A run that has a checkpoint of its own goes on without the run that its first weights came from. */
static void test_source_deleted(void **state) {
    Ask *a = *state;
    char source[TOY_ID], id[TOY_ID], spec[2000], weights[200], route[128];
    toy_run(a, 20, 10, source);
    snprintf(weights, sizeof weights, "'weights': {'run': '%s'}", source);
    post(a, changed(spec, LONG, "'weights': {}", weights), id);
    toy_wait_step(a, id, 2000);
    ask_refused(a, "conflict", toy_route(route, "DELETE", source, ""), NULL);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    ask(a, 204, toy_route(route, "DELETE", source, ""), NULL);
    ask(a, 202, toy_route(route, "POST", id, "/resume"), NULL);
    toy_wait(a, id, "running");
    const double step = ask_number(a, "step");
    toy_wait_step(a, id, (uint64_t)step + 1000);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
}

static int answered(int fd) {
    ClientResponse r = {0};
    assert_true(raw_answer(fd, &r));
    const int status = r.status;
    client_response_release(&r);
    return status;
}

/* DELETE and resume at once: one of them wins, and nothing is left of a run that is gone. */
static void test_delete_beside_resume(void **state) {
    Ask *a = *state;
    for (int i = 0; i < 40; i++) {
        char id[TOY_ID], path[100], route[128];
        toy_post(a, LONG, LONG, id);
        ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
        const int deleting = raw_open(a->daemon.url), resuming = raw_open(a->daemon.url);
        snprintf(path, sizeof path, "/runs/%s", id);
        raw_request(deleting, "DELETE", path, "", "");
        strcat(path, "/resume");
        raw_request(resuming, "POST", path, "", "");
        const int deleted = answered(deleting), resumed = answered(resuming);
        close(deleting);
        close(resuming);
        if (resumed == 202) {
            assert_int_equal(deleted, 409);
            ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
        } else {
            assert_int_equal(deleted, 204);
            assert_true(resumed == 409 || resumed == 404);
        }
    }
    assert_true(ask_metric(a, "cajal_store_failures_total") == 0);
}

/* ---- the disk's speed ---- */

/* A checkpoint every step: the trainer waits for the disk, and none is left out. */
static void test_every_checkpoint(void **state) {
    enum { STEPS = 300 };
    Ask *a = *state;
    char id[TOY_ID], spec[2000], route[128], line[80];
    const char *lines[] = {"Accept: application/x-ndjson", NULL};
    post(a, changed(spec, STEPS, "'checkpoint': {'every': 10}", "'checkpoint': {'every': 1, 'keep': 3}"), id);
    toy_wait(a, id, "done");
    assert_int_equal(cJSON_GetArraySize(ask_find(a, "checkpoints")), 5); /* the first, the last, and three before that */
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), lines, NULL, 0);
    const char *at = buf_text(&a->response.body);
    for (int step = 0; step <= STEPS; step++) {
        snprintf(line, sizeof line, ",\"step\":%d}", step);
        if (!(at = strstr(at, "\"event\":\"checkpoint\"")) || !strstr(at, line)) fail_msg("there is no checkpoint of step %d", step);
        at++;
    }
}

static void first_weights(Ask *a, const char *id, Buf *out) {
    char route[128];
    ask(a, 200, toy_route(route, "GET", id, "/weights?step=0"), NULL);
    buf_init(out);
    buf_put(out, a->response.body.data, a->response.body.len);
}

/* Posts a run that has a checkpoint at every step, keeps only the newest and the first, and has a second one already; the first one's weights. */
static void post_pruning(Ask *a, char id[TOY_ID], Buf *first) {
    char spec[2000], route[128];
    post(a, changed(spec, LONG, "'checkpoint': {'every': 1000}", "'checkpoint': {'every': 1, 'keep': 0}"), id);
    toy_wait_step(a, id, 1);
    first_weights(a, id, first);
    for (int i = 0; i < 12000; i++, usleep(10000)) { /* the disk is slower than the steps */
        ask(a, 200, toy_route(route, "GET", id, "/weights"), NULL);
        if (a->response.body.len == first->len && memcmp(a->response.body.data, first->data, first->len) != 0) return;
    }
    fail_msg("there is no second checkpoint");
}

/* Checkpoints are pruned under the hands of those who ask for the newest: they get a newer one, never the first. */
static void test_pruned_meanwhile(void **state) {
    Ask *a = *state;
    char id[TOY_ID], route[128];
    Buf first;
    post_pruning(a, id, &first);
    for (int i = 0; i < 300; i++) {
        ask(a, 200, toy_route(route, "GET", id, "/weights"), NULL);
        assert_int_equal(a->response.body.len, first.len);
        assert_memory_not_equal(a->response.body.data, first.data, first.len);
    }
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    buf_release(&first);
}

/* Nor does a run that takes its weights from one that is being trained. */
static void test_source_pruned(void **state) {
    Ask a = {0};
    char source[TOY_ID], id[TOY_ID], spec[2000], weights[100], route[128];
    Buf first, taken;
    (void)state;
    ask_start(&a, (const char *[]){"--runs", "2", NULL});
    toy_data(&a);
    post_pruning(&a, source, &first);
    snprintf(weights, sizeof weights, "'weights': {'run': '%s'}", source);
    for (int i = 0; i < 150; i++) {
        post(&a, changed(spec, 1, "'weights': {}", weights), id);
        toy_wait(&a, id, "done");
        first_weights(&a, id, &taken);
        assert_int_equal(taken.len, first.len);
        assert_memory_not_equal(taken.data, first.data, first.len);
        buf_release(&taken);
    }
    ask(&a, 200, toy_route(route, "POST", source, "/cancel"), NULL);
    buf_release(&first);
    ask_stop(&a);
    ask_release(&a);
}

/* ---- the process that trains ---- */

static void wait_no_trainer(Ask *a) {
    for (int i = 0; i < 12000 && toy_trainer(a); i++) usleep(10000);
    assert_int_equal(toy_trainer(a), 0);
}

/* Soon after the last run the process ends, and the next run has another. */
static void test_rest(void **state) {
    Ask *a = *state;
    char id[TOY_ID];
    for (int i = 0; i < 3; i++) {
        toy_run(a, 20, 10, id);
        const pid_t first = toy_trainer(a);
        assert_true(first > 0);
        toy_run(a, 20, 10, id);
        assert_int_equal(toy_trainer(a), first);
        wait_no_trainer(a);
    }
    assert_true(ask_metric(a, "cajal_worker_deaths_total") == 0);
    assert_true(ask_metric(a, "cajal_run_deaths_total") == 0);
}

/* One that stays when it is dismissed is killed, and a run that comes meanwhile has the next one. */
static void test_stays(void **state) {
    Ask *a = *state;
    char id[TOY_ID];
    toy_run(a, 20, 10, id);
    const pid_t first = toy_trainer(a);
    assert_int_equal(kill(first, SIGSTOP), 0);
    for (int i = 0; i < 12000 && toy_trainer(a) == first; i++) usleep(10000); /* dismissed after three seconds, killed a second later */
    toy_run(a, 20, 10, id);
    assert_true(toy_trainer(a) != first);
}

/* ---- streams ---- */

/* Events by the thousand, sent to many who do not read: the service answers others as ever. */
static void test_idle_streams(void **state) {
    enum { STREAMS = 60 };
    Ask *a = *state;
    char id[TOY_ID], spec[2000], path[100], route[128];
    int fds[STREAMS];
    post(a, changed(spec, LONG, "'evaluate': {'every': 1000", "'evaluate': {'rows': 16, 'every': 1"), id);
    toy_wait_step(a, id, 20000);
    snprintf(path, sizeof path, "/runs/%s/events", id);
    for (int i = 0; i < STREAMS; i++) {
        fds[i] = raw_open(a->daemon.url);
        raw_request(fds[i], "GET", path, "Accept: text/event-stream\r\n", "");
    }
    const double steps = ask_number(a, "step");
    for (int i = 0; i < 30; i++) ask(a, 200, "GET /livez", NULL);
    toy_wait_step(a, id, (uint64_t)steps + 20000);
    for (int i = 0; i < STREAMS; i++) close(fds[i]);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
}

static uint64_t last_event(const Buf *lines) {
    uint64_t last = 0;
    const char *end = (const char *)lines->data + lines->len;
    for (const char *at = (const char *)lines->data; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1) {
        assert_int_equal(strtoull(at + strlen("{\"seq\":"), NULL, 10), last + 1);
        last++;
    }
    return last;
}

/* Rows of events are small however many come together, and a stream may begin in the middle of one. */
static void test_rows_of_events(void **state) {
    Ask *a = *state;
    char id[TOY_ID], spec[2000], path[200], route[128];
    const char *lines[] = {"Accept: application/x-ndjson", NULL};
    sqlite3 *db;
    sqlite3_stmt *s;
    post(a, changed(spec, 20000, "'evaluate': {'every': 1000", "'evaluate': {'rows': 16, 'every': 1"), id);
    toy_wait(a, id, "done");
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), lines, NULL, 0);
    const uint64_t last = last_event(&a->response.body);
    assert_true(last > 600); /* one a step, but for what comes faster than a flush takes */
    for (uint64_t after = 0; after < last; after += last / 7) {
        char rest[60], begin[40];
        snprintf(rest, sizeof rest, "/events?after=%llu", (unsigned long long)after);
        snprintf(begin, sizeof begin, "{\"seq\":%llu,", (unsigned long long)after + 1);
        ask_bytes(a, 200, toy_route(route, "GET", id, rest), lines, NULL, 0);
        assert_memory_equal(a->response.body.data, begin, strlen(begin));
    }
    snprintf(path, sizeof path, "%s/data/cajal.db", a->daemon.dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT max(length(lines)), count(*), sum(length(lines)) FROM run_events", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_in_range(sqlite3_column_int(s, 0), 1, 33000);
    assert_in_range(sqlite3_column_int(s, 1), 5, 20000);
    assert_true(sqlite3_column_int(s, 2) > 100000);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),        cmocka_unit_test(test_probabilities),           cmocka_unit_test(test_long_record),
        cmocka_unit_test(test_weights_that_do_not_fit), cmocka_unit_test(test_forks_that_do_not_fit),
        cmocka_unit_test(test_nul),            cmocka_unit_test(test_source_deleted),          cmocka_unit_test(test_delete_beside_resume),
        cmocka_unit_test(test_rows_of_events), cmocka_unit_test(test_idle_streams),
        cmocka_unit_test(test_every_checkpoint),      cmocka_unit_test(test_rest),
        cmocka_unit_test(test_pruned_meanwhile), cmocka_unit_test(test_source_pruned),        cmocka_unit_test(test_stays),
        cmocka_unit_test(test_damaged_checkpoints),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, ask_teardown);
}
