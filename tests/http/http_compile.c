/* POST /compile: the record, identities, caching, contexts, the readings of naturals, verification, refusals. */
#include "tests/support/ask.h"
#include "tests/support/raw.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT "{'source': 'λx:2. if x then false else true'}"
#define DOUBLE "λn:N. iter {0 | y -> succ (succ y)} (n)"

static void has_type(Ask *a, const char *body, const char *type) {
    ask(a, 200, "POST /compile", body);
    assert_string_equal(type, ask_text(a, "type"));
}

static void test_record(void **state) {
    Ask *a = *state;
    ask(a, 200, "POST /compile", "{'source': 'λfresh:2. if fresh then false else true'}");
    ask_header(a, "Content-Type", "application/json");
    ask_header(a, "Cache-Status", "cajal; fwd=miss; stored");
    ask_keys(a, "", "program type inputs args output text graph verified compile_us verify_us cached");
    assert_int_equal(71, strlen(ask_text(a, "program")));
    assert_memory_equal("sha256:", ask_text(a, "program"), 7);
    assert_int_equal(64, strspn(ask_text(a, "program") + 7, "0123456789abcdef"));
    ask_part(a, "type", "'2 -o 2'");
    ask_part(a, "inputs", "[]");
    ask_part(a, "args", "[{'type': '2', 'shape': [2], 'smooth': false}]");
    ask_part(a, "output", "{'type': '2', 'shape': [2]}");
    ask_part(a, "verified", "{'cases': 2, 'exhaustive': true}");
    ask_part(a, "cached", "false");
    ask_keys(a, "graph", "neurons weights recurrent macs");
    assert_true(ask_number(a, "graph.neurons") >= 1 && ask_number(a, "graph.macs") >= 0 && ask_number(a, "graph.weights") >= 0);
    ask_part(a, "graph.recurrent", "0");
    assert_true(ask_number(a, "compile_us") >= 0 && ask_number(a, "verify_us") >= 0);
}

static void test_cached_the_second_time(void **state) {
    Ask *a = *state;
    char hash[80], body[200];
    ask(a, 200, "POST /compile", NOT);
    snprintf(hash, sizeof hash, "%s", ask_text(a, "program"));
    ask(a, 200, "POST /compile", NOT);
    ask_header(a, "Cache-Status", "cajal; hit");
    ask_part(a, "cached", "true");
    assert_string_equal(hash, ask_text(a, "program"));
    /* the printed text is the same program, and the first spelling's names stay */
    assert_non_null(strstr(ask_text(a, "text"), "fresh"));
    assert_true(strlen(ask_text(a, "text")) < 100 && !strchr(ask_text(a, "text"), '\''));
    snprintf(body, sizeof body, "{'source': '\\%s'}", ask_text(a, "text"));
    ask(a, 200, "POST /compile", body);
    assert_string_equal(hash, ask_text(a, "program"));
}

