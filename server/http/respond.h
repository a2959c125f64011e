/* An answer on its way out: headers, metrics, log. http.c's. */
#ifndef CAJAL_RESPOND_H
#define CAJAL_RESPOND_H
#include "server/http/call.h"
#include <microhttpd.h>

/* Hands the call's answer to libmicrohttpd, which must be asking for it. MHD_NO: the connection has to end. */
enum MHD_Result respond(Call *call);
/* Answers a request whose body is still coming, as the last thing that its connection says. libmicrohttpd would take the answer only when the body is
 * through, so this goes past it; it has itself nothing to send at that point. What still comes is the caller's to drop. */
void respond_past(Call *call, int fd);
#endif
