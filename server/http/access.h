/* Who may ask: token, Origin, Host (api.md, "The service itself"). */
#ifndef CAJAL_ACCESS_H
#define CAJAL_ACCESS_H
#include "schema/errors.h"
#include <stdbool.h>

typedef struct {
    const char *token;         /* NULL: nobody needs one */
    const char *allow_origin;  /* "": none, "*": any */
    bool loopback;             /* the service listens on loopback */
    const char *authorization, *origin, *host; /* the request's headers, NULL when absent */
} Guard;

bool guard_is_loopback(const char *host); /* an address or name listened on */
/* ERR_NONE, ERR_unauthorized (not for `open` routes) or ERR_forbidden. */
ErrCode guard_check(const Guard *guard, bool open);
/* The request comes from another origin, which allow_origin admits. */
bool guard_is_cross_origin(const Guard *guard);
#endif
