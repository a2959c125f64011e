/* A run's record, as GET /runs and GET /runs/{id} give it. */
#ifndef CAJAL_RUN_RECORD_H
#define CAJAL_RUN_RECORD_H
#include "server/store/store_runs.h"

/* Appends what a list shows. */
void run_record_put(Buf *out, const StoredRun *run);
/* Appends all of it but what ends it: the members of the array "checkpoints", and "]}". */
void run_record_begin_whole(Buf *out, const StoredRun *run);
#endif
