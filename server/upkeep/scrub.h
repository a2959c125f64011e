/* The scrub: all that the data directory keeps, the files of data sets and checkpoints and the database's rows, is held against its sums once a day, so
 * that damage is found before somebody needs what is damaged.
 *
 * It reads at most --scrub bytes a second, in pieces on the thread for whole data sets, between what that has to do; what it reads of a file
 * comes from the disk, not from memory. Files that are damaged are marked in the database (their records say so) until somebody finds them
 * whole; damaged rows are logged and counted. Where it is is kept in the database: a restart goes on from there, at the beginning of a file.
 * All in the loop's thread. */
#ifndef CAJAL_SCRUB_H
#define CAJAL_SCRUB_H
#include "server/server.h"

/* Begins, a moment from now. NULL: memory is short, or --scrub is 0. */
Scrub *scrub_new(Server *server);
/* Its thread has ended. */
void scrub_free(Scrub *scrub);
#endif
