/* What ends a run before its time: it ends with the same bits as one that nothing happened to. */
#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
enum { STEPS = 40000, EVERY = 1000 };
#else
enum { STEPS = 300000, EVERY = 5000 };
#endif

typedef struct {
    Ask ask;
    Buf weights, points; /* of the run that nothing happened to */
} Group;

static int setup(void **state) {
    Group *g = *state = calloc(1, sizeof *g);
    if (!g) return -1;
    buf_init(&g->weights);
    buf_init(&g->points);
    ask_start(&g->ask, NULL);
    toy_data(&g->ask);
    return 0;
}

static int teardown(void **state) {
    Group *g = *state;
    ask_release(&g->ask);
    buf_release(&g->weights);
    buf_release(&g->points);
    free(g);
    return 0;
}

static void read_points(Ask *a, const char *id, Buf *out) {
    char route[128];
    const char *csv[] = {"Accept: text/csv", NULL};
    ask_bytes(a, 200, toy_route(route, "GET", id, "/metrics?keys=train.loss,train.mae&max_points=100000"), csv, NULL, 0);
    buf_put(out, a->response.body.data, a->response.body.len);
}

static void test_undisturbed(void **state) {
    Group *g = *state;
    char id[TOY_ID];
    toy_run(&g->ask, STEPS, EVERY, id);
    assert_int_equal(cJSON_GetArraySize(ask_find(&g->ask, "attempts")), 1);
    toy_weights(&g->ask, id, &g->weights);
    read_points(&g->ask, id, &g->points);
    assert_true(g->weights.len > 64 && g->points.len > 1000);
}

/* The same weights, and the same points: none lost, none doubled. */
static void check_same(Group *g, const char *id) {
    Buf weights, points;
    buf_init(&weights);
    buf_init(&points);
    toy_wait(&g->ask, id, "done");
    toy_weights(&g->ask, id, &weights);
    read_points(&g->ask, id, &points);
    assert_int_equal(weights.len, g->weights.len);
    assert_memory_equal(weights.data, g->weights.data, weights.len);
    assert_int_equal(points.len, g->points.len);
    assert_memory_equal(points.data, g->points.data, points.len);
    buf_release(&weights);
    buf_release(&points);
}

static pid_t wait_trainer(const Ask *a, pid_t but) {
    for (int i = 0; i < 24000; i++) {
        pid_t pid = toy_trainer(a);
        if (pid && pid != but) return pid;
        usleep(5000);
    }
    fail_msg("there is no worker that trains");
    return 0;
}

static void test_worker_killed(void **state) {
    Group *g = *state;
    char id[TOY_ID];
    toy_post(&g->ask, STEPS, EVERY, id);
    pid_t pid = 0;
    for (uint64_t step = 1; step < STEPS / 2; step += STEPS / 6) {
        toy_wait_step(&g->ask, id, step);
        pid = wait_trainer(&g->ask, pid);
        assert_int_equal(0, kill(pid, SIGKILL));
    }
    check_same(g, id);
    char route[128];
    ask(&g->ask, 200, toy_route(route, "GET", id, ""), NULL);
    assert_non_null(strstr(ask_text(&g->ask, "attempts.0.cause"), "SIGKILL"));
    assert_true(ask_number(&g->ask, "attempts.1.from_step") <= ask_number(&g->ask, "attempts.0.to_step"));
    assert_true(ask_metric(&g->ask, "cajal_run_deaths_total") >= 2);
}

/* ---- the daemon ---- */

typedef struct {
    const Daemon *daemon;
    char path[128];
    uint64_t last, wrong, resumed, states; /* wrong: events out of order */
    bool over;
    Buf line;
} Follower;

