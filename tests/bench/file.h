/* A whole file in memory, for the bench's programs.
 *
 * Ownership: the buffer is the caller's (buf_release), also after a failure. */
#ifndef CAJAL_BENCH_FILE_H
#define CAJAL_BENCH_FILE_H
#include "schema/base/buf.h"

/* False, with the cause on standard error, when it cannot be read. */
bool file_read(const char *path, Buf *out);
#endif
