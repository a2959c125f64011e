/* libmicrohttpd on the daemon's own event loop: who may ask (guard.c), bodies, suspended connections, answers.
 *
 * A connection whose handler has not answered yet is suspended; its socket is watched, because a suspended connection does not
 * notice that the client has gone, and its timer answers `deadline`. Both cancel the call. */
#ifndef CAJAL_HTTP_H
#define CAJAL_HTTP_H
#include "server/call.h"

/* Starts listening. NULL: `why` says what failed. */
Http *http_new(Server *server, char *why, size_t room);
/* The port listened on. */
uint16_t http_port(const Http *http);
/* No new connections from here on. */
void http_quiesce(Http *http);
size_t http_inflight(const Http *http);
/* Ends all connections. */
void http_free(Http *http);
/* One turn of libmicrohttpd; in how many milliseconds it wants another, -1: no hurry. */
int http_turn(Http *http);
/* Resumes or forgets the call's connection, now that it has its answer. call.c's. */
void http_answered(Call *call);
#endif
