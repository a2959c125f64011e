/* A run's checkpoint as something that can be evaluated: an entry (server/programs/program.h) whose variants a worker links from the run's
 * specification, program and weights.
 *
 * Ownership: an entry of this kind owns its Model. */
#ifndef CAJAL_MODEL_H
#define CAJAL_MODEL_H
#include "server/programs/program.h"
#include "server/runs/run_facts.h"
#include "server/store/store_runs.h"

/* What is asked for. */
typedef struct {
    const char *run;
    bool at_step;         /* of this step, not the newest */
    uint64_t step;
    bool stored;          /* inputs are columns as the data set has them; else as the network sees them */
    const char *outputs;  /* variables whose values are wanted beside the program's: names, each with a NUL behind it */
    size_t outputs_len;
} ModelWant;

typedef struct Model Model;

/* A variant of a run's value, all its inputs given. Ends in resolve->done, perhaps before it returns; not_found and conflict (there is no checkpoint
 * yet) are among the failures. `want` is lent for this call. */
void model_resolve(Programs *programs, Resolve *r, const ModelWant *want, Derive derive);

/* The model of such an entry; NULL for a program's. */
const Model *model_of(const Entry *entry);
/* The step of its checkpoint. */
uint64_t model_checkpoint_step(const Model *model);
/* The data set has one number a row of this column. */
bool model_has_number(const Model *model, const char *column);
/* The program's variable by name; UINT32_MAX: none. And its name. */
uint32_t model_variable(const Model *model, const char *name);
const char *model_variable_name(const Model *model, uint32_t variable);
#endif
