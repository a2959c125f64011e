#include "server/http/access.h"
#include <arpa/inet.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

/* By address, as anybody may own the name 127.0.0.1.example.com. */
bool access_is_loopback(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcasecmp(host, "localhost") == 0;
}

/* A Host header without its port. */
static void host_name(const char *header, char out[256]) {
    bool bracket = *header == '[';
    const char *begin = header + bracket;
    size_t len = strcspn(begin, bracket ? "]" : ":");
    if (len > 255) len = 255;
    memcpy(out, begin, len);
    out[len] = 0;
}

static bool same_origin(const Access *g) {
    const char *host = strstr(g->origin, "://");
    return host && g->host && strcasecmp(host + 3, g->host) == 0;
}

static bool origin_allowed(const Access *g) {
    return strcmp(g->allow_origin, "*") == 0 || (*g->allow_origin && strcasecmp(g->origin, g->allow_origin) == 0);
}

bool access_is_cross_origin(const Access *g) { return g->origin && !same_origin(g) && origin_allowed(g); }

/* A name that only resolves to this machine by someone's trick (DNS rebinding) is not local. */
static bool host_allowed(const Access *g) {
    if (!g->loopback || !g->host || strcmp(g->allow_origin, "*") == 0) return true;
    char name[256];
    host_name(g->host, name);
    const char *allowed = strstr(g->allow_origin, "://");
    return access_is_loopback(name) || (allowed && strcasecmp(allowed + 3, g->host) == 0);
}

/* Hashed first, so that neither content nor length shows in the time taken. */
static bool token_matches(const char *token, const char *authorization) {
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) return false;
    const char *given = authorization + sizeof scheme - 1;
    unsigned char a[crypto_generichash_BYTES], b[crypto_generichash_BYTES];
    crypto_generichash(a, sizeof a, (const unsigned char *)token, strlen(token), NULL, 0);
    crypto_generichash(b, sizeof b, (const unsigned char *)given, strlen(given), NULL, 0);
    return sodium_memcmp(a, b, sizeof a) == 0;
}

ErrCode access_check(const Access *g, bool open) {
    if (!host_allowed(g) || (g->origin && !same_origin(g) && !origin_allowed(g))) return ERR_forbidden;
    if (g->token && !open && !token_matches(g->token, g->authorization)) return ERR_unauthorized;
    return ERR_NONE;
}
