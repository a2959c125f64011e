/* One compiled form of a program: its graph, and what must be known of it to run it: sized types, slots, outputs, cost.
 *
 * The blob is what the store keeps: types and graph in one. variant_open reads it (on any thread) and verifies everything; types
 * live in the variant's Cx. */
#ifndef CAJAL_VARIANT_H
#define CAJAL_VARIANT_H
#include "compiler/language/canon.h"
#include "compiler/language/type.h"
#include "schema/graph/graph.h"
#include "schema/protocol/wire.h"
#include "server/loop.h"
#include "server/failure.h"
#include "server/workers/dispatch.h"
#include "server/tasks.h"

typedef struct Entry Entry;
struct Resolve;

/* The context, by name. */
typedef struct {
    uint32_t n;
    char **names;
    bool *smooth;
} ProgramInputs;

typedef struct {
    OutRole role;
    uint32_t index;
    size_t size;
    bool varies; /* it depends on some slot */
} VariantOutput;

/* What a worker said of a build, for the record. */
typedef struct {
    uint64_t neurons, weights, recurrent, compile_us, verify_us;
    double macs;
    uint32_t cases;
    bool exhaustive;
} BuildFacts;

enum { ENTRY_HASH = CANON_HASH_TEXT, VARIANT_CULPRIT = ENTRY_HASH + 40, VARIANT_ARENA = 1000 /* bytes that types mostly need */ };

typedef enum { VARIANT_WANTED, VARIANT_READY } VariantState;

typedef struct Variant {
    Entry *entry;
    struct Variant *next;
    uint32_t nargs; /* WIRE_ALL_ARGS for all */
    Derive derive;
    char name[24];  /* "*" or the number of arguments, "/", the derivative */
    uint64_t key;   /* under which workers keep the graph */
    VariantState state;
    /* when READY */
    Buf blob;
    const unsigned char *graph;
    size_t graph_len;
    Cx cx;
    const Type *type, **inputs, **args; /* the program's sized types */
    const Type *output;                 /* after this variant's arguments */
    uint32_t ninputs, total_args;       /* total_args: all the program takes */
    uint64_t smooth_args;
    Slot *slots;
    VariantOutput *outputs;
    uint32_t nslots, noutputs;
    double macs, bytes; /* a row */
    const Type **bound;                 /* of a trained run (server/runs/model.h): the program's variables, sized */
    uint32_t nbound;
    /* while WANTED */
    struct Resolve *waiting;
    Job *job;
    Task task;                          /* program.c's, and next_step, what follows it */
    void (*next_step)(void *variant);
    int file;                           /* a checkpoint, while a trained run's variant is made; -1: none */
    BuildFacts facts;
    Failure failure;
    char *record;      /* just made, for the entry */
    bool looked, from_store, stored; /* looked in the store; found there; written there */
    bool busy;                       /* a thread has it */
} Variant;

bool variant_is_base(const Variant *v);
void variant_name(char out[24], uint32_t nargs, Derive derive);
/* What quarantine knows a job about the variant by: the entry's hash, what is done with it ("" when it is made), the variant's name. */
const char *variant_culprit(char out[VARIANT_CULPRIT], const char *hash, const char *what, const Variant *v);
/* The blob of what a worker has built. */
void variant_pack(Buf *out, const BuiltMsg *built);
/* Reads v->blob into v. False: the blob is not what variant_pack made (or memory is short). */
bool variant_open(Variant *v);
/* Undoes variant_open, and empties the blob. */
void variant_close(Variant *v);
void variant_free(Variant *v);
/* What a READY one takes of the heap. */
size_t variant_bytes(const Variant *v);

/* The context's names from the canonical form. False when it is damaged or memory is short. */
bool inputs_read(ProgramInputs *inputs, const unsigned char *canonical, size_t len);
void inputs_release(ProgramInputs *inputs);
size_t inputs_bytes(const ProgramInputs *inputs); /* of the heap */
#endif