/* Each group's spellings are one program; no two groups are. */
static const char *const spellings[][6] = {
    {NOT, "{'source': 'λy:2. if y then ff else tt'}", "{'source': '\\\\x:2.if x\\nthen false -- not\\nelse (true)'}",
     "{'term': {'fun': 'z', 'type': '2', 'body': {'if': 'z', 'then': false, 'else': true}}}",
     "{'source': 'λx:2. if x then false else true', 'nat': {'dim': 10, 'overflow': 'exact'}, 'context': {}}"},
    {"{'source': 'λx:2. if x then false else true', 'nat': {'dim': 11}}"},
    {"{'source': 'λx:2. if x then false else true', 'nat': {'overflow': 'drop'}}"},
    {"{'source': 'b : 2 |- b'}", "{'source': 'b', 'context': {'b': '2'}}", "{'term': 'b', 'context': {'b': '2'}}", "{'source': 'b:2 ⊢ (b)'}"},
    {"{'source': 'c : 2 |- c'}"},
    {"{'source': 'b : !2 |- b'}", "{'term': 'b', 'context': {'b': '!2'}}"},
    {"{'source': '1'}", "{'term': 1}"},
    {"{'source': 'succ 0'}", "{'term': {'succ': 0}}"},
    {"{'source': 'λn:N. n'}"},
    {"{'source': 'λn:N[10]. n'}"},
    {"{'source': 'f : 2 ⊸ 2 ⊸ 2, a : 2, b : 2 |- f a b'}", "{'source': 'b : 2, a : 2, f : 2 -o (2 -o 2) |- (f a) b'}",
     "{'term': {'app': ['f', 'a', 'b']}, 'context': {'a': '2', 'b': '2', 'f': '2 -o 2 -o 2'}}",
     "{'term': {'app': [{'app': ['f', 'a']}, 'b']}, 'context': {'a': '2', 'b': '2', 'f': '2 -o 2 -o 2'}}"},
    {"{'source': 'let x = true in x'}"},
    {"{'source': 'true'}", "{'source': 'tt'}", "{'term': true}"},
    {"{'source': 'λx:2. λx:!2. x'}", "{'source': 'λx:2. λy:!2. y'}"},
};
enum { GROUPS = sizeof spellings / sizeof *spellings };

static void test_identity(void **state) {
    Ask *a = *state;
    char hashes[GROUPS][80];
    size_t n = 0;
    for (size_t g = 0; g < GROUPS - 1; g++) {
        ask_compile(a, spellings[g][0], hashes[n]);
        for (size_t s = 1; s < 6 && spellings[g][s]; s++) {
            ask(a, 200, "POST /compile", spellings[g][s]);
            assert_string_equal(hashes[n], ask_text(a, "program"));
            ask_part(a, "cached", "true");
        }
        for (size_t o = 0; o < n; o++) assert_string_not_equal(hashes[o], hashes[n]);
        n++;
    }
    /* the last group shows that names do not save a linear variable that is not used */
    for (size_t s = 0; s < 2; s++) ask_refused(a, "linear_unused", "POST /compile", spellings[GROUPS - 1][s]);
}

static void test_context(void **state) {
    Ask *a = *state;
    ask(a, 200, "POST /compile", "{'source': 'g : !(2 -o 2), b : 2, n : N[3] |- iter {b | y -> g y} (n)'}");
    ask_part(a, "inputs", "[{'name': 'b', 'type': '2', 'shape': [2], 'smooth': false},"
                          " {'name': 'g', 'type': '2 -o 2', 'shape': [2, 2], 'smooth': true},"
                          " {'name': 'n', 'type': 'N[3]', 'shape': [3], 'smooth': false}]");
    ask_part(a, "args", "[]");
    ask_part(a, "type", "'2'");
    ask_part(a, "graph.recurrent", "1");
    ask_part(a, "verified", "{'cases': 24, 'exhaustive': true}");
    ask(a, 200, "POST /compile", "{'source': 'x : R[2,3], f : R[2,3] -o R[4] |- f x'}");
    ask_part(a, "inputs", "[{'name': 'f', 'type': 'R[2,3] -o R[4]', 'shape': [4, 6], 'smooth': false},"
                          " {'name': 'x', 'type': 'R[2,3]', 'shape': [2, 3], 'smooth': false}]");
    ask_part(a, "output", "{'type': 'R[4]', 'shape': [4]}");
}

static void test_functions_that_are_no_tensors(void **state) {
    Ask *a = *state;
    ask(a, 200, "POST /compile", "{'source': 'λf:!(!2 -o 2). λx:!2. f x'}");
    ask_part(a, "args", "[{'type': '!2 -o 2', 'shape': null, 'smooth': true}, {'type': '2', 'shape': [2], 'smooth': true}]");
    ask_part(a, "verified.cases", "0");
    ask(a, 200, "POST /compile", "{'source': 'λa:2. λb:!2. if a then b else b'}");
    ask_part(a, "type", "'2 -o !2 -o 2'");
    ask_part(a, "args.1.smooth", "true");
}

