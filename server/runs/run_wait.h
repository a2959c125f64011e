/* Waiting for the scheduler on behalf of a call: until the run that its path names is over, or queued, and the database says so, so that whoever asks
 * next sees it. */
#ifndef CAJAL_RUN_WAIT_H
#define CAJAL_RUN_WAIT_H
#include "server/http/call.h"

/* Goes on with `then`, in the loop; when the state cannot be written the call is answered with why; not when the client has gone or the deadline has passed. The scheduler knows the run; `queued`: wait for its state of
 * being queued to be written, else for its end. False: memory is short, and the call is answered. */
bool run_wait(Call *call, bool queued, void (*then)(Call *call));
/* The run is over, and only its last state is being written: waits for that, and goes on with `then`. False: it is not so, and nothing is done. */
bool run_settles(Call *call, void (*then)(Call *call));
#endif
