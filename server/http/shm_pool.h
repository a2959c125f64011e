/* Shared-memory areas kept from one binary body for the next: having the kernel make them page by page costs more than filling them.
 *
 * What is kept is bounded, and given back after a second without use. A kept area still holds what it held: who takes one writes what is
 * read of it. In the loop's thread only. */
#ifndef CAJAL_SHM_POOL_H
#define CAJAL_SHM_POOL_H
#include "schema/protocol/wire.h"
#include "server/loop.h"

enum { AREAS_KEPT = 8 };
typedef struct {
    Loop *loop;
    Area kept[AREAS_KEPT];
    size_t n, bytes;
    Timer idle;
} Areas;

void areas_init(Areas *areas, Loop *loop);
void areas_release(Areas *areas);
/* An area of at least `size` bytes. False when memory is short. */
bool areas_take(Areas *areas, size_t size, Area *out);
/* Takes the area over. Nobody may be writing to it any more. */
void areas_give(Areas *areas, Area *area);
#endif
