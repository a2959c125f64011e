/* Whether a process that has something to do does anything at all. It does nothing when, look after look, it has used no CPU time and said nothing: it has
 * been stopped, or waits for what does not come. How fast the machine is has no part in it: what is slow, or has little of a core, uses some.
 * Looks are counted, not seconds, so that a daemon that was itself held up sees one look and not many. */
#ifndef CAJAL_VIGIL_H
#define CAJAL_VIGIL_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { VIGIL_LOOKS = 60 };
#define VIGIL_NS ((int64_t)500000000) /* between two looks */

typedef struct {
    int64_t cpu;    /* nanoseconds by the last look */
    unsigned still; /* looks running without a sign of life */
} Vigil;

/* It has begun with something. */
void vigil_begin(Vigil *vigil);
/* word: it has said something since the last look. False: it has done nothing in VIGIL_LOOKS of them. */
bool vigil_look(Vigil *vigil, pid_t pid, bool word);
#endif