static void test_naturals(void **state) {
    Ask *a = *state;
    has_type(a, "{'source': 'λn:N. n'}", "N[10] -o N[10]");
    has_type(a, "{'source': 'λn:N. n', 'nat': {'dim': 4}}", "N[4] -o N[4]");
    has_type(a, "{'source': '" DOUBLE "'}", "N[10] -o N[19]");
    ask_part(a, "args.0.shape", "[10]");
    ask_part(a, "output.shape", "[19]");
    ask_part(a, "graph.recurrent", "0"); /* collapsed into one matrix */
    has_type(a, "{'source': '" DOUBLE "', 'nat': {'overflow': 'drop'}}", "N[10] -o N[10]");
    has_type(a, "{'source': '" DOUBLE "', 'nat': {'overflow': 'saturate', 'dim': 7}}", "N[7] -o N[7]");
    has_type(a, "{'source': 'λn:N[5]. succ n'}", "N[5] -o N[6]");
    has_type(a, "{'source': 'b : 2 |- if b then 7 else 2'}", "N[8]");
    has_type(a, "{'source': 'λn:N[4]. n', 'nat': {'dim': 4, 'overflow': 'drop'}}", "N[4] -o N[4]");
    ask_refused(a, "nat_bound_exceeded", "POST /compile", "{'source': 'λn:N[5]. n', 'nat': {'dim': 4, 'overflow': 'drop'}}");
    ask_refused(a, "nat_bound_exceeded", "POST /compile", "{'source': '(λn:N[3]. n) 3'}");
    ask_refused(a, "nat_bound_exceeded", "POST /compile", "{'source': '65536'}");
    has_type(a, "{'source': '65535'}", "N[65536]");
    ask_refused(a, "nat_bound_exceeded", "POST /compile", "{'source': 'true', 'nat': {'dim': 65537}}");
}

static void test_verified(void **state) {
    Ask *a = *state;
    ask(a, 200, "POST /compile", "{'source': 'a : 2, b : 2 |- if a then (if b then false else true) else b'}");
    ask_part(a, "verified", "{'cases': 4, 'exhaustive': true}");
    ask(a, 200, "POST /compile", "{'source': 'true'}");
    ask_part(a, "verified", "{'cases': 1, 'exhaustive': true}");
    ask(a, 200, "POST /compile", "{'source': 'λa:N[16]. λb:N[16]. λc:N[16]. iter {iter {c | y -> succ y} (b) | y -> succ y} (a)'}");
    ask_part(a, "verified", "{'cases': 4096, 'exhaustive': true}");
    ask(a, 200, "POST /compile", "{'source': 'λa:N[17]. λb:N[17]. λc:N[17]. iter {iter {c | y -> succ y} (b) | y -> succ y} (a)'}");
    ask_part(a, "verified", "{'cases': 256, 'exhaustive': false}");
    ask(a, 200, "POST /compile", "{'source': 'x : R[3], b : 2 |- if b then x else x'}");
    ask_part(a, "verified.cases", "0");
    ask(a, 200, "POST /compile", "{'source': 'f : !(!2 -o 2) |- f true'}");
    ask_part(a, "verified.cases", "0");
    ask(a, 200, "POST /compile", "{'source': 'λn:N. succ (succ n)', 'nat': {'overflow': 'drop', 'dim': 5}}");
    ask_part(a, "verified", "{'cases': 5, 'exhaustive': true}");
}

