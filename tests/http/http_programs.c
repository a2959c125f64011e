/* /programs: the list and its pages, records, graphs in three forms, matrices in three forms, deletion. */
#include "tests/support/ask.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT "{'source': 'λx:2. if x then false else true'}"
#define NOBODY "sha256:0000000000000000000000000000000000000000000000000000000000000000"

static void about(Ask *a, int status, const char *method, const char *hash, const char *rest) {
    char route[200];
    snprintf(route, sizeof route, "%s /programs/%s%s", method, hash, rest);
    ask(a, status, route, NULL);
}

static void accepting(Ask *a, int status, const char *hash, const char *rest, const char *accept) {
    char route[200], line[100];
    snprintf(route, sizeof route, "GET /programs/%s%s", hash, rest);
    snprintf(line, sizeof line, "Accept: %s", accept);
    ask_bytes(a, status, route, (const char *[]){line, NULL}, NULL, 0);
}

/* Newest first; pages partition the list, and what is stored meanwhile does not disturb them. */
static void test_list(void **state) {
    enum { PROGRAMS = 7 };
    Ask *a = *state;
    char hashes[PROGRAMS][80], route[400];
    ask(a, 200, "GET /programs", NULL);
    ask_part(a, "", "{'programs': [], 'next_page_token': null}");
    for (int i = 0; i < PROGRAMS; i++) {
        char body[60];
        snprintf(body, sizeof body, "{'source': '%d'}", i);
        ask_compile(a, body, hashes[i]);
    }
    ask(a, 200, "GET /programs", NULL);
    assert_int_equal(PROGRAMS, cJSON_GetArraySize(ask_find(a, "programs")));
    ask_part(a, "next_page_token", "null");
    int seen = 0, pages = 0;
    for (strcpy(route, "GET /programs?limit=3"); *route; pages++) {
        ask(a, 200, route, NULL);
        const cJSON *page = ask_find(a, "programs");
        for (const cJSON *p = page->child; p; p = p->next, seen++)
            assert_string_equal(hashes[PROGRAMS - 1 - seen], cJSON_GetStringValue(cJSON_GetObjectItem(p, "program")));
        assert_true(cJSON_GetArraySize(page) <= 3);
        const cJSON *next = ask_find(a, "next_page_token");
        *route = 0;
        if (cJSON_IsString(next)) snprintf(route, sizeof route, "GET /programs?limit=3&page_token=%s", cJSON_GetStringValue(next));
        char late[80], body[60];
        snprintf(body, sizeof body, "{'source': '%d'}", 100 + pages);
        if (*route) ask_compile(a, body, late);
    }
    assert_int_equal(PROGRAMS, seen);
    assert_int_equal(3, pages);
    ask_refused(a, "bad_request", "GET /programs?page_token=mist", NULL);
    ask_refused(a, "bad_request", "GET /programs?limit=many", NULL);
    ask_refused(a, "bad_request", "GET /programs?limit=-1", NULL);
    ask_refused(a, "bad_request", "GET /programs?limit=0", NULL);
    ask_refused(a, "bad_request", "GET /programs?limit=101", NULL);
    ask(a, 200, "GET /programs?limit=100", NULL);
}

/* A page of large records ends early, and the next goes on where it ended. */
static void test_large_pages(void **state) {
    enum { LARGE = 6, NAME = 300000 };
    Ask *a = *state;
    char route[400] = "GET /programs";
    ask_start(a, NULL);
    for (int i = 0; i < LARGE; i++) {
        Buf body;
        buf_init(&body);
        buf_puts(&body, "{\"source\": \"true\", \"context\": {\"");
        for (int k = 0; k < NAME; k++) buf_putc(&body, (char)('a' + i));
        buf_puts(&body, "\": \"!2\"}}");
        ask_bytes(a, 200, "POST /compile", NULL, body.data, body.len);
        buf_release(&body);
    }
    int seen = 0, pages = 0;
    for (; *route; pages++) {
        ask(a, 200, route, NULL);
        assert_true(a->response.body.len < (1 << 20) + 2 * NAME);
        seen += cJSON_GetArraySize(ask_find(a, "programs"));
        const cJSON *next = ask_find(a, "next_page_token");
        *route = 0;
        if (cJSON_IsString(next)) snprintf(route, sizeof route, "GET /programs?page_token=%s", cJSON_GetStringValue(next));
    }
    assert_int_equal(LARGE, seen);
    assert_true(pages > 1);
    ask_stop(a);
}

static void test_record(void **state) {
    Ask *a = *state;
    char hash[80];
    ask_compile(a, NOT, hash);
    cJSON *record = cJSON_Duplicate(a->json, true);
    about(a, 200, "GET", hash, "");
    /* the same record; only "cached" may differ */
    cJSON_ReplaceItemInObjectCaseSensitive(record, "cached", cJSON_CreateBool(cJSON_IsTrue(ask_find(a, "cached"))));
    ask_keys(a, "", "program type inputs args output text graph verified compile_us verify_us cached");
    assert_true(cJSON_Compare(record, a->json, true));
    cJSON_Delete(record);
    about(a, 404, "GET", NOBODY, "");
    ask_is_problem(a, "not_found");
    about(a, 404, "GET", "nobody", "");
    ask_is_problem(a, "not_found");
}

