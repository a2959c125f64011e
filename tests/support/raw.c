#include "tests/support/raw.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int raw_open(const char *url) {
    const char *colon = strrchr(url, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail_msg("connect: %s", strerror(errno));
    return fd;
}

void raw_send(int fd, const void *bytes, size_t len) {
    const char *p = bytes;
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0) fail_msg("send: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

void raw_request(int fd, const char *method, const char *path, const char *headers, const char *json) {
    Buf out;
    buf_init(&out);
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path, headers);
    if (json) buf_printf(&out, "Content-Length: %zu\r\n", strlen(json));
    buf_puts(&out, "\r\n");
    if (json) buf_puts(&out, json);
    assert_false(out.failed);
    raw_send(fd, out.data, out.len);
    buf_release(&out);
}

static bool read_head(int fd, ClientResponse *out) {
    while (out->headers.len < 4 || memcmp(out->headers.data + out->headers.len - 4, "\r\n\r\n", 4) != 0) {
        char c;
        if (recv(fd, &c, 1, 0) != 1) return false;
        buf_putc(&out->headers, c);
    }
    return sscanf(buf_text(&out->headers), "HTTP/1.1 %d", &out->status) == 1;
}

bool raw_answer(int fd, ClientResponse *out) {
    do {
        buf_clear(&out->headers);
        buf_clear(&out->body);
        out->status = 0;
        if (!read_head(fd, out)) return false;
    } while (out->status == 100);
    size_t len;
    const char *length = client_header(out, "Content-Length", &len);
    size_t want = length ? strtoul(length, NULL, 10) : 0;
    while (out->body.len < want) {
        char chunk[65536];
        size_t left = want - out->body.len;
        ssize_t n = recv(fd, chunk, left < sizeof chunk ? left : sizeof chunk, 0);
        if (n <= 0) return false;
        buf_put(&out->body, chunk, (size_t)n);
    }
    return true;
}

bool raw_ended(int fd) {
    char c;
    ssize_t n = recv(fd, &c, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}
