/* Which database is opened, and how. */
#ifndef CAJAL_STORE_SPEC_H
#define CAJAL_STORE_SPEC_H
#include "schema/base/log.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *dir, *version; /* where cajal.db is; what names the compiler */
    uint64_t graph_bytes;      /* of graphs that are kept */
    const Log *log;
    bool recover;              /* begin anew, or with what can be read, where it would refuse to open */
} StoreSpec;
#endif
