/* What this process may use of its machine: cores, memory, descriptors; a container's limits count.
 *
 * Of control groups both versions are read, this process's group and all above it. What cannot be read limits nothing. */
#ifndef CAJAL_MACHINE_H
#define CAJAL_MACHINE_H
#include <stdint.h>

typedef struct {
    int cores;            /* those it may run on, and a CPU quota rounded up; at least 1 */
    uint64_t memory;      /* bytes */
    uint64_t descriptors; /* open at a time */
} Machine;

/* As it is at present; the soft limit of descriptors is raised to the hard one first. */
Machine machine_take(void);

/* The least of a control group's limits, for machine_take and its tests. groups: the lines of /proc/self/cgroup; mount: where control groups are mounted.
 * UINT64_MAX: there is none. cores in thousandths. */
uint64_t machine_quota(const char *groups, const char *mount);
uint64_t machine_memory_limit(const char *groups, const char *mount);
#endif
