/* The one table of routes: method, path, handler, what it takes and what it offers. */
#ifndef CAJAL_ROUTE_H
#define CAJAL_ROUTE_H
#include <stdbool.h>
#include <stddef.h>

struct Call;
typedef void Handler(struct Call *call);

typedef struct {
    const char *method, *path; /* {…} stands for one segment */
    Handler *handler;
    unsigned bodies;  /* set of BodyKind */
    unsigned forms;   /* set of Form that Accept chooses from; 0: Accept is not asked */
    const char *query; /* the parameters it takes, with a space between */
    bool open;        /* answered without a token */
    bool monitor;     /* for those who watch the service: answered while draining, and not counted against a client's quota */
} Route;

typedef struct {
    char text[128]; /* what stands for {…}; a longer segment matches nothing */
} RouteParam;

extern const Route routes[];
extern const size_t nroutes;

/* The route of a method and path; HEAD goes where GET goes. NULL: *allow is the methods the path does take, NULL when there is no
 * such path. */
const Route *route_find(const char *method, const char *path, RouteParam *param, const char **allow);
/* The parameter's place in the route's query; -1: it takes none of that name. */
int route_parameter(const Route *route, const char *name);
#endif
