#include "worker/post.h"
#include <errno.h>
#include <poll.h>

bool post_wait(int sock, short events, int ms) { return poll(&(struct pollfd){.fd = sock, .events = events}, 1, ms) > 0; }
bool post_is_end(int result) { return result == -EPIPE || result == -ECONNRESET; }

int post_frame(int sock, FrameType type, uint64_t id, const Buf *body, int area) {
    int result;
    while ((result = wire_send(sock, type, id, body, area)) == -EAGAIN) post_wait(sock, POLLOUT, -1);
    return result;
}
