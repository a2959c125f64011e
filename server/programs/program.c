#include "schema/base/heap.h"
#include "server/programs/program.h"
#include <stdlib.h>
#include <string.h>

/* ---- entries ---- */

static void unlink_use(Programs *ps, Entry *e) {
    *(e->newer ? &e->newer->older : &ps->newest) = e->older;
    *(e->older ? &e->older->newer : &ps->oldest) = e->newer;
}

static void link_use(Programs *ps, Entry *e) {
    e->newer = NULL;
    e->older = ps->newest;
    *(ps->newest ? &ps->newest->newer : &ps->oldest) = e;
    ps->newest = e;
}

static void entry_free(Entry *e) {
    for (Variant *v = e->variants, *next; v; v = next) {
        next = v->next;
        variant_free(v);
    }
    if (e->kind->release) e->kind->release(e);
    inputs_release(&e->inputs);
    free(e->canonical);
    free(e->record);
    free(e->text);
    free(e);
}

void entry_detach(Entry *e) {
    Programs *ps = e->programs;
    if (e->detached) return;
    map_remove(&ps->entries, e->hash, strlen(e->hash));
    unlink_use(ps, e);
    ps->bytes -= e->bytes;
    e->detached = true;
    if (!e->refs) entry_free(e);
}

static void shrink(Programs *ps) {
    for (Entry *e = ps->oldest, *newer; e && ps->bytes > ps->server->config->memory_bytes; e = newer) {
        newer = e->newer;
        if (!e->refs) entry_detach(e);
    }
}

/* Its share of the map: a key, and as many slots as there are for an entry (schema/base/map.h). */
enum { MAP_SHARE = sizeof(size_t) + 80 + 3 * sizeof(struct MapSlot) };

void entry_count(Entry *e) {
    size_t bytes = heap_bytes(e) + MAP_SHARE + heap_bytes(e->canonical) + heap_bytes(e->text) + heap_bytes(e->record) + inputs_bytes(&e->inputs) + e->own_bytes;
    for (const Variant *v = e->variants; v; v = v->next) bytes += v->state == VARIANT_READY ? variant_bytes(v) : heap_bytes(v);
    if (!e->detached) e->programs->bytes += bytes - e->bytes;
    e->bytes = bytes;
}

static void unref(Entry *e) {
    if (--e->refs) return;
    if (e->detached) entry_free(e);
    else shrink(e->programs);
}

Entry *entry_new(Programs *ps, const EntryKind *kind, const char *hash) {
    Entry *e = calloc(1, sizeof *e);
    if (!e || !map_put(&ps->entries, hash, strlen(hash), e)) {
        free(e);
        return NULL;
    }
    e->kind = kind;
    e->programs = ps;
    strcpy(e->hash, hash);
    link_use(ps, e);
    entry_count(e);
    return e;
}

Entry *entry_get(Programs *ps, const char *hash) {
    Entry *e = map_get(&ps->entries, hash, strlen(hash));
    if (!e) return NULL;
    unlink_use(ps, e);
    link_use(ps, e);
    return e;
}

/* ---- variants ---- */

static void unlink_variant(Variant *v) {
    Variant **at = &v->entry->variants;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
}

static void wait_for(Resolve *r, Variant *v) {
    r->waiting = true;
    r->variant = v;
    r->prev = NULL;
    r->next = v->waiting;
    if (r->next) r->next->prev = r;
    v->waiting = r;
}

static void stop_waiting(Resolve *r) {
    *(r->prev ? &r->prev->next : &r->variant->waiting) = r->next;
    if (r->next) r->next->prev = r->prev;
    r->waiting = false;
}

/* The entry's reference taken in resolve_variant ends here. */
static void settle(Variant *v) {
    Entry *e = v->entry;
    bool failed = v->failure.code != ERR_NONE;
    if (failed) unlink_variant(v);
    else v->state = VARIANT_READY;
    entry_count(e);
    while (v->waiting) {
        Resolve *r = v->waiting;
        stop_waiting(r);
        r->variant = failed ? NULL : v;
        r->hit = v->from_store;
        r->stored = v->stored;
        if (failed) failure_copy(&r->failure, &v->failure);
        r->done(r->arg);
    }
    /* A program that does not compile has no identity to be asked for. */
    if (failed && variant_is_base(v) && !e->known) entry_detach(e);
    if (failed) variant_free(v);
    unref(e);
}

