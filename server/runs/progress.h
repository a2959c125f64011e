/* What a worker says of a run it trains (wire_train.h, news), taken into the run's progress. */
#ifndef CAJAL_PROGRESS_H
#define CAJAL_PROGRESS_H
#include "schema/protocol/wire.h"
#include "server/runs/training.h"

typedef enum { NEWS_BAD, NEWS_TAKEN, NEWS_LAST } NewsResult;

typedef struct {
    ErrCode code;
    bool stopped;   /* as asked for; not all steps are done */
    char text[400]; /* why, when there is a code */
} NewsEnd;
/* BAD: the frame is none such. LAST: *end is filled. Takes the frame's area. */
NewsResult news_take(Training *t, Frame *frame, NewsEnd *end);
#endif
