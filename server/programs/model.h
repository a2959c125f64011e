/* A run's checkpoint as something that can be evaluated: what a worker needs to make its graph, and what /eval needs to read values for it.
 *
 * Ownership: a Model owns its run, facts and names (model_free). */
#ifndef CAJAL_MODEL_H
#define CAJAL_MODEL_H
#include "server/runs/run_facts.h"
#include "server/server.h"
#include "server/store/store_runs.h"
#include "server/programs/variant.h"

/* What is asked for. */
typedef struct {
    const char *run;
    bool at_step;         /* of this step, not the newest */
    uint64_t step;
    bool stored;          /* inputs are columns as the data set has them; else as the network sees them */
    const char *outputs;  /* variables whose values are wanted beside the program's: names, each with a NUL behind it */
    size_t outputs_len;
} ModelWant;

typedef struct Model {
    StoredRun run;
    RunFacts facts;
    RunCheckpoint checkpoint;
    bool stored;
    char *outputs;
    size_t outputs_len;
    ProgramInputs inputs; /* the columns that the program's value needs, by name */
} Model;

enum { MODEL_KEY = 7 + 64 + 1 };
/* Which checkpoint, and the key of what is wanted, "model:…". False: failure (not_found, conflict when there is none yet). */
bool model_find(Store *store, const ModelWant *want, RunCheckpoint *checkpoint, char key[MODEL_KEY], Failure *failure);
/* NULL: failure. */
Model *model_new(Store *store, const ModelWant *want, const RunCheckpoint *checkpoint, Failure *failure);
void model_free(Model *model);
/* The checkpoint's descriptor, the caller's; -1: it is damaged. On a thread. */
int model_open(const Model *model, const char *data);
/* Appends the link frame's body. */
void model_put_link(Buf *out, const Model *model, Derive derive, uint64_t nat_limit);
/* The blob of what came back. */
void model_pack(Buf *out, const LinkedMsg *linked);
/* Reads the types of the program's variables into an opened variant. False: damaged. */
bool model_open_bound(const Model *model, Variant *v);
/* The data set has one number a row of this column. */
bool model_has_number(const Model *model, const char *column);
/* The variable's index by name; UINT32_MAX: none. */
uint32_t model_variable(const Model *model, const char *name);
#endif
