/* The daemon's areas, kept mapped from one job to the next: it uses few of them again and again, and mapping one costs more than many a job.
 *
 * An area is known by its file, whose device and inode are nobody else's as long as it is open here. What is kept is bounded, and given back
 * after MAPS_IDLE_MS without use: the daemon does not say when it has given up an area.
 * Ownership: maps_open takes the descriptor over, in any case; what it gives goes back by maps_close. */
#ifndef CAJAL_MAPS_H
#define CAJAL_MAPS_H
#include "schema/protocol/wire.h"
#include <sys/types.h>

enum { MAPS_KEPT = 8, MAPS_IDLE_MS = 1000 };
#define MAPS_BYTES ((size_t)64 << 20) /* kept together */

typedef struct {
    Area area;
    dev_t device;
    ino_t inode;
    uint64_t used; /* when, in nanoseconds of CLOCK_MONOTONIC */
} Mapped;

typedef struct {
    Mapped kept[MAPS_KEPT]; /* the one used longest ago first */
    size_t n, bytes;
} Maps;

void maps_release(Maps *maps); /* zeroed ones need no init */
/* The descriptor's first `size` bytes. False when it is no area of that size (area_open), or cannot be mapped. */
bool maps_open(Maps *maps, int fd, size_t size, Mapped *out);
void maps_close(Maps *maps, Mapped *mapped);
/* Gives back what is due. In how many milliseconds more will be; -1: nothing is kept. */
int maps_tidy(Maps *maps);
#endif
