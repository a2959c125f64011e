#include "server/data/file.h"
#include "server/failure.h"
#include <errno.h>
#include <unistd.h>

bool file_write(int fd, const void *bytes, size_t len) {
    for (const unsigned char *at = bytes; len;) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool file_read(int fd, void *to, size_t len, uint64_t at) {
    for (unsigned char *into = to; len;) {
        const ssize_t n = pread(fd, into, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = EIO;
        if (n <= 0) return false;
        into += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

ErrCode file_code(int cause) { return cause == ENOSPC || cause == EDQUOT || cause == EFBIG ? ERR_storage_full : failure_short(cause); }
