/* Programs by what they say or by hash, and how their variants come about: from the store, else from a worker, and then to the store.
 *
 * Each function settles the resolve's entry and goes on as its name says; resolve->done is called in the end, perhaps before it returns. */
#ifndef CAJAL_PROGRAM_BUILD_H
#define CAJAL_PROGRAM_BUILD_H
#include "server/programs/program.h"

/* The record of a program just checked. */
void program_record(Programs *programs, Resolve *r, Frontend *frontend);
/* The base variant of a program: by frontend, or (frontend NULL) by hash; not_found when nobody knows it. */
void program_base(Programs *programs, Resolve *r, Frontend *frontend, const char *hash);
/* The record by hash; one that is outdated or damaged is made again. */
void program_known(Programs *programs, Resolve *r, const char *hash);
#endif
