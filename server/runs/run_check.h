/* What a worker that links a run does not see: the values in data sets' columns, and the weights in checkpoints. Held against what linking has
 * found, before the run is queued.
 *
 * Reads files, whole columns perhaps: on a thread. Ownership: everything is lent. Errors: bad_run with the place in the
 * specification; conflict: the checkpoint to begin with is not there any more; damaged: a file is; internal. */
#ifndef CAJAL_RUN_CHECK_H
#define CAJAL_RUN_CHECK_H
#include "compiler/training/spec.h"
#include "server/runs/launch.h"

typedef struct {
    const Server *server;
    const Spec *spec;
    const char *facts;     /* the record's members that linking gave: "columns", "weights" */
    const RunFacts *data;
    Dataset *train, *test; /* their files are held against their sums; test's fd -1: none */
    const atomic_bool *stop; /* looked at now and then: nobody waits any more */
    LaunchFile *sources;   /* in the order of data->sources; opened here */
    LaunchFile *begin;     /* the checkpoint to begin with, its only row; NULL: none */
    uint64_t steps;
} RunCheck;

bool run_check(const RunCheck *c, Err *err);
#endif
