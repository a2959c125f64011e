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

ErrCode file_code(int cause) { return cause == ENOSPC || cause == EDQUOT || cause == EFBIG ? ERR_storage_full : failure_short(cause); }
