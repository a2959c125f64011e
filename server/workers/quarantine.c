#include "server/workers/quarantine.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

struct Culprit {
    char *name;
    unsigned deaths;
    int64_t when;
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

unsigned quarantine_deaths(const Quarantine *q, const char *name, int64_t now) {
    const struct Culprit *c = find(q, name);
    return c && now - c->when < QUARANTINE_NS ? c->deaths : 0;
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

void quarantine_blame(Quarantine *q, const char *name, int64_t now) {
    while (q->first && now - q->first->when >= QUARANTINE_NS) forget(q, q->first);
    struct Culprit *c = find(q, name);
    if (!c && name) c = enter(q, name);
    if (!c) return;
    unlink_culprit(q, c);
    link_last(q, c);
    c->deaths++;
    c->when = now;
}

void quarantine_absolve(Quarantine *q, const char *name) {
    struct Culprit *c = find(q, name);
    if (c) forget(q, c);
}
