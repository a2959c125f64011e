/* Sending frames from the worker: where the socket is full, it waits. */
#ifndef CAJAL_POST_H
#define CAJAL_POST_H
#include "schema/protocol/wire.h"

/* 0, or a negative errno, never -EAGAIN. */
int post_frame(int sock, FrameType type, uint64_t id, const Buf *body, int area);
/* Until the socket is ready for `events` (poll's), at most `ms` milliseconds (-1: however long); is it? The daemon's end may not block, and flags
 * may be shared with ours. */
bool post_wait(int sock, short events, int ms);
/* The daemon ends us by closing the socket: nothing to complain of. */
bool post_is_end(int result);
#endif
