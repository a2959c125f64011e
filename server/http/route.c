#include "server/http/route.h"
#include "server/http/accept.h"
#include "server/http/body.h"
#include "server/http/handlers.h"
#include <string.h>

#define TENSOR_FORMS (FORM_JSON | FORM_NPY | FORM_SAFETENSORS)
#define TENSOR_BODIES (BODY_JSON | BODY_BINARY)

const Route routes[] = {
    {"POST", "/compile", handle_compile, BODY_JSON, FORM_JSON, "", false, false},
    {"GET", "/programs", handle_programs, BODY_NONE, FORM_JSON, "limit page_token", false, false},
    {"GET", "/programs/{hash}", handle_program, BODY_NONE, FORM_JSON, "", false, false},
    {"DELETE", "/programs/{hash}", handle_program_delete, BODY_NONE, 0, "", false, false},
    {"GET", "/programs/{hash}/graph", handle_program_graph, BODY_NONE, 0, "format stage", false, false},
    {"GET", "/programs/{hash}/matrix", handle_matrix, BODY_NONE, TENSOR_FORMS, "dtype", false, false},
    {"POST", "/eval", handle_eval, TENSOR_BODIES, TENSOR_FORMS, "program run step outputs dtype decode engine", false, false},
    {"POST", "/grad", handle_grad, TENSOR_BODIES, FORM_JSON | FORM_SAFETENSORS, "program run step outputs dtype decode wrt", false, false},
    {"POST", "/jvp", handle_jvp, TENSOR_BODIES, FORM_JSON | FORM_SAFETENSORS, "program run step outputs dtype decode", false, false},
    {"GET", "/datasets", handle_datasets, BODY_NONE, FORM_JSON, "limit page_token", false, false},
    {"PUT", "/datasets/{name}", handle_dataset_put, BODY_DATA, FORM_JSON, "column", false, false},
    {"GET", "/datasets/{name}", handle_dataset, BODY_NONE, FORM_JSON, "", false, false},
    {"DELETE", "/datasets/{name}", handle_dataset_delete, BODY_NONE, 0, "", false, false},
    {"GET", "/datasets/{name}/rows", handle_dataset_rows, BODY_NONE, FORM_JSON, "from count", false, false},
    {"POST", "/runs", handle_run_post, BODY_JSON, FORM_JSON, "", false, false},
    {"GET", "/runs", handle_runs, BODY_NONE, FORM_JSON, "state limit page_token", false, false},
    {"GET", "/runs/{id}", handle_run, BODY_NONE, FORM_JSON, "", false, false},
    {"DELETE", "/runs/{id}", handle_run_delete, BODY_NONE, 0, "", false, false},
    {"POST", "/runs/{id}/cancel", handle_run_cancel, BODY_NONE, FORM_JSON, "", false, false},
    {"POST", "/runs/{id}/resume", handle_run_resume, BODY_NONE, FORM_JSON, "", false, false},
    {"POST", "/runs/{id}/fork", handle_run_fork, BODY_JSON, FORM_JSON, "", false, false},
    {"GET", "/runs/{id}/metrics", handle_run_metrics, BODY_NONE, FORM_JSON | FORM_CSV, "keys from max_points", false, false},
    {"GET", "/runs/{id}/events", handle_run_events, BODY_NONE, FORM_SSE | FORM_NDJSON, "after", false, false},
    {"GET", "/runs/{id}/weights", handle_run_weights, BODY_NONE, FORM_SAFETENSORS, "step", false, false},
    {"GET", "/livez", handle_livez, BODY_NONE, 0, "", true, true},
    {"GET", "/readyz", handle_readyz, BODY_NONE, 0, "verbose", true, true},
    {"GET", "/version", handle_version, BODY_NONE, 0, "", false, false},
    {"GET", "/metrics", handle_metrics, BODY_NONE, 0, "", false, true},
    {"GET", "/openapi.json", handle_openapi, BODY_NONE, 0, "", false, false},
    {"GET", "/workers", handle_workers, BODY_NONE, 0, "", false, false},
};
const size_t nroutes = sizeof routes / sizeof *routes;

static bool matches(const char *pattern, const char *path, RouteParam *param) {
    while (*pattern && *pattern != '{') {
        if (*pattern++ != *path++) return false;
    }
    if (!*pattern) return !*path;
    size_t len = strcspn(path, "/");
    if (len == 0 || len >= sizeof param->text) return false;
    memcpy(param->text, path, len);
    param->text[len] = 0;
    return strcmp(strchr(pattern, '}') + 1, path + len) == 0;
}

/* Sets of methods, spelled out so that the answer needs no memory. */
enum { ALLOW_GET = 1, ALLOW_POST = 2, ALLOW_PUT = 4, ALLOW_DELETE = 8, ALLOW_SETS = 16 };
static const char *const allows[ALLOW_SETS] = {
    [ALLOW_GET] = "GET, HEAD",
    [ALLOW_POST] = "POST",
    [ALLOW_GET | ALLOW_POST] = "GET, HEAD, POST",
    [ALLOW_GET | ALLOW_DELETE] = "GET, HEAD, DELETE",
    [ALLOW_GET | ALLOW_PUT | ALLOW_DELETE] = "GET, HEAD, PUT, DELETE",
};

static unsigned allow_of(const char *method) {
    switch (*method) {
    case 'G': return ALLOW_GET;
    case 'D': return ALLOW_DELETE;
    default: return method[1] == 'U' ? ALLOW_PUT : ALLOW_POST;
    }
}

const Route *route_find(const char *method, const char *path, RouteParam *param, const char **allow) {
    unsigned allowed = 0;
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = 0; i < nroutes; i++) {
        RouteParam found = {""};
        if (!matches(routes[i].path, path, &found)) continue;
        *param = found;
        if (strcmp(routes[i].method, wanted) == 0) return &routes[i];
        allowed |= allow_of(routes[i].method);
    }
    *allow = allows[allowed];
    return NULL;
}

int route_parameter(const Route *route, const char *name) {
    int place = 0;
    for (const char *at = route->query; *at; at += *at == ' ', place++) {
        size_t len = strcspn(at, " ");
        if (strlen(name) == len && memcmp(at, name, len) == 0) return place;
        at += len;
    }
    return -1;
}
