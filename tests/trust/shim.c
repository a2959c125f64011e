/* Loaded into a daemon (LD_PRELOAD): keeps a log of all that it does to the files below a directory, from which replay.py makes what a power cut could
 * have left of them at any moment.
 *
 * CAJAL_SHIM_DIR: the directory, absolute. CAJAL_SHIM_LOG: the log, appended to; each record is one write(2), made before the caller goes on, so that whoever
 * reads the log's size after an answer knows that everything the answer rests on lies before that place.
 * Records, little-endian: u8 kind, u32 handle, u64 number, u32 bytes, then so many. What a handle is to, the record of its opening says.
 * Nothing is really flushed: a flush only stands in the log, twice, for what was written while it went on is not flushed by it. What SQLite maps (its
 * -shm) is not seen, nor needed. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 65536 };
enum { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, LINK, UNLINK, MKDIR, RMDIR };
static struct {
    pthread_mutex_t lock;
    char dir[PATH_MAX];
    size_t dir_len;
    int log;
    uint32_t last, handles[FDS]; /* 0: not below the directory */
} shim = {.lock = PTHREAD_MUTEX_INITIALIZER, .log = -1};

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("CAJAL_SHIM_DIR"), *log = getenv("CAJAL_SHIM_LOG");
    /* Not in the workers, which the daemon starts with its own environment. */
    unsetenv("LD_PRELOAD");
    if (!dir || !log) return;
    snprintf(shim.dir, sizeof shim.dir, "%s/", dir);
    shim.dir_len = strlen(shim.dir);
    int fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    shim.log = fcntl(fd, F_DUPFD_CLOEXEC, 200);
    REAL(close)(fd);
}

/* With the lock held. */
static void put(int kind, uint32_t handle, uint64_t number, const void *bytes, size_t len) {
    unsigned char head[17] = {(unsigned char)kind};
    const uint32_t n = (uint32_t)len;
    memcpy(head + 1, &handle, 4);
    memcpy(head + 5, &number, 8);
    memcpy(head + 13, &n, 4);
    struct iovec parts[] = {{head, sizeof head}, {(void *)bytes, len}};
    if (writev(shim.log, parts, 2) != (ssize_t)(sizeof head + len)) abort();
}

/* The path below the directory, "" for itself; NULL: elsewhere. */
static const char *below(int at, const char *path, char out[PATH_MAX]) {
    if (shim.log < 0) return NULL;
    if (*path == '/' || at == AT_FDCWD) {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, out, PATH_MAX - 1);
        if (n < 0) return NULL;
        snprintf(out + n, PATH_MAX - (size_t)n, "/%s", path);
    }
    if (strncmp(out, shim.dir, shim.dir_len - 1) != 0) return NULL;
    if (!out[shim.dir_len - 1]) return out + shim.dir_len - 1;
    /* ".." is the folder above, and not ours. */
    return out[shim.dir_len - 1] == '/' && out[shim.dir_len] != '.' ? out + shim.dir_len : NULL;
}

static bool is_mapped(const char *path) {
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, "-shm") == 0;
}

static uint32_t handle_of(int fd) { return fd >= 0 && fd < FDS ? shim.handles[fd] : 0; }

/* ---- opening and closing ---- */

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= FDS) return fd;
    shim.handles[fd] = path && !is_mapped(path) ? ++shim.last : 0;
    if (shim.handles[fd]) put(OPEN, shim.handles[fd], (uint64_t)(flags & (O_CREAT | O_TRUNC)), path, strlen(path));
    return fd;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    const char *own = below(at, path, full);
    pthread_mutex_lock(&shim.lock);
    int fd = opened(REAL(openat)(at, path, flags, mode), own, flags);
    pthread_mutex_unlock(&shim.lock);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { \
        va_list args; \
        va_start(args, flags); \
        mode = va_arg(args, mode_t); \
        va_end(args); \
    }
int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(at, path, flags, mode);
}
static int make_temporary(char *template, int flags) {
    char full[PATH_MAX];
    pthread_mutex_lock(&shim.lock);
    int fd = REAL(mkostemp)(template, flags);
    opened(fd, below(AT_FDCWD, template, full), O_CREAT);
    pthread_mutex_unlock(&shim.lock);
    return fd;
}
int mkostemp(char *template, int flags) { return make_temporary(template, flags); }
int mkostemp64(char *template, int flags) { return make_temporary(template, flags); }

int close(int fd) {
    pthread_mutex_lock(&shim.lock);
    if (fd >= 0 && fd < FDS) shim.handles[fd] = 0;
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&shim.lock);
    return result;
}

/* ---- bytes ---- */

