#include "server/http.h"
#include "schema/limits.h"
#include "server/guard.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTION_MEMORY = 64 * 1024, IDLE_SECONDS = 120, CLIENT_GONE = 499, BACKLOG = 511 };

struct Client {
    char address[INET6_ADDRSTRLEN];
    size_t inflight;
};

struct Http {
    Server *server;
    struct MHD_Daemon *mhd;
    Watch watch;
    bool loopback;
    uint16_t port;
    Map clients; /* by address, those with requests in flight */
    size_t inflight, body_bytes;
    Map suspended; /* by Call's address */
};

/* ---- who is asking ---- */

static void address_of(struct MHD_Connection *connection, char out[INET6_ADDRSTRLEN]) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info ? info->client_addr : NULL;
    const void *raw = !sa ? NULL
                      : sa->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                                                  : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
    if (!raw || !inet_ntop(sa->sa_family, raw, out, INET6_ADDRSTRLEN)) strcpy(out, "unknown");
}

/* Counts the call in; false when its client has too many in flight (or memory is short). */
static bool client_enter(Http *http, Call *call) {
    char address[INET6_ADDRSTRLEN];
    address_of(call->connection, address);
    Client *client = map_get(&http->clients, address, strlen(address));
    if (!client) {
        client = calloc(1, sizeof *client);
        if (!client || !map_put(&http->clients, address, strlen(address), client)) {
            free(client);
            return false;
        }
        strcpy(client->address, address);
    }
    client->inflight++;
    call->client = client;
    return client->inflight <= http->server->config->max_inflight;
}

static void client_leave(Http *http, Call *call) {
    Client *client = call->client;
    call->client = NULL;
    if (!client || --client->inflight) return;
    map_remove(&http->clients, client->address, strlen(client->address));
    free(client);
}

static Guard guard_of(const Http *http, const Call *call) {
    return (Guard){.token = http->server->config->token, .allow_origin = http->server->config->allow_origin,
                   .loopback = http->loopback, .authorization = call_header(call, "Authorization"),
                   .origin = call_header(call, "Origin"), .host = call_header(call, "Host")};
}

/* ---- answers ---- */

static void area_done(void *arg) { call_drop(arg); }

static struct MHD_Response *make_response(Call *call) {
    Answer *a = &call->answer;
    size_t len = a->head.len;
    if (a->area.fd < 0) {
        void *data = a->head.data;
        struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback(len, data ? data : (void *)"", data ? free : NULL);
        if (r) a->head = (Buf){0};
        return r;
    }
    struct MHD_IoVec parts[2] = {{a->head.data, len}, {(char *)a->area.data + a->offset, a->len}};
    unsigned skip = len == 0;
    struct MHD_Response *r = MHD_create_response_from_iovec(parts + skip, 2 - skip, area_done, call);
    if (r) call_keep(call);
    return r;
}

