/* The worker's side of the protocol (schema/protocol/wire.h): hello, then one frame after the other, answered in order.
 *
 * Returns the process's exit code: 0 when the daemon closed the socket, 1 (logged) when a frame does not read or sending fails. */
#ifndef CAJAL_SERVE_H
#define CAJAL_SERVE_H
#include "schema/base/log.h"
#include "schema/protocol/wire.h"

/* box: what the daemon looks at when this process has died; NULL: nothing. */
int serve_run(int sock, unsigned threads, BlackBox *box, const Log *log);
/* Has each of the threads that jobs will run on, and the libraries on each, take what they keep for good: after that a cap on memory meets jobs only.
 * (OpenBLAS, refused a buffer, does not fail but waits for ever.) */
void serve_warm_up(unsigned threads);
#endif
