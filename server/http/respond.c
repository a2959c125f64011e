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
    struct MHD_IoVec parts[2] = {{a->head.data, len}, {(char *)a->area.data + a->offset, a->len}};
    unsigned skip = len == 0;
    struct MHD_Response *r = MHD_create_response_from_iovec(parts + skip, 2 - skip, area_done, call);
    if (r) call_keep(call);
    return r;
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

static void put_timing(const Call *call, struct MHD_Response *r) {
    char text[128], *at = text;
    if (call->exec_ns >= 0) {
        at = put_ms(stpcpy(at, "queue;dur="), call->queue_ns);
        at = stpcpy(put_ms(stpcpy(at, ", exec;dur="), call->exec_ns), ", ");
    }
    put_ms(stpcpy(at, "total;dur="), loop_now() - call->started);
    MHD_add_response_header(r, "Server-Timing", text);
}

static void put_headers(Call *call, struct MHD_Response *r) {
    const Answer *a = &call->answer;
    char allow[ROUTE_ALLOW];
    MHD_add_response_header(r, "X-Request-Id", call->request_id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (a->type) MHD_add_response_header(r, "Content-Type", a->type);
    if (a->allow) {
        route_allow(a->allow, allow);
        MHD_add_response_header(r, "Allow", allow);
    }
    if (a->cache) MHD_add_response_header(r, "Cache-Status", a->cache);
    if (*a->location) MHD_add_response_header(r, "Location", a->location);
    if (a->stream.read) MHD_add_response_header(r, "Cache-Control", "no-store");
    if (a->status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (a->retryable) MHD_add_response_header(r, "Retry-After", "1");
    if (call->close || call->server->draining) MHD_add_response_header(r, "Connection", "close");
    put_timing(call, r);
    if (!call->cross_origin) return;
    const char *origin = call->headers.origin;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Timing-Allow-Origin", origin);
    MHD_add_response_header(r, "Vary", "Origin");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "authorization, content-type, last-event-id, x-deadline-ms, x-request-id");
    route_allow(route_methods(call->server->routes), allow);
    MHD_add_response_header(r, "Access-Control-Allow-Methods", allow);
    MHD_add_response_header(r, "Access-Control-Expose-Headers", "x-request-id, cache-status, location, retry-after, server-timing");
}

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
    put_headers(call, r);
    enum MHD_Result result = MHD_queue_response(call->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    loop_untimer(call->server->loop, &call->timer);
    note_answer(call, bytes);
    return result;
}

void respond_past(Call *call, int fd) {
    Answer *a = &call->answer;
    Buf out;
    if (call->gone) return;
    buf_init(&out);
    buf_printf(&out, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: close\r\nX-Request-Id: %s\r\n", a->status,
               MHD_get_reason_phrase_for((unsigned)a->status), a->head.len, call->request_id);
    if (a->type) buf_printf(&out, "Content-Type: %s\r\n", a->type);
    if (a->retryable) buf_puts(&out, "Retry-After: 1\r\n");
    buf_puts(&out, "\r\n");
    buf_put(&out, a->head.data, a->head.len);
    if (!out.failed && send(fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) note_answer(call, a->head.len);
    buf_release(&out);
    call->gone = true;
    shutdown(fd, SHUT_RDWR);
}
