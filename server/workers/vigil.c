#include "server/workers/vigil.h"
#include <time.h>

void vigil_begin(Vigil *vigil) { *vigil = (Vigil){0}; }

/* CPU time of a process, all its threads; -1: it cannot be told. */
static int64_t cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return -1;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool vigil_look(Vigil *vigil, pid_t pid, bool word) {
    const int64_t cpu = cpu_of(pid);
    const bool lives = word || cpu < 0 || cpu != vigil->cpu;
    vigil->cpu = cpu;
    vigil->still = lives ? 0 : vigil->still + 1;
    return vigil->still < VIGIL_LOOKS;
}
