/* Checkpoints: safetensors with the weights under their names, the optimizer's states as "optimizer.<state>.<weight>", all in the run's
 * dtype, and in __metadata__ "step" and "updates" (decimal), "spec_sha256" (of the specification's bytes), "owes_evaluation" (0 or 1), and of the steps that
 * were skipped "skipped", "skipped_in_a_row" (decimal) and "trained" (0 or 1).
 *
 * Ownership: a Checkpoint and what its tensors point to are the caller's; an Area made is the caller's to release.
 * Errors: too_large (beyond LIMIT_JOB_BYTES or LIMIT_TENSORS), bad_run (a file that does not fit), internal. */
#ifndef CAJAL_TRAIN_CHECKPOINT_H
#define CAJAL_TRAIN_CHECKPOINT_H
#include "schema/formats/bulk.h"
#include "schema/protocol/wire.h"
#include "schema/errors.h"

enum { CHECKPOINT_SHA = 65 };

typedef struct {
    char *name;
    const uint32_t *dims;
    uint32_t rank;
    void *data;  /* the run's dtype */
    size_t size; /* elements */
    bool state;  /* the optimizer's */
} CheckpointTensor;

typedef struct {
    CheckpointTensor *tensors;
    uint32_t n;
    bool f64;
    uint64_t step, updates;
    bool owes;   /* the evaluation due at this step was interrupted */
    uint64_t skipped, skipped_in_a_row; /* steps of this specification without an update, for what was not finite; the last of them */
    bool trained;                       /* and one had an update */
    char spec[CHECKPOINT_SHA]; /* hex */
} Checkpoint;

/* Bytes of the tensors' data; SIZE_MAX when they overflow. */
size_t checkpoint_bytes(const Checkpoint *c);
bool checkpoint_write(const Checkpoint *c, Area *out, Err *err);
/* Fills the tensors, step, updates and what was skipped (in a fork's: nothing yet). Every weight must be there in this shape and dtype, and no other; so must the states if
 * the file is of this specification. In a fork's, *fresh tells that states are missing or others: they are zero then, updates too. */
bool checkpoint_read(Checkpoint *c, const unsigned char *file, size_t len, bool *fresh, Err *err);
/* One weight of any run's checkpoint, which must have this shape; f32 is widened. */
bool checkpoint_weight(const unsigned char *file, size_t len, const char *name, const uint32_t *dims, uint32_t rank, double *out, Err *err);
#endif
