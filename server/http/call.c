#include "server/http/call.h"
#include "schema/limits.h"
#include "server/http/party.h"
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef __SANITIZE_ADDRESS__
enum { MOST_SPARES = 0 }; /* what is used after its end shall be seen */
#else
enum { MOST_SPARES = 64 }; /* calls kept for the next ones; beside their requests they cost nothing */
#endif

Call *call_new(Server *server) {
    Call *call = server->spare_calls;
    if (call) {
        server->spare_calls = call->next;
        server->nspare_calls--;
    } else {
        call = malloc(sizeof *call);
        if (!call) return NULL;
        arena_init(&call->memory, LIMIT_CALL_BYTES);
    }
    *call = (Call){.server = server, .memory = call->memory, .refs = 1, .queue_ns = -1, .exec_ns = -1, .answer.area.fd = -1};
    body_init(&call->body);
    call->body.shm_pool = &server->shm_pool;
    return call;
}

static void call_free(Call *call) {
    arena_release(&call->memory);
    free(call);
}

void call_free_spares(Server *server) {
    for (Call *call; (call = server->spare_calls);) {
        server->spare_calls = call->next;
        call_free(call);
    }
}

void call_keep(Call *call) { call->refs++; }

void call_drop(Call *call) {
    Server *server = call->server;
    if (--call->refs) return;
    server->held -= call->held;
    if (call->party) call->party->held -= call->held;
    party_leave(call->party);
    body_release(&call->body);
    buf_release(&call->answer.head);
    if (call->answer.area.fd >= 0) shm_pool_give(&server->shm_pool, &call->answer.area);
    if (server->nspare_calls == MOST_SPARES) {
        call_free(call);
        return;
    }
    arena_reset(&call->memory);
    call->next = server->spare_calls;
    server->spare_calls = call;
    server->nspare_calls++;
}

void *call_alloc(Call *call, size_t count, size_t size) { return arena_array(&call->memory, count, size); }

uint64_t call_party(const Call *call) { return call->party ? call->party->id : 0; }

bool call_hold(Call *call, size_t bytes, Err *err) {
    Server *server = call->server;
    const size_t share = server->most_held / 2;
    if (bytes > share) return err_set(err, ERR_too_large, "This takes more memory than one client of this service may have, which is %zu bytes.", share);
    if (bytes > server->most_held - server->held) return err_set(err, ERR_queue_full, "The requests in flight take too much memory.");
    if (call->party && bytes > share - call->party->held)
        return err_set(err, ERR_queue_full, "The requests in flight of this client take as much memory as one may have.");
    server->held += bytes;
    call->held += bytes;
    if (call->party) call->party->held += bytes;
    return true;
}

void call_on_cancel(Call *call, void (*cancel)(void *arg), void *arg) {
    call->cancel = cancel;
    call->cancel_arg = arg;
}

void call_of_step(Call *call, uint64_t step) { snprintf(call->answer.run_step, sizeof call->answer.run_step, "%llu", (unsigned long long)step); }

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

size_t call_query_count(const Call *call) {
    int n = call->connection ? MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, NULL, NULL) : 0;
    return n > 0 ? (size_t)n : 0;
}

/* A header's value without the blanks behind it, which do not count (RFC 9112 §5.1); those before it libmicrohttpd has taken off. */
static const char *without_blanks(Call *call, const char *value) {
    size_t len = strlen(value), n = len;
    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t')) n--;
    if (n == len) return value;
    const char *text = arena_strndup(&call->memory, value, n);
    return text ? text : value;
}

static enum MHD_Result read_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value) {
    static const struct {
        const char *name;
        size_t len, at;
        bool single;
    } known[] = {
#define HEADER(field, name, single) {name, sizeof name - 1, offsetof(Headers, field), single},
        CALL_HEADERS(HEADER)
#undef HEADER
    };
    Call *call = arg;
    size_t len = strlen(name);
    (void)kind;
    if (!value) return MHD_YES;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].len != len || strcasecmp(known[i].name, name) != 0) continue;
        const char **field = (const char **)((char *)&call->headers + known[i].at);
        /* As it came: libmicrohttpd has looked at it with its blanks. */
        const char *text = field == &call->headers.transfer_encoding ? value : without_blanks(call, value);
        if (!*field || field == &call->headers.forwarded_for) *field = text; /* of several lines the last is the nearest proxy's */
        else if (known[i].single && strcmp(*field, text) != 0) call->contradicts = known[i].name;
    }
    return MHD_YES;
}

void call_read_headers(Call *call) { MHD_get_connection_values(call->connection, MHD_HEADER_KIND, read_header, call); }

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

bool call_check_form(Call *call) {
    QueryCheck check = {.call = call};
    MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_parameter, &check);
    if (call->contradicts) call_fail(call, ERR_bad_request, "There are two different headers %s.", call->contradicts);
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
    if (call->carrier) call->carrier->answered(call);
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
        shm_pool_discard(&call->server->shm_pool, area);
        call_answer(call, 200, type, head);
        return;
    }
    call->answer.area = *area;
    call->answer.offset = offset;
    call->answer.len = len;
    area->fd = -1;
    answer(call, 200, type, head);
}

void call_answer_stream(Call *call, const char *type, const Stream *stream) {
    Buf none = {0};
    if (call->answered || (call->carrier && !call->carrier->stream_allowed(call))) {
        stream->closed(stream->arg);
        return;
    }
    call->answer.stream = *stream;
    answer(call, 200, type, &none);
}

void call_stream_more(Call *call) { call->carrier->stream_more(call); }

static void answer_problem(Call *call, ErrCode code, Buf *body) {
    if (!call->answered) call->answer.retryable = err_retryable(code);
    answer(call, err_status(code), "application/problem+json", body);
}

void call_vfail(Call *call, ErrCode code, const char *format, va_list args) {
    Buf body, detail;
    buf_init(&body);
    buf_init(&detail);
    buf_vprintf(&detail, format, args);
    problem_put(&body, call->request_id, code, buf_text(&detail), "");
    buf_release(&detail);
    answer_problem(call, code, &body);
}

void call_fail(Call *call, ErrCode code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    call_vfail(call, code, format, args);
    va_end(args);
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
