/* What a worker says of a run that it trains (FRAME_progress, wire_train.h), taken into the run's Training: the one reader of such frames. */
#ifndef CAJAL_PROGRESS_H
#define CAJAL_PROGRESS_H
#include "schema/protocol/wire.h"
#include "server/runs/training.h"

typedef enum { PROGRESS_BAD, PROGRESS_TAKEN, PROGRESS_LAST } ProgressResult;

typedef struct {
    ErrCode code;
    bool stopped;   /* as asked for; not all steps are done */
    char text[400]; /* why, when there is a code */
} ProgressEnd;
/* BAD: the frame is no progress. LAST: the worker is done with the run, and *end is filled. Takes the frame's descriptor over. */
ProgressResult progress_take(Training *t, Frame *frame, ProgressEnd *end);
#endif
