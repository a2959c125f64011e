/* Programs and their compiled variants: memory, then the store, then a worker. What is asked for while it is being built is built once.
 *
 * An Entry is a program known by its hash. A Variant is one compiled form of it: the result applied to some number of arguments, and
 * possibly a derivative; the base variant ("all arguments, none") comes with the record and with the program's sizes.
 * Ownership: a Resolve that has succeeded keeps its entry and variant alive until resolve_release. Everything here runs in the
 * loop's thread. */
#ifndef CAJAL_PROGRAM_H
#define CAJAL_PROGRAM_H
#include "schema/graph/graph.h"
#include "server/programs/frontend.h"
#include "server/programs/model.h"
#include "server/programs/variant.h"

typedef struct Entry {
    char hash[CANON_HASH_TEXT];
    unsigned char *canonical;
    size_t canonical_len;
    char *record, *text;         /* record: NULL until the base variant has been built (api.md's, open at the end) */
    ProgramInputs inputs;        /* once the base variant is there; a model's are model->inputs */
    struct Model *model;         /* a trained run instead of a program: it has no canonical form, record or text */
    Variant *variants;           /* list */
    Programs *programs;
    size_t bytes;
    unsigned refs;
    bool known;                  /* its hash has been answered once */
    bool detached;               /* deleted or evicted: dies with its last reference */
    struct Entry *newer, *older; /* by use */
} Entry;

typedef struct Resolve {
    void (*done)(void *arg);     /* the owner's: called in the loop, perhaps before programs_… returns */
    void *arg;
    int64_t patience;            /* twice the deadline, in nanoseconds: when nobody else waits, a build is given up after it */
    Entry *entry;                /* the answer */
    Variant *variant;            /* NULL when only the record was asked for, and found */
    Failure failure;             /* code: why there is none */
    bool hit, stored;            /* found, not built; written to the database */
    bool waiting;                /* the module's from here */
    struct Resolve *prev, *next;
} Resolve;

Programs *programs_new(Server *server);
void programs_free(Programs *programs);
size_t programs_bytes(const Programs *programs); /* in memory */

/* The names of what has to be given: the context's, or a model's columns. */
const ProgramInputs *entry_inputs(const Entry *entry);

/* The entry for a program just checked. */
void programs_record(Programs *programs, Resolve *r, const Frontend *frontend);
/* The entry and base variant of a program: by front, or (front NULL) by hash; not_found when nobody knows it. */
void programs_base(Programs *programs, Resolve *r, const Frontend *frontend, const char *hash);
/* Another variant of r's entry, whose base is there. nargs is at most the program's. */
void programs_variant(Programs *programs, Resolve *r, uint32_t nargs, Derive derive);
/* The entry by hash, with its record; one that is outdated or damaged is made again. */
void programs_known(Programs *programs, Resolve *r, const char *hash);
/* A trained run, as `derive` of its value. `want` is lent for this call. */
void programs_model(Programs *programs, Resolve *r, const ModelWant *want, Derive derive);
/* Forgets the program in memory. */
void programs_forget(Programs *programs, const char *hash);

/* Stops waiting; done is not called. */
void resolve_cancel(Resolve *r);
/* Lets go of what was found; cancels first when it still waits. */
void resolve_release(Resolve *r);
#endif
