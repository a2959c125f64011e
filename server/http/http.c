#include "server/http/http.h"
#include "schema/limits.h"
#include "server/failure.h"
#include "server/http/access.h"
#include "server/http/admit.h"
#include "server/http/connection.h"
#include "server/http/listen.h"
#include "server/http/respond.h"
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTION_MEMORY = 32 * 1024, IDLE_SECONDS = 120, ID_PREFIX = 12, ID_DIGITS = 12, LONG_PIECE = 4096, BODY_TURNS = 8, WAKES = 64 };
/* Connections beyond the configured number that are taken all the same, for those who watch the service; and to tell others that there is no room. */
enum { SPARE_CONNECTIONS = 64 };

typedef struct {
    Call *first, *last;
} CallList;

struct Http {
    Server *server;
    struct MHD_Daemon *mhd;
    Watch watch;
    Listener listener;
    bool loopback;
    uint16_t port;
    Connections connections;
    size_t inflight, woken; /* woken: streams that have more to say and have not been asked yet */
    CallList arriving, lingering, suspended, streams; /* arriving: their bodies are */
    Timer grace;
    int64_t now;     /* of this turn */
    bool more, late; /* in this turn: a long body came in; a call that had waited was answered */
    char id_prefix[ID_PREFIX + 1];
    uint64_t ids;
};

/* ---- connections ---- */

#define GRACE_NS ((int64_t)2000000000) /* for bodies that still come when the service shuts down */

static void cancel(Call *call);
static void on_answered(Call *call);
static void stream_more(Call *call);

/* The request ends with its connection, unanswered. */
static void client_gone(Call *call) {
    log_put(&call->server->log, LOG_DEBUG, "client gone", "id=%s route=%s", call->request_id, call->route->path);
    call_keep(call);
    cancel(call);
    call->answered = call->gone = true;
    on_answered(call);
    call_drop(call);
}

static void on_gone(Connection *c) {
    if (c->waiting) client_gone(c->waiting);
    if (!c->streaming) return;
    c->streaming->gone = true;
    stream_more(c->streaming);
}

static bool has_room(const Http *http) { return http->connections.count < http->connections.most + SPARE_CONNECTIONS; }

static void on_connection(void *arg, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what) {
    Http *http = arg;
    Connection *c = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *context = connection_open(&http->connections, fd, MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
        /* Who cannot be watched cannot be served. */
        if (!*context) shutdown(fd, SHUT_RDWR);
    } else {
        if (c) connection_close(c);
        *context = NULL;
        if (http->listener.paused && has_room(http)) listener_go_on(&http->listener);
    }
}

/* libmicrohttpd closes it when it does not take it. */
static void on_accepted(void *arg, int fd, const struct sockaddr *address, socklen_t len) {
    Http *http = arg;
    if (fd >= http->server->most_fd) {
        /* The last descriptors are for what is under way. */
        close(fd);
        connections_shed(&http->connections);
        return;
    }
    MHD_add_connection(http->mhd, fd, address, len);
    if (!has_room(http)) listener_pause(&http->listener);
}

static void on_no_descriptor(void *arg) {
    Http *http = arg;
    log_put(&http->server->log, LOG_WARN, "no file descriptor", "connections=%zu", http->connections.count);
    connections_shed(&http->connections);
}

static Connection *connection_of_mhd(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}
static Connection *connection_of(const Call *call) { return connection_of_mhd(call->connection); }

/* ---- waiting for an answer ---- */

/* Most answers take a few hundred microseconds, and suspending a connection costs tens of them: so for a while it lingers, asked again by
 * libmicrohttpd in every turn. */
#define LINGER_NS ((int64_t)3000000)
enum { LINGER_POLL_MS = 1 };

static void call_list_add(CallList *list, Call *call) {
    call->prev = list->last;
    call->next = NULL;
    *(call->prev ? &call->prev->next : &list->first) = call;
    list->last = call;
}

static void call_list_remove(CallList *list, Call *call) {
    *(call->prev ? &call->prev->next : &list->first) = call->next;
    *(call->next ? &call->next->prev : &list->last) = call->prev;
}

static void cancel(Call *call) {
    void (*stop)(void *) = call->cancel;
    call->cancel = NULL;
    if (stop && !call->answered) stop(call->cancel_arg);
}

/* Moves the call from one of its party's counters to another. */
static void count_as(Call *call, CallCount count) {
    Party *party = call->party;
    if (!party) return;
    party->arriving -= call->count == COUNT_ARRIVING;
    party->inflight -= call->count == COUNT_INFLIGHT;
    party->streams -= call->count == COUNT_STREAM;
    call->count = count;
    party->arriving += count == COUNT_ARRIVING;
    party->inflight += count == COUNT_INFLIGHT;
    party->streams += count == COUNT_STREAM;
}

