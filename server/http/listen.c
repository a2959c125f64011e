#include "server/http/listen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BACKLOG = 511 };

int listen_on(const char *host, uint16_t port, uint16_t *bound, char *why, size_t room) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(host, service, &hints, &found), fd = -1, one = 1;
    if (code) {
        snprintf(why, room, "cannot resolve %s: %s", host, gai_strerror(code));
        return -1;
    }
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) break;
        snprintf(why, room, "cannot listen on %s port %s: %s", host, service, strerror(errno));
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&name, &len) == 0)
        *bound = ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port : ((struct sockaddr_in *)&name)->sin_port);
    return fd;
}

/* ---- accepting ---- */

enum { AT_ONCE = 64 };
#define WAIT_NS ((int64_t)50000000)

static void set_watched(Listener *l) {
    const bool wanted = !l->paused && !l->again.on && l->watch.fd >= 0;
    if (wanted && !l->watch.on) loop_watch(l->loop, &l->watch);
    if (!wanted) loop_unwatch(l->loop, &l->watch);
}

static void on_again(void *arg) { set_watched(arg); }

static bool is_short(int cause) { return cause == EMFILE || cause == ENFILE || cause == ENOMEM || cause == ENOBUFS; }

static void on_ready(void *arg, uint32_t events) {
    Listener *l = arg;
    (void)events;
    for (int i = 0; i < AT_ONCE && l->watch.on; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        const int fd = accept4(l->watch.fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->take(l->arg, fd, (struct sockaddr *)&address, len);
        } else if (is_short(errno)) {
            loop_timer(l->loop, &l->again, loop_now() + WAIT_NS);
            set_watched(l);
            l->full(l->arg);
        } else if (errno == EAGAIN) {
            return;
        } /* else: a connection that has ended meanwhile */
    }
}

bool listener_start(Listener *l, int fd) {
    l->watch = (Watch){.fd = fd, .events = EPOLLIN, .ready = on_ready, .arg = l};
    l->again = (Timer){.fire = on_again, .arg = l};
    return loop_watch(l->loop, &l->watch);
}

void listener_pause(Listener *l) {
    l->paused = true;
    set_watched(l);
}

void listener_go_on(Listener *l) {
    l->paused = false;
    set_watched(l);
}

void listener_stop(Listener *l) {
    if (l->watch.fd < 0) return;
    loop_unwatch(l->loop, &l->watch);
    loop_untimer(l->loop, &l->again);
    close(l->watch.fd);
    l->watch.fd = -1;
}
