/* Who asks: the party that a share or a cap of the service is counted for. Today that is a client's address.
 *
 * A party is known while it has connections. Everything runs in the loop's thread.
 * Ownership: a Party belongs to its Parties, from party_join until the matching party_leave of its last connection. */
#ifndef CAJAL_PARTY_H
#define CAJAL_PARTY_H
#include "schema/base/map.h"
#include <sys/socket.h>

enum { PARTY_NAME = 64 };
typedef struct Party {
    char name[PARTY_NAME]; /* the address as text; "unknown" where there is none */
    size_t connections;
    size_t inflight;       /* requests, counted by whoever takes them */
} Party;

typedef struct {
    Map byname;
} Parties;

/* The party behind a new connection. NULL: memory is short. */
Party *party_join(Parties *parties, const struct sockaddr *address);
/* One of its connections is over; NULL is harmless. */
void party_leave(Parties *parties, Party *party);
void parties_release(Parties *parties);
#endif