static bool take(void *arg, const char *bytes, size_t len) {
    Follower *r = arg;
    for (size_t i = 0; i < len; i++) {
        unsigned long long seq = 0;
        if (bytes[i] != '\n') {
            buf_putc(&r->line, bytes[i]);
            continue;
        }
        const char *text = buf_text(&r->line);
        r->wrong += sscanf(text, "{\"seq\":%llu", &seq) != 1 || seq != r->last + 1;
        r->last = seq;
        r->over |= strstr(text, "\"event\":\"end\"") != NULL;
        r->states += strstr(text, "\"event\":\"state\"") != NULL;
        buf_clear(&r->line);
    }
    return true;
}

static bool go_on(void *arg) {
    (void)arg;
    return true;
}

/* Follows a run's events over all connections it takes. The daemon's address changes when it is started again. */
static void *follow(void *arg) {
    Follower *r = arg;
    for (int i = 0; i < 3000 && !r->over; i++) {
        char last[64];
        ClientResponse answer = {0};
        Client *client = client_new(r->daemon->url, NULL);
        const char *headers[] = {"Accept: application/x-ndjson", last, NULL};
        snprintf(last, sizeof last, "Last-Event-ID: %llu", (unsigned long long)r->last);
        buf_clear(&r->line);
        if (client) client_stream(client, r->path, headers, &(ClientSink){.take = take, .wait = go_on, .arg = r}, &answer);
        client_response_release(&answer);
        client_free(client);
        r->resumed++;
        usleep(20000);
    }
    return NULL;
}

static void test_daemon_killed(void **state) {
    Group *g = *state;
    char id[TOY_ID];
    pthread_t thread;
    toy_post(&g->ask, STEPS, EVERY, id);
    Follower reader = {.daemon = &g->ask.daemon};
    buf_init(&reader.line);
    snprintf(reader.path, sizeof reader.path, "/runs/%s/events", id);
    assert_int_equal(0, pthread_create(&thread, NULL, follow, &reader));
    for (uint64_t step = 1; step < STEPS / 2; step += STEPS / 5) {
        toy_wait_step(&g->ask, id, step);
        daemon_stop(&g->ask.daemon, SIGKILL);
        ask_start(&g->ask, NULL);
    }
    check_same(g, id);
    pthread_join(thread, NULL);
    assert_true(reader.over);
    assert_int_equal(reader.wrong, 0);
    assert_true(reader.resumed > 1);
    assert_true(reader.states > 3);
    char route[128];
    ask(&g->ask, 200, toy_route(route, "GET", id, ""), NULL);
    assert_string_equal(ask_text(&g->ask, "attempts.0.cause"), "The service was gone.");
    buf_release(&reader.line);
}

/* Told to stop, the daemon has the worker write a checkpoint, and goes on from there. */
static void test_daemon_restarted(void **state) {
    Group *g = *state;
    char id[TOY_ID], waiting[TOY_ID];
    toy_post(&g->ask, STEPS, STEPS, id);
    toy_post(&g->ask, 10, 10, waiting);
    toy_wait_step(&g->ask, id, 1);
    assert_int_equal(0, daemon_stop(&g->ask.daemon, SIGTERM));
    ask_start(&g->ask, NULL);
    toy_wait(&g->ask, id, "done");
    assert_true(ask_number(&g->ask, "attempts.1.from_step") > 0);
    assert_true(ask_number(&g->ask, "attempts.1.from_step") == ask_number(&g->ask, "attempts.0.to_step"));
    toy_wait(&g->ask, waiting, "done");
    Buf weights;
    buf_init(&weights);
    toy_weights(&g->ask, id, &weights);
    assert_int_equal(weights.len, g->weights.len);
    assert_memory_equal(weights.data, g->weights.data, weights.len);
    buf_release(&weights);
}

/* Which of the runs is running; waits until one is. */
static int wait_running(Ask *a, char ids[][TOY_ID], int n) {
    char route[128];
    for (int tries = 0; tries < 12000; tries++, usleep(5000))
        for (int i = 0; i < n; i++) {
            ask(a, 200, toy_route(route, "GET", ids[i], ""), NULL);
            if (strcmp(ask_text(a, "state"), "running") == 0) return i;
        }
    fail_msg("no run runs");
    return -1;
}

