/* A legitimate request for POST /eval that keeps a worker busy as long as a test likes, and whose answer is known: a rotation of 96
 * coordinates, iterated over a batch of rows. */
#ifndef CAJAL_TEST_SLOW_H
#define CAJAL_TEST_SLOW_H
#include "tests/support/ask.h"

/* Steps for about a second of one core, by an order of magnitude; up to SLOW_MOST. A sanitizer's worker is that much slower. */
#ifdef __SANITIZE_ADDRESS__
enum { SLOW_SECOND = 300, SLOW_MOST = 3000 };
#else
enum { SLOW_SECOND = 10000, SLOW_MOST = 65000 };
#endif
/* The body; steps differ, programs differ. Append to an empty buffer. */
void slow_put(Buf *out, int steps);
/* Compiles the program beforehand, so that the request is one job for a worker. */
void slow_compile(Ask *a, int steps);
/* The last answer is that of slow_put(steps). */
void slow_check(const Ask *a, int steps);
#endif
