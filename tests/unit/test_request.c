/* What is decided about a request before its handler: route, form, who may ask; and the daemon's flags, hash map and loop. */
#include "schema/base/map.h"
#include "server/http/accept.h"
#include "server/http/body.h"
#include "server/config.h"
#include "server/http/access.h"
#include "server/routes.h"
#include "server/tasks.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_accept(void **state) {
    (void)state;
    const unsigned all = FORM_JSON | FORM_NPY | FORM_SAFETENSORS;
    static const struct {
        const char *accept;
        unsigned offered;
        Form form;
    } cases[] = {
        {NULL, 7, FORM_JSON},
        {"*/*", 7, FORM_JSON},
        {"application/*", 7, FORM_JSON},
        {"application/x-npy", 7, FORM_NPY},
        {"application/x-npy", FORM_JSON, FORM_NONE},
        {"APPLICATION/VND.SAFETENSORS ;q=1", 7, FORM_SAFETENSORS},
        {"application/json;q=0.4, application/x-npy;q=0.5", 7, FORM_NPY},
        {"application/json;q=0, */*", 7, FORM_NPY},
        {"application/json;q=0", FORM_JSON, FORM_NONE},
        {"*/*;q=0.1, application/vnd.safetensors;charset=x;q=0.2", 7, FORM_SAFETENSORS},
        {"text/html, image/*", 7, FORM_NONE},
        {",,;;q=,", 7, FORM_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (accept_choose(cases[i].accept, cases[i].offered & all) != cases[i].form) fail_msg("Accept: %s", cases[i].accept);
}

static void test_routes(void **state) {
    (void)state;
    RouteParam param;
    unsigned methods;
    char allow[ROUTE_ALLOW];
    assert_string_equal(route_find(&service_routes, "POST", "/compile", &param, &methods)->path, "/compile");
    assert_string_equal(route_find(&service_routes, "HEAD", "/livez", &param, &methods)->path, "/livez");
    assert_string_equal(route_find(&service_routes, "GET", "/programs/sha256:ab/graph", &param, &methods)->path, "/programs/{hash}/graph");
    assert_string_equal(param.text, "sha256:ab");
    assert_null(route_find(&service_routes, "GET", "/compile", &param, &methods));
    route_allow(methods, allow);
    assert_string_equal(allow, "POST");
    assert_null(route_find(&service_routes, "PUT", "/programs/x", &param, &methods));
    route_allow(methods, allow);
    assert_string_equal(allow, "GET, HEAD, DELETE");
    assert_string_equal(route_find(&service_routes, "PUT", "/datasets/x", &param, &methods)->path, "/datasets/{name}");
    assert_null(route_find(&service_routes, "POST", "/datasets/x", &param, &methods));
    route_allow(methods, allow);
    assert_string_equal(allow, "GET, HEAD, PUT, DELETE");
    const char *const nowhere[] = {"/", "/compile/", "/compilex", "/programs/", "/programs//graph", "/programs/a/b", "",
                                   "/programs/a/graph/c"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_null(route_find(&service_routes, "GET", nowhere[i], &param, &methods));
        if (methods) fail_msg("there is something at %s", nowhere[i]);
    }
    char longest[200] = "/programs/";
    memset(longest + 10, 'a', 150);
    assert_null(route_find(&service_routes, "GET", longest, &param, &methods));
}

/* Every path has a text for its Allow. */
static void test_routes_name_their_methods(void **state) {
    (void)state;
    for (size_t i = 0; i < service_routes.n; i++) {
        const Route *route = &service_routes.rows[i];
        RouteParam param;
        unsigned methods;
        char allow[ROUTE_ALLOW];
        assert_null(route_find(&service_routes, "BREW", route->path, &param, &methods));
        if (!methods) fail_msg("%s: what is allowed is not said", route->path);
        route_allow(methods, allow);
        if (!strstr(allow, method_name(route->method))) fail_msg("%s: %s is not among %s", route->path, method_name(route->method), allow);
    }
}

static void test_guard(void **state) {
    (void)state;
    assert_true(sodium_init() >= 0);
    static const struct {
        Access access;
        ErrCode code;
    } cases[] = {
        {{.loopback = true, .host = "localhost:80"}, ERR_NONE},
        {{.loopback = true, .host = "127.0.0.1:80"}, ERR_NONE},
        {{.loopback = true, .host = "[::1]:80"}, ERR_NONE},
        {{.loopback = true}, ERR_NONE},
        {{.loopback = true, .host = "evil.com"}, ERR_forbidden},
        {{.loopback = true, .host = "localhost.evil.com"}, ERR_forbidden},
        {{.loopback = true, .host = "127.0.0.1.evil.com"}, ERR_forbidden},
        {{.loopback = false, .host = "cajal.lab"}, ERR_NONE},
        {{.loopback = false, .host = "cajal.lab", .origin = "http://cajal.lab"}, ERR_NONE},
        {{.loopback = false, .host = "cajal.lab", .origin = "http://evil.com"}, ERR_forbidden},
        {{.loopback = false, .host = "cajal.lab", .origin = "null"}, ERR_forbidden},
        {{.loopback = false, .host = "cajal.lab", .origin = "https://ui.lab", .allow_origin = "https://ui.lab"}, ERR_NONE},
        {{.loopback = true, .host = "evil.com", .origin = "null", .allow_origin = "*"}, ERR_NONE},
        {{.token = "secret"}, ERR_unauthorized},
        {{.token = "secret", .authorization = "Bearer secret"}, ERR_NONE},
        {{.token = "secret", .authorization = "bearer secret"}, ERR_NONE},
        {{.token = "secret", .authorization = "Bearer secre"}, ERR_unauthorized},
        {{.token = "secret", .authorization = "Bearer secret "}, ERR_unauthorized},
        {{.token = "secret", .authorization = "Basic secret"}, ERR_unauthorized},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Access g = cases[i].access;
        if (!g.allow_origin) g.allow_origin = "";
        if (access_check(&g, false) != cases[i].code) fail_msg("case %zu", i);
    }
    assert_int_equal(access_check(&(Access){.token = "secret", .allow_origin = ""}, true), ERR_NONE);
}

static void test_config(void **state) {
    (void)state;
    char why[300], host[256];
    uint16_t port;
    Config c;
    unsetenv("CAJAL_TOKEN");
    setenv("CAJAL_MAX_BODY", "4k", 1);
    setenv("CAJAL_WORKERS", "3", 1);
    char *argv[] = {"cajald", "--workers", "5", "--listen=[::1]:0", NULL};
    assert_int_equal(config_load(&c, 4, argv, stdout, why, sizeof why), CONFIG_RUN);
    assert_int_equal(c.max_body, 4096);
    assert_int_equal(c.workers, 5);
    assert_int_equal(c.deadline_ms, 60000);
    assert_true(config_address(c.listen, host, &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 0);
    config_release(&c);
    unsetenv("CAJAL_MAX_BODY");
    unsetenv("CAJAL_WORKERS");
    char *const wrong[][2] = {{"--workers", "-1"}, {"--workers", "x"}, {"--workers", "1000000000"}, {"--max-body", "99999999999G"},
                              {"--nope", "1"},
                              {"--max-queue", ""}, {"--log-level", "loud"}, {"--workers", NULL}, {"--token-file", "/nonexistent"},
                              {"--listen", "localhost"}, {"--listen", "127.0.0.1: 80"}, {"--allow-origin", "notebook.example"},
                              {"--allow-origin", "https://notebook.example/"}, {"--allow-origin", "https://a.example, https://b.example"},
                              {"--allow-origin", "://x"}, {"--allow-origin", "https://"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *args[] = {"cajald", wrong[i][0], wrong[i][1], NULL};
        if (config_load(&c, wrong[i][1] ? 3 : 2, args, stdout, why, sizeof why) != CONFIG_BAD) fail_msg("%s was taken", wrong[i][0]);
        assert_true(strlen(why) > 0);
        config_release(&c);
    }
    static const char *const no_address[] = {"8420", "localhost:99999", ":80", "127.0.0.1: 80", "127.0.0.1:+0", "127.0.0.1:-1", "127.0.0.1:", "a:1x",
                                             "127.0.0.1:000080", "127.0.0.1 :80", "::1:80", "[::1:80", "[]:80", "[[::1]]:80", ""};
    for (size_t i = 0; i < sizeof no_address / sizeof *no_address; i++)
        if (config_address(no_address[i], host, &port)) fail_msg("%s was taken", no_address[i]);
    assert_true(config_address("localhost:65535", host, &port));
}

static void test_bodies(void **state) {
    (void)state;
    assert_int_equal(body_kind_of(NULL), BODY_JSON);
    assert_int_equal(body_kind_of("application/x-www-form-urlencoded"), BODY_JSON);
    assert_int_equal(body_kind_of("Application/X-NPY; a=b"), BODY_NPY);
    for (int chunked = 0; chunked < 2; chunked++) {
        Body b;
        body_init(&b);
        assert_int_equal(body_begin(&b, BODY_SAFETENSORS, chunked ? BODY_UNKNOWN : 100000, 100000), ERR_NONE);
        for (int i = 0; i < 100; i++) {
            char piece[1000];
            memset(piece, i, sizeof piece);
            assert_int_equal(body_add(&b, piece, sizeof piece), ERR_NONE);
        }
        assert_int_equal(body_add(&b, "x", 1), ERR_body_too_large);
        assert_true(b.area.fd >= 0 && b.data == b.area.data && b.len == 100000);
        for (int i = 0; i < 100000; i++) assert_int_equal(b.data[i], i / 1000);
        body_release(&b);
    }
    Body b;
    body_init(&b);
    assert_int_equal(body_begin(&b, BODY_JSON, 11, 10), ERR_body_too_large);
    body_release(&b);
}

static void test_map(void **state) {
    (void)state;
    Map map;
    static int values[1000];
    map_init(&map);
    assert_null(map_get(&map, "x", 1));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) assert_true(map_put(&map, &i, sizeof i, &values[i]));
        assert_int_equal(map.count, 1000);
        for (int i = 0; i < 1000; i += 3) assert_ptr_equal(map_remove(&map, &i, sizeof i), &values[i]);
        for (int i = 0; i < 1000; i++) assert_ptr_equal(map_get(&map, &i, sizeof i), i % 3 ? &values[i] : NULL);
    }
    size_t at = 0, seen = 0;
    while (map_next(&map, &at)) seen++;
    assert_int_equal(seen, map.count);
    int none = 5000;
    assert_null(map_remove(&map, &none, sizeof none));
    map_release(&map);
}

typedef struct {
    Loop *loop;
    Task task;
    Timer late, early, off;
    int order[4], n;
    bool worked;
} Turns;

static void late(void *arg) {
    Turns *t = arg;
    t->order[t->n++] = 2;
    loop_stop(t->loop);
}
static void early(void *arg) {
    Turns *t = arg;
    t->order[t->n++] = 1;
    loop_untimer(t->loop, &t->off);
}
static void never(void *arg) {
    (void)arg;
    fail_msg("a timer that is off went off");
}
static void work(void *arg) { ((Turns *)arg)->worked = true; }
static void worked(void *arg) {
    Turns *t = arg;
    assert_true(t->worked);
    t->order[t->n++] = 0;
    loop_timer(t->loop, &t->late, loop_now() + 20000000);
    loop_timer(t->loop, &t->off, loop_now() + 15000000);
    loop_timer(t->loop, &t->early, loop_now() + 10000000);
}

static void test_loop_and_tasks(void **state) {
    (void)state;
    Turns t = {.loop = loop_new()};
    Tasks *tasks = tasks_new(t.loop, 2);
    t.late = (Timer){.fire = late, .arg = &t};
    t.early = (Timer){.fire = early, .arg = &t};
    t.off = (Timer){.fire = never, .arg = &t};
    t.task = (Task){.work = work, .done = worked, .arg = &t};
    tasks_add(tasks, &t.task);
    loop_run(t.loop);
    assert_int_equal(t.n, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(t.order[i], i);
    tasks_free(tasks);
    loop_free(t.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept), cmocka_unit_test(test_routes), cmocka_unit_test(test_routes_name_their_methods),
        cmocka_unit_test(test_guard),  cmocka_unit_test(test_config),
        cmocka_unit_test(test_bodies), cmocka_unit_test(test_map),    cmocka_unit_test(test_loop_and_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