/* ---- answers before the body is through ---- */

/* A client that still sends is answered at once, and its connection closed for writing. What it sends is read and dropped for a while: closing
 * with bytes unread would reset the connection, and with it take the answer away. */
#define LINGER_PAUSE_NS ((int64_t)5000000000)
#define LINGER_MOST_NS ((int64_t)30000000000)

static void on_lingered(void *arg) {
    Call *call = arg;
    if (call->connection) shutdown(connection_of(call)->watch.fd, SHUT_RDWR);
}

static void linger(Call *call) {
    const int64_t now = loop_now(), pause = now + LINGER_PAUSE_NS;
    if (!call->linger_until) call->linger_until = now + LINGER_MOST_NS;
    call->timer.fire = on_lingered;
    call->timer.arg = call;
    loop_timer(call->server->loop, &call->timer, pause < call->linger_until ? pause : call->linger_until);
}

static void answer_early(Call *call) {
    if (call->gone) return;
    count_as(call, COUNT_NOT);
    respond_past(call, connection_of(call)->watch.fd);
    linger(call);
}

static void on_deadline(void *arg) {
    Call *call = arg;
    call_keep(call);
    cancel(call);
    call_fail(call, ERR_deadline, "The request took longer than its deadline of %lld ms.",
              (long long)((call->deadline - call->started) / 1000000));
    if (call->arriving) answer_early(call);
    call_drop(call);
}

/* The service shuts down: bodies that have had their time are waited for no longer. */
static void on_grace(void *arg) {
    Http *http = arg;
    int64_t now = loop_now();
    for (Call *call = http->arriving.first; call; call = call->next) {
        if (now - call->started < GRACE_NS) continue;
        call_fail(call, ERR_draining, "The service is shutting down.");
        answer_early(call);
    }
    loop_timer(http->server->loop, &http->grace, now + GRACE_NS / 2);
}

static void begin_arriving(Http *http, Call *call) {
    call->arriving = true;
    if (!call->answered) count_as(call, COUNT_ARRIVING);
    call_list_add(&http->arriving, call);
    call->timer = (Timer){.fire = on_deadline, .arg = call};
    loop_timer(http->server->loop, &call->timer, call->deadline);
}

static void end_arriving(Http *http, Call *call) {
    if (call->arriving) call_list_remove(&http->arriving, call);
    call->arriving = false;
}

static void begin_waiting(Http *http, Call *call) {
    connection_of(call)->waiting = call;
    call->waiting = true;
    call_list_add(&http->lingering, call);
}

static void suspend(Http *http, Call *call) {
    call_list_remove(&http->lingering, call);
    call_list_add(&http->suspended, call);
    call->suspended = true;
    MHD_suspend_connection(call->connection);
}

/* Resumes or forgets the call's connection, now that it has its answer. */
static void on_answered(Call *call) {
    if (!call->waiting) return;
    Http *http = call->server->http;
    call->waiting = false;
    call_list_remove(call->suspended ? &http->suspended : &http->lingering, call);
    if (!call->connection) return;
    connection_of(call)->waiting = NULL;
    if (call->suspended) MHD_resume_connection(call->connection);
    call->suspended = false;
    http->late = true;
}

/* ---- streams ---- */

static void begin_stream(Call *call) {
    call->streaming = true;
    count_as(call, COUNT_STREAM);
    connection_of(call)->streaming = call;
    call_list_add(&call->server->http->streams, call);
}

static void forget_wake(Call *call) {
    call->server->http->woken -= call->woken;
    call->woken = false;
}

static void end_stream(Call *call) {
    const Stream *stream = &call->answer.stream;
    forget_wake(call);
    if (call->streaming) call_list_remove(&call->server->http->streams, call);
    if (call->streaming && connection_of(call)) connection_of(call)->streaming = NULL;
    call->streaming = false;
    if (stream->read) stream->closed(stream->arg);
}

static void stream_pause(Call *call) {
    call->paused = true;
    MHD_suspend_connection(call->connection);
}

static void stream_more(Call *call) {
    if (!call->paused || !call->connection || call->woken) return;
    call->woken = true;
    call->server->http->woken++;
}

