#include "worker/plan/slab.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    size_t at, size;
} Hole;

typedef struct {
    Hole *holes; /* by place; no two touch */
    size_t nholes, room;
    size_t top; /* everything from here on is free */
} Slab;

/* Index of the first hole at or behind `at`. */
static size_t hole_after(const Slab *s, size_t at) {
    size_t lo = 0, hi = s->nholes;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->holes[mid].at < at) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static void hole_remove(Slab *s, size_t i) {
    memmove(s->holes + i, s->holes + i + 1, (s->nholes - i - 1) * sizeof *s->holes);
    s->nholes--;
}

static bool slab_take(Slab *s, SlabItem *item) {
    for (size_t i = 0; i < s->nholes; i++) {
        Hole *h = &s->holes[i];
        if (h->size < item->size) continue;
        item->offset = h->at;
        h->at += item->size;
        h->size -= item->size;
        if (!h->size) hole_remove(s, i);
        return true;
    }
    item->offset = s->top;
    return !__builtin_add_overflow(s->top, item->size, &s->top);
}

static bool slab_give(Slab *s, const SlabItem *item) {
    size_t i = hole_after(s, item->offset), end = item->offset + item->size;
    bool left = i > 0 && s->holes[i - 1].at + s->holes[i - 1].size == item->offset;
    bool right = i < s->nholes && s->holes[i].at == end;
    if (left) {
        s->holes[i - 1].size += item->size;
        if (right) {
            s->holes[i - 1].size += s->holes[i].size;
            hole_remove(s, i);
        }
        return true;
    }
    if (right) {
        s->holes[i].at = item->offset;
        s->holes[i].size += item->size;
        return true;
    }
    if (s->nholes == s->room) {
        size_t room = s->room ? s->room * 2 : 64;
        Hole *p = realloc(s->holes, room * sizeof *p);
        if (!p) return false;
        s->holes = p;
        s->room = room;
    }
    memmove(s->holes + i + 1, s->holes + i, (s->nholes - i) * sizeof *s->holes);
    s->holes[i] = (Hole){item->offset, item->size};
    s->nholes++;
    return true;
}

/* Chains of items by one of their positions: head[p] and next[i], index + 1. */
typedef struct {
    uint32_t *first_head, *first_next, *last_head, *last_next;
} Chains;

static bool chains_init(Chains *c, const SlabItem *items, size_t n, size_t npositions) {
    uint32_t *all = calloc(2 * (n + npositions) + 1, sizeof *all);
    if (!all) return false;
    *c = (Chains){all, all + npositions, all + npositions + n, all + 2 * npositions + n};
    for (size_t i = n; i-- > 0;) {
        c->first_next[i] = c->first_head[items[i].first];
        c->first_head[items[i].first] = (uint32_t)i + 1;
        c->last_next[i] = c->last_head[items[i].last];
        c->last_head[items[i].last] = (uint32_t)i + 1;
    }
    return true;
}

bool slab_place(SlabItem *items, size_t n, size_t npositions, size_t *total) {
    Chains c;
    Slab s = {0};
    if (!chains_init(&c, items, n, npositions)) return false;
    bool ok = true;
    for (size_t p = 0; ok && p < npositions; p++) {
        for (uint32_t i = c.first_head[p]; ok && i; i = c.first_next[i - 1]) ok = slab_take(&s, &items[i - 1]);
        for (uint32_t i = c.last_head[p]; ok && i; i = c.last_next[i - 1]) ok = slab_give(&s, &items[i - 1]);
    }
    *total = s.top;
    free(s.holes);
    free(c.first_head);
    return ok;
}
