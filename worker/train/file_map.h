/* A file's first bytes, mapped to be read: data sets and checkpoints come as descriptors.
 *
 * Ownership: the descriptor stays the caller's and may be closed at once. Read in whole when mapped. */
#ifndef CAJAL_FILE_MAP_H
#define CAJAL_FILE_MAP_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const unsigned char *data;
    size_t size;
} FileMap;

/* False: the file is shorter, or cannot be mapped. */
bool file_map_open(FileMap *map, int fd, size_t size);
void file_map_release(FileMap *map); /* harmless on a zeroed one */
#endif
