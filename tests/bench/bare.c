/* bare ANSWER [TYPE]: libmicrohttpd by itself, what the daemon's HTTP is held beside: every request is read to its end and answered with the
 * file's bytes. Set up like server/http/http.c: one thread, the library's epoll inside one of ours. Says "ready on PORT"; runs until it is killed. */
#include "tests/bench/file.h"
#include <arpa/inet.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CONNECTION_MEMORY = 32 * 1024, IDLE_SECONDS = 120, CONNECTIONS = 1024 };

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                 const char *data, size_t *len, void **state) {
    (void)url, (void)method, (void)version, (void)data;
    if (!*state || *len) {
        *state = arg;
        *len = 0;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, arg);
}

static struct MHD_Daemon *start(struct MHD_Response *answer) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_access, answer, MHD_OPTION_SOCK_ADDR, &any,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
}

static bool say_ready(struct MHD_Daemon *mhd) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    int listening = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd;
    if (getsockname(listening, (struct sockaddr *)&name, &size)) return false;
    printf("ready on %u\n", ntohs(name.sin_port));
    return fflush(stdout) == 0;
}

static int serve(struct MHD_Daemon *mhd) {
    int outer = epoll_create1(EPOLL_CLOEXEC), inner = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    struct epoll_event event = {.events = EPOLLIN};
    if (outer < 0 || epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event)) return 1;
    for (;;) {
        MHD_UNSIGNED_LONG_LONG ms;
        MHD_run(mhd);
        int wait = MHD_get_timeout(mhd, &ms) != MHD_YES ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
        epoll_wait(outer, &event, 1, wait);
    }
}

int main(int argc, char **argv) {
    Buf body;
    if (argc < 2 || argc > 3 || !file_read(argv[1], &body)) return 2;
    struct MHD_Response *answer = MHD_create_response_from_buffer(body.len, body.data, MHD_RESPMEM_PERSISTENT);
    if (!answer) return 1;
    MHD_add_response_header(answer, "Content-Type", argc == 3 ? argv[2] : "application/json");
    struct MHD_Daemon *mhd = start(answer);
    return mhd && say_ready(mhd) ? serve(mhd) : 1;
}
