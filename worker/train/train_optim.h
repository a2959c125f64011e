/* Optimizers: sgd, adam, adamw with PyTorch's formulas (pytorch.org/docs/stable/optim.html, the algorithm boxes of SGD, Adam, AdamW).
 *
 * Weights, gradients and states are arrays of the run's dtype, lent; an Optim owns only its work list. One pass over a weight does everything, in
 * pieces that threads share. Elements do not depend on each other, so neither pieces nor threads show in the bits; the norm is summed in
 * double, piece by piece in a fixed order, so it does not know the threads either.
 * Errors: optim_init returns false when memory is short. */
#ifndef CAJAL_TRAIN_OPTIM_H
#define CAJAL_TRAIN_OPTIM_H
#include "compiler/training/spec.h"
#include "worker/kernels/optim_work.h"

enum { OPTIM_STATES = 2, OPTIM_PIECE = 1 << 14 };

typedef struct {
    void *weight;
    const void *gradient;
    void *state[OPTIM_STATES]; /* optim_state_name; zero at the beginning; NULL behind optim_states */
    size_t size;               /* elements of each */
} OptimTensor;

/* A run of one tensor's elements. */
typedef struct {
    uint32_t tensor;
    size_t from, count;
} OptimPiece;

typedef struct {
    const SpecOptimizer *spec;
    bool f64;
    Isa isa;
    unsigned threads;
    OptimTensor *tensors;
    uint32_t ntensors;
    uint64_t updates; /* steps taken; those skipped do not count */
    OptimPiece *pieces;
    size_t npieces, elements; /* of all tensors */
    double *sums; /* by piece */
} Optim;

/* How many arrays of a weight's size an optimizer keeps, and their names: "momentum"; "m", "v". */
uint32_t optim_states(const SpecOptimizer *spec);
const char *optim_state_name(const SpecOptimizer *spec, uint32_t state);

/* Everything before `pieces` is set by the caller. */
bool optim_init(Optim *o);
void optim_release(Optim *o);
/* The L2 norm of all gradients together; not finite when one is not (or its square is beyond a double). */
double optim_norm(Optim *o);
/* One update with the gradients times `scale`. */
void optim_step(Optim *o, double lr, double scale);
#endif
