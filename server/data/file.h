/* What all that writes files shares. */
#ifndef CAJAL_FILE_H
#define CAJAL_FILE_H
#include "schema/errors.h"
#include <stdbool.h>
#include <stddef.h>

/* Writes all at the descriptor's place. False with errno. */
bool file_write(int fd, const void *bytes, size_t len);
/* What an errno of writing means to a client: storage_full when the disk or a quota is, else as failure_short has it. */
ErrCode file_code(int cause);
#endif
