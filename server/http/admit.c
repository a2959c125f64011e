#include "server/http/admit.h"
#include "schema/limits.h"
#include "server/failure.h"
#include "server/http/access.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static Access access_of(const Call *call, bool loopback) {
    return (Access){.token = call->server->config->token, .allow_origin = call->server->config->allow_origin,
                   .loopback = loopback, .authorization = call->headers.authorization,
                   .origin = call->headers.origin, .host = call->headers.host};
}

/* The call's party: its connection's, or whom a trusted proxy forwards for. NULL: memory is short. */
static Party *party_of(const Call *call, const Connection *connection) {
    const char *proxies = call->server->config->trust_proxy;
    const char *name = connection->party->name;
    char forwarded[PARTY_NAME];
    const bool behind = *proxies && call->headers.forwarded_for && party_is_listed(name, proxies) &&
                        party_forwarded(call->headers.forwarded_for, proxies, forwarded);
    return party_join(&call->server->parties, behind ? forwarded : name);
}

/* False: answered, the party has as many of the kind as one may have. */
bool admit_quota(Call *call, size_t have, const char *of_what) {
    const uint64_t most = call->server->config->max_inflight;
    if (have < most || call->route->flags & ROUTE_MONITOR) return true;
    call_fail(call, ERR_quota, "At most %llu %s of one client are served at a time.", (unsigned long long)most, of_what);
    return false;
}

/* Another than the service's, when the client asks for it. */
static bool set_deadline(Call *call) {
    const char *text = call->headers.deadline;
    char *end;
    if (!text) return true;
    errno = 0;
    uint64_t ms = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || ms == 0 || ms > LIMIT_DEADLINE_MS) {
        call_fail(call, ERR_bad_request, "X-Deadline-Ms must be a number of milliseconds from 1 to %d.", LIMIT_DEADLINE_MS);
        return false;
    }
    call->deadline = call->started + (int64_t)ms * 1000000;
    return true;
}

/* The length that Content-Length names; BODY_UNKNOWN for a chunked body, 0 for none. */
uint64_t admit_declared(const Call *call) {
    if (call->headers.content_length) return strtoull(call->headers.content_length, NULL, 10);
    return call->headers.transfer_encoding ? BODY_UNKNOWN : 0;
}

static void begin_body(Call *call, uint64_t declared) {
    unsigned takes = call->route->bodies;
    BodyKind kind = takes & BODY_DATA ? BODY_DATA : body_kind_of(call->headers.content_type);
    const char *coding = call->headers.content_encoding;
    if (!takes) return;
    if (!(takes & kind)) {
        call_fail(call, ERR_unsupported_media_type, "This resource takes JSON only.");
        return;
    }
    call->body.gzip = kind == BODY_DATA && coding && (strcasecmp(coding, "gzip") == 0 || strcasecmp(coding, "x-gzip") == 0);
    if (coding && !call->body.gzip && strcasecmp(coding, "identity") != 0) {
        call_fail(call, ERR_unsupported_media_type, "%s",
                  kind == BODY_DATA ? "Of Content-Encoding, only gzip is taken." : "Bodies are taken as they are, without Content-Encoding.");
        return;
    }
    size_t cap = kind == BODY_JSON ? LIMIT_JSON_BYTES : (size_t)call->server->config->max_body;
    ErrCode code = body_begin(&call->body, kind, declared, cap);
    if (code == ERR_body_too_large) call_fail(call, code, "A body of this kind may have at most %zu bytes.", cap);
    else if (code) call_fail(call, code, "%s", failure_short_text(errno));
}

static void refuse_route(Call *call, const char *url, unsigned methods) {
    char allow[ROUTE_ALLOW];
    if (!methods) {
        call_fail(call, ERR_not_found, "There is nothing at %.200s.", url);
        return;
    }
    call->answer.allow = methods;
    route_allow(methods, allow);
    call_fail(call, ERR_method_not_allowed, "This resource takes %s.", allow);
}

/* What libmicrohttpd gets wrong of a message's framing (RFC 9112 §6) must not be answered as if it had been read right. False: answered. */
static bool check_framing(Call *call) {
    const char *coding = call->headers.transfer_encoding;
    if (coding && strcasecmp(coding, "chunked") != 0) {
        call_fail(call, ERR_bad_request, "Of Transfer-Encoding, only chunked is taken, without blanks behind it.");
        return false;
    }
    /* Chunked wins, and whoever has sent both is not to be trusted with another request on this connection. */
    call->close = call->close || (coding && call->headers.content_length);
    return true;
}

/* The absolute form of a request target (RFC 9112 §3.2.2): its authority takes Host's place. Gives the path. */
static const char *origin_form(Call *call, const char *url) {
    const size_t scheme = strncasecmp(url, "http://", 7) == 0 ? 7 : strncasecmp(url, "https://", 8) == 0 ? 8 : 0;
    if (!scheme) return url;
    const char *authority = url + scheme, *path = authority + strcspn(authority, "/");
    char *host = arena_strndup(&call->memory, authority, (size_t)(path - authority));
    if (host) call->headers.host = host;
    return *path ? path : "/";
}

static void deny(Call *call, ErrCode code) {
    call_fail(call, code, "%s",
              code == ERR_forbidden ? "The request's Origin or Host is not this service's; --allow-origin admits others."
                                    : "Send Authorization: Bearer with the service's token.");
}

/* Who may not ask, or for whose connection there is no room, is not listened to any longer: no body of theirs is waited for. False: answered. */
static bool admit_party(Call *call, const Connection *connection, bool loopback, const char *method, unsigned methods) {
    const Access access = access_of(call, loopback);
    const bool monitor = call->route && call->route->flags & ROUTE_MONITOR;
    ErrCode code = access_check(&access, call->route && call->route->flags & ROUTE_OPEN);
    call->cross_origin = access_is_cross_origin(&access);
    if (strcmp(method, "OPTIONS") == 0 && call->cross_origin && methods) {
        Buf none = {0};
        call_answer(call, 204, NULL, &none);
    } else if (code) {
        deny(call, code);
    } else if (!(call->party = party_of(call, connection))) {
        call_fail(call, ERR_internal, "Memory is short.");
    } else if (connection->surplus && !monitor) {
        call->close = true;
        call_fail(call, ERR_queue_full, "The service has as many connections as it takes.");
    }
    return !call->answered;
}

/* Everything that can be said before the body comes. */
void admit(Call *call, const Connection *connection, bool loopback, const char *target, const char *method) {
    const char *path = origin_form(call, target);
    unsigned methods;
    call->route = route_find(call->server->routes, method, path, &call->param, &methods);
    call->early = true;
    if (!check_framing(call) || !admit_party(call, connection, loopback, method, methods)) return;
    call->early = false;
    if (!call->route) {
        refuse_route(call, path, methods);
    } else if (!call_check_form(call) || !admit_quota(call, call->party->inflight, "requests in flight") ||
               !admit_quota(call, call->party->arriving, "requests that are still arriving")) {
        return;
    } else if (call->server->draining && !(call->route->flags & ROUTE_MONITOR)) {
        call_fail(call, ERR_draining, "The service is shutting down.");
    } else if (call->route->forms && !(call->form = accept_choose(call->headers.accept, call->route->forms))) {
        call_fail(call, ERR_not_acceptable, "This resource cannot be given in any of the forms that Accept names.");
    } else if (set_deadline(call)) {
        begin_body(call, admit_declared(call));
    }
}
