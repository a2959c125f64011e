/* libmicrohttpd on the daemon's own event loop: requests carried from connection to handler, and answers back (admit.h, body.h, respond.h do the parts).
 *
 * A request's deadline counts from its headers' arrival, the body's included. Every connection's socket is watched, because libmicrohttpd
 * misses the going away of a client that it has suspended. A client that ends its side of the connection (FIN) counts as gone: what it has asked for
 * and not yet got is cancelled, and the connection closed without an answer. */
#ifndef CAJAL_HTTP_H
#define CAJAL_HTTP_H
#include "server/http/call.h"

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
#endif
