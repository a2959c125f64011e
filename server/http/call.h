/* One HTTP request on its way through the service, and its answer.
 *
 * A handler gets a Call whose body is complete. It answers at once, or keeps the call (call_keep), returns, and answers later, in the
 * loop's thread; every keep is matched by a call_drop. Exactly one answer counts: later ones are ignored, so a handler need not ask
 * whether the deadline has passed or the client has gone. When either happens `cancel` is called, once: the handler then stops what
 * it has under way.
 * Strings from call_query and headers point into the connection: copy what is needed after the handler has returned.
 * A call that has ended is kept for the next one, with its memory: what small requests need costs no malloc each time. */
#ifndef CAJAL_CALL_H
#define CAJAL_CALL_H
#include "schema/base/arena.h"
#include "server/http/accept.h"
#include "server/http/body.h"
#include "server/http/problem.h"
#include "server/http/route.h"
#include "server/server.h"
#include <stdarg.h>

struct MHD_Connection;
typedef struct Party Party;

/* An answer that goes on for as long as there is something to say. Both are called in the loop's thread. */
typedef struct {
    ptrdiff_t (*read)(void *arg, char *to, size_t room); /* how many bytes; 0: none at the moment (call_stream_more), -1: that was all */
    void (*closed)(void *arg); /* nobody reads any more; once, whatever happens */
    void *arg;
} Stream;

typedef struct {
    int status;
    const char *type;     /* media type, static */
    Buf head;             /* the body, or what stands before the area's part of it */
    Area area;            /* fd -1: none */
    size_t offset, len;   /* the area's part */
    unsigned allow;       /* the methods of Allow (route.h); 0: none is said */
    const char *cache;    /* Cache-Status, static */
    bool retryable;       /* Retry-After is due */
    char location[48];    /* "": none */
    char run_step[24];    /* call_of_step; "": none */
    Stream stream;        /* instead of body and area; read NULL: none */
} Answer;

/* HEADER(field, name, single): those that the service reads; two of a single one must not differ. */
#define CALL_HEADERS(HEADER) \
    HEADER(accept, "Accept", false)                     HEADER(authorization, "Authorization", true) \
    HEADER(content_encoding, "Content-Encoding", true)  HEADER(content_length, "Content-Length", true) \
    HEADER(content_type, "Content-Type", true)          HEADER(deadline, "X-Deadline-Ms", true) \
    HEADER(expect, "Expect", false)                     HEADER(forwarded_for, "X-Forwarded-For", false) \
    HEADER(host, "Host", true) \
    HEADER(last_event_id, "Last-Event-ID", true) \
    HEADER(origin, "Origin", true)                      HEADER(request_id, "X-Request-Id", true) \
    HEADER(transfer_encoding, "Transfer-Encoding", false)

typedef struct {
#define HEADER(field, name, single) const char *field; /* NULL: absent; of several the first, of forwarded_for the last */
    CALL_HEADERS(HEADER)
#undef HEADER
} Headers;

/* Which of its party's counters a call is in. */
typedef enum { COUNT_NOT, COUNT_ARRIVING, COUNT_INFLIGHT, COUNT_STREAM } CallCount;

/* What carries calls: the connection's side of them (http.c). */
typedef struct {
    void (*answered)(struct Call *call);     /* it has its answer */
    void (*stream_pause)(struct Call *call); /* its stream has nothing to say at the moment */
    void (*stream_more)(struct Call *call);  /* it has again */
    bool (*stream_allowed)(struct Call *call); /* false: answered, its party has too many */
} CallCarrier;

typedef struct Call {
    Server *server;
    const CallCarrier *carrier;        /* NULL: nothing does (tests) */
    struct MHD_Connection *connection; /* NULL once gone */
    const Route *route;
    RouteParam param;
    Headers headers;
    const char *contradicts;   /* the name of a header that stands there twice, differently */
    Body body;
    Form form; /* what the client wants, of what the route offers */
    char request_id[65];
    int64_t started, deadline; /* nanoseconds, loop_now() */
    int64_t queue_ns, exec_ns; /* of the job it had; -1: none */
    void (*cancel)(void *arg);
    void *cancel_arg;
    /* this room's */
    Answer answer;
    bool arriving, begun, answered, waiting, suspended, close, cross_origin;
    bool gone; /* its connection has nothing more to say */
    bool streaming, paused, woken; /* of a stream: it has a connection; that waits for more; there is more */
    unsigned refs;
    size_t held, discarded; /* bytes counted in Server.held; of body, read after a refusal */
    Party *party;              /* who asks; NULL: not known yet, or no more */
    CallCount count;
    bool early;                /* refused for good: its body is not waited for */
    uint64_t sent, sent_before; /* of a large answer: bytes handed to the kernel; when last looked at */
    int64_t linger_until;      /* answered before its body was through: when its connection ends at last; 0: it was not */
    Timer timer;
    Arena memory;
    struct Call *prev, *next; /* of those that arrive, those that wait, and streams */
} Call;

/* A call that holds nothing but one reference; NULL when memory is short. */
Call *call_new(Server *server);
/* At the end of the service: those kept for reuse. */
void call_free_spares(Server *server);
void call_keep(Call *call);
void call_drop(Call *call);
/* Zeroed memory for `count` things, which lasts as long as the call; NULL when it is short. For whoever has the call in hand: one thread at a
 * time. */
void *call_alloc(Call *call, size_t count, size_t size);
/* Counts memory that lasts as long as the call. False: its party, or all calls together, would have too much; nothing is counted. */
bool call_hold(Call *call, size_t bytes, Err *err);
/* Who asks, as a number (job.h); 0: nobody knows. */
uint64_t call_party(const Call *call);
/* What stops the work under way; NULL: nothing does any more. */
void call_on_cancel(Call *call, void (*cancel)(void *arg), void *arg);

/* The answer is made of the checkpoint of this step, which it says (X-Run-Step). */
void call_of_step(Call *call, uint64_t step);
/* How long the call's job waited and ran, for Server-Timing. */
void call_timed(Call *call, int64_t queue_ns, int64_t exec_ns);

const char *call_query(const Call *call, const char *key); /* NULL when absent, or when the client has gone; "" for ?key */
/* Fills in headers. */
void call_read_headers(Call *call);
/* A query parameter that is a number from `least` to `most`; `absent` without one. False: answered with bad_request. */
bool call_query_uint(Call *call, const char *key, uint64_t absent, uint64_t least, uint64_t most, uint64_t *out);
/* The query has only parameters of the route's, each once; and headers that the service reads do not contradict themselves. False: answered
 * with bad_request. */
bool call_check_form(Call *call);
size_t call_query_count(const Call *call);

/* Answers; body and area are taken over. A failed body is answered as internal. */
void call_answer(Call *call, int status, const char *type, Buf *body);
void call_answer_area(Call *call, const char *type, Buf *head, Area *area, size_t offset, size_t len);
/* The connection, and the client's quota, are taken until the stream ends; the call's deadline is over. The service's shutdown ends it where `read` has
 * nothing. */
void call_answer_stream(Call *call, const char *type, const Stream *stream);
/* There is more to read. */
void call_stream_more(Call *call);
void call_fail(Call *call, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void call_vfail(Call *call, ErrCode code, const char *format, va_list args);
void call_fail_err(Call *call, const Err *err);
void call_fail_diag(Call *call, const Cx *cx, const Program *p, const Diag *diag);
#endif
