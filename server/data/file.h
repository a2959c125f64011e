/* What all that writes files shares. */
#ifndef CAJAL_FILE_H
#define CAJAL_FILE_H
#include "schema/errors.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes all at the descriptor's place. False with errno. */
bool file_write(int fd, const void *bytes, size_t len);
/* Reads all from there. False with errno; EIO also when the file ends before. */
bool file_read(int fd, void *to, size_t len, uint64_t at);
/* What an errno of writing means to a client: storage_full when the disk or a quota is, else as failure_short has it. */
ErrCode file_code(int cause);
#endif