/* What ran goes on first: neither a younger run nor an older one that was resumed meanwhile takes its place. */
static void test_turn_kept(void **state) {
    Group *g = *state;
    Ask *a = &g->ask;
    enum { RUNS = 4, LONG = 1000000000 };
    char ids[RUNS][TOY_ID], route[128];
    for (int i = 0; i < RUNS; i++) toy_post(a, LONG, LONG, ids[i]);
    assert_int_equal(wait_running(a, ids, RUNS), 0);
    ask(a, 200, toy_route(route, "POST", ids[0], "/cancel"), NULL);
    assert_int_equal(wait_running(a, ids, RUNS), 1);
    ask(a, 202, toy_route(route, "POST", ids[0], "/resume"), NULL);
    for (int i = 0; i < 4; i++) {
        daemon_stop(&a->daemon, i % 2 ? SIGKILL : SIGTERM);
        ask_start(a, NULL);
        assert_int_equal(wait_running(a, ids, RUNS), 1);
    }
    /* Nor when its worker dies, once it has begun again. */
    for (int i = 0, n = 1; n < 6; i++, usleep(5000)) {
        assert_true(i < 12000);
        ask(a, 200, toy_route(route, "GET", ids[1], ""), NULL);
        const int before = n;
        n = cJSON_GetArraySize(ask_find(a, "attempts"));
        if (n == 5 && before < 5) assert_int_equal(0, kill(wait_trainer(a, 0), SIGKILL));
    }
    assert_int_equal(wait_running(a, ids, RUNS), 1);
    for (int i = RUNS; i--;) ask(a, 200, toy_route(route, "POST", ids[i], "/cancel"), NULL);
}

