/* Finding a request's route in a table of them (server/routes.def is the service's). */
#ifndef CAJAL_ROUTE_H
#define CAJAL_ROUTE_H
#include <stdbool.h>
#include <stddef.h>

struct Call;
typedef void Handler(struct Call *call);

/* The methods that a route can have, in the order in which Allow names them. */
#define METHODS(METHOD) METHOD(GET) METHOD(POST) METHOD(PUT) METHOD(PATCH) METHOD(DELETE)
typedef enum {
#define METHOD(name) METHOD_##name,
    METHODS(METHOD)
#undef METHOD
    METHOD_COUNT
} Method;
const char *method_name(Method method);

typedef enum { ROUTE_OPEN = 1, ROUTE_MONITOR = 2 } RouteFlags;

/* A row of routes.def, which says what the columns are. */
typedef struct {
    Method method;
    const char *path;
    Handler *handler;
    unsigned bodies, forms;
    const char *query;
    unsigned flags;
} Route;
typedef struct {
    const Route *rows;
    size_t n;
} RouteTable;

typedef struct {
    char text[128]; /* what stands for {…}; a longer segment matches nothing */
} RouteParam;

/* The route of a method and path; HEAD goes where GET goes. NULL: *methods is the set (1 << Method) that the path does take, 0 when there is no such
 * path. */
const Route *route_find(const RouteTable *table, const char *method, const char *path, RouteParam *param, unsigned *methods);
/* All methods that the table has. */
unsigned route_methods(const RouteTable *table);
/* A set of methods as Allow has it: "GET, HEAD, POST". */
enum { ROUTE_ALLOW = 48 };
void route_allow(unsigned methods, char out[ROUTE_ALLOW]);
/* The parameter's place in the route's query; -1: it takes none of that name. */
int route_parameter(const Route *route, const char *name);
#endif
