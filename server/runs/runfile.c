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
static const char suffix[] = ".safetensors", temporary[] = "tmp-";

static bool path_of(char out[PATH_ROOM], const char *data, const char *id, uint64_t step, const char *begin) {
    return (size_t)snprintf(out, PATH_ROOM, "%s/runs/%s/%s%llu%s", data, id, begin, (unsigned long long)step, suffix) < PATH_ROOM;
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

int runfile_open_as_is(const char *data, const char *id, uint64_t step) {
    char path[PATH_ROOM];
    errno = ENAMETOOLONG;
    return path_of(path, data, id, step, "") ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

void runfile_remove(const char *data, const char *id, uint64_t step) {
    char path[PATH_ROOM];
    if (path_of(path, data, id, step, "")) unlink(path);
}

void runfile_remove_all(const char *data, const char *id) {
    char folder[PATH_ROOM], path[PATH_ROOM];
    DIR *dir = folder_of(folder, data, id) ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (*e->d_name != '.' && (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path) unlink(path);
    if (!dir) return;
    closedir(dir);
    /* Durably, before the run's row goes, too: what is left without one would be found. */
    if (rmdir(folder) == 0 && folder_of(path, data, "")) sync_folder(path);
}

/* ---- start-up ---- */

/* "7.safetensors" without a row; or "7.safetensors.tmp", as half of one was called by earlier versions. */
static bool is_unknown(const char *name, const char *id, Store *store) {
    RunCheckpoint row;
    char *end;
    const uint64_t step = strtoull(name, &end, 10);
    if (end == name || strncmp(end, suffix, sizeof suffix - 1) != 0) return false;
    end += sizeof suffix - 1;
    return *end ? strcmp(end, ".tmp") == 0 : store_run_checkpoint(store, id, true, step, &row) == ERR_conflict;
}

static void sweep_file(LostFound *lost, Store *store, const char *folder, const char *id, const char *name) {
    char path[PATH_ROOM], within[PATH_ROOM];
    if (strncmp(name, temporary, strlen(temporary)) == 0) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path) unlink(path);
    } else if (is_unknown(name, id, store)) {
        snprintf(within, sizeof within, "runs/%s", id);
        lost_found_take(lost, within, id, name, "the run has no such checkpoint");
    }
}

static void sweep_folder(LostFound *lost, Store *store, const char *id) {
    char folder[PATH_ROOM];
    if (!folder_of(folder, lost->data, id)) return;
    const ErrCode code = store_run_exists(store, id);
    if (code == ERR_not_found) {
        /* An empty one holds nothing to be found. */
        if (rmdir(folder) != 0) lost_found_take(lost, "runs", NULL, id, "there is no such run");
        return;
    }
    DIR *dir = code ? NULL : opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (*e->d_name != '.') sweep_file(lost, store, folder, id, e->d_name);
    if (dir) closedir(dir);
}

void runfile_sweep(LostFound *lost, Store *store) {
    char runs[PATH_ROOM];
    DIR *dir = folder_of(runs, lost->data, "") ? opendir(runs) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (*e->d_name != '.') sweep_folder(lost, store, e->d_name);
    if (dir) closedir(dir);
}
