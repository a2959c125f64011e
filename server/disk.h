/* The disk under the data directory, and how much of it may be used.
 *
 * What adds to it (uploads, checkpoints, new runs and their progress, compiled programs) leaves a reserve free, and is refused before the disk is full:
 * storage_full. What makes room or says what has happened (deletions, a run's state) may use the reserve. A part of that is set aside as a file,
 * DIR/reserve, for when others have filled the disk: it is given up when such a write has failed, and taken back as soon as there is room; until
 * then nothing is added. For any thread. */
#ifndef CAJAL_DISK_H
#define CAJAL_DISK_H
#include "schema/base/log.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Disk Disk;

/* reserve: bytes; 0: derived from the size of the file system. `dir` is made when it is missing, and `dir` and `log` last. NULL: memory is short. */
Disk *disk_open(const char *dir, uint64_t reserve, const Log *log);
void disk_close(Disk *disk);
/* The size of the file system; 0: it cannot be told. */
uint64_t disk_size(const Disk *disk);
/* Nothing may be added, as it was seen last. */
bool disk_full(Disk *disk);
/* Bytes may be added now. */
bool disk_has_room(Disk *disk, uint64_t bytes);
/* A write that may use the reserve has met a full disk: what is set aside is given up. True: it may be tried again. */
bool disk_give_way(Disk *disk);
#endif
