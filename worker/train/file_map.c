#include "worker/train/file_map.h"
#include <sys/mman.h>
#include <sys/stat.h>

bool file_map_open(FileMap *map, int fd, size_t size) {
    struct stat st;
    *map = (FileMap){0};
    if (!size || fstat(fd, &st) || st.st_size < 0 || (size_t)st.st_size < size) return false;
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED) return false;
    *map = (FileMap){data, size};
    return true;
}

void file_map_release(FileMap *map) {
    if (map->data) munmap((void *)map->data, map->size);
    *map = (FileMap){0};
}
