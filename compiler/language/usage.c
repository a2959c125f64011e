#include "compiler/language/usage.h"

typedef struct {
    uint32_t set, binder; /* the key; set 0: free */
    uint32_t next, prev;  /* in the set; next also chains free entries */
    uint32_t stamp;       /* the last event this entry has seen */
    Usage usage;
} Entry;

typedef struct {
    Cause cause;
    uint32_t next;
} Event;

struct UsagePool {
    Cx *cx;
    Entry *entries; /* from 1 */
    uint32_t nentries, entries_room, spare;
    Event *events; /* from 1 */
    uint32_t nevents, events_room;
    uint32_t *slots; /* open addressing on (set, binder): entry indices, 0 = empty */
    uint32_t nslots, live;
    uint32_t sets;
};

UsagePool *usage_pool(Cx *cx) {
    UsagePool *pool = ARENA_NEW(&cx->arena, UsagePool);
    pool->cx = cx;
    pool->nentries = pool->nevents = 1;
    return pool;
}

static uint32_t home(const UsagePool *pool, uint32_t set, uint32_t binder) {
    uint64_t h = ((uint64_t)set << 32 | binder) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32) & (pool->nslots - 1);
}

static void hash_put(UsagePool *pool, uint32_t entry) {
    uint32_t i = home(pool, pool->entries[entry].set, pool->entries[entry].binder);
    while (pool->slots[i]) i = (i + 1) & (pool->nslots - 1);
    pool->slots[i] = entry;
}

static void hash_grow(UsagePool *pool) {
    uint32_t *old = pool->slots, nold = pool->nslots;
    pool->nslots = nold ? nold * 2 : 64;
    pool->slots = ARENA_ARRAY(&pool->cx->arena, uint32_t, pool->nslots);
    for (uint32_t i = 0; i < nold; i++)
        if (old[i]) hash_put(pool, old[i]);
}

/* The slot of (set, binder), or the empty one where the search ends. */
static uint32_t hash_find(const UsagePool *pool, uint32_t set, uint32_t binder) {
    uint32_t i = home(pool, set, binder);
    for (; pool->slots[i]; i = (i + 1) & (pool->nslots - 1)) {
        const Entry *e = &pool->entries[pool->slots[i]];
        if (e->set == set && e->binder == binder) break;
    }
    return i;
}

/* Closes the gap by moving later entries of the run back, so that searches need no tombstones. */
static void hash_remove(UsagePool *pool, uint32_t entry) {
    uint32_t mask = pool->nslots - 1;
    uint32_t gap = hash_find(pool, pool->entries[entry].set, pool->entries[entry].binder);
    for (uint32_t i = (gap + 1) & mask; pool->slots[i]; i = (i + 1) & mask) {
        const Entry *e = &pool->entries[pool->slots[i]];
        if (((i - home(pool, e->set, e->binder)) & mask) < ((i - gap) & mask)) continue;
        pool->slots[gap] = pool->slots[i];
        gap = i;
    }
    pool->slots[gap] = 0;
}

static uint32_t find(const UsagePool *pool, const UsageSet *set, uint32_t binder) {
    return set->count ? pool->slots[hash_find(pool, set->id, binder)] : 0;
}

/* Puts an entry that is in no set into this one. */
static void enter(UsagePool *pool, UsageSet *set, uint32_t entry) {
    Entry *e = &pool->entries[entry];
    e->set = set->id;
    e->stamp = set->last;
    e->prev = 0;
    e->next = set->head;
    if (set->head) pool->entries[set->head].prev = entry;
    set->head = entry;
    set->count++;
    hash_put(pool, entry);
}

static void leave(UsagePool *pool, UsageSet *set, uint32_t entry) {
    Entry *e = &pool->entries[entry];
    hash_remove(pool, entry);
    if (e->prev) pool->entries[e->prev].next = e->next;
    else set->head = e->next;
    if (e->next) pool->entries[e->next].prev = e->prev;
    set->count--;
}

static void discard(UsagePool *pool, uint32_t entry) {
    pool->entries[entry].set = 0;
    pool->entries[entry].next = pool->spare;
    pool->spare = entry;
    pool->live--;
}

static uint32_t fresh_entry(UsagePool *pool) {
    uint32_t entry = pool->spare;
    if (entry) {
        pool->spare = pool->entries[entry].next;
    } else {
        if (pool->nentries >= pool->entries_room) {
            uint32_t room = pool->entries_room ? pool->entries_room * 2 : 32;
            pool->entries = arena_grow(&pool->cx->arena, pool->entries, pool->entries ? pool->nentries : 0, room, sizeof(Entry));
            pool->entries_room = room;
        }
        entry = pool->nentries++;
    }
    if (++pool->live * 2 >= pool->nslots) hash_grow(pool);
    return entry;
}

