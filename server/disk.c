#include "server/disk.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MOST_RESERVE ((uint64_t)1 << 30) /* of what is derived */
#define MOST_ASIDE ((uint64_t)8 << 20)
enum { RESERVE_PART = 100, LEAST_PART = 8, LEAST_RESERVE = 16 << 20, PATH_ROOM = 4096 };

struct Disk {
    const char *dir;
    const Log *log;
    uint64_t reserve, aside; /* bytes: free, and in the file */
    pthread_mutex_t lock;
    bool given;              /* the file is not whole */
    bool full;               /* as it was said last */
};

static bool look(const Disk *d, struct statvfs *fs) { return statvfs(d->dir, fs) == 0 && fs->f_frsize > 0; }

uint64_t disk_size(const Disk *d) {
    struct statvfs fs;
    return look(d, &fs) ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
}

/* What cannot be told is taken for enough: the write will find out. */
static uint64_t free_bytes(const Disk *d) {
    struct statvfs fs;
    return look(d, &fs) ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static int open_file(const Disk *d, int flags) {
    char path[PATH_ROOM];
    if ((size_t)snprintf(path, sizeof path, "%s/reserve", d->dir) < sizeof path) return open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    errno = ENAMETOOLONG;
    return -1;
}

/* With the lock held. */
static void take_back(Disk *d) {
    if (!d->given || free_bytes(d) < d->reserve + d->aside) return;
    const int fd = open_file(d, O_CREAT);
    d->given = fd < 0 || posix_fallocate(fd, 0, (off_t)d->aside) != 0;
    if (d->given && fd >= 0 && ftruncate(fd, 0) != 0) log_put(d->log, LOG_WARN, "reserve not given back", "cause=\"%s\"", strerror(errno));
    if (fd >= 0) close(fd);
}

static bool has_room(Disk *d, uint64_t bytes) {
    uint64_t wanted;
    take_back(d);
    return !d->given && !__builtin_add_overflow(d->reserve, bytes, &wanted) && free_bytes(d) >= wanted;
}

bool disk_has_room(Disk *d, uint64_t bytes) {
    pthread_mutex_lock(&d->lock);
    const bool room = has_room(d, bytes);
    const bool full = room ? false : bytes == 0 || !has_room(d, 0);
    if (full != d->full) log_put(d->log, full ? LOG_ERROR : LOG_INFO, full ? "storage full" : "storage has room", "free=%llu reserve=%llu",
                                 (unsigned long long)free_bytes(d), (unsigned long long)d->reserve);
    d->full = full;
    pthread_mutex_unlock(&d->lock);
    return room;
}

bool disk_full(Disk *d) { return !disk_has_room(d, 0); }

bool disk_give_way(Disk *d) {
    pthread_mutex_lock(&d->lock);
    const int fd = d->given ? -1 : open_file(d, 0);
    const bool gave = fd >= 0 && ftruncate(fd, 0) == 0;
    d->given |= gave;
    if (fd >= 0) close(fd);
    pthread_mutex_unlock(&d->lock);
    return gave;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t derived(uint64_t size) {
    const uint64_t part = size / RESERVE_PART, at_least = least(LEAST_RESERVE, size / LEAST_PART);
    return least(MOST_RESERVE, part > at_least ? part : at_least);
}

/* On a disk that is full already the file makes way for the database, which needs a little to be opened. */
Disk *disk_open(const char *dir, uint64_t reserve, const Log *log) {
    Disk *d = calloc(1, sizeof *d);
    struct stat st;
    if (!d) return NULL;
    *d = (Disk){.dir = dir, .log = log};
    pthread_mutex_init(&d->lock, NULL);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return d; /* who opens the database says so */
    d->reserve = reserve ? reserve : derived(disk_size(d));
    d->aside = least(MOST_ASIDE, d->reserve / 2);
    const int fd = open_file(d, 0);
    d->given = fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size < d->aside;
    if (fd >= 0) close(fd);
    if (free_bytes(d) < d->aside) disk_give_way(d);
    else disk_has_room(d, 0);
    return d;
}

void disk_close(Disk *d) {
    if (!d) return;
    pthread_mutex_destroy(&d->lock);
    free(d);
}
