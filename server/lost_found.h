/* DIR/lost+found, where what the data directory has and the database does not know is put: it may be all that is left of something, so it is never
 * removed. Whoever administers the machine looks at it and empties it.
 *
 * Everything is moved under its own name (a run's file under the run's and its own), made unique, with a line of the log each, LOST_FOUND_LINES at most.
 * Names are paths below the data directory. For start-up, one thread. */
#ifndef CAJAL_LOST_FOUND_H
#define CAJAL_LOST_FOUND_H
#include "schema/base/log.h"
#include <stdbool.h>
#include <stddef.h>

enum { LOST_FOUND_LINES = 100 };

typedef struct {
    const char *data; /* the data directory; lasts as long as this */
    const Log *log;
    size_t moved;     /* since it was begun */
} LostFound;

/* Moves the file or folder DIR/FOLDER/NAME, whose name there becomes NAME, or OWNER.NAME (owner not NULL). "" for folder: DIR itself. False: it is
 * where it was, and the log says why. */
bool lost_found_take(LostFound *lost, const char *folder, const char *owner, const char *name, const char *cause);
/* Says in the log how many there were, when there were any. */
void lost_found_end(LostFound *lost);
/* How many files and folders lie there. */
size_t lost_found_count(const char *data);
#endif
