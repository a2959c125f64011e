/* What linking a run again needs beside its specification, kept with the run (column `link`): the data sets as they were, the earlier runs that
 * weights come from, the sized types of the program's variables.
 *
 * Ownership: strings, types and columns of a RunFacts that was read point into the bytes; run_facts_release frees the arrays. */
#ifndef CAJAL_RUN_FACTS_H
#define CAJAL_RUN_FACTS_H
#include "schema/protocol/wire_train.h"
#include "schema/limits.h"

typedef struct {
    const char *name, *sha256;
    uint64_t rows, bytes; /* rows 0: there is none */
    ColumnMsg *columns;
    uint32_t ncolumns;
} RunDataFacts;

typedef struct {
    const char *name;
    const unsigned char *type; /* canon_put_type's */
    size_t type_len;
} RunVariable;

typedef struct {
    RunDataFacts train, test;
    uint64_t keep;                    /* checkpoints besides the first and the last */
    const char *sources[LIMIT_RUN_SOURCES]; /* ids */
    uint32_t nsources;
    RunVariable *variables;           /* the program's context, by name */
    uint32_t nvariables;
} RunFacts;

void run_facts_put(Buf *out, const RunFacts *facts);
/* False: damaged, or memory is short; nothing is to be released. */
bool run_facts_get(RunFacts *facts, const unsigned char *bytes, size_t len);
void run_facts_release(RunFacts *facts);
/* NULL: the data set has no such column. */
const ColumnMsg *run_data_column(const RunDataFacts *data, const char *name);
#endif
