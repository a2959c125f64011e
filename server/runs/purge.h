/* Deleted runs' files and rows, cleared away a piece at a time, beside everything else: as soon as a run is deleted, and after a start what was left.
 *
 * A piece that cannot be written (the disk is full, the database locked) is tried again until it can. All in the loop's thread; the pieces on a task
 * thread. */
#ifndef CAJAL_PURGE_H
#define CAJAL_PURGE_H
#include "server/server.h"

/* Removes the folders of deleted runs, which nobody else knows: before whatever looks through these. NULL: memory is short. */
Purge *purge_new(Server *server);
/* A run has been deleted. */
void purge_begin(Purge *purge);
void purge_free(Purge *purge);
#endif
