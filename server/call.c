#include "server/call.h"
#include "schema/limits.h"
#include "server/http.h"
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void call_keep(Call *call) { call->refs++; }

void call_drop(Call *call) {
    if (--call->refs) return;
    call->server->held -= call->held;
    body_release(&call->body);
    buf_release(&call->answer.head);
    if (call->answer.area.fd >= 0) areas_give(&call->server->areas, &call->answer.area);
    free(call);
}

bool call_hold(Call *call, size_t bytes) {
    if (bytes > LIMIT_BODIES_BYTES - call->server->held) return false;
    call->server->held += bytes;
    call->held += bytes;
    return true;
}

void call_on_cancel(Call *call, void (*cancel)(void *arg), void *arg) {
    call->cancel = cancel;
    call->cancel_arg = arg;
}

void call_timed(Call *call, int64_t queue_ns, int64_t exec_ns) {
    call->queue_ns = queue_ns;
    call->exec_ns = exec_ns;
}

const char *call_query(const Call *call, const char *key) {
    const char *value = NULL;
    size_t len;
    if (!call->connection || MHD_lookup_connection_value_n(call->connection, MHD_GET_ARGUMENT_KIND, key, strlen(key), &value,
                                                           &len) != MHD_YES)
        return NULL;
    return value ? value : "";
}

const char *call_header(const Call *call, const char *name) {
    return call->connection ? MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name) : NULL;
}

size_t call_query_count(const Call *call) {
    int n = call->connection ? MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, NULL, NULL) : 0;
    return n > 0 ? (size_t)n : 0;
}

typedef struct {
    Call *call;
    unsigned seen; /* bit: place in the route's query */
} QueryCheck;

static enum MHD_Result check_parameter(void *arg, enum MHD_ValueKind kind, const char *key, const char *value) {
    QueryCheck *check = arg;
    int place = route_parameter(check->call->route, key);
    (void)kind;
    (void)value;
    if (place < 0) call_fail(check->call, ERR_bad_request, "This resource takes no ?%.100s.", key);
    else if (check->seen & 1u << place) call_fail(check->call, ERR_bad_request, "?%.100s stands there twice.", key);
    else check->seen |= 1u << place;
    return check->call->answered ? MHD_NO : MHD_YES;
}

static enum MHD_Result check_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value) {
    static const char *const read_here[] = {"Host", "Origin", "Authorization", "Content-Length", "Content-Type", "Content-Encoding",
                                            "X-Deadline-Ms", "X-Request-Id"};
    Call *call = arg;
    (void)kind;
    for (size_t i = 0; i < sizeof read_here / sizeof *read_here; i++) {
        if (strcasecmp(name, read_here[i]) != 0) continue;
        const char *first = call_header(call, name);
        if (first && value && strcmp(first, value) != 0) call_fail(call, ERR_bad_request, "There are two different headers %s.", read_here[i]);
    }
    return call->answered ? MHD_NO : MHD_YES;
}

bool call_check_form(Call *call) {
    QueryCheck check = {.call = call};
    MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_parameter, &check);
    if (!call->answered) MHD_get_connection_values(call->connection, MHD_HEADER_KIND, check_header, call);
    return !call->answered;
}

bool call_query_uint(Call *call, const char *key, uint64_t absent, uint64_t least, uint64_t most, uint64_t *out) {
    const char *text = call_query(call, key);
    char *end;
    *out = absent;
    if (!text) return true;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno && *out >= least && *out <= most) return true;
    call_fail(call, ERR_bad_request, "?%s must be a number from %llu to %llu.", key, (unsigned long long)least, (unsigned long long)most);
    return false;
}

static void answer(Call *call, int status, const char *type, Buf *head) {
    if (call->answered) {
        buf_release(head);
        return;
    }
    call->answered = true;
    call->answer.status = status;
    call->answer.type = type;
    call->answer.head = *head;
    buf_init(head);
    http_answered(call);
}

void call_answer(Call *call, int status, const char *type, Buf *body) {
    if (!body->failed) {
        answer(call, status, type, body);
        return;
    }
    buf_release(body);
    call_fail(call, ERR_internal, "Memory is short.");
}

void call_answer_area(Call *call, const char *type, Buf *head, Area *area, size_t offset, size_t len) {
    if (call->answered || head->failed) {
        area_release(area);
        area->fd = -1;
        call_answer(call, 200, type, head);
        return;
    }
    call->answer.area = *area;
    call->answer.offset = offset;
    call->answer.len = len;
    area->fd = -1;
    answer(call, 200, type, head);
}

static void answer_problem(Call *call, ErrCode code, Buf *body) {
    answer(call, err_status(code), "application/problem+json", body);
}

void call_fail(Call *call, ErrCode code, const char *format, ...) {
    Buf body, detail;
    va_list args;
    buf_init(&body);
    buf_init(&detail);
    va_start(args, format);
    buf_vprintf(&detail, format, args);
    va_end(args);
    problem_put(&body, call->request_id, code, buf_text(&detail), "");
    buf_release(&detail);
    answer_problem(call, code, &body);
}

void call_fail_err(Call *call, const Err *err) {
    Buf body;
    buf_init(&body);
    problem_put(&body, call->request_id, err->code, err->message, err->pointer);
    answer_problem(call, err->code, &body);
}

void call_fail_diag(Call *call, const Cx *cx, const Program *p, const Diag *diag) {
    Buf body;
    buf_init(&body);
    problem_put_diag(&body, call->request_id, cx, p, diag);
    answer_problem(call, diag->code, &body);
}
