/* The loop of a run: batch, pass, clip, update, points; now and then an evaluation, a checkpoint.
 *
 * All of it is a function of (seed, step) and of what a checkpoint holds, so a run that goes on from one ends with the bits of one that was never
 * interrupted, with the same threads, CPU type and libraries.
 * Ownership: everything is lent. */
#ifndef CAJAL_TRAIN_LOOP_H
#define CAJAL_TRAIN_LOOP_H
#include "worker/train/train_model.h"
#include "worker/train/train_progress.h"

typedef struct {
    TrainModel *model;
    Feed *train;
    Feed *eval;        /* rows for evaluations, model->eval_rows at a time; NULL: none */
    uint64_t eval_all; /* rows of an evaluation */
    bool tested;       /* eval is the test data, not the first of the train data */
    Progress *progress;        /* its step is where the run begins */
    Workspace *workspace;
} TrainLoop;

/* Until all steps are done, a stop was asked for, or the daemon is gone; ends with the weights as a checkpoint. False: the err says what
 * ended it; the weights are those before the step that failed, and so is the checkpoint. */
bool train_loop_run(TrainLoop *loop, Err *err);
#endif