UsageSet usage_one(UsagePool *pool, uint32_t binder, uint32_t node) {
    UsageSet set = {.id = ++pool->sets};
    uint32_t entry = fresh_entry(pool);
    pool->entries[entry].binder = binder;
    pool->entries[entry].usage = (Usage){.grade = GRADE_ONE, .use = node};
    enter(pool, &set, entry);
    return set;
}

static uint32_t add_event(UsagePool *pool, UsageSet *set, Cause cause) {
    if (pool->nevents >= pool->events_room) {
        uint32_t room = pool->events_room ? pool->events_room * 2 : 32;
        pool->events = arena_grow(&pool->cx->arena, pool->events, pool->events ? pool->nevents : 0, room, sizeof(Event));
        pool->events_room = room;
    }
    uint32_t event = pool->nevents++;
    pool->events[event] = (Event){.cause = cause};
    if (set->last) pool->events[set->last].next = event;
    else set->first = event;
    return set->last = event;
}

static Usage omega(Usage u, Cause cause) {
    u.grade = GRADE_OMEGA;
    u.cause = cause;
    if (cause.node == TERM_NONE) u.cause.node = u.use;
    return u;
}

/* Brings an entry up to date with the events of its set before `until` (0: all). Only the first unseen one can matter: it makes a
 * 1 an ω. */
static Usage *settle(UsagePool *pool, const UsageSet *set, uint32_t entry, uint32_t until) {
    Entry *e = &pool->entries[entry];
    uint32_t event = e->stamp ? pool->events[e->stamp].next : set->first;
    if (event && event != until && e->usage.grade == GRADE_ONE) e->usage = omega(e->usage, pool->events[event].cause);
    e->stamp = set->last;
    return &e->usage;
}

static Usage sum(const Usage *a, const Usage *b) {
    bool known = a->grade == GRADE_OMEGA && a->cause.code == ERR_linear_reused;
    return omega(*a, known ? a->cause : (Cause){ERR_linear_reused, b->use, a->use});
}

static const Cause branches = {ERR_linear_branches, TERM_NONE, TERM_NONE};

static Usage either(const Usage *a, const Usage *b) {
    if (a->grade == GRADE_OMEGA || b->grade == GRADE_ONE) return *a;
    return omega(*a, b->cause);
}

UsageSet usage_add(UsagePool *pool, UsageSet a, UsageSet b) {
    bool swapped = a.count < b.count;
    UsageSet *large = swapped ? &b : &a, *small = swapped ? &a : &b;
    while (small->head) {
        uint32_t mine = small->head, theirs = find(pool, large, pool->entries[mine].binder);
        Usage *m = settle(pool, small, mine, 0);
        leave(pool, small, mine);
        if (theirs) {
            Usage *t = settle(pool, large, theirs, 0);
            *t = swapped ? sum(m, t) : sum(t, m);
            discard(pool, mine);
        } else {
            enter(pool, large, mine);
        }
    }
    return *large;
}

UsageSet usage_join(UsagePool *pool, UsageSet a, UsageSet b) {
    bool swapped = a.count < b.count;
    UsageSet *large = swapped ? &b : &a, *small = swapped ? &a : &b;
    if (!large->count) return *large;
    /* What only one branch uses differs; what both use is settled without this event. */
    uint32_t event = add_event(pool, large, branches);
    while (small->head) {
        uint32_t mine = small->head, theirs = find(pool, large, pool->entries[mine].binder);
        Usage *m = settle(pool, small, mine, 0);
        leave(pool, small, mine);
        if (theirs) {
            Usage *t = settle(pool, large, theirs, event);
            *t = swapped ? either(m, t) : either(t, m);
            discard(pool, mine);
        } else {
            if (m->grade == GRADE_ONE) *m = omega(*m, branches);
            enter(pool, large, mine);
        }
    }
    return *large;
}

void usage_scale(UsagePool *pool, UsageSet *set, Cause cause) {
    if (set->count) add_event(pool, set, cause);
}

Usage usage_take(UsagePool *pool, UsageSet *set, uint32_t binder) {
    uint32_t entry = find(pool, set, binder);
    if (!entry) return (Usage){.grade = GRADE_ZERO, .use = TERM_NONE};
    Usage usage = *settle(pool, set, entry, 0);
    leave(pool, set, entry);
    discard(pool, entry);
    return usage;
}
