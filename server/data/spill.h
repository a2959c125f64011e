/* An unnamed file to inflate into, mapped when it is whole: what comes out is as large as disks allow, not as memory does.
 *
 * Errors: of writing, as file.h says; the first is kept in `cause`. */
#ifndef CAJAL_SPILL_H
#define CAJAL_SPILL_H
#include "server/data/dataset_files.h"
#include <stdatomic.h>

typedef struct {
    DatasetFiles *files;
    int fd;                  /* -1: none */
    int cause;               /* errno of what failed; 0: nothing did */
    size_t len;
    void *map;               /* len bytes; NULL when there are none, or before spill_map */
    const atomic_bool *stop; /* once true, nothing more is taken */
} Spill;

ErrCode spill_begin(Spill *spill, DatasetFiles *files, const atomic_bool *stop);
/* Appends: an InflateSink, whose arg is the Spill. */
ErrCode spill_put(void *spill, const void *bytes, size_t len);
/* No more is appended; the bytes are in `map`. */
ErrCode spill_map(Spill *spill);
void spill_release(Spill *spill);
#endif
