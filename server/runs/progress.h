/* What a worker says of a run it trains (wire_train.h, news), taken into the run's progress. */
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
/* BAD: the frame is none such. LAST: *end is filled. Takes the frame's area. */
ProgressResult progress_take(Training *t, Frame *frame, ProgressEnd *end);
#endif
