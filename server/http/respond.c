#include "server/http/respond.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { STREAM_BLOCK = 16 * 1024 };

static void area_done(void *arg) { call_drop(arg); }

static ssize_t read_stream(void *arg, uint64_t at, char *to, size_t room) {
    Call *call = arg;
    (void)at;
    if (call->gone) return MHD_CONTENT_READER_END_WITH_ERROR;
    ptrdiff_t n = call->answer.stream.read(call->answer.stream.arg, to, room);
    if (n < 0 || (n == 0 && call->server->draining)) return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) call->carrier->stream_pause(call);
    call->server->metrics->bytes_out += (uint64_t)n;
    return n;
}

/* libmicrohttpd hands all parts of an answer to the kernel at once, which on a fast connection goes on for as long as the client keeps reading. Large
 * ones are copied in blocks instead, one a turn, so that nobody waits for them. */
enum { LARGE_ANSWER = 4 << 20, ANSWER_BLOCK = 256 * 1024 };

static ssize_t read_area(void *arg, uint64_t at, char *to, size_t room) {
    Call *call = arg;
    const Answer *a = &call->answer;
    const unsigned char *from = at < a->head.len ? a->head.data + at : (unsigned char *)a->area.data + a->offset + (at - a->head.len);
    const size_t left = at < a->head.len ? a->head.len - at : a->head.len + a->len - at, n = left < room ? left : room;
    memcpy(to, from, n);
    call->sent = at + n;
    return (ssize_t)n;
}

/* A large answer keeps its memory until it is read: who reads slower than this gives it up. */
#define SLOW_NS ((int64_t)20000000000)
enum { SLOW_BYTES = 1 << 20 };

static void on_slow(void *arg) {
    Call *call = arg;
    if (!call->connection) return;
    if (call->sent - call->sent_before < SLOW_BYTES && call->sent < call->answer.head.len + call->answer.len) {
        log_put(&call->server->log, LOG_INFO, "slow reader", "id=%s sent=%llu of=%zu", call->request_id, (unsigned long long)call->sent, call->answer.len);
        shutdown(MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd, SHUT_RDWR);
        return;
    }
    call->sent_before = call->sent;
    loop_timer(call->server->loop, &call->timer, loop_now() + SLOW_NS);
}

static struct MHD_Response *respond_with_area(Call *call) {
    Answer *a = &call->answer;
    struct MHD_IoVec parts[2] = {{a->head.data, a->head.len}, {(char *)a->area.data + a->offset, a->len}};
    unsigned skip = a->head.len == 0;
    struct MHD_Response *r = a->len > LARGE_ANSWER
                                 ? MHD_create_response_from_callback(a->head.len + a->len, ANSWER_BLOCK, read_area, call, area_done)
                                 : MHD_create_response_from_iovec(parts + skip, 2 - skip, area_done, call);
    if (r) call_keep(call);
    return r;
}

static struct MHD_Response *make_response(Call *call) {
    Answer *a = &call->answer;
    size_t len = a->head.len;
    if (a->stream.read) return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, call, NULL);
    if (a->area.fd < 0) {
        void *data = a->head.data;
        struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback(len, data ? data : (void *)"", data ? free : NULL);
        if (r) a->head = (Buf){0};
        return r;
    }
    return respond_with_area(call);
}

/* Milliseconds, to the microsecond. */
static char *put_ms(char *at, int64_t ns) {
    uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0, ms = us / 1000;
    char digits[24];
    int n = 0;
    do digits[n++] = (char)('0' + ms % 10);
    while (ms /= 10);
    while (n) *at++ = digits[--n];
    *at++ = '.';
    for (uint64_t unit = 100; unit; unit /= 10) *at++ = (char)('0' + us / unit % 10);
    *at = 0;
    return at;
}

/* Where headers go: into libmicrohttpd's response, or into a head written here. */
typedef void PutHeader(void *arg, const char *name, const char *value);

static void put_timing(const Call *call, PutHeader *put, void *arg) {
    char text[128], *at = text;
    if (call->exec_ns >= 0) {
        at = put_ms(stpcpy(at, "queue;dur="), call->queue_ns);
        at = stpcpy(put_ms(stpcpy(at, ", exec;dur="), call->exec_ns), ", ");
    }
    put_ms(stpcpy(at, "total;dur="), loop_now() - call->started);
    put(arg, "Server-Timing", text);
}

