#include "server/http/route.h"
#include <string.h>

static const char *const names[METHOD_COUNT] = {
#define METHOD(name) #name,
    METHODS(METHOD)
#undef METHOD
};

#define METHOD(name) +sizeof #name + 1 /* ", " */
_Static_assert(sizeof "HEAD, " METHODS(METHOD) <= ROUTE_ALLOW, "all methods fit into an Allow");
#undef METHOD

const char *method_name(Method method) { return names[method]; }

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

const Route *route_find(const RouteTable *table, const char *method, const char *path, RouteParam *param, unsigned *methods) {
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    *methods = 0;
    for (size_t i = 0; i < table->n; i++) {
        const Route *route = &table->rows[i];
        RouteParam found = {""};
        if (!matches(route->path, path, &found)) continue;
        *param = found;
        if (strcmp(names[route->method], wanted) == 0) return route;
        *methods |= 1u << route->method;
    }
    return NULL;
}

unsigned route_methods(const RouteTable *table) {
    unsigned methods = 0;
    for (size_t i = 0; i < table->n; i++) methods |= 1u << table->rows[i].method;
    return methods;
}

void route_allow(unsigned methods, char out[ROUTE_ALLOW]) {
    char *at = out;
    for (int m = 0; m < METHOD_COUNT; m++) {
        if (!(methods >> m & 1)) continue;
        if (at != out) at = stpcpy(at, ", ");
        at = stpcpy(at, names[m]);
        if (m == METHOD_GET) at = stpcpy(at, ", HEAD");
    }
    *at = 0;
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
