/* Open connections: whose they are, whether their clients are still there, and which have to go when there is no room for more.
 *
 * A connection's socket is watched as long as it is open: libmicrohttpd misses the going away of a client whose connection it has suspended, and of a
 * client whose last bytes and FIN come together it reads the bytes only, for its epoll is edge-triggered.
 * A connection without a request is idle. One that stays so is closed (sooner while it has not sent a whole first head), so that half a head holds
 * nothing for long; and when there are too many, the party with the most of them loses its longest idle one.
 * Ownership: a Connection lives from connection_open to connection_close. Everything runs in the loop's thread. */
#ifndef CAJAL_CONNECTION_H
#define CAJAL_CONNECTION_H
#include "server/http/party.h"
#include "server/loop.h"

typedef struct Connection Connection;
typedef struct Call Call;

typedef struct {
    Loop *loop;
    Parties *parties;
    size_t count, most;              /* beyond `most` connections have to go */
    Connection *idle, *idle_last;    /* list, the longest idle first */
    Timer sweep;
    void (*gone)(Connection *c);     /* the client has gone, or has said that it will say no more */
} Connections;

struct Connection {
    Connections *all;
    Watch watch;
    Timer nudge;
    Party *party;                    /* of its address */
    Call *waiting, *streaming;       /* http.c's: the call that waits for its answer; whose answer goes on */
    bool gone;
    bool surplus;                    /* there is no room for it: only those who watch the service are answered */
    bool used;                       /* it has had a request */
    bool idle;
    int64_t since;                   /* idle since then */
    Connection *prev, *next;         /* of the idle */
};

void connections_init(Connections *all, Loop *loop, Parties *parties, size_t most, void (*gone)(Connection *c));
void connections_release(Connections *all);

/* Ends an idle one of the party with the most. False: there is none to be had at the moment. */
bool connections_shed(Connections *all);

/* The socket is the caller's. NULL: it cannot be watched, and so not be served. */
Connection *connection_open(Connections *all, int fd, const struct sockaddr *address);
void connection_close(Connection *c);
/* A request begins, or is over. */
void connection_busy(Connection *c);
void connection_idle(Connection *c);
#endif