static void put_cross_origin(const Call *call, PutHeader *put, void *arg) {
    const char *origin = call->headers.origin;
    char methods[ROUTE_ALLOW];
    route_allow(route_methods(call->server->routes), methods);
    put(arg, "Access-Control-Allow-Origin", origin);
    put(arg, "Timing-Allow-Origin", origin);
    put(arg, "Access-Control-Allow-Headers", "authorization, content-type, last-event-id, x-deadline-ms, x-request-id");
    put(arg, "Access-Control-Allow-Methods", methods);
    put(arg, "Access-Control-Expose-Headers", "x-request-id, x-run-step, cache-status, location, retry-after, server-timing");
}

/* What a cache on the way must tell apart: the form, where a route has several, and the origin. */
static void put_vary(const Call *call, PutHeader *put, void *arg) {
    const unsigned forms = call->route ? call->route->forms : 0;
    const bool several = (forms & (forms - 1)) != 0;
    if (several && call->cross_origin) put(arg, "Vary", "Accept, Origin");
    else if (several || call->cross_origin) put(arg, "Vary", several ? "Accept" : "Origin");
}

static void put_headers(const Call *call, PutHeader *put, void *arg) {
    const Answer *a = &call->answer;
    char allow[ROUTE_ALLOW];
    put(arg, "X-Request-Id", call->request_id);
    put(arg, "X-Content-Type-Options", "nosniff");
    if (a->type) put(arg, "Content-Type", a->type);
    if (a->allow) {
        route_allow(a->allow, allow);
        put(arg, "Allow", allow);
    }
    if (a->cache) put(arg, "Cache-Status", a->cache);
    if (*a->location) put(arg, "Location", a->location);
    if (*a->run_step) put(arg, "X-Run-Step", a->run_step);
    put(arg, "Cache-Control", "no-store");
    if (a->stream.read) put(arg, "X-Accel-Buffering", "no"); /* or nginx keeps back what is said until there is much of it */
    if (a->status == 401) put(arg, "WWW-Authenticate", "Bearer");
    if (a->retryable) put(arg, "Retry-After", "1");
    if (call->close || call->server->draining) put(arg, "Connection", "close");
    put_timing(call, put, arg);
    put_vary(call, put, arg);
    if (call->cross_origin) put_cross_origin(call, put, arg);
}

static void put_to_response(void *arg, const char *name, const char *value) { MHD_add_response_header(arg, name, value); }
static void put_to_head(void *arg, const char *name, const char *value) { buf_printf(arg, "%s: %s\r\n", name, value); }

static void note_answer(const Call *call, size_t bytes) {
    Metrics *m = call->server->metrics;
    const char *method = call->route ? method_name(call->route->method) : "OTHER", *path = call->route ? call->route->path : "none";
    int64_t ns = loop_now() - call->started;
    m->bytes_out += bytes;
    metrics_request(m, method, path, call->answer.status, ns);
    log_put(&call->server->log, LOG_DEBUG, "request", "id=%s route=%s status=%d us=%lld", call->request_id, path, call->answer.status,
            (long long)(ns / 1000));
}

enum MHD_Result respond(Call *call) {
    int status = call->answer.status;
    size_t bytes = call->answer.head.len + (call->answer.area.fd >= 0 ? call->answer.len : 0);
    struct MHD_Response *r = make_response(call);
    if (!r) return MHD_NO;
    put_headers(call, put_to_response, r);
    enum MHD_Result result = MHD_queue_response(call->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    loop_untimer(call->server->loop, &call->timer);
    if (bytes > LARGE_ANSWER && call->answer.area.fd >= 0) {
        call->timer = (Timer){.fire = on_slow, .arg = call};
        loop_timer(call->server->loop, &call->timer, loop_now() + SLOW_NS);
    }
    note_answer(call, bytes);
    return result;
}

void respond_past(Call *call, int fd) {
    Answer *a = &call->answer;
    Buf out;
    if (call->gone) return;
    call->close = true;
    buf_init(&out);
    buf_printf(&out, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n", a->status, MHD_get_reason_phrase_for((unsigned)a->status), a->head.len);
    put_headers(call, put_to_head, &out);
    buf_puts(&out, "\r\n");
    buf_put(&out, a->head.data, a->head.len);
    if (!out.failed && send(fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) note_answer(call, a->head.len);
    buf_release(&out);
    call->gone = true;
    shutdown(fd, SHUT_WR);
}
