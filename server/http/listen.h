/* The listening socket. */
#ifndef CAJAL_LISTEN_H
#define CAJAL_LISTEN_H
#include <stddef.h>
#include <stdint.h>

/* A non-blocking socket that listens on the host's first address that will have it; *bound is its port, chosen by the system for port 0.
 * -1: `why`. */
int listen_on(const char *host, uint16_t port, uint16_t *bound, char *why, size_t room);
#endif
