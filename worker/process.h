/* The worker as a process among others: whom it dies with, and what it leaves to them. What the kernel refuses is done without. */
#ifndef CAJAL_PROCESS_H
#define CAJAL_PROCESS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* From now on it is killed when its parent dies. False: the parent, which had this number, is dead already. */
bool process_dies_with(pid_t parent);
/* When the machine's or container's memory is short, the kernel takes it rather than the daemon: what it was at can be done again. */
void process_goes_first(void);
/* Its threads, those to come too, run at a low priority: what else wants a core gets most of it, but never all. */
void process_gives_way(void);
/* Its threads in the kernels' libraries have been at work by then, and have what they keep: from now on it gets so many bytes more and no other. What is mapped from
 * elsewhere (a job's values and results, data sets) does not count. Allocations beyond fail; 0: none do. */
void process_cap_memory(uint64_t bytes);
#endif
