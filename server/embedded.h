/* Files of schema/ built into the daemon. Made by server/embed.sh (the Makefile's rule for embedded.c). */
#ifndef CAJAL_EMBEDDED_H
#define CAJAL_EMBEDDED_H
#include <stddef.h>

extern const char *const embedded_migrations[]; /* SQL, in order; the n-th (from 1) makes version n */
extern const size_t embedded_nmigrations;
extern const char embedded_openapi[]; /* JSON text */
extern const size_t embedded_openapi_len;
#endif