static void test_cancelled_and_resumed(void **state) {
    Group *g = *state;
    char id[TOY_ID], route[128];
    toy_post(&g->ask, STEPS, EVERY, id);
    toy_wait_step(&g->ask, id, 1);
    ask(&g->ask, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    assert_string_equal(ask_text(&g->ask, "state"), "cancelled");
    ask_refused(&g->ask, "conflict", toy_route(route, "POST", id, "/cancel"), NULL);
    ask(&g->ask, 202, toy_route(route, "POST", id, "/resume"), NULL);
    ask_refused(&g->ask, "conflict", toy_route(route, "POST", id, "/resume"), NULL);
    ask_refused(&g->ask, "conflict", toy_route(route, "DELETE", id, ""), NULL);
    check_same(g, id);
    ask_refused(&g->ask, "conflict", toy_route(route, "POST", id, "/resume"), NULL);
}

/* ---- files ---- */

/* The newest checkpoint's file, in place of which `len` bytes are written. */
static void damage(const Ask *a, const char *id, double step, size_t len) {
    char path[256];
    snprintf(path, sizeof path, "%s/data/runs/%s/%.0f.safetensors", a->daemon.dir, id, step);
    assert_int_equal(0, truncate(path, (off_t)len));
}

/* A damaged checkpoint is not gone on from: the one before is. */
static void test_damaged_checkpoint(void **state) {
    Group *g = *state;
    Ask *a = &g->ask;
    char id[TOY_ID], route[128], part[64];
    toy_post(a, STEPS, EVERY, id);
    toy_wait_step(a, id, 2 * EVERY);
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    int n = cJSON_GetArraySize(ask_find(a, "checkpoints"));
    assert_true(n >= 2);
    snprintf(part, sizeof part, "checkpoints.%d", n - 1);
    double newest = ask_number(a, part);
    damage(a, id, newest, 100);
    ask(a, 202, toy_route(route, "POST", id, "/resume"), NULL);
    check_same(g, id);
    ask(a, 200, toy_route(route, "GET", id, ""), NULL);
    assert_true(ask_number(a, "attempts.1.from_step") < newest);
    assert_true(daemon_logged(&a->daemon, "checkpoint not used"));
    char told[120];
    snprintf(told, sizeof told, "The checkpoint of step %.0f is damaged or missing: the run goes on from step ", newest);
    ask_bytes(a, 200, toy_route(route, "GET", id, "/events"), (const char *[]){"Accept: application/x-ndjson", NULL}, NULL, 0);
    assert_non_null(strstr(buf_text(&a->response.body), told));
}

/* What a crash left half-written, or without a row, is gone after the next start. */
static void test_leftovers(void **state) {
    Ask *a = &((Group *)*state)->ask;
    char folder[256], file[300];
    snprintf(folder, sizeof folder, "%s/data/runs/r-nobody", a->daemon.dir);
    snprintf(file, sizeof file, "%s/5.safetensors.tmp", folder);
    assert_int_equal(0, daemon_stop(&a->daemon, SIGTERM));
    assert_int_equal(0, mkdir(folder, 0700));
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    ask_start(a, NULL);
    assert_int_equal(-1, access(folder, F_OK));
}

/* Others fill the disk, to the last byte. */
static void fill_disk(const Ask *a, char path[128]) {
    static const char zeros[4096];
    snprintf(path, 128, "%s/data/ballast", a->daemon.dir);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    for (size_t size = sizeof zeros; size;)
        if (write(fd, zeros, size) <= 0) size /= 2;
    close(fd);
}

static void wait_state(Ask *a, const char *id, const char *state) {
    char route[128];
    for (int i = 0; i < 24000; i++, usleep(5000)) {
        ask(a, 200, toy_route(route, "GET", id, ""), NULL);
        if (strcmp(ask_text(a, "state"), state) == 0) return;
    }
    fail_msg("the run did not become %s", state);
}

/* What is full is told, what was promised stays, and what makes room is done. */
static void check_full(Ask *a, const char *over) {
    char route[128], spec[1000];
    ask(a, 200, "GET /livez", NULL);
    ask(a, 200, "GET /readyz?verbose", NULL);
    ask_part(a, "storage", "'storage_full'");
    ask_part(a, "checks.storage", "'storage_full'");
    assert_true(ask_metric(a, "cajal_storage_full") == 1);
    toy_spec(spec, 10, 10);
    ask_refused(a, "storage_full", "POST /runs", spec);
    ask_refused(a, "storage_full", toy_route(route, "POST", over, "/fork"), "{}");
    static const char file[] = "\x38\0\0\0\0\0\0\0{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}  \0\0\0";
    ask_bytes(a, 507, "PUT /datasets/more", NULL, file, sizeof file);
    ask(a, 200, "POST /eval", "{'source': '\\\\x:2. if x then false else true', 'args': [true]}");
    ask(a, 204, toy_route(route, "DELETE", over, ""), NULL);
    ask_refused(a, "not_found", toy_route(route, "GET", over, ""), NULL);
}

/* A full disk fails the run, with the cause, and nothing else: when there is room again, the run goes on. */
static void test_disk_full(void **state) {
    Ask a = {0};
    char id[TOY_ID], over[TOY_ID], waiting[TOY_ID], route[128], path[128];
    (void)state;
    if (!daemon_small_disk(&a.daemon, "24m")) {
        print_message("no file system can be mounted here\n");
        skip();
    }
    ask_start(&a, NULL);
    toy_data(&a);
    ask(&a, 200, "GET /readyz?verbose", NULL);
    ask_part(&a, "checks.storage", "'ok'");
    toy_run(&a, 10, 10, over);
    toy_post(&a, STEPS, STEPS / 20, id);
    toy_post(&a, STEPS, STEPS, waiting);
    toy_wait(&a, id, "running");
    fill_disk(&a, path);
    wait_state(&a, id, "failed");
    ask_part(&a, "code", "'storage_full'");
    assert_non_null(strstr(ask_text(&a, "reason"), "disk is full"));
    wait_state(&a, waiting, "failed"); /* it had its turn, and could not write either */
    ask_part(&a, "code", "'storage_full'");
    ask_refused(&a, "conflict", toy_route(route, "POST", id, "/cancel"), NULL);
    check_full(&a, over);
    assert_int_equal(0, daemon_stop(&a.daemon, SIGTERM));
    ask_start(&a, NULL); /* on the full disk, too */
    ask(&a, 200, toy_route(route, "GET", id, ""), NULL);
    ask_part(&a, "state", "'failed'");
    /* It can be resumed, and fails again; what is running or waits can be cancelled. */
    ask(&a, 202, toy_route(route, "POST", waiting, "/resume"), NULL);
    wait_state(&a, waiting, "failed");
    ask(&a, 204, toy_route(route, "DELETE", waiting, ""), NULL);
    assert_int_equal(0, unlink(path));
    ask(&a, 202, toy_route(route, "POST", id, "/resume"), NULL);
    toy_wait(&a, id, "done");
    ask_stop(&a);
    ask_release(&a);
}

/* Killed from outside more often than a run may die of itself, it goes on. */
static void test_kills_from_outside(void **state) {
    Group *g = *state;
    Ask *a = &g->ask;
    char id[TOY_ID], route[128];
    pid_t pid = 0;
    toy_post(a, 1000 * (uint64_t)STEPS, 1000 * (uint64_t)STEPS, id);
    toy_route(route, "GET", id, "");
    for (int kills = 0; kills < 6; kills++) {
        do {
            usleep(5000);
            ask(a, 200, route, NULL);
        } while (cJSON_GetArraySize(ask_find(a, "attempts")) <= kills); /* it has begun once more */
        pid = wait_trainer(a, pid);
        assert_int_equal(0, kill(pid, SIGKILL));
    }
    wait_trainer(a, pid);
    toy_wait(a, id, "running");
    ask(a, 200, toy_route(route, "POST", id, "/cancel"), NULL);
    assert_string_equal(ask_text(a, "state"), "cancelled");
}

/* A worker that dies again and again without coming further ends the run. */
static void test_hopeless(void **state) {
    Group *g = *state;
    Ask *a = &g->ask;
    char id[TOY_ID], route[128];
    toy_post(a, 1000 * (uint64_t)STEPS, 1000 * (uint64_t)STEPS, id);
    toy_route(route, "GET", id, "");
    for (int i = 0, deaths = 0; i < 3000; i++) {
        ask(a, 200, route, NULL);
        if (strcmp(ask_text(a, "state"), "failed") == 0) break;
        /* One that has begun: what dies before is no fault of the run's. */
        const cJSON *attempts = ask_find(a, "attempts"), *last = cJSON_GetArrayItem(attempts, deaths);
        pid_t pid = last && !cJSON_GetObjectItemCaseSensitive(last, "ended") ? toy_trainer(a) : 0;
        if (pid) deaths += kill(pid, SIGABRT) == 0;
        usleep(20000);
    }
    assert_string_equal(ask_text(a, "state"), "failed");
    assert_non_null(strstr(ask_text(a, "reason"), "SIGABRT"));
    assert_int_equal(cJSON_GetArraySize(ask_find(a, "attempts")), 4);
}

static void test_ends_well(void **state) { ask_stop(&((Group *)*state)->ask); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undisturbed),        cmocka_unit_test(test_worker_killed),
        cmocka_unit_test(test_daemon_killed),      cmocka_unit_test(test_daemon_restarted),
        cmocka_unit_test(test_turn_kept),
        cmocka_unit_test(test_cancelled_and_resumed), cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_leftovers),          cmocka_unit_test(test_hopeless),
        cmocka_unit_test(test_kills_from_outside),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_ends_well),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
