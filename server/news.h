/* What a worker says of a run it trains (wire_train.h, news), taken into the run's progress. */
#ifndef CAJAL_NEWS_H
#define CAJAL_NEWS_H
#include "schema/wire.h"
#include "server/training.h"

typedef enum { NEWS_BAD, NEWS_TAKEN, NEWS_LAST } NewsResult;

typedef struct {
    ErrCode code;
    bool stopped;   /* as asked for; not all steps are done */
    char text[400]; /* why, when there is a code */
} NewsEnd;
/* BAD: the frame is none such. LAST: *end is filled. Takes the frame's area. */
NewsResult news_take(Training *t, Frame *frame, NewsEnd *end);
#endif
