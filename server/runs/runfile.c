#include "server/runs/runfile.h"
#include "server/data/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096, PIECE = 1 << 20 };
static const char suffix[] = ".safetensors", temporary[] = ".tmp";

static bool path_of(char out[PATH_ROOM], const char *data, const char *id, uint64_t step, const char *end) {
    return (size_t)snprintf(out, PATH_ROOM, "%s/runs/%s/%llu%s%s", data, id, (unsigned long long)step, suffix, end) < PATH_ROOM;
}

static bool folder_of(char out[PATH_ROOM], const char *data, const char *id) {
    return (size_t)snprintf(out, PATH_ROOM, *id ? "%s/runs/%s" : "%s/runs", data, id) < PATH_ROOM;
}

static bool sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* Makes the folder, durably. */
static bool make_folder(const char *path, const char *parent) {
    if (mkdir(path, 0700) == 0) return sync_folder(parent);
    return errno == EEXIST;
}

static bool make_folders(const char *data, const char *id) {
    char runs[PATH_ROOM], own[PATH_ROOM];
    return folder_of(runs, data, "") && folder_of(own, data, id) && make_folder(runs, data) && make_folder(own, runs);
}

/* Reads `bytes` of `from`, into the sum and (to >= 0) the other file. */
static bool digest(int from, uint64_t bytes, int to, unsigned char sum[16]) {
    crypto_generichash_state state;
    char *piece = malloc(PIECE);
    uint64_t at = 0;
    bool ok = piece != NULL;
    crypto_generichash_init(&state, NULL, 0, 16);
    while (ok && at < bytes) {
        uint64_t left = bytes - at;
        ssize_t n = pread(from, piece, left < PIECE ? (size_t)left : PIECE, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = EIO; /* shorter than it should be */
        ok = n > 0 && (to < 0 || file_write(to, piece, (size_t)n));
        if (ok) crypto_generichash_update(&state, (unsigned char *)piece, (size_t)n);
        at += ok ? (uint64_t)n : 0;
    }
    crypto_generichash_final(&state, sum, 16);
    free(piece);
    return ok;
}

static bool refuse(Err *err, uint64_t step, int cause) {
    return err_set(err, file_code(cause), "The checkpoint of step %llu could not be written: %s.",
                   (unsigned long long)step, strerror(cause));
}

bool runfile_write(const char *data, const char *id, uint64_t step, int from, uint64_t bytes, RunCheckpoint *out, Err *err) {
    char part[PATH_ROOM], whole[PATH_ROOM], folder[PATH_ROOM];
    *out = (RunCheckpoint){.step = step, .bytes = bytes};
    errno = ENAMETOOLONG;
    if (!path_of(part, data, id, step, temporary) || !path_of(whole, data, id, step, "") || !folder_of(folder, data, id) ||
        !make_folders(data, id))
        return refuse(err, step, errno);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && digest(from, bytes, fd, out->sum) && fsync(fd) == 0;
    ok = ok && rename(part, whole) == 0 && sync_folder(folder);
    int cause = errno;
    if (fd >= 0) close(fd);
    if (ok) return true;
    if (fd >= 0) unlink(part);
    return refuse(err, step, cause);
}

bool runfile_share(const char *data, const char *from, const char *to, uint64_t step, Err *err) {
    char old[PATH_ROOM], new[PATH_ROOM], folder[PATH_ROOM];
    errno = ENAMETOOLONG;
    bool ok = path_of(old, data, from, step, "") && path_of(new, data, to, step, "") && folder_of(folder, data, to) && make_folders(data, to) &&
              link(old, new) == 0 && sync_folder(folder);
    if (ok) return true;
    const int cause = errno;
    runfile_remove_all(data, to);
    if (cause != ENOENT) return refuse(err, step, cause);
    return err_at(err, ERR_conflict, "/from_step", "The checkpoint of step %llu was pruned at this moment.", (unsigned long long)step);
}

int runfile_open(const char *data, const char *id, const RunCheckpoint *c) {
    char path[PATH_ROOM];
    unsigned char sum[16];
    struct stat st;
    errno = ENAMETOOLONG;
    int fd = path_of(path, data, id, c->step, "") ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return -1;
    errno = 0;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size == c->bytes && digest(fd, c->bytes, -1, sum) && memcmp(sum, c->sum, sizeof sum) == 0) return fd;
    const int cause = errno;
    close(fd);
    errno = cause && cause != EIO ? cause : EBADMSG;
    return -1;
}

void runfile_remove(const char *data, const char *id, uint64_t step) {
    char path[PATH_ROOM];
    if (path_of(path, data, id, step, "")) unlink(path);
}

typedef enum { FILES_ALL, FILES_HALF_WRITTEN, FILES_LEFT_OVER } Files;

/* A file of the run that is half-written, or (LEFT_OVER) has no row. */
static bool is_leftover(const char *name, const char *id, Files which, Store *store) {
    RunCheckpoint row;
    char *end;
    uint64_t step = strtoull(name, &end, 10);
    if (end == name || strncmp(end, suffix, sizeof suffix - 1) != 0) return false;
    end += sizeof suffix - 1;
    if (*end) return strcmp(end, temporary) == 0;
    return which == FILES_LEFT_OVER && store_run_checkpoint(store, id, true, step, &row) == ERR_conflict;
}

static void remove_files(const char *folder, const char *id, Files which, Store *store) {
    char path[PATH_ROOM];
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (*e->d_name == '.' || (which != FILES_ALL && !is_leftover(e->d_name, id, which, store))) continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path) unlink(path);
    }
    if (dir) closedir(dir);
}

void runfile_remove_all(const char *data, const char *id) {
    char folder[PATH_ROOM];
    if (!folder_of(folder, data, id)) return;
    remove_files(folder, id, FILES_ALL, NULL);
    rmdir(folder);
}

/* A damaged database does not say what is known. */
void runfile_sweep(const char *data, Store *store) {
    char runs[PATH_ROOM], folder[PATH_ROOM];
    const bool healthy = store_healthy(store);
    DIR *dir = folder_of(runs, data, "") ? opendir(runs) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (*e->d_name == '.' || !folder_of(folder, data, e->d_name)) continue;
        const ErrCode code = healthy ? store_run_exists(store, e->d_name) : ERR_internal;
        if (code == ERR_not_found) runfile_remove_all(data, e->d_name);
        else remove_files(folder, e->d_name, code ? FILES_HALF_WRITTEN : FILES_LEFT_OVER, store);
    }
    if (dir) closedir(dir);
}
