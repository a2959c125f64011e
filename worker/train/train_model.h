/* A run's tensors and plans: weights, gradients and optimizer states in one block, the step's graph and the forward graph as plans whose
 * slots read the weights where they lie.
 *
 * Ownership: a TrainModel owns memory and plans; graphs, specification and linked run are lent and outlive it.
 * Errors: plan_new's; too_large when the tensors or a step's memory pass LIMIT_JOB_BYTES; internal. */
#ifndef CAJAL_TRAIN_MODEL_H
#define CAJAL_TRAIN_MODEL_H
#include "compiler/training/link.h"
#include "worker/train/train_checkpoint.h"
#include "worker/train/train_feed.h"
#include "worker/train/train_optim.h"

typedef struct {
    const Graph *graph;
    Plan *plan;
    ExecInput *inputs;   /* by slot; columns are the feed's */
    ExecOutput *outputs; /* by output */
    size_t tile;         /* for exec_run */
} ModelPass;

typedef struct {
    const Spec *spec;
    const Linked *linked;
    bool f64;
    unsigned threads;
    void *memory;
    void **weights;    /* by weight, the run's dtype */
    Optim optim;       /* its tensors are the trained weights, in order */
    uint32_t *trained; /* by tensor of the optimizer: which weight */
    Checkpoint file;   /* of all that */
    ModelPass step, forward;
    double cotangent64;
    float cotangent32; /* 1/batch: the loss is the mean over the batch */
    void *loss;        /* a number a row of the batch */
    void *eval_loss, *eval_value; /* of an evaluation's rows */
    size_t eval_rows;  /* at a time */
    size_t bytes;      /* of everything, the plans' slabs included */
} TrainModel;

/* step: link_train's graph; forward: link_run's (optimised). Weights are not set. */
bool model_init(TrainModel *m, const Spec *spec, const Linked *linked, const Graph *step, const Graph *forward, unsigned threads, Err *err);
void model_release(TrainModel *m); /* harmless on a zeroed one */
/* The same errors and bytes, but nothing is taken that grows with the weights. When it fails bytes is 0 if no smaller batch would help. */
bool model_measure(const Spec *spec, const Linked *linked, const Graph *step, const Graph *forward, unsigned threads, size_t *bytes, Err *err);

/* Draws every weight that is not from an earlier run. */
void model_draw(TrainModel *m);
/* Weight j from the file of the run it comes from. bad_run: not there, or of another shape. */
bool model_take(TrainModel *m, uint32_t weight, const unsigned char *file, size_t len, Err *err);

/* One pass over rows of the feed's batch. */
bool model_step(TrainModel *m, const Feed *feed, Workspace *w, Err *err);
bool model_forward(TrainModel *m, const Feed *feed, size_t rows, Workspace *w, Err *err);
/* The mean of the step's losses. */
double model_loss(const TrainModel *m);
/* The first trained weight whose gradient has an element that is not finite; UINT32_MAX: none. */
uint32_t model_nonfinite(const TrainModel *m);

#endif
