/* Programs and trained runs in compiled form, in memory: what is asked for while it is being made is made once.
 *
 * An Entry is a program or a trained run, known by its hash. A Variant is one compiled form of it: the result applied to some number of
 * arguments, and possibly a derivative; the base variant ("all arguments, none") comes with a program's record and sizes. How variants are
 * made is the entry's kind: a program's come from the store or a worker (program_build.c), a trained run's from its checkpoint (server/runs/model.c).
 * What nobody uses goes when all entries together take more of the heap than the configured memory, the least recently used first.
 * Ownership: a Resolve that has succeeded keeps its entry and variant alive until resolve_release. Everything here runs in the
 * loop's thread, but for what a kind does on a thread. */
#ifndef CAJAL_PROGRAM_H
#define CAJAL_PROGRAM_H
#include "schema/base/map.h"
#include "server/programs/frontend.h"
#include "server/programs/variant.h"

struct Programs {
    Server *server;
    Map entries;            /* by hash */
    Entry *newest, *oldest; /* by use */
    size_t bytes;           /* of all entries in the map */
    uint64_t keys;          /* given to variants so far */
};

typedef struct {
    /* Begins to make the variant; ends, at once or later, in variant_made or variant_fail. */
    void (*make)(Variant *v);
    void (*release)(Entry *e); /* what the kind keeps in `own`; NULL: nothing */
} EntryKind;

struct Entry {
    const EntryKind *kind;
    char hash[ENTRY_HASH];       /* a program's, or what names a trained run's checkpoint */
    unsigned char *canonical;    /* a program's canonical form and text; NULL otherwise */
    size_t canonical_len;
    char *text;
    char *record;                /* NULL until the base variant has been built (api.md's, open at the end) */
    ProgramInputs inputs;        /* what has to be given, by name; once the base variant is there */
    void *own;                   /* the kind's */
    Variant *variants;           /* list */
    Programs *programs;
    size_t bytes, own_bytes;     /* all that it takes; of it what the kind keeps in `own` */
    unsigned refs;
    bool known;                  /* its hash has been answered once */
    bool detached;               /* deleted or evicted: dies with its last reference */
    struct Entry *newer, *older; /* by use */
};

typedef struct Resolve {
    void (*done)(void *arg);     /* the owner's: called in the loop, perhaps before resolve_… returns */
    void *arg;
    uint64_t party;              /* who asks (job.h) */
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
/* Forgets the entry in memory. */
void programs_forget(Programs *programs, const char *hash);

/* The entry in memory, most recently used from now on; NULL: it is not there. */
Entry *entry_get(Programs *programs, const char *hash);
/* A new one; the caller fills it in. NULL: memory is short. */
Entry *entry_new(Programs *programs, const EntryKind *kind, const char *hash);
/* Counts anew what it takes of the heap: after a part of it has come. */
void entry_count(Entry *e);
/* Takes the entry out of memory; it dies when nobody uses it any more. */
void entry_detach(Entry *e);

/* The resolve's entry from now on. */
void resolve_enter(Resolve *r, Entry *e);
/* Ends it without an answer: failure is set. */
void resolve_fail(Resolve *r);
/* A variant of its entry; nargs: WIRE_ALL_ARGS or fewer than all. */
void resolve_variant(Resolve *r, uint32_t nargs, Derive derive);
/* The same with nargs at most the program's; the base variant is there. */
void resolve_applied(Resolve *r, uint32_t nargs, Derive derive);
/* The record of its entry. */
void resolve_record(Resolve *r);
/* Stops waiting; done is not called. */
void resolve_cancel(Resolve *r);
/* Lets go of what was found; cancels first when it still waits. */
void resolve_release(Resolve *r);

/* For kinds. On a thread `work`, then in the loop `done`. */
void variant_work(Variant *v, void (*work)(void *variant), void (*done)(void *variant));
/* The variant is ready: all who wait hear of it. */
void variant_made(Variant *v);
/* There will be none: v->failure, or this. All who wait hear of it; the variant is gone. */
void variant_failed(Variant *v);
void variant_fail(Variant *v, ErrCode code, const char *message);
#endif