static void put_headers(Http *http, Call *call, struct MHD_Response *r) {
    const Answer *a = &call->answer;
    MHD_add_response_header(r, "X-Request-Id", call->request_id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (a->type) MHD_add_response_header(r, "Content-Type", a->type);
    if (a->allow) MHD_add_response_header(r, "Allow", a->allow);
    if (a->cache) MHD_add_response_header(r, "Cache-Status", a->cache);
    if (a->status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (a->status == 429 || a->status == 503) MHD_add_response_header(r, "Retry-After", "1");
    if (call->close || http->server->draining) MHD_add_response_header(r, "Connection", "close");
    Guard guard = guard_of(http, call);
    if (!guard_is_cross_origin(&guard)) return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", guard.origin);
    MHD_add_response_header(r, "Vary", "Origin");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "authorization, content-type, x-deadline-ms, x-request-id");
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE");
    MHD_add_response_header(r, "Access-Control-Expose-Headers", "x-request-id, cache-status, retry-after");
}

static enum MHD_Result send_answer(Http *http, Call *call) {
    Metrics *m = http->server->metrics;
    int status = call->answer.status;
    size_t bytes = call->answer.head.len + (call->answer.area.fd >= 0 ? call->answer.len : 0);
    struct MHD_Response *r = make_response(call);
    if (!r) return MHD_NO;
    put_headers(http, call, r);
    enum MHD_Result result = MHD_queue_response(call->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    int64_t ns = loop_now() - call->started;
    m->bytes_out += bytes;
    metrics_request(m, call->route ? call->route->method : "OTHER", call->route ? call->route->path : "none", status, ns);
    log_put(&http->server->log, LOG_DEBUG, "request", "id=%s route=%s status=%d us=%lld", call->request_id,
            call->route ? call->route->path : "none", status, (long long)(ns / 1000));
    return result;
}

/* ---- connections ---- */

/* A connection's socket, watched as long as it is open for the client's going away: a suspended connection does not notice, and of one whose
 * last bytes and FIN come together libmicrohttpd reads the bytes only, for its epoll is edge-triggered. */
typedef struct {
    Watch watch;
    Loop *loop;
    Call *suspended;
} Socket;

static void cancel(Call *call);

static void on_gone(void *arg) {
    Call *call = arg;
    Buf none;
    buf_init(&none);
    call_keep(call);
    cancel(call);
    call_answer(call, CLIENT_GONE, NULL, &none);
    call_drop(call);
}

static void on_hangup(void *arg, uint32_t events) {
    Socket *s = arg;
    (void)events;
    loop_unwatch(s->loop, &s->watch);
    if (s->suspended) on_gone(s->suspended);
    else shutdown(s->watch.fd, SHUT_RD); /* loses nothing that has come, and is an event to libmicrohttpd */
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what) {
    Http *http = arg;
    Loop *loop = http->server->loop;
    Socket *s = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = s = calloc(1, sizeof *s);
        if (!s) return;
        s->loop = loop;
        s->watch = (Watch){.fd = info->connect_fd, .events = EPOLLRDHUP | EPOLLHUP | EPOLLERR, .ready = on_hangup, .arg = s};
        loop_watch(loop, &s->watch);
    } else if (s) {
        loop_unwatch(loop, &s->watch);
        free(s);
        *context = NULL;
    }
}

static Socket *socket_of(const Call *call) {
    return MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* ---- suspended connections ---- */

static void cancel(Call *call) {
    void (*stop)(void *) = call->cancel;
    call->cancel = NULL;
    if (stop && !call->answered) stop(call->cancel_arg);
}

static void on_deadline(void *arg) {
    Call *call = arg;
    call_keep(call);
    cancel(call);
    call_fail(call, ERR_deadline, "The request took longer than its deadline of %lld ms.",
              (long long)((call->deadline - call->started) / 1000000));
    call_drop(call);
}

static void suspend(Http *http, Call *call) {
    Socket *s = socket_of(call);
    bool gone = s && !s->watch.on;
    if (s) s->suspended = call;
    call->timer = (Timer){.fire = gone ? on_gone : on_deadline, .arg = call};
    loop_timer(http->server->loop, &call->timer, gone ? loop_now() : call->deadline);
    MHD_suspend_connection(call->connection);
    call->suspended = true;
}

void http_answered(Call *call) {
    if (!call->suspended) return;
    Http *http = call->server->http;
    call->suspended = false;
    loop_untimer(http->server->loop, &call->timer);
    map_remove(&http->suspended, &call, sizeof call);
    if (!call->connection) return;
    Socket *s = socket_of(call);
    if (s) s->suspended = NULL;
    MHD_resume_connection(call->connection);
}

/* ---- requests ---- */

static void set_request_id(Call *call) {
    const char *given = call_header(call, "X-Request-Id");
    size_t len = given ? strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") : 0;
    if (len && len < sizeof call->request_id && !given[len]) {
        memcpy(call->request_id, given, len + 1);
        return;
    }
    unsigned char raw[12];
    randombytes_buf(raw, sizeof raw);
    sodium_bin2hex(call->request_id, sizeof call->request_id, raw, sizeof raw);
}

static bool set_deadline(Call *call) {
    const char *text = call_header(call, "X-Deadline-Ms");
    uint64_t ms = call->server->config->deadline_ms;
    if (text) {
        char *end;
        errno = 0;
        ms = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno || ms == 0 || ms > LIMIT_DEADLINE_MS) {
            call_fail(call, ERR_bad_request, "X-Deadline-Ms must be a number of milliseconds from 1 to %d.", LIMIT_DEADLINE_MS);
            return false;
        }
    }
    call->deadline = call->started + (int64_t)ms * 1000000;
    return true;
}

/* The length that Content-Length names; BODY_UNKNOWN for a chunked body, 0 for none. */
static uint64_t declared_length(const Call *call) {
    const char *text = call_header(call, "Content-Length");
    if (text) return strtoull(text, NULL, 10);
    return call_header(call, "Transfer-Encoding") ? BODY_UNKNOWN : 0;
}

static void begin_body(Call *call, uint64_t declared) {
    BodyKind kind = body_kind_of(call_header(call, "Content-Type"));
    if (!call->route->bodies) return;
    if (!(call->route->bodies & kind)) {
        call_fail(call, ERR_unsupported_media_type, "This resource takes JSON only.");
        return;
    }
    size_t cap = kind == BODY_JSON ? LIMIT_JSON_BYTES : (size_t)call->server->config->max_body;
    ErrCode code = body_begin(&call->body, kind, declared, cap);
    if (code == ERR_body_too_large) call_fail(call, code, "A body of this kind may have at most %zu bytes.", cap);
    else if (code) call_fail(call, code, "Memory is short.");
}

static void refuse_route(Call *call, const char *url, const char *allow) {
    if (!allow) {
        call_fail(call, ERR_not_found, "There is nothing at %.200s.", url);
        return;
    }
    call->answer.allow = allow;
    call_fail(call, ERR_method_not_allowed, "This resource takes %s.", allow);
}

/* Everything that can be said before the body comes. */
static void admit(Http *http, Call *call, const char *url, const char *method, uint64_t declared) {
    const char *allow = NULL;
    Guard guard = guard_of(http, call);
    call->route = route_find(method, url, &call->param, &allow);
    ErrCode code = guard_check(&guard, call->route && call->route->open);
    bool preflight = strcmp(method, "OPTIONS") == 0 && guard_is_cross_origin(&guard) && allow;
    if (!client_enter(http, call)) {
        call_fail(call, ERR_quota, "At most %llu requests of one client may be in flight.",
                  (unsigned long long)http->server->config->max_inflight);
    } else if (preflight) {
        Buf none = {0};
        call_answer(call, 204, NULL, &none);
    } else if (code) {
        call_fail(call, code, "%s",
                  code == ERR_forbidden ? "The request's Origin or Host is not this service's; --allow-origin admits others."
                                                           : "Send Authorization: Bearer with the service's token.");
    } else if (!call->route) {
        refuse_route(call, url, allow);
    } else if (http->server->draining && !call->route->open) {
        call_fail(call, ERR_draining, "The service is shutting down.");
    } else if (call->route->forms && !(call->form = accept_choose(call_header(call, "Accept"), call->route->forms))) {
        call_fail(call, ERR_not_acceptable, "This resource cannot be given in any of the forms that Accept names.");
    } else if (set_deadline(call)) {
        begin_body(call, declared);
    }
}

static Call *call_begin(Http *http, struct MHD_Connection *connection) {
    Call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    call->server = http->server;
    call->connection = connection;
    call->refs = 1;
    call->started = loop_now();
    call->answer.area.fd = -1;
    body_init(&call->body);
    set_request_id(call);
    http->inflight++;
    return call;
}

/* False: the connection is beyond saving. */
static bool take_body(Http *http, Call *call, const char *data, size_t len) {
    if (!call->answered && call->route->bodies) {
        if (len > LIMIT_BODIES_BYTES - http->body_bytes) {
            call_fail(call, ERR_queue_full, "The bodies of all requests in flight take too much memory.");
        } else {
            ErrCode code = body_add(&call->body, data, len);
            call->received += code ? 0 : len;
            http->body_bytes += code ? 0 : len;
            http->server->metrics->bytes_in += len;
            if (code == ERR_body_too_large) call_fail(call, code, "A body of this kind may have at most %zu bytes.", call->body.cap);
            else if (code) call_fail(call, code, "Memory is short.");
        }
        return true;
    }
    /* Refused already: read on for a while, so that the client gets to see the answer. */
    call->close = true;
    call->discarded += len;
    return call->discarded <= LIMIT_DISCARD_BYTES;
}

static enum MHD_Result first_access(Http *http, struct MHD_Connection *connection, const char *url, const char *method, void **state) {
    Call *call = call_begin(http, connection);
    if (!call) return MHD_NO;
    *state = call;
    uint64_t declared = declared_length(call);
    admit(http, call, url, method, declared);
    /* Refused: who waits for a 100 hears at once; others hear when their body is through, unless that takes too long. */
    bool waits = call_header(call, "Expect") != NULL;
    if (!call->answered || (!waits && (declared <= LIMIT_DISCARD_BYTES || declared == BODY_UNKNOWN))) return MHD_YES;
    call->close = true;
    return send_answer(http, call);
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                 const char *data, size_t *len, void **state) {
    Http *http = arg;
    Call *call = *state;
    (void)version;
    if (!call) return first_access(http, connection, url, method, state);
    if (*len) {
        bool go_on = take_body(http, call, data, *len);
        *len = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (!call->begun && !call->answered) {
        call->begun = true;
        call_keep(call);
        call->route->handler(call);
        call_drop(call);
    }
    if (call->answered) return send_answer(http, call);
    if (!map_put(&http->suspended, &call, sizeof call, call)) return MHD_NO;
    suspend(http, call);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why) {
    Http *http = arg;
    Call *call = *state;
    (void)connection;
    (void)why;
    if (!call) return;
    *state = NULL;
    cancel(call);
    call->connection = NULL;
    call->answered = true;
    http->inflight--;
    http->body_bytes -= call->received;
    client_leave(http, call);
    call_drop(call);
}

static void on_log(void *arg, const char *format, va_list args) {
    Http *http = arg;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    log_put(&http->server->log, LOG_DEBUG, "microhttpd", "%s", text);
}

/* ---- life ---- */

static int listen_on(const char *host, uint16_t port, uint16_t *bound, char *why, size_t room) {
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

static void on_ready(void *arg, uint32_t events) {
    /* Being awake is enough: http_turn runs at the end of every pass. */
    (void)arg;
    (void)events;
}

Http *http_new(Server *server, char *why, size_t room) {
    char host[256];
    uint16_t port;
    if (!config_address(server->config->listen, host, &port)) {
        snprintf(why, room, "--listen: %s is not HOST:PORT", server->config->listen);
        return NULL;
    }
    Http *http = calloc(1, sizeof *http);
    if (!http) return NULL;
    http->server = server;
    http->loopback = guard_is_loopback(host);
    int fd = listen_on(host, port, &http->port, why, room);
    if (fd >= 0)
        http->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access, http,
                                     MHD_OPTION_EXTERNAL_LOGGER, on_log, http, MHD_OPTION_LISTEN_SOCKET, fd,
                                     MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->config->max_connections,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    if (!http->mhd) {
        if (fd >= 0) {
            snprintf(why, room, "libmicrohttpd does not start");
            close(fd);
        }
        free(http);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    http->watch = (Watch){.fd = info->epoll_fd, .events = EPOLLIN, .ready = on_ready, .arg = http};
    loop_watch(server->loop, &http->watch);
    return http;
}

uint16_t http_port(const Http *http) { return http->port; }
size_t http_inflight(const Http *http) { return http->inflight; }

int http_turn(Http *http) {
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(http->mhd);
    if (MHD_get_timeout(http->mhd, &ms) != MHD_YES) return -1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

void http_quiesce(Http *http) {
    int fd = MHD_quiesce_daemon(http->mhd);
    if (fd >= 0) close(fd);
}

void http_free(Http *http) {
    if (!http) return;
    /* libmicrohttpd must not be stopped with suspended connections. */
    for (size_t at = 0; http->suspended.count; at = 0) {
        Call *call = map_next(&http->suspended, &at);
        cancel(call);
        call_fail(call, ERR_draining, "The service is shutting down.");
    }
    MHD_run(http->mhd);
    loop_unwatch(http->server->loop, &http->watch);
    MHD_stop_daemon(http->mhd);
    map_release(&http->suspended);
    map_release(&http->clients);
    free(http);
}
