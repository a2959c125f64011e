/* A request's body as it comes in. JSON is collected in ordinary memory; a binary body of any size goes straight into the shared memory
 * that the worker will read (an Area), with room behind it for the results, so that tensors are not copied.
 *
 * Errors: body_begin and body_add return ERR_NONE, ERR_body_too_large, or with errno what failure.h says of what is short. */
#ifndef CAJAL_BODY_H
#define CAJAL_BODY_H
#include "schema/errors.h"
#include "server/http/shm_pool.h"

/* DATA: bytes of any kind, whatever Content-Type says; they are no worker's. */
typedef enum { BODY_NONE = 0, BODY_JSON = 1, BODY_SAFETENSORS = 2, BODY_NPY = 4, BODY_DATA = 8 } BodyKind;
#define BODY_BINARY (BODY_SAFETENSORS | BODY_NPY)
#define BODY_UNKNOWN UINT64_MAX /* no Content-Length */

typedef struct {
    BodyKind kind;
    unsigned char *data; /* in area when that has a descriptor, else malloced */
    size_t len, room, cap;
    Area area;           /* fd -1: none */
    bool gzip;           /* Content-Encoding says so; kind DATA only */
    ShmPool *shm_pool;   /* where it comes from and goes to; NULL: made and unmade */
} Body;

/* The kind that a Content-Type (NULL: none) names. */
BodyKind body_kind_of(const char *content_type);
void body_init(Body *body);
ErrCode body_begin(Body *body, BodyKind kind, uint64_t declared, size_t cap);
ErrCode body_add(Body *body, const void *bytes, size_t len);
void body_release(Body *body);
/* Makes the area at least `size` bytes, keeping its first `keep`. False with errno: memory or descriptors are short. */
bool body_area_grow(const ShmPool *pool, Area *area, size_t keep, size_t size);
#endif
