/* Runs: data frames are kept until the train frame that begins the run; progress goes out until END (schema/protocol/wire_train.h).
 *
 * Ownership: an inbox takes over what it keeps, frames and descriptors; a run uses it up.
 * Errors: what is wrong with a run is its END's code and text; a frame that does not read ends the worker. */
#ifndef CAJAL_TRAIN_H
#define CAJAL_TRAIN_H
#include "compiler/lower/compile.h"
#include "compiler/training/link.h"
#include "schema/protocol/wire_train.h"
#include "schema/limits.h"
#include "worker/plan/exec.h"

enum { TRAIN_SOURCES = 2 + LIMIT_RUN_SOURCES }; /* data to train and to test on, and the runs that weights come from */

typedef struct {
    Frame frame; /* the message points into it; its area is the file */
    DataMsg msg;
} TrainSource;
typedef struct {
    TrainSource *sources; /* NULL until there is one */
    uint32_t n;
} TrainInbox;

/* What a run needs of the process. */
typedef struct {
    int sock;
    unsigned threads;
    BlackBox *box;
    const char *libraries; /* for the run's record */
} TrainSeat;

/* False: no data frame, or too many. The frame is taken over. */
bool train_take(TrainInbox *inbox, Frame *frame);
void train_forget(TrainInbox *inbox);
/* From a train frame to END. False: the daemon is gone (*result 0) or sent what does not belong here (*result 1), the frame itself included. */
bool train_run(TrainInbox *inbox, const Frame *frame, const TrainSeat *seat, int *result);
#endif
