/* A run's record, as GET /runs and GET /runs/{id} give it. */
#ifndef CAJAL_RUN_RECORD_H
#define CAJAL_RUN_RECORD_H
#include "server/http/call.h"
#include "server/store/store_runs.h"

/* Appends what a list shows. Where the database cannot be told what has become of the run, the scheduler is asked. */
void run_record_put(Buf *out, const Server *server, const StoredRun *run);
/* Answers the call with the whole record of the run that its path names. */
void run_record_answer(Call *call);
#endif
