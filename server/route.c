#include "server/route.h"
#include "server/accept.h"
#include "server/body.h"
#include "server/handlers.h"
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
    {"POST", "/eval", handle_eval, TENSOR_BODIES, TENSOR_FORMS, "program dtype decode engine", false, false},
    {"POST", "/grad", handle_grad, TENSOR_BODIES, FORM_JSON | FORM_SAFETENSORS, "program dtype decode wrt", false, false},
    {"POST", "/jvp", handle_jvp, TENSOR_BODIES, FORM_JSON | FORM_SAFETENSORS, "program dtype decode", false, false},
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

/* Paths take one of few sets of methods; spelled out so that the answer needs no memory. */
static const char *allow_of(bool get, bool post, bool delete) {
    if (get && delete) return "GET, HEAD, DELETE";
    return get ? "GET, HEAD" : post ? "POST" : NULL;
}

const Route *route_find(const char *method, const char *path, RouteParam *param, const char **allow) {
    bool get = false, post = false, delete = false;
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = 0; i < nroutes; i++) {
        RouteParam found = {""};
        if (!matches(routes[i].path, path, &found)) continue;
        *param = found;
        if (strcmp(routes[i].method, wanted) == 0) return &routes[i];
        get |= *routes[i].method == 'G';
        post |= *routes[i].method == 'P';
        delete |= *routes[i].method == 'D';
    }
    *allow = allow_of(get, post, delete);
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
