/* A disk that is full at any moment one likes: preloaded into the daemon, it fails what writes under the data directory with ENOSPC.
 *
 *     DISKFULL_DIR   the data directory, as an absolute path
 *     DISKFULL_FILE  16 bytes, two little-endian numbers, mapped: how many writes have been asked for (counted here), and from which on they fail
 *                    (0: none does), and until which (0: for ever)
 *
 * What writes: write, pwrite, writev, ftruncate that grows, fallocate, posix_fallocate, fsync, fdatasync, and the making of files: each on a descriptor or
 * path below the directory. Removing and shrinking never fail. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct {
    atomic_uint_least64_t count, from, until;
} Plan;

static Plan *plan;
static char folder[4096];
static size_t folder_len;

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("DISKFULL_DIR"), *file = getenv("DISKFULL_FILE");
    const int fd = dir && file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(Plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return;
    folder_len = (size_t)snprintf(folder, sizeof folder, "%s/", dir);
    plan = map;
}

static bool below(const char *path) { return strncmp(path, folder, folder_len) == 0; }

static bool is_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return false;
    path[n] = 0;
    return below(path);
}

/* Counts one, and says whether it fails. */
static bool fails(void) {
    const uint64_t n = ++plan->count, from = plan->from, until = plan->until;
    if (!from || n < from || (until && n >= until)) return false;
    errno = ENOSPC;
    return true;
}

static bool fails_on(int fd) {
    const int kept = errno;
    const bool full = plan && is_below(fd) && fails();
    if (!full) errno = kept;
    return full;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t len) {
    REAL(write);
    return fails_on(fd) ? -1 : real(fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    REAL(pwrite);
    return fails_on(fd) ? -1 : real(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    REAL(pwrite64);
    return fails_on(fd) ? -1 : real(fd, bytes, len, at);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    return fails_on(fd) ? -1 : real(fd, parts, n);
}

static bool grows(int fd, int64_t size) {
    struct stat st;
    return fstat(fd, &st) != 0 || st.st_size < size;
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return grows(fd, size) && fails_on(fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return grows(fd, size) && fails_on(fd) ? -1 : real(fd, size);
}

int fallocate(int fd, int mode, off_t at, off_t len) {
    REAL(fallocate);
    return fails_on(fd) ? -1 : real(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    REAL(fallocate64);
    return fails_on(fd) ? -1 : real(fd, mode, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len) {
    REAL(posix_fallocate);
    return fails_on(fd) ? ENOSPC : real(fd, at, len);
}

int posix_fallocate64(int fd, off64_t at, off64_t len) {
    REAL(posix_fallocate64);
    return fails_on(fd) ? ENOSPC : real(fd, at, len);
}

int fsync(int fd) {
    REAL(fsync);
    return fails_on(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_on(fd) ? -1 : real(fd);
}

/* A new file needs a place in its folder. */
static bool fails_made(const char *path, int flags) {
    const int kept = errno;
    const bool full = plan && flags & O_CREAT && below(path) && access(path, F_OK) != 0 && fails();
    if (!full) errno = kept;
    return full;
}

static int mode_of(int flags, va_list args) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list args; \
        va_start(args, flags); \
        const int mode = mode_of(flags, args); \
        va_end(args); \
        REAL(name); \
        return fails_made(path, flags) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int mkostemp(char *name, int flags) {
    REAL(mkostemp);
    return plan && below(name) && fails() ? -1 : real(name, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails_made(path, O_CREAT) ? -1 : real(path, mode);
}
