/* Requests for POST /eval that occupy a worker, none of which depends on how fast the machine is.
 *
 * Known work is finite and short, and its answer is known: a rotation of 96 coordinates, iterated over a batch of rows. A test that needs
 * a worker to be at it for a while holds the worker's process: it is busy from then on until it is let go.
 * Endless work is within every limit of the service, but no machine ends it while a test runs: a hundred thousand million
 * multiplications, each of which needs the one before. Only a deadline, or the end of the worker, ends it. */
#ifndef CAJAL_TEST_WORK_H
#define CAJAL_TEST_WORK_H
#include "tests/support/ask.h"

/* Known work has a number of steps, endless work a number from 0 to 99; where they differ, the programs differ. */
typedef struct {
    bool endless;
    int number;
} Work;
static inline Work work_known(int steps) { return (Work){false, steps}; }
static inline Work work_endless(int which) { return (Work){true, which}; }

/* Compiles the program beforehand, so that the request is one job for a worker. */
void work_compile(Ask *a, Work w);
/* The request's body; append to an empty buffer. */
void work_put(Buf *out, Work w);
/* Sends the request with these header lines ("Name: value\r\n", or "") over a connection of its own, which is returned. */
int work_send(Ask *a, Work w, const char *headers);
/* The last answer is that of this work, which is known. */
void work_check(const Ask *a, Work w);

/* Stops the process of the only worker, which has greeted the daemon before; returns it, for work_go_on. */
pid_t work_hold(Ask *a);
void work_go_on(pid_t worker);
#endif
