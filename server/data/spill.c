#include "server/data/spill.h"
#include "server/data/file.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static ErrCode failed(Spill *s, int cause) {
    s->cause = cause;
    return file_code(cause);
}

ErrCode spill_begin(Spill *s, DatasetFiles *files, const atomic_bool *stop) {
    char path[DATASET_FILES_PATH];
    *s = (Spill){.files = files, .fd = dataset_files_temporary(files, path), .stop = stop};
    if (s->fd < 0) return failed(s, errno);
    unlink(path);
    return ERR_NONE;
}

ErrCode spill_put(void *arg, const void *bytes, size_t len) {
    Spill *s = arg;
    if (!dataset_files_has_room(s->files, len)) return failed(s, ENOSPC);
    if (!file_write(s->fd, bytes, len)) return failed(s, errno);
    s->len += len;
    return atomic_load(s->stop) ? ERR_internal : ERR_NONE;
}

ErrCode spill_map(Spill *s) {
    void *map = s->len ? mmap(NULL, s->len, PROT_READ, MAP_PRIVATE, s->fd, 0) : NULL;
    if (map == MAP_FAILED) return failed(s, errno);
    s->map = map;
    close(s->fd);
    s->fd = -1;
    return ERR_NONE;
}

void spill_release(Spill *s) {
    if (s->fd >= 0) close(s->fd);
    if (s->map) munmap(s->map, s->len);
    *s = (Spill){.fd = -1};
}