static void test_graph(void **state) {
    Ask *a = *state;
    char hash[80];
    ask_compile(a, "{'source': 'f : !(2 -o 2), b : 2, n : N[4] |- iter {b | y -> f y} (n)'}", hash);
    double neurons = ask_number(a, "graph.neurons");
    about(a, 200, "GET", hash, "/graph");
    ask_header(a, "Content-Type", "application/json");
    ask_keys(a, "", "nodes outputs");
    int nodes = cJSON_GetArraySize(ask_find(a, "nodes")), iterations = 0;
    assert_true(nodes > 0 && nodes <= neurons); /* neurons counts those of the step, too */
    for (int i = 0; i < nodes; i++) {
        char path[64];
        snprintf(path, sizeof path, "nodes.%d.id", i);
        assert_int_equal(i, ask_number(a, path));
        snprintf(path, sizeof path, "nodes.%d.op", i);
        iterations += strcmp(ask_text(a, path), "iter") == 0;
        snprintf(path, sizeof path, "nodes.%d.in", i);
        for (const cJSON *in = ask_find(a, path)->child; in; in = in->next) assert_true(in->valuedouble < i); /* topological */
        snprintf(path, sizeof path, "nodes.%d.space.0", i);
        assert_true(ask_number(a, path) >= 1);
    }
    assert_int_equal(1, iterations);
    assert_int_equal(1, cJSON_GetArraySize(ask_find(a, "outputs")));
    about(a, 200, "GET", hash, "/graph?format=json");
    ask_keys(a, "", "nodes outputs");
    about(a, 200, "GET", hash, "/graph?format=dot");
    assert_memory_equal("digraph", a->response.body.data, 7);
    ask_body_has(a, "->");
    about(a, 200, "GET", hash, "/graph?format=svg");
    ask_header(a, "Content-Type", "image/svg+xml");
    ask_body_has(a, "<svg");
    ask_body_has(a, "</svg>");
    about(a, 400, "GET", hash, "/graph?format=png");
    ask_is_problem(a, "bad_request");
    about(a, 404, "GET", NOBODY, "/graph");
    ask_is_problem(a, "not_found");
}

static void test_matrix(void **state) {
    Ask *a = *state;
    char hash[80];
    ask_compile(a, NOT, hash);
    about(a, 200, "GET", hash, "/matrix");
    ask_part(a, "", "{'type': '2 -o 2', 'shape': [2, 2], 'data': [[0, 1], [1, 0]]}");
    static const float swap[4] = {0, 1, 1, 0};
    static const char *const forms[] = {"application/x-npy", "application/vnd.safetensors"};
    for (int i = 0; i < 2; i++) {
        accepting(a, 200, hash, "/matrix", forms[i]);
        ask_header(a, "Content-Type", forms[i]);
        assert_true(a->response.body.len > sizeof swap);
        assert_memory_equal(swap, a->response.body.data + a->response.body.len - sizeof swap, sizeof swap);
    }
    accepting(a, 406, hash, "/matrix", "text/html");
    ask_is_problem(a, "not_acceptable");
    about(a, 404, "GET", NOBODY, "/matrix");
    ask_is_problem(a, "not_found");
    ask_compile(a, "{'source': 'λn:N[3]. iter {0 | y -> succ (succ y)} (n)'}", hash);
    about(a, 200, "GET", hash, "/matrix");
    ask_part(a, "", "{'type': 'N[3] -o N[5]', 'shape': [5, 3], 'data': [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]}");
    /* A ⊸ (B ⊸ C): dim(C)·dim(B) rows, dim(A) columns */
    ask_compile(a, "{'source': 'λa:2. λn:N[3]. if a then n else n'}", hash);
    about(a, 200, "GET", hash, "/matrix");
    ask_part(a, "shape", "[9, 2]");
    ask_part(a, "data.0", "[1, 1]");
    ask_part(a, "data.1", "[0, 0]");
    ask_part(a, "data.4", "[1, 1]");
    /* no matrix: an input is open, or the result is no function of vectors */
    static const char *const none[] = {"{'source': 'b : 2 |- λx:2. if b then x else x'}", "{'source': 'true'}",
                                       "{'source': 'λx:!2. if x then x else x'}"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        ask_compile(a, none[i], hash);
        about(a, 422, "GET", hash, "/matrix");
        ask_is_problem(a, ask_text(a, "code"));
    }
}

static void test_delete(void **state) {
    Ask *a = *state;
    char hash[80], again[80], body[200];
    ask_compile(a, "{'source': 'λdoomed:2. doomed'}", hash);
    about(a, 204, "DELETE", hash, "");
    assert_int_equal(0, a->response.body.len);
    static const char *const rests[] = {"", "/graph", "/matrix"};
    for (int i = 0; i < 3; i++) {
        about(a, 404, "GET", hash, rests[i]);
        ask_is_problem(a, "not_found");
    }
    snprintf(body, sizeof body, "{'program': '%s', 'args': [true]}", hash);
    ask_refused(a, "not_found", "POST /eval", body);
    about(a, 404, "DELETE", hash, "");
    ask_is_problem(a, "not_found");
    /* it can come back, and is the same */
    ask_compile(a, "{'source': 'λreborn:2. reborn'}", again);
    assert_string_equal(hash, again);
    ask_part(a, "cached", "false");
    assert_non_null(strstr(ask_text(a, "text"), "reborn"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),   cmocka_unit_test(test_record), cmocka_unit_test(test_graph),
        cmocka_unit_test(test_matrix), cmocka_unit_test(test_delete), cmocka_unit_test(ask_ends_well),
        cmocka_unit_test_setup_teardown(test_large_pages, ask_setup_empty, ask_teardown),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
