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
    bool open;        /* answered without a token, and while draining */
} Route;

typedef struct {
    char text[128]; /* what stands for {…}; a longer segment matches nothing */
} RouteParam;

extern const Route routes[];
extern const size_t nroutes;

/* The route of a method and path; HEAD goes where GET goes. NULL: *allow is the methods the path does take, NULL when there is no
 * such path. */
const Route *route_find(const char *method, const char *path, RouteParam *param, const char **allow);
#endif
