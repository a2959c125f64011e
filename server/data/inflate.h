/* What is packed by deflate (RFC 1951), as it comes in a body: gzip, and members of zip archives.
 *
 * Errors: bad_tensor: damaged, cut off, or followed by something else. body_too_large: it would be more than `most` bytes, which is found out
 * before they are handed on. internal: memory is short. */
#ifndef CAJAL_INFLATE_H
#define CAJAL_INFLATE_H
#include "schema/errors.h"
#include <stdbool.h>
#include <stddef.h>

/* Takes the next bytes; anything but ERR_NONE ends it and is returned. */
typedef ErrCode InflateSink(void *arg, const void *bytes, size_t len);

bool inflate_is_gzip(const unsigned char *in, size_t len);
/* gzip (RFC 1952): members one behind the other are one, and zeros behind the last, with which tapes and blocks are filled up, are nothing. */
ErrCode inflate_gzip(const unsigned char *in, size_t len, size_t most, InflateSink *sink, void *arg);
/* One stream without header or trailer. */
ErrCode inflate_raw(const unsigned char *in, size_t len, size_t most, InflateSink *sink, void *arg);
#endif
