/* load PORT CONNECTIONS REQUESTS SECONDS REQUEST ANSWER [REQUEST ANSWER]...: the load that both sides of an HTTP comparison get.
 *
 * Kept-alive connections to 127.0.0.1, on each one request at a time, the file REQUEST's bytes as they are (of several one after the other); every
 * answer has to be a 200 with the file ANSWER's bytes as its body. Ends after REQUESTS requests or SECONDS seconds, whatever comes first; 0: no such end.
 * Prints {"answers","seconds","per_second","p50_us","p99_us"}; a wrong answer, or none for 30 s, ends it with 1. */
#include "tests/bench/file.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_ROOM = 16 * 1024, BATCH = 64, PATIENCE_MS = 30000, MOST_CONNECTIONS = 1024, MOST_PAIRS = 16, SAMPLES = 1 << 20 };

typedef struct {
    Buf request, answer;
} Pair;

typedef struct {
    const Pair *pair; /* what it asks */
    int fd;
    size_t sent, got, whole; /* whole: bytes of the answer being read, 0 while its head is incomplete */
    size_t head;
    int64_t began;
    char *in;
} Conn;

typedef struct {
    Pair pairs[MOST_PAIRS];
    size_t npairs;
    uint64_t most, asked, answered;
    int64_t began, until;
    size_t room;
    int epoll, n;
    Conn *conns;
    uint32_t *samples; /* nanoseconds, the last SAMPLES of them */
} Load;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool wrong(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    return false;
}

/* ---- one connection ---- */

static bool push(Conn *c) {
    const Buf *request = &c->pair->request;
    while (c->sent < request->len) {
        ssize_t n = send(c->fd, request->data + c->sent, request->len - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR || wrong(strerror(errno));
        c->sent += (size_t)n;
    }
    return true;
}

static bool ask(Load *load, Conn *c) {
    c->sent = c->got = c->whole = 0;
    c->began = now();
    c->pair = &load->pairs[load->asked % load->npairs];
    if ((load->most && load->asked >= load->most) || c->began >= load->until) {
        c->sent = c->pair->request.len;
        return true;
    }
    load->asked++;
    return push(c);
}

/* Once the head is there, finds out how long the whole is. */
static bool read_head(Load *load, Conn *c) {
    c->in[c->got] = 0;
    const char *end = strstr(c->in, "\r\n\r\n"), *length = end ? strcasestr(c->in, "\r\nContent-Length:") : NULL;
    if (!end) return true;
    if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0 || !length || length > end) return wrong(c->in);
    c->head = (size_t)(end + 4 - c->in);
    c->whole = c->head + strtoull(length + 17, NULL, 10);
    return c->whole <= load->room || wrong("an answer longer than expected");
}

static bool finish(Load *load, Conn *c) {
    const char *body = c->in + c->head;
    size_t len = c->whole - c->head;
    int64_t took = now() - c->began;
    if (c->got > c->whole) return wrong("more than an answer");
    if (len != c->pair->answer.len || memcmp(body, c->pair->answer.data, len) != 0) return wrong("a wrong answer");
    load->samples[load->answered++ % SAMPLES] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    return ask(load, c);
}

static bool pull(Load *load, Conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->got, load->room - c->got, 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR || wrong(strerror(errno));
        if (n == 0) return wrong("the other side closed");
        c->got += (size_t)n;
        if (!c->whole && !read_head(load, c)) return false;
        if (c->whole && c->got >= c->whole) return finish(load, c);
        if (!c->whole && c->got >= HEAD_ROOM) return wrong("an answer without an end of its head");
    }
}

static bool conn_open(Load *load, Conn *c, uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int one = 1;
    c->in = malloc(load->room + 1);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!c->in || c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) return wrong(strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) == 0 || wrong(strerror(errno));
}

static void conn_close(Conn *c) {
    if (c->fd >= 0) close(c->fd);
    free(c->in);
}

/* ---- all of them ---- */

static bool run(Load *load) {
    struct epoll_event events[BATCH];
    for (int i = 0; i < load->n; i++)
        if (!ask(load, &load->conns[i])) return false;
    while (load->answered < load->asked) {
        int n = epoll_wait(load->epoll, events, BATCH, PATIENCE_MS);
        if (n == 0) return wrong("no answer in time");
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->sent < c->pair->request.len && !push(c)) return false;
            if ((events[i].events & ~(uint32_t)EPOLLOUT) && !pull(load, c)) return false;
        }
    }
    return true;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(Load *load) {
    double seconds = (double)(now() - load->began) / 1e9;
    size_t n = load->answered < SAMPLES ? (size_t)load->answered : SAMPLES;
    qsort(load->samples, n, sizeof *load->samples, by_size);
    printf("{\"answers\": %llu, \"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
           (unsigned long long)load->answered, seconds, (double)load->answered / seconds, load->samples[n / 2] / 1e3,
           load->samples[n * 99 / 100] / 1e3);
}

static bool prepare(Load *load, char **argv) {
    load->room = HEAD_ROOM;
    for (size_t i = 0; i < load->npairs; i++) {
        Pair *pair = &load->pairs[i];
        if (!file_read(argv[5 + 2 * i], &pair->request) || !file_read(argv[6 + 2 * i], &pair->answer)) return false;
        if (load->room < HEAD_ROOM + pair->answer.len) load->room = HEAD_ROOM + pair->answer.len;
    }
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->samples = malloc(SAMPLES * sizeof *load->samples);
    load->conns = calloc((size_t)load->n, sizeof *load->conns);
    if (load->epoll < 0 || !load->samples || !load->conns) return wrong(strerror(errno));
    for (int i = 0; i < load->n; i++) load->conns[i].fd = -1;
    for (int i = 0; i < load->n; i++)
        if (!conn_open(load, &load->conns[i], (uint16_t)atoi(argv[1]))) return false;
    return true;
}

int main(int argc, char **argv) {
    Load load = {.epoll = -1};
    if (argc < 7 || argc % 2 == 0 || argc > 5 + 2 * MOST_PAIRS || (load.n = atoi(argv[2])) < 1 || load.n > MOST_CONNECTIONS) return 2;
    load.npairs = (size_t)(argc - 5) / 2;
    bool ok = prepare(&load, argv);
    double seconds = atof(argv[4]);
    load.most = strtoull(argv[3], NULL, 10);
    load.began = now();
    load.until = seconds > 0 ? load.began + (int64_t)(seconds * 1e9) : INT64_MAX;
    ok = ok && (load.most || seconds > 0) && run(&load) && load.answered;
    if (ok) report(&load);
    for (int i = 0; load.conns && i < load.n; i++) conn_close(&load.conns[i]);
    free(load.conns);
    free(load.samples);
    for (size_t i = 0; i < load.npairs; i++) buf_release(&load.pairs[i].request), buf_release(&load.pairs[i].answer);
    if (load.epoll >= 0) close(load.epoll);
    return ok ? 0 : 1;
}
