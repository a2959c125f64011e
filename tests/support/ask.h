/* Requests to a daemon of one's own, and judgements of its answers; each failed judgement fails the test and shows the answer.
 *
 * Bodies and expected JSON are written with ' for ". A path names a part of an answer: "grads.args.0.data", "" the whole.
 * Ownership: an Ask holds its daemon and the last answer, which the next request overwrites; ask_release ends both. */
#ifndef CAJAL_TEST_ASK_H
#define CAJAL_TEST_ASK_H
#include "tests/support/daemon.h"
#include <cjson/cJSON.h>

typedef struct {
    Daemon daemon;
    ClientResponse response;
    cJSON *json; /* the answer's body; NULL when that is no JSON */
} Ask;

/* cmocka's fixtures: *state is an Ask with a daemon of default options, or without one (ask_start). Teardown kills what still runs. */
int ask_setup(void **state);
int ask_setup_empty(void **state);
int ask_teardown(void **state);
void ask_release(Ask *a); /* what ask_teardown does, without freeing the Ask */
/* The last test of a group: ask_stop. (cmocka does not count failures of a group's teardown.) */
void ask_ends_well(void **state);
void ask_start(Ask *a, const char *const *options);
/* SIGTERM: exit code 0, and no sanitizer has said anything. */
void ask_stop(Ask *a);

/* route: "POST /eval". body: NULL for none. The answer must have this status. */
void ask(Ask *a, int status, const char *route, const char *body);
/* The same with headers ("Name: value", NULL-terminated) and a body of bytes. */
void ask_bytes(Ask *a, int status, const char *route, const char *const *headers, const void *body, size_t len);
/* Reads the answer in response.body, as ask does; for answers that came by another way. */
void ask_read(Ask *a);

/* The part is there and is this JSON. */
void ask_part(const Ask *a, const char *path, const char *json);
/* Likewise; numbers may differ by `tolerance`. */
void ask_near(const Ask *a, const char *path, const char *json, double tolerance);
const cJSON *ask_find(const Ask *a, const char *path); /* NULL when absent */
const char *ask_text(const Ask *a, const char *path);  /* a string */
double ask_number(const Ask *a, const char *path);
/* The object has exactly these keys, in this order: "a b c". */
void ask_keys(const Ask *a, const char *path, const char *keys);
void ask_header(const Ask *a, const char *name, const char *value);
void ask_body_has(const Ask *a, const char *text);

/* The request is refused with the code: its status, application/problem+json with all its members, Retry-After where one is due. */
void ask_refused(Ask *a, const char *code, const char *route, const char *body);
/* The last answer is such a refusal. */
void ask_is_problem(const Ask *a, const char *code);

/* Compiles, and copies the hash. */
void ask_compile(Ask *a, const char *body, char hash[80]);
/* A sum over the counter's lines in /metrics. */
double ask_metric(Ask *a, const char *name);
/* The id-th worker's process, from /workers. */
pid_t ask_worker(Ask *a, int id);
/* Polls /workers until so many are busy, for at most 20 s. */
void ask_wait_busy(Ask *a, int workers);
#endif
