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
} Access;

bool access_is_loopback(const char *host); /* an address or name listened on */
/* ERR_NONE, ERR_unauthorized (not for `open` routes) or ERR_forbidden. */
ErrCode access_check(const Access *access, bool open);
/* The request comes from another origin, which allow_origin admits. */
bool access_is_cross_origin(const Access *access);
#endif
