#include "server/http/connection.h"
#include <stdlib.h>
#include <sys/epoll.h>

#define NUDGE_NS ((int64_t)20000000)
#define SWEEP_NS ((int64_t)1000000000)
/* A first head, and a further one, take at most so long to come. */
#define FIRST_NS ((int64_t)30000000000)
#define IDLE_NS ((int64_t)120000000000)
/* One that is idle for less may have its request on the way. */
#define SPARE_NS ((int64_t)100000000)

/* Shutting down a direction that the client has ended already loses nothing, and is an event to libmicrohttpd; again, until it has read all. */
static void on_nudge(void *arg) {
    Connection *c = arg;
    shutdown(c->watch.fd, SHUT_RD);
    loop_timer(c->all->loop, &c->nudge, loop_now() + NUDGE_NS);
}

static void on_hangup(void *arg, uint32_t events) {
    Connection *c = arg;
    (void)events;
    loop_unwatch(c->all->loop, &c->watch);
    c->gone = true;
    loop_timer(c->all->loop, &c->nudge, loop_now() + NUDGE_NS);
    c->all->gone(c);
}

static size_t excess(const Connections *all) { return all->count > all->most ? all->count - all->most : 0; }

/* ---- idle ones ---- */

void connection_busy(Connection *c) {
    Connections *all = c->all;
    c->used = true;
    c->surplus = c->surplus && excess(all);
    if (!c->idle) return;
    *(c->prev ? &c->prev->next : &all->idle) = c->next;
    *(c->next ? &c->next->prev : &all->idle_last) = c->prev;
    c->idle = false;
}

void connection_idle(Connection *c) {
    Connections *all = c->all;
    if (c->idle) return;
    c->idle = true;
    c->since = loop_now();
    c->next = NULL;
    c->prev = all->idle_last;
    *(c->prev ? &c->prev->next : &all->idle) = c;
    all->idle_last = c;
    if (!all->sweep.on) loop_timer(all->loop, &all->sweep, c->since + SWEEP_NS);
}

/* libmicrohttpd sees the end and closes it. */
static void end(Connection *c) {
    connection_busy(c);
    shutdown(c->watch.fd, SHUT_RDWR);
}

/* Those that have never asked for anything go first. */
bool connections_shed(Connections *all) {
    const Party *largest = parties_largest(all->parties);
    const int64_t now = loop_now();
    Connection *oldest = NULL;
    for (Connection *c = all->idle; c && now - c->since >= SPARE_NS; c = c->next) {
        if (c->party != largest) continue;
        if (!oldest || (oldest->used && !c->used)) oldest = c;
        if (!c->used) break;
    }
    if (oldest) end(oldest);
    return oldest != NULL;
}

static void on_sweep(void *arg) {
    Connections *all = arg;
    const int64_t now = loop_now();
    for (Connection *c = all->idle, *next; c && now - c->since >= FIRST_NS; c = next) {
        next = c->next;
        if (!c->used || now - c->since >= IDLE_NS) end(c);
    }
    for (size_t n = excess(all); n && connections_shed(all);) n--;
    if (all->idle) loop_timer(all->loop, &all->sweep, now + (excess(all) ? SPARE_NS : SWEEP_NS));
}

/* ---- life ---- */

void connections_init(Connections *all, Loop *loop, Parties *parties, size_t most, void (*gone)(Connection *c)) {
    *all = (Connections){.loop = loop, .parties = parties, .most = most, .gone = gone, .sweep = {.fire = on_sweep, .arg = all}};
}

void connections_release(Connections *all) { loop_untimer(all->loop, &all->sweep); }

Connection *connection_open(Connections *all, int fd, const struct sockaddr *address) {
    char name[PARTY_NAME];
    Connection *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    party_address(address, name);
    *c = (Connection){.all = all, .party = party_join(all->parties, name), .nudge = {.fire = on_nudge, .arg = c},
                      .watch = {.fd = fd, .events = EPOLLRDHUP | EPOLLHUP | EPOLLERR, .ready = on_hangup, .arg = c}};
    if (!c->party || !loop_watch(all->loop, &c->watch)) {
        party_leave(c->party);
        free(c);
        return NULL;
    }
    c->party->connections++;
    all->count++;
    connection_idle(c);
    c->surplus = excess(all) && !connections_shed(all);
    const int64_t soon = loop_now() + SPARE_NS;
    if (c->surplus && (!all->sweep.on || all->sweep.due > soon)) loop_timer(all->loop, &all->sweep, soon);
    return c;
}

void connection_close(Connection *c) {
    connection_busy(c);
    loop_unwatch(c->all->loop, &c->watch);
    loop_untimer(c->all->loop, &c->nudge);
    c->party->connections--;
    c->all->count--;
    party_leave(c->party);
    free(c);
}
