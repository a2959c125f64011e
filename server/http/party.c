#include "server/http/party.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static void put_name(char out[PARTY_NAME], const struct sockaddr *address) {
    const void *raw = !address                         ? NULL
                      : address->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                                                       : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    if (!raw || !inet_ntop(address->sa_family, raw, out, PARTY_NAME)) strcpy(out, "unknown");
}

Party *party_join(Parties *parties, const struct sockaddr *address) {
    char name[PARTY_NAME];
    put_name(name, address);
    Party *party = map_get(&parties->byname, name, strlen(name));
    if (!party) {
        party = calloc(1, sizeof *party);
        if (!party || !map_put(&parties->byname, name, strlen(name), party)) {
            free(party);
            return NULL;
        }
        strcpy(party->name, name);
    }
    party->connections++;
    return party;
}

void party_leave(Parties *parties, Party *party) {
    if (!party || --party->connections) return;
    map_remove(&parties->byname, party->name, strlen(party->name));
    free(party);
}

void parties_release(Parties *parties) { map_release(&parties->byname); }