/* Those that have more to say say it a few at a time: thousands may watch one run, and each asks the database. */
static void resume_streams(Http *http) {
    Call *call = http->streams.first, *next;
    for (int n = 0; call && http->woken && n < WAKES; call = next) {
        next = call->next;
        if (!call->woken) continue;
        forget_wake(call);
        call->paused = false;
        MHD_resume_connection(call->connection);
        http->late = true;
        call_list_remove(&http->streams, call);
        call_list_add(&http->streams, call); /* behind those whose turn has not been */
        n++;
    }
}

/* Those that have nothing to say end; `gone`: all do. */
static void wake_streams(Http *http, bool gone) {
    for (Call *call = http->streams.first; call; call = call->next) {
        call->gone |= gone;
        stream_more(call);
    }
}

/* ---- requests ---- */

/* Unique over restarts by its beginning, within a process by its end. */
static void set_request_id(Http *http, Call *call) {
    const char *given = call->headers.request_id;
    size_t len = given ? strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") : 0;
    if (len && len < sizeof call->request_id && !given[len]) {
        memcpy(call->request_id, given, len + 1);
        return;
    }
    memcpy(call->request_id, http->id_prefix, ID_PREFIX);
    uint64_t id = ++http->ids;
    for (size_t i = ID_PREFIX + ID_DIGITS; i-- > ID_PREFIX; id >>= 4) call->request_id[i] = "0123456789abcdef"[id & 15];
}

static bool stream_allowed(Call *call) { return admit_quota(call, call->party->streams, "streams"); }

static const CallCarrier carrier = {.answered = on_answered, .stream_pause = stream_pause, .stream_more = stream_more,
                                    .stream_allowed = stream_allowed};

static Call *call_begin(Http *http, struct MHD_Connection *connection) {
    Call *call = call_new(http->server);
    if (!call) return NULL;
    call->carrier = &carrier;
    call->connection = connection;
    call->started = loop_now();
    call->deadline = call->started + (int64_t)http->server->config->deadline_ms * 1000000; /* also of refused calls, whose bodies are read */
    call_read_headers(call);
    set_request_id(http, call);
    http->inflight++;
    return call;
}

static void take_body(Http *http, Call *call, const char *data, size_t len) {
    if (!call->answered && call->route->bodies) {
        Err err = {0};
        if (!call_hold(call, len, &err)) {
            call_fail_err(call, &err);
        } else {
            ErrCode code = body_add(&call->body, data, len);
            http->server->metrics->bytes_in += len;
            if (code == ERR_body_too_large) call_fail(call, code, "A body of this kind may have at most %zu bytes.", call->body.cap);
            else if (code) call_fail(call, code, "%s", failure_short_text(errno));
        }
        return;
    }
    call->discarded += len;
    if (call->gone) linger(call);
    else if (call->discarded > LIMIT_DISCARD_BYTES) answer_early(call);
}

static enum MHD_Result first_access(Http *http, struct MHD_Connection *connection, const char *url, const char *method, void **state) {
    Call *call = call_begin(http, connection);
    if (!call) return MHD_NO;
    *state = call;
    if (!connection_of(call)) return MHD_NO;
    connection_busy(connection_of(call));
    const uint64_t declared = admit_declared(call);
    admit(call, connection_of(call), http->loopback, url, method);
    if (call->answered && call->headers.expect) {
        /* Who waits for a 100 has sent nothing yet. */
        call->close = true;
        return respond(call);
    }
    begin_arriving(http, call);
    /* Others hear at once when there is much to come that nobody wants; else when their body is through, which keeps the connection. */
    const bool body = declared != 0;
    if (call->answered && body && (call->early || (declared > LIMIT_DISCARD_BYTES && declared != BODY_UNKNOWN))) answer_early(call);
    return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                 const char *data, size_t *len, void **state) {
    Http *http = arg;
    Call *call = *state;
    (void)version;
    if (!call) return first_access(http, connection, url, method, state);
    if (*len) {
        take_body(http, call, data, *len);
        http->more |= *len >= LONG_PIECE;
        *len = 0;
        return MHD_YES;
    }
    end_arriving(http, call);
    if (call->gone || connection_of(call)->gone) return MHD_NO; /* which cancels it */
    if (!call->begun && !call->answered && admit_quota(call, call->party->inflight, "requests in flight")) {
        count_as(call, COUNT_INFLIGHT);
        call->begun = true;
        call_keep(call);
        call->route->handler(call);
        call_drop(call);
    }
    if (call->answered && call->answer.stream.read && !call->streaming) begin_stream(call);
    if (call->answered) return respond(call);
    if (!call->waiting) begin_waiting(http, call);
    else if (http->now - call->started >= LINGER_NS) suspend(http, call);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why) {
    Http *http = arg;
    Call *call = *state;
    (void)why;
    if (!call) return;
    *state = NULL;
    cancel(call);
    on_answered(call);
    end_arriving(http, call);
    loop_untimer(http->server->loop, &call->timer);
    end_stream(call);
    call->connection = NULL;
    call->answered = true;
    http->inflight--;
    count_as(call, COUNT_NOT);
    if (connection_of_mhd(connection)) connection_idle(connection_of_mhd(connection));
    call_drop(call);
}

