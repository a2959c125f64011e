/* Who asks: the party that a share or a cap of the service is counted for. Today that is an address: the connection's, or behind a trusted proxy the one
 * that the proxy forwards for (X-Forwarded-For).
 *
 * A party is known while somebody has a reference to it: its connections and its requests. Everything runs in the loop's thread.
 * Ownership: a Party belongs to its Parties, from party_join until the matching party_leave of the last reference. */
#ifndef CAJAL_PARTY_H
#define CAJAL_PARTY_H
#include "schema/base/map.h"
#include <sys/socket.h>

enum { PARTY_NAME = 64 };
typedef struct Parties Parties;
typedef struct Party {
    Parties *all;
    char name[PARTY_NAME];      /* the address as text; "unknown" where there is none */
    uint64_t id;                /* of the name: the same whenever it comes */
    unsigned refs;
    size_t connections;         /* counted by whoever has them, like the next three: */
    size_t arriving;            /* requests whose bodies are still coming */
    size_t inflight;            /* requests being worked on */
    size_t streams;             /* answers that go on */
    size_t held;                /* bytes of bodies, values and answers */
} Party;

struct Parties {
    Map byname;
};

/* The party of that name, one reference more. NULL: memory is short. */
Party *party_join(Parties *parties, const char *name);
/* One reference less; NULL is harmless. */
void party_leave(Party *party);
void parties_release(Parties *parties);
/* The party with the most connections; NULL: there is none. */
Party *parties_largest(const Parties *parties);

/* An address as text. */
void party_address(const struct sockaddr *address, char out[PARTY_NAME]);
/* The name is one of the list's, with commas between. */
bool party_is_listed(const char *name, const char *list);
/* Whom a proxy of the list forwards for: the last address of X-Forwarded-For that is no proxy of the list itself. False: it says none. */
bool party_forwarded(const char *forwarded_for, const char *list, char out[PARTY_NAME]);
#endif
