/* Which compiler this is: a fingerprint of the sources that decide what a program compiles to (compiler/, schema/), made by the Makefile.
 * Stored records and graphs carry it; those of another build are rebuilt. */
#ifndef CAJAL_BUILD_H
#define CAJAL_BUILD_H
extern const char build_id[]; /* 16 hex digits */
#endif
