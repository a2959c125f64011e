/* The listening socket, and what comes from it.
 *
 * Accepting stops while there is no room (listener_pause), and for a moment when there are no file descriptors: who comes meanwhile waits in the
 * kernel's queue, and nothing turns without doing anything. */
#ifndef CAJAL_LISTEN_H
#define CAJAL_LISTEN_H
#include "server/loop.h"
#include <stddef.h>
#include <sys/socket.h>

typedef struct {
    Loop *loop;
    Watch watch; /* fd -1: closed */
    Timer again;
    bool paused;
    /* In the loop. `take` gets the socket; `full`: there was no descriptor for one. */
    void (*take)(void *arg, int fd, const struct sockaddr *address, socklen_t len);
    void (*full)(void *arg);
    void *arg;
} Listener;

/* A non-blocking socket that listens on the host's first address that will have it; *bound is its port, chosen by the system for port 0.
 * -1: `why`. */
int listen_on(const char *host, uint16_t port, uint16_t *bound, char *why, size_t room);

/* Takes the socket of listen_on; false: it is not watched, and the caller's. The rest of the Listener is filled in. */
bool listener_start(Listener *listener, int fd);
void listener_pause(Listener *listener);
void listener_go_on(Listener *listener);
/* Closes the socket; harmless again. */
void listener_stop(Listener *listener);
#endif
