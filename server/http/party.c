#include "server/http/party.h"
#include "schema/base/hash.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

void party_address(const struct sockaddr *address, char out[PARTY_NAME]) {
    const void *raw = !address                         ? NULL
                      : address->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                                                       : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    if (!raw || !inet_ntop(address->sa_family, raw, out, PARTY_NAME)) strcpy(out, "unknown");
}

bool party_is_listed(const char *name, const char *list) {
    const size_t len = strlen(name);
    while (*list) {
        list += strspn(list, ", ");
        const size_t n = strcspn(list, ", ");
        if (n == len && memcmp(list, name, n) == 0) return true;
        list += n;
    }
    return false;
}

/* The text as an address, spelled as party_address spells it. */
static bool read_address(const char *text, size_t len, char out[PARTY_NAME]) {
    unsigned char raw[sizeof(struct in6_addr)];
    char copy[PARTY_NAME];
    if (!len || len >= sizeof copy) return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    for (int i = 0; i < 2; i++) {
        const int family = i ? AF_INET6 : AF_INET;
        if (inet_pton(family, copy, raw) == 1) return inet_ntop(family, raw, out, PARTY_NAME) != NULL;
    }
    return false;
}

bool party_forwarded(const char *forwarded_for, const char *list, char out[PARTY_NAME]) {
    for (const char *end = forwarded_for + strlen(forwarded_for); end > forwarded_for; end--) {
        const char *begin = end;
        while (begin > forwarded_for && begin[-1] != ',') begin--;
        const char *from = begin + strspn(begin, " \t"), *to = end;
        while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
        /* What is no address was put there by whoever asks: nothing to its left can be believed. */
        if (from >= end || !read_address(from, (size_t)(to - from), out)) return false;
        if (!party_is_listed(out, list)) return true;
        if (begin == forwarded_for) return false;
        end = begin;
    }
    return false;
}

Party *party_join(Parties *parties, const char *name) {
    Party *party = map_get(&parties->byname, name, strlen(name));
    if (!party) {
        party = calloc(1, sizeof *party);
        if (!party || !map_put(&parties->byname, name, strlen(name), party)) {
            free(party);
            return NULL;
        }
        party->all = parties;
        strcpy(party->name, name);
        party->id = hash_bytes(HASH_START, name, strlen(name));
    }
    party->refs++;
    return party;
}

void party_leave(Party *party) {
    if (!party || --party->refs) return;
    map_remove(&party->all->byname, party->name, strlen(party->name));
    free(party);
}

Party *parties_largest(const Parties *parties) {
    Party *largest = NULL;
    size_t at = 0;
    for (Party *p; (p = map_next(&parties->byname, &at));)
        if (!largest || p->connections > largest->connections) largest = p;
    return largest;
}

void parties_release(Parties *parties) { map_release(&parties->byname); }
