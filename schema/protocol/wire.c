#include "schema/protocol/wire.h"
#include "schema/limits.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEADER = 24, FLAG_BODY = 1, FLAG_AREA = 2, FDS = 2 };
#define WIRE_MAGIC UINT32_C(0x574a4143)                      /* "CAJW" */
#define WIRE_BODY (LIMIT_GRAPH_BYTES + ((size_t)64 << 20)) /* a graph and what comes with it */

typedef union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDS * sizeof(int))];
} Control;

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void frame_release(Frame *frame) {
    free(frame->body);
    frame->body = NULL;
    frame->len = 0;
    close_fd(&frame->area);
}

static bool write_all(int fd, const unsigned char *bytes, size_t len) {
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* A sealed memfd that holds the body, or -1. */
static int body_memfd(const Buf *body) {
    int fd = memfd_create("cajal-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (write_all(fd, body->data, body->len) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)) return fd;
    close(fd);
    return -1;
}

static void put_header(Buf *out, FrameType type, uint64_t id, size_t len, uint32_t flags) {
    buf_u32(out, WIRE_MAGIC);
    buf_u16(out, WIRE_VERSION);
    buf_u16(out, (uint16_t)type);
    buf_u64(out, id);
    buf_u32(out, (uint32_t)len);
    buf_u32(out, flags);
}

static int send_packet(int sock, struct iovec *parts, size_t nparts, const int *fds, size_t nfds) {
    Control control = {0};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = nparts};
    if (nfds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof *fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof *fds);
        memcpy(CMSG_DATA(c), fds, nfds * sizeof *fds);
    }
    for (;;) {
        if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0) return 0;
        if (errno != EINTR) return -errno;
    }
}

int wire_send(int sock, FrameType type, uint64_t id, const Buf *body, int area) {
    static const Buf nothing;
    unsigned char head[HEADER];
    Buf header = {.data = head, .room = HEADER, .cap = HEADER};
    int fds[FDS], memfd = -1;
    size_t nfds = 0;
    if (!body) body = &nothing;
    if (body->failed) return -ENOMEM;
    if (body->len > WIRE_BODY) return -EMSGSIZE;
    if (body->len > WIRE_PACKET - HEADER) {
        memfd = body_memfd(body);
        if (memfd < 0) return -ENOMEM;
        fds[nfds++] = memfd;
    }
    if (area >= 0) fds[nfds++] = area;
    put_header(&header, type, id, body->len, (memfd >= 0 ? FLAG_BODY : 0) | (area >= 0 ? FLAG_AREA : 0));
    struct iovec parts[] = {{header.data, header.len}, {body->data, body->len}};
    int result = send_packet(sock, parts, memfd < 0 && body->len ? 2 : 1, fds, nfds);
    close_fd(&memfd);
    return result;
}

/* The packet's descriptors; one beyond FDS means a frame that is not ours, and is closed. False: too many. */
static bool take_fds(struct msghdr *msg, int fds[FDS], size_t *nfds) {
    bool fits = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*nfds < FDS) fds[(*nfds)++] = fd;
            else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

/* A memfd that cannot shrink under us, and its size. */
static bool sealed_size(int fd, int seals, size_t *size) {
    struct stat st;
    const int have = fcntl(fd, F_GET_SEALS);
    if (have < 0 || (have & seals) != seals || fstat(fd, &st) || st.st_size < 0) return false;
    *size = (size_t)st.st_size;
    return true;
}

static int read_body(int fd, Frame *frame) {
    size_t size, at = 0;
    if (!sealed_size(fd, F_SEAL_SHRINK | F_SEAL_WRITE, &size) || size != frame->len) return -EPROTO;
    frame->body = malloc(frame->len + 1);
    if (!frame->body) return -ENOMEM;
    while (at < frame->len) {
        ssize_t n = pread(fd, frame->body + at, frame->len - at, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -EPROTO;
        at += (size_t)n;
    }
    return 0;
}

static int copy_body(const unsigned char *bytes, size_t len, Frame *frame) {
    if (len != frame->len) return -EPROTO;
    frame->body = malloc(len + 1); /* never NULL for an empty body: readers point into it */
    if (!frame->body) return -ENOMEM;
    memcpy(frame->body, bytes, len);
    return 0;
}

/* Takes descriptors out of fds (set to -1) as it uses them. */
static int parse(const unsigned char *packet, size_t len, int fds[FDS], size_t nfds, Frame *frame) {
    Reader r = reader_of(packet, len);
    const uint32_t magic = read_u32(&r);
    const uint16_t version = read_u16(&r), type = read_u16(&r);
    frame->type = (FrameType)type;
    frame->id = read_u64(&r);
    frame->len = read_u32(&r);
    const uint32_t flags = read_u32(&r);
    if (r.failed || magic != WIRE_MAGIC || version != WIRE_VERSION || type == FRAME_NONE || type >= FRAME_TYPES) return -EPROTO;
    if (flags & ~(uint32_t)(FLAG_BODY | FLAG_AREA) || frame->len > WIRE_BODY) return -EPROTO;
    if (nfds != (size_t)!!(flags & FLAG_BODY) + !!(flags & FLAG_AREA)) return -EPROTO;
    if (flags & FLAG_AREA) {
        frame->area = fds[nfds - 1];
        fds[nfds - 1] = -1;
    }
    if (!(flags & FLAG_BODY)) return copy_body(packet + HEADER, len - HEADER, frame);
    return len == HEADER ? read_body(fds[0], frame) : -EPROTO;
}

int wire_recv(int sock, Frame *frame) {
    unsigned char packet[WIRE_PACKET];
    Control control;
    struct iovec part = {packet, sizeof packet};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    int fds[FDS] = {-1, -1};
    size_t nfds = 0;
    ssize_t n;
    *frame = (Frame){.area = -1};
    do n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno == ECONNRESET ? 0 : -errno; /* a peer that died with unread frames is gone as well */
    const bool whole = take_fds(&msg, fds, &nfds) && !(msg.msg_flags & MSG_TRUNC);
    /* The kernel leaves out descriptors that this process may not have, or that there is no room for here. */
    const bool lost = msg.msg_flags & MSG_CTRUNC;
    int result = !whole || (lost && nfds == FDS) ? -EPROTO : lost ? -EMFILE : n == 0 && !nfds ? 0 : parse(packet, (size_t)n, fds, nfds, frame);
    for (int i = 0; i < FDS; i++) close_fd(&fds[i]);
    if (result) frame_release(frame);
    return result ? result : n != 0;
}

static bool map_area(Area *area, int fd, size_t size, int flags) {
    size_t real;
    *area = (Area){.fd = -1};
    if (!size || size > LIMIT_JOB_BYTES || !sealed_size(fd, F_SEAL_SHRINK, &real) || real < size) return false;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
    if (data == MAP_FAILED) return false;
    *area = (Area){.fd = fd, .data = data, .size = size};
    return true;
}

bool area_create(Area *area, size_t size) {
    *area = (Area){.fd = -1};
    if (!size || size > LIMIT_JOB_BYTES) return false;
    int fd = memfd_create("cajal-area", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return false;
    if (!ftruncate(fd, (off_t)size) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) && map_area(area, fd, size, 0))
        return true;
    close(fd);
    return false;
}

bool area_open(Area *area, int fd, size_t size, bool at_once) { return map_area(area, fd, size, at_once ? MAP_POPULATE : 0); }

void area_release(Area *area) {
    if (area->data) munmap(area->data, area->size);
    close_fd(&area->fd);
    *area = (Area){.fd = -1};
}