void variant_made(Variant *v) { settle(v); }

void variant_failed(Variant *v) { settle(v); }

void variant_fail(Variant *v, ErrCode code, const char *message) {
    failure_set(&v->failure, code, "%s", message);
    settle(v);
}

static void worked(void *arg) {
    Variant *v = arg;
    v->busy = false;
    v->next_step(v);
}

void variant_work(Variant *v, void (*work)(void *variant), void (*done)(void *variant)) {
    v->busy = true;
    v->next_step = done;
    v->task = (Task){.work = work, .done = worked, .arg = v};
    tasks_add(v->entry->programs->server->tasks, &v->task);
}

/* ---- what is asked for ---- */

void resolve_fail(Resolve *r) { r->done(r->arg); }

void resolve_enter(Resolve *r, Entry *e) {
    e->refs++;
    r->entry = e;
}

static Variant *variant_new(Entry *e, uint32_t nargs, Derive derive) {
    Variant *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    *v = (Variant){.entry = e, .next = e->variants, .nargs = nargs, .derive = derive, .key = ++e->programs->keys, .file = -1};
    cx_init(&v->cx);
    v->cx.arena.first = VARIANT_ARENA;
    variant_name(v->name, nargs, derive);
    e->variants = v;
    e->refs++;
    return v;
}

static void hit(Resolve *r, Variant *v) {
    r->entry->programs->server->metrics->memory_hits++;
    r->variant = v;
    r->hit = true;
    r->done(r->arg);
}

void resolve_variant(Resolve *r, uint32_t nargs, Derive derive) {
    Entry *e = r->entry;
    Variant *v = e->variants;
    while (v && !(v->nargs == nargs && v->derive == derive)) v = v->next;
    if (v && v->state == VARIANT_READY) {
        hit(r, v);
    } else if (v) {
        wait_for(r, v);
    } else if ((v = variant_new(e, nargs, derive))) {
        wait_for(r, v);
        e->kind->make(v);
    } else {
        failure_set(&r->failure, ERR_internal, "Memory is short.");
        resolve_fail(r);
    }
}

void resolve_applied(Resolve *r, uint32_t nargs, Derive derive) {
    resolve_variant(r, nargs == r->variant->total_args ? WIRE_ALL_ARGS : nargs, derive);
}

void resolve_record(Resolve *r) {
    if (r->entry->record) hit(r, NULL);
    else resolve_variant(r, WIRE_ALL_ARGS, DERIVE_NONE);
}

void resolve_cancel(Resolve *r) {
    if (!r->waiting) return;
    Variant *v = r->variant;
    stop_waiting(r);
    r->variant = NULL;
    /* A build that nobody waits for is not worth a worker's time; what a thread has in hand is finished and kept. */
    if (v->waiting || v->busy || !v->job) return;
    dispatch_cancel(v->entry->programs->server->dispatch, v->job);
    unlink_variant(v);
    unref(v->entry);
    variant_free(v);
}

void resolve_release(Resolve *r) {
    resolve_cancel(r);
    failure_release(&r->failure);
    if (r->entry) unref(r->entry);
    r->entry = NULL;
    r->variant = NULL;
}

/* ---- all of them ---- */

void programs_forget(Programs *ps, const char *hash) {
    Entry *e = map_get(&ps->entries, hash, strlen(hash));
    if (e) entry_detach(e);
}

Programs *programs_new(Server *server) {
    Programs *ps = calloc(1, sizeof *ps);
    if (ps) ps->server = server;
    return ps;
}

void programs_free(Programs *ps) {
    if (!ps) return;
    size_t at = 0;
    for (Entry *e; (e = map_next(&ps->entries, &at));) entry_free(e);
    map_release(&ps->entries);
    free(ps);
}

size_t programs_bytes(const Programs *ps) { return ps->bytes; }
