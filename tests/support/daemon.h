/* A daemon of its own for an HTTP test: $CAJAL_BUILD/cajald (else build/cajald) on a free port, with an empty data directory.
 *
 * Ownership: daemon_start makes the directory when there is none yet, so that a daemon can be started again on the same data;
 * daemon_release ends the process and removes the directory. Failures fail the test, with the daemon's log on standard error. */
#ifndef CAJAL_TEST_DAEMON_H
#define CAJAL_TEST_DAEMON_H
#include "client/lib/client.h"
#include <sys/types.h>

typedef struct {
    pid_t pid; /* 0: not running */
    char url[128], dir[64];
    Client *client;
} Daemon;

/* options: NULL-terminated arguments beside --listen and --data; may be NULL. */
void daemon_start(Daemon *d, const char *const *options);
/* Before daemon_start: gives the data directory a disk of its own, `size` as of a tmpfs ("4m"). False with errno: none can be mounted here. */
bool daemon_small_disk(Daemon *d, const char *size);
/* Starts it where it has to refuse: waits for its end, and gives the exit code. What it said is in its log. */
int daemon_refuses(Daemon *d, const char *const *options);
/* Sends a signal and waits: the exit code, or 128 + the signal that ended it. */
int daemon_stop(Daemon *d, int signal);
void daemon_release(Daemon *d);
/* The text stands in what the daemon, or one of its workers, has written. */
bool daemon_logged(const Daemon *d, const char *text);
/* Fails the test and shows the end of the log. */
void daemon_give_up(Daemon *d, const char *why);

/* A request whose answer has to have this status; the body is in *response. */
void daemon_ask(Daemon *d, int status, const char *method, const char *path, const char *json, ClientResponse *response);
#endif