static ssize_t written(uint32_t handle, off_t at, const void *bytes, ssize_t n) {
    if (n > 0) put(WRITE, handle, (uint64_t)at, bytes, (size_t)n);
    return n;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    if (!handle_of(fd)) return REAL(write)(fd, bytes, len);
    pthread_mutex_lock(&shim.lock);
    ssize_t n = REAL(write)(fd, bytes, len);
    written(handle_of(fd), lseek(fd, 0, SEEK_CUR) - (n > 0 ? n : 0), bytes, n);
    pthread_mutex_unlock(&shim.lock);
    return n;
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t at) {
    if (!handle_of(fd)) return REAL(pwrite)(fd, bytes, len, at);
    pthread_mutex_lock(&shim.lock);
    ssize_t n = written(handle_of(fd), at, bytes, REAL(pwrite)(fd, bytes, len, at));
    pthread_mutex_unlock(&shim.lock);
    return n;
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return write_at(fd, bytes, len, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) { return write_at(fd, bytes, len, at); }

/* Also what makes a file longer: it is as long, at least, then. */
static int set_length(int fd, off_t len, int result) {
    if (result == 0) put(TRUNCATE, handle_of(fd), (uint64_t)len, NULL, 0);
    return result;
}

static int truncate_at(int fd, off_t len) {
    if (!handle_of(fd)) return REAL(ftruncate)(fd, len);
    pthread_mutex_lock(&shim.lock);
    int result = set_length(fd, len, REAL(ftruncate)(fd, len));
    pthread_mutex_unlock(&shim.lock);
    return result;
}
int ftruncate(int fd, off_t len) { return truncate_at(fd, len); }
int ftruncate64(int fd, off64_t len) { return truncate_at(fd, len); }

static int allocate(int fd, off_t at, off_t len) {
    struct stat st;
    if (!handle_of(fd)) return REAL(posix_fallocate)(fd, at, len);
    pthread_mutex_lock(&shim.lock);
    int result = REAL(posix_fallocate)(fd, at, len);
    if (result == 0 && fstat(fd, &st) == 0) set_length(fd, st.st_size, 0);
    pthread_mutex_unlock(&shim.lock);
    return result;
}
int posix_fallocate(int fd, off_t at, off_t len) { return allocate(fd, at, len); }
int posix_fallocate64(int fd, off64_t at, off64_t len) { return allocate(fd, at, len); }

static void log_sync(int kind, uint32_t handle) {
    pthread_mutex_lock(&shim.lock);
    put(kind, handle, 0, NULL, 0);
    pthread_mutex_unlock(&shim.lock);
}

static int flush(int fd, int (*real)(int)) {
    const uint32_t handle = handle_of(fd);
    if (!handle) return real(fd);
    log_sync(SYNC_BEGIN, handle);
    log_sync(SYNC_END, handle);
    return 0;
}
int fsync(int fd) { return flush(fd, REAL(fsync)); }
int fdatasync(int fd) { return flush(fd, REAL(fdatasync)); }

/* ---- names ---- */

/* One or two names, with a NUL between. */
static int named(int kind, int result, const char *one, const char *two) {
    char both[2 * PATH_MAX + 2];
    if (result != 0 || (!one && !two)) return result;
    /* A name that comes from elsewhere, or goes there, is none of what the daemon does. */
    if (!one || (kind <= LINK && !two)) abort();
    size_t len = (size_t)snprintf(both, sizeof both, "%s", one);
    if (two) len += 1 + (size_t)snprintf(both + len + 1, sizeof both - len - 1, "%s", two);
    put(kind, 0, 0, both, len);
    return result;
}

int renameat(int at, const char *from, int to_at, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    const char *one = below(at, from, a), *two = below(to_at, to, b);
    pthread_mutex_lock(&shim.lock);
    int result = named(RENAME, REAL(renameat)(at, from, to_at, to), one, two);
    pthread_mutex_unlock(&shim.lock);
    return result;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int link(const char *from, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    const char *one = below(AT_FDCWD, from, a), *two = below(AT_FDCWD, to, b);
    pthread_mutex_lock(&shim.lock);
    int result = named(LINK, REAL(link)(from, to), one, two);
    pthread_mutex_unlock(&shim.lock);
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    char a[PATH_MAX];
    const char *one = below(at, path, a);
    pthread_mutex_lock(&shim.lock);
    int result = named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, REAL(unlinkat)(at, path, flags), one && !is_mapped(one) ? one : NULL, NULL);
    pthread_mutex_unlock(&shim.lock);
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    char a[PATH_MAX];
    const char *one = below(AT_FDCWD, path, a);
    pthread_mutex_lock(&shim.lock);
    int result = named(MKDIR, REAL(mkdir)(path, mode), one, NULL);
    pthread_mutex_unlock(&shim.lock);
    return result;
}
