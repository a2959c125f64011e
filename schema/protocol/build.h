/* Which sources this program was made of: fingerprints that the Makefile makes, of files and not of flags.
 *
 * build_compiler covers what decides what a program compiles to (schema/, compiler/ and the worker's build job). Stored records and graphs carry
 * it; those of another compiler are made anew.
 * build_all covers what daemon and workers must agree on, all of schema/, compiler/ and worker/. A worker says it in its hello, and the daemon
 * takes none of another build: after an upgrade in place an old daemon does not use new workers. */
#ifndef CAJAL_BUILD_H
#define CAJAL_BUILD_H
#include <stdint.h>

extern const char build_compiler[]; /* 16 hex digits */
extern const uint64_t build_all;
#endif
