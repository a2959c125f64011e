/* gzip (RFC 1952), as it comes in a body; members one after the other are one. */
#ifndef CAJAL_GUNZIP_H
#define CAJAL_GUNZIP_H
#include "schema/errors.h"
#include <stdbool.h>
#include <stddef.h>

bool gunzip_is(const unsigned char *in, size_t len);
/* Takes the next bytes; anything but ERR_NONE ends it and is returned. */
typedef ErrCode GunzipSink(void *arg, const void *bytes, size_t len);
/* ERR_bad_tensor: damaged, cut off, or followed by something else. ERR_body_too_large: it would be more than `most` bytes, which is found out
 * before they are handed on. ERR_internal: memory is short. */
ErrCode gunzip(const unsigned char *in, size_t len, size_t most, GunzipSink *sink, void *arg);
#endif