/* Many ask for the same new program at the same time: it is built once. */
static void test_done_once(void **state) {
    enum { ASKERS = 12 };
    Ask *a = *state;
    int socks[ASKERS];
    char hash[80] = "";
    ClientResponse answer = {0};
    double before = ask_metric(a, "cajal_builds_total");
    for (int i = 0; i < ASKERS; i++) socks[i] = raw_open(a->daemon.url);
    for (int i = 0; i < ASKERS; i++)
        raw_request(socks[i], "POST", "/compile", "", "{\"source\": \"λn:N[2000]. λm:N[2]. iter {m | y -> succ y} (n)\"}");
    for (int i = 0; i < ASKERS; i++) {
        assert_true(raw_answer(socks[i], &answer));
        assert_int_equal(200, answer.status);
        const char *got = strstr(buf_text(&answer.body), "sha256:");
        assert_non_null(got);
        if (!*hash) snprintf(hash, sizeof hash, "%.71s", got);
        assert_memory_equal(hash, got, 71);
        close(socks[i]);
    }
    client_response_release(&answer);
    assert_true(ask_metric(a, "cajal_builds_total") == before + 1);
}

static void test_requests_refused(void **state) {
    static const char *const bad_requests[] = {
        "{}", "[]", "3", "{'source': 'true', 'term': true}", "{'source': 'true', 'sauce': 1}", "{'source': 7}", "{'source': 'true', 'nat': []}",
        "{'source': 'true', 'nat': {'dim': 0}}", "{'source': 'true', 'nat': {'dim': 1.5}}", "{'source': 'true', 'nat': {'dim': -3}}",
        "{'source': 'true', 'nat': {'overflow': 'wrap'}}", "{'source': 'true', 'nat': {'size': 3}}", "{'source': 'true', 'context': []}",
        "{'source': 'b : 2 |- b', 'context': {'b': '2'}}", "{'source': 'b : 2 |- b', 'context': {}}", "{'program': 'sha256:00'}", "{'source': 'true', 'args': []}",
    };
    static const char *const bad_json[] = {
        "", "{", "{'source': 'true'", "{'source': 'true'} x", "{'source': 'true', 'source': 'true'}", "{'source': 'a\\u0000b'}",
        "{'source': 'true', 'nat': {'dim': 1e999}}", "{'source': 'true',}", "\xff", "{'source': '\xc3\x28'}", "{'source': '\\ud800'}", "nul",
        "{'source': 'true', 'nat': {'dim': 01}}", "{'source': NaN}",
    };
    Ask *a = *state;
    for (size_t i = 0; i < sizeof bad_requests / sizeof *bad_requests; i++) ask_refused(a, "bad_request", "POST /compile", bad_requests[i]);
    for (size_t i = 0; i < sizeof bad_json / sizeof *bad_json; i++) ask_refused(a, "bad_json", "POST /compile", bad_json[i]);
    ask_bytes(a, 400, "POST /compile", NULL, "{\"source\": \"true\0\"}", 19);
    ask_is_problem(a, "bad_json");
}

static void test_programs_refused(void **state) {
    static const struct {
        const char *code, *body;
    } cases[] = {
        {"parse_error", "{'source': 'if true then false'}"},
        {"parse_error", "{'source': ''}"},
        {"parse_error", "{'term': {'succ': 0, 'succc': 1}}"},
        {"parse_error", "{'term': {'fun': 'x', 'type': '2'}}"},
        {"parse_error", "{'term': -1}"},
        {"parse_error", "{'term': 1.5}"},
        {"parse_error", "{'term': {'app': ['f']}}"},
        {"parse_error", "{'term': 'then'}"},
        {"parse_error", "{'term': null}"},
        {"parse_error", "{'source': 'b', 'context': {'b': '3'}}"},
        {"parse_error", "{'source': 'b', 'context': {'if': '2'}}"},
        {"unbound_variable", "{'source': 'x'}"},
        {"type_mismatch", "{'source': 'succ true'}"},
        {"not_a_function", "{'source': '0 1'}"},
        {"not_a_vector", "{'source': 'λf:2 -o (!2 -o 2). f'}"},
        {"not_a_vector", "{'source': 'λf:(!2 -o 2). f true'}"},
        {"linear_unused", "{'source': 'λx:2. true'}"},
        {"linear_reused", "{'source': 'λx:2. if x then x else true'}"},
        {"linear_branches", "{'source': 'c : 2, x : 2 |- if c then x else true'}"},
        {"linear_in_step", "{'source': 'λx:2. iter {true | y -> if x then y else y} (2)'}"},
        {"linear_smooth", "{'source': 'λf:!(!2 -o 2). λx:2. f x'}"},
    };
    Ask *a = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) ask_refused(a, cases[i].code, "POST /compile", cases[i].body);
    /* errors are not cached, and change nothing */
    for (int i = 0; i < 2; i++) ask_refused(a, "unbound_variable", "POST /compile", "{'source': 'x'}");
}

