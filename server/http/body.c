#include "server/http/body.h"
#include "schema/limits.h"
#include "server/failure.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

BodyKind body_kind_of(const char *content_type) {
    static const struct {
        const char *type;
        BodyKind kind;
    } binary[] = {{"application/vnd.safetensors", BODY_SAFETENSORS}, {"application/x-npy", BODY_NPY}};
    size_t len = content_type ? strcspn(content_type, "; \t") : 0;
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (strlen(binary[i].type) == len && strncasecmp(binary[i].type, content_type, len) == 0) return binary[i].kind;
    return BODY_JSON;
}

void body_init(Body *body) { *body = (Body){.area.fd = -1}; }

void body_release(Body *body) {
    if (body->area.fd < 0) free(body->data);
    else if (body->shm_pool) shm_pool_give(body->shm_pool, &body->area);
    else area_release(&body->area);
    body_init(body);
}

/* A memfd takes memory only where it is written, so the room for results costs nothing until it is used. */
static size_t with_results(BodyKind kind, size_t len) {
    if (kind == BODY_DATA) return len;
    size_t size = len > LIMIT_JOB_BYTES / 4 ? LIMIT_JOB_BYTES : 3 * len + (1 << 20);
    return size > len ? size : len;
}

static bool in_area(BodyKind kind) { return kind & (BODY_BINARY | BODY_DATA); }

static bool new_area(const Body *body, size_t size, Area *out) {
    return body->shm_pool ? shm_pool_take(body->shm_pool, size, out) : shm_pool_make(NULL, size, out);
}

ErrCode body_begin(Body *body, BodyKind kind, uint64_t declared, size_t cap) {
    body->kind = kind;
    body->cap = cap;
    if (declared != BODY_UNKNOWN && declared > cap) return ERR_body_too_large;
    size_t room = declared == BODY_UNKNOWN ? 4096 : declared ? (size_t)declared : 1;
    if (in_area(kind) && room > WIRE_INLINE_AREA) {
        if (!new_area(body, with_results(kind, room), &body->area)) {
            body->area.fd = -1;
            return failure_short(errno);
        }
        body->data = body->area.data;
        body->room = body->area.size;
        return ERR_NONE;
    }
    body->data = malloc(room);
    body->room = body->data ? room : 0;
    return body->data ? ERR_NONE : failure_short(errno);
}

bool body_area_grow(const ShmPool *pool, Area *area, size_t keep, size_t size) {
    if (size <= area->size) return true;
    Area bigger;
    if (!shm_pool_make(pool, size, &bigger)) return false;
    memcpy(bigger.data, area->data, keep);
    area_release(area);
    *area = bigger;
    return true;
}

static bool grow(Body *body, size_t need) {
    size_t room = body->room < SIZE_MAX / 2 ? body->room * 2 : body->room;
    if (room < need) room = need;
    if (body->area.fd >= 0) {
        if (!body_area_grow(body->shm_pool, &body->area, body->len, room)) return false;
        body->data = body->area.data;
    } else if (in_area(body->kind) && room > WIRE_INLINE_AREA) {
        Area area;
        if (!new_area(body, with_results(body->kind, room), &area)) return false;
        memcpy(area.data, body->data, body->len);
        free(body->data);
        body->area = area;
        body->data = area.data;
        room = area.size;
    } else {
        unsigned char *p = realloc(body->data, room);
        if (!p) return false;
        body->data = p;
    }
    body->room = room;
    return true;
}

ErrCode body_add(Body *body, const void *bytes, size_t len) {
    if (len > body->cap - body->len) return ERR_body_too_large;
    if (len > body->room - body->len && !grow(body, body->len + len)) return failure_short(errno);
    memcpy(body->data + body->len, bytes, len);
    body->len += len;
    return ERR_NONE;
}