static void on_log(void *arg, const char *format, va_list args) {
    Http *http = arg;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    log_put(&http->server->log, LOG_DEBUG, "microhttpd", "%s", text);
}

static int hex_of(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* In place, for paths and queries. %00 stays as it is, which nothing here is called: all that follows are C strings. */
static size_t unescape(void *arg, struct MHD_Connection *connection, char *text) {
    char *to = text;
    (void)arg;
    (void)connection;
    for (const char *at = text; *at; at++) {
        int high = *at == '%' ? hex_of(at[1]) : -1, low = high >= 0 ? hex_of(at[2]) : -1;
        bool escape = low >= 0 && high + low > 0;
        *to++ = escape ? (char)(high * 16 + low) : *at;
        at += escape ? 2 : 0;
    }
    *to = 0;
    return (size_t)(to - text);
}

/* ---- life ---- */

static void on_ready(void *arg, uint32_t events) {
    /* Being awake is enough: http_turn runs at the end of every pass. */
    (void)arg;
    (void)events;
}

Http *http_new(Server *server, char *why, size_t room) {
    char host[256];
    uint16_t port;
    Http *http = calloc(1, sizeof *http);
    if (!http || !config_address(server->config->listen, host, &port)) {
        free(http);
        return NULL;
    }
    http->server = server;
    connections_init(&http->connections, server->loop, &server->parties, server->config->max_connections, on_gone);
    http->loopback = access_is_loopback(host);
    unsigned char raw[ID_PREFIX / 2];
    randombytes_buf(raw, sizeof raw);
    sodium_bin2hex(http->id_prefix, sizeof http->id_prefix, raw, sizeof raw);
    int fd = listen_on(host, port, &http->port, why, room);
    http->listener = (Listener){.loop = server->loop, .watch.fd = -1, .take = on_accepted, .full = on_no_descriptor, .arg = http};
    if (fd >= 0)
        http->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_access, http,
                                     MHD_OPTION_EXTERNAL_LOGGER, on_log, http, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                                     MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->config->max_connections + SPARE_CONNECTIONS,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    if (!http->mhd || !listener_start(&http->listener, fd)) {
        if (fd >= 0) snprintf(why, room, "libmicrohttpd does not start");
        if (fd >= 0) close(fd);
        if (http->mhd) MHD_stop_daemon(http->mhd);
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

/* Lingering connections keep libmicrohttpd from wanting to sleep: what it says is believed only while a body comes in, which goes on for a few
 * turns at once. The answer that such a connection gets is sent in the turn after that in which it is taken. */
int http_turn(Http *http) {
    MHD_UNSIGNED_LONG_LONG ms;
    resume_streams(http);
    int turns = 0, least = http->late ? 2 : 1;
    http->now = loop_now();
    do {
        http->more = false;
        MHD_run(http->mhd);
    } while (++turns < least || (http->more && turns < BODY_TURNS));
    http->late = false;
    if (http->woken) return 0;
    if (MHD_get_timeout(http->mhd, &ms) != MHD_YES) return -1;
    if (http->lingering.first && !http->more && ms < LINGER_POLL_MS) return LINGER_POLL_MS;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

void http_quiesce(Http *http) {
    listener_stop(&http->listener);
    http->grace = (Timer){.fire = on_grace, .arg = http};
    loop_timer(http->server->loop, &http->grace, loop_now() + GRACE_NS);
    wake_streams(http, false);
}

void http_free(Http *http) {
    if (!http) return;
    /* libmicrohttpd must not be stopped with suspended connections. */
    for (Call *call; (call = http->suspended.first ? http->suspended.first : http->lingering.first);) {
        cancel(call);
        call_fail(call, ERR_draining, "The service is shutting down.");
    }
    wake_streams(http, true);
    do http_turn(http);
    while (http->woken);
    loop_unwatch(http->server->loop, &http->watch);
    loop_untimer(http->server->loop, &http->grace);
    listener_stop(&http->listener);
    MHD_stop_daemon(http->mhd);
    connections_release(&http->connections);
    free(http);
}
