#include "server/workers/quarantine.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

struct Culprit {
    char *name;
    unsigned proofs;
    bool tried;           /* its trial is under way */
    int64_t blamed, held; /* when last; until when */
    struct Culprit *prev, *next;
};

static void link_last(Quarantine *q, struct Culprit *c) {
    c->prev = q->last;
    c->next = NULL;
    *(c->prev ? &c->prev->next : &q->first) = c;
    q->last = c;
}

static void unlink_culprit(Quarantine *q, struct Culprit *c) {
    *(c->prev ? &c->prev->next : &q->first) = c->next;
    *(c->next ? &c->next->prev : &q->last) = c->prev;
}

static struct Culprit *find(const Quarantine *q, const char *name) {
    return name && q->by_name.count ? map_get(&q->by_name, name, strlen(name)) : NULL;
}

static void forget(Quarantine *q, struct Culprit *c) {
    map_remove(&q->by_name, c->name, strlen(c->name));
    unlink_culprit(q, c);
    free(c->name);
    free(c);
}

void quarantine_release(Quarantine *q) {
    while (q->first) forget(q, q->first);
    map_release(&q->by_name);
}

static bool is_forgotten(const struct Culprit *c, int64_t now) {
    return now - (c->held > c->blamed ? c->held : c->blamed) >= QUARANTINE_QUIET_NS;
}

CulpritState quarantine_state(const Quarantine *q, const char *name, int64_t now) {
    const struct Culprit *c = find(q, name);
    if (!c || is_forgotten(c, now)) return CULPRIT_UNKNOWN;
    if (c->proofs < QUARANTINE_PROOFS) return CULPRIT_SUSPECT;
    return now < c->held || c->tried ? CULPRIT_HELD : CULPRIT_DUE;
}

unsigned quarantine_seconds(const Quarantine *q, const char *name, int64_t now) {
    const struct Culprit *c = find(q, name);
    const int64_t left = c ? c->held - now : 0, second = 1000000000;
    return left > 0 ? (unsigned)((left + second - 1) / second) : 1;
}

static struct Culprit *enter(Quarantine *q, const char *name) {
    while (q->by_name.count >= LIMIT_QUARANTINE) forget(q, q->first);
    struct Culprit *c = calloc(1, sizeof *c);
    if (c) c->name = strdup(name);
    if (c && c->name && map_put(&q->by_name, name, strlen(name), c)) {
        link_last(q, c);
        return c;
    }
    if (c) free(c->name);
    free(c);
    return NULL;
}

/* After so many proofs it is held for so long. */
static int64_t hold_after(unsigned proofs) {
    int64_t ns = QUARANTINE_NS;
    for (unsigned i = QUARANTINE_PROOFS; i < proofs && ns < QUARANTINE_LONGEST_NS; i++) ns *= 2;
    return ns;
}

void quarantine_blame(Quarantine *q, const char *name, int64_t now) {
    struct Culprit *c = find(q, name);
    if (c && is_forgotten(c, now)) {
        forget(q, c);
        c = NULL;
    }
    if (!c && name) c = enter(q, name);
    if (!c) return;
    unlink_culprit(q, c);
    link_last(q, c);
    c->proofs++;
    c->blamed = now;
    if (c->proofs >= QUARANTINE_PROOFS) c->held = now + hold_after(c->proofs);
}

void quarantine_absolve(Quarantine *q, const char *name) {
    struct Culprit *c = find(q, name);
    if (c) forget(q, c);
}

void quarantine_begin_trial(Quarantine *q, const char *name) {
    struct Culprit *c = find(q, name);
    if (c) c->tried = true;
}

void quarantine_end_trial(Quarantine *q, const char *name) {
    struct Culprit *c = find(q, name);
    if (c) c->tried = false;
}