static void test_diagnostics(void **state) {
    Ask *a = *state;
    ask_refused(a, "linear_reused", "POST /compile", "{'source': 'λx:2. if x then x else true'}");
    ask_part(a, "diagnostics.0.line", "1");
    assert_int_equal(2, cJSON_GetArraySize(ask_find(a, "diagnostics"))); /* both places */
    assert_true(ask_number(a, "diagnostics.0.end_column") > ask_number(a, "diagnostics.0.column"));
    assert_non_null(strstr(ask_text(a, "diagnostics.0.hint"), "x : !2"));
    assert_non_null(strstr(ask_text(a, "rendered"), "^"));
    assert_non_null(strstr(ask_text(a, "rendered"), "λx:2. if x then x else true"));
    ask_refused(a, "type_mismatch", "POST /compile", "{'source': '\\n  succ true'}");
    ask_part(a, "diagnostics.0.line", "2");
    ask_part(a, "diagnostics.0.column", "8");
    ask_part(a, "diagnostics.0.end_column", "12");
    ask_refused(a, "type_mismatch", "POST /compile", "{'term': {'app': [{'fun': 'n', 'type': 'N', 'body': 'n'}, {'succ': true}]}}");
    ask_part(a, "diagnostics.0.path", "'/app/1/succ'");
    assert_null(ask_find(a, "diagnostics.0.line"));
    ask_refused(a, "bad_request", "POST /compile", "{'source': 'true', 'nat': {'dim': 0}}");
    ask_part(a, "diagnostics.0.path", "'/nat/dim'");
    /* one that only lowering finds */
    ask_refused(a, "nat_bound_exceeded", "POST /compile", "{'source': 'f : !(N[4] -o 2) |- f 9'}");
    ask_part(a, "diagnostics.0.line", "1");
    ask_part(a, "diagnostics.0.column", "21");
    assert_non_null(strstr(ask_text(a, "rendered"), "^"));
}

/* A body is JSON whatever its type says, unless it is one of the binary ones. */
static void test_content_types(void **state) {
    static const char body[] = "{\"source\": \"true\"}";
    static const char *const types[] = {"Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain; charset=utf-8",
                                        "Content-Type:", "Content-Type: application/json; charset=utf-8"};
    static const char *const binary[] = {"Content-Type: application/vnd.safetensors", "Content-Type: application/x-npy"};
    Ask *a = *state;
    for (size_t i = 0; i < 4; i++) ask_bytes(a, 200, "POST /compile", (const char *[]){types[i], NULL}, body, sizeof body - 1);
    for (size_t i = 0; i < 2; i++) {
        ask_bytes(a, 415, "POST /compile", (const char *[]){binary[i], NULL}, body, sizeof body - 1);
        ask_is_problem(a, "unsupported_media_type");
    }
    ask_bytes(a, 406, "POST /compile", (const char *[]){"Accept: application/x-npy", NULL}, body, sizeof body - 1);
    ask_is_problem(a, "not_acceptable");
    ask_bytes(a, 200, "POST /compile", (const char *[]){"Accept: text/html, application/*;q=0.1", NULL}, body, sizeof body - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),          cmocka_unit_test(test_cached_the_second_time),
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_context),
        cmocka_unit_test(test_functions_that_are_no_tensors),
        cmocka_unit_test(test_naturals),        cmocka_unit_test(test_verified),
        cmocka_unit_test(test_done_once),       cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_programs_refused), cmocka_unit_test(test_diagnostics),
        cmocka_unit_test(test_content_types),   cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
